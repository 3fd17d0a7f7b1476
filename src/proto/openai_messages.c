/* The messages of a chat completion. Chat templates run over what this lets through, so each member that is
 * kept has its type checked. */
#include <string.h>

#include "base/utf8.h"
#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/openai.h"
#include "proto/openai_reading.h"

enum { NAME_BYTES_MAX = 256, TOOL_CALLS_MAX = 128 };

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};

/* How much of a client's value an error quotes: at most 32 bytes, whole characters. */
static int quoted_len(const char *text) {
    return (int)utf8_trim_partial(text, strnlen(text, 32));
}

static bool is_role(const char *text) {
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(roles[i], text) == 0)
            return true;
    return false;
}

static bool check_text(struct reading *reading, const json_t *value, const char *param) {
    if (!json_is_string(value))
        return reading_refuse(reading, param,
                              value ? "must be a string, not %s" : "is %s; it must be a string",
                              json_kind(value));
    return strlen(json_string_value(value)) == json_string_length(value) ||
           reading_refuse(reading, param, "holds a NUL character, which no model knows");
}

static bool check_member(struct reading *reading, const json_t *object, const char *at, const char *key) {
    char param[ERROR_PARAM_MAX];
    reading_name_member(param, at, key);
    return check_text(reading, json_object_get(object, key), param);
}

/* The member "type", which must be `wanted`. */
static bool check_type(struct reading *reading, const json_t *object, const char *at, const char *wanted) {
    char param[ERROR_PARAM_MAX];
    if (!check_member(reading, object, at, "type"))
        return false;
    const char *type = json_string_value(json_object_get(object, "type"));
    reading_name_member(param, at, "type");
    return strcmp(type, wanted) == 0 ||
           reading_refuse(reading, param, "is \"%.*s\"; only \"%s\" is supported", quoted_len(type), type,
                          wanted);
}

/* Content. */

static bool check_part(struct reading *reading, const json_t *part, const char *at) {
    if (!json_is_object(part))
        return reading_refuse(reading, at,
                              "must be an object such as {\"type\":\"text\",\"text\":\"...\"}, not %s",
                              json_kind(part));
    return check_type(reading, part, at, "text") && check_member(reading, part, at, "text");
}

static bool check_parts(struct reading *reading, const json_t *parts, const char *param) {
    if (json_array_size(parts) == 0)
        return reading_refuse(reading, param, "is an empty array; it must hold at least one text part");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        char inner[ERROR_PARAM_MAX];
        reading_name_element(inner, param, i);
        if (!check_part(reading, json_array_get(parts, i), inner))
            return false;
    }
    return true;
}

static bool check_content(struct reading *reading, const json_t *message, const char *at, const char *role) {
    char param[ERROR_PARAM_MAX];
    const json_t *content = json_object_get(message, "content");
    reading_name_member(param, at, "content");
    if (!json_present(message, "content") && strcmp(role, "assistant") == 0)
        return json_array_size(json_object_get(message, "tool_calls")) > 0 ||
               reading_refuse(reading, param, "is %s; a message of the assistant needs content or tool_calls",
                              json_kind(content));
    if (json_is_array(content))
        return check_parts(reading, content, param);
    if (!content || json_is_string(content))
        return check_text(reading, content, param);
    return reading_refuse(reading, param, "must be a string or an array of text parts, not %s",
                          json_kind(content));
}

/* Names and tools. */

static bool check_name(struct reading *reading, const json_t *message, const char *at) {
    char param[ERROR_PARAM_MAX];
    const json_t *name = json_present(message, "name");
    reading_name_member(param, at, "name");
    if (!name)
        return true;
    if (!check_text(reading, name, param))
        return false;
    return json_string_length(name) <= NAME_BYTES_MAX ||
           reading_refuse(reading, param, "has %zu bytes; at most %d are allowed", json_string_length(name),
                          NAME_BYTES_MAX);
}

static bool check_call(struct reading *reading, const json_t *call, const char *at) {
    char param[ERROR_PARAM_MAX];
    if (!json_is_object(call))
        return reading_refuse(reading, at, "must be an object with id, type and function, not %s",
                              json_kind(call));
    if (!check_member(reading, call, at, "id") || !check_type(reading, call, at, "function"))
        return false;
    const json_t *function = json_object_get(call, "function");
    reading_name_member(param, at, "function");
    if (!json_is_object(function))
        return reading_refuse(reading, param, "must be an object with name and arguments, not %s",
                              json_kind(function));
    return check_member(reading, function, param, "name") &&
           check_member(reading, function, param, "arguments");
}

static bool check_calls(struct reading *reading, const json_t *message, const char *at, const char *role) {
    char param[ERROR_PARAM_MAX];
    const json_t *calls = json_present(message, "tool_calls");
    reading_name_member(param, at, "tool_calls");
    if (!calls)
        return true;
    if (strcmp(role, "assistant") != 0)
        return reading_refuse(reading, param, "is only allowed in messages of the assistant");
    if (!json_is_array(calls))
        return reading_refuse(reading, param, "must be an array of tool calls, not %s", json_kind(calls));
    if (json_array_size(calls) > TOOL_CALLS_MAX)
        return reading_refuse(reading, param, "holds %zu tool calls; at most %d are allowed",
                              json_array_size(calls), TOOL_CALLS_MAX);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        char inner[ERROR_PARAM_MAX];
        reading_name_element(inner, param, i);
        if (!check_call(reading, json_array_get(calls, i), inner))
            return false;
    }
    return true;
}

static bool check_tools(struct reading *reading, const json_t *message, const char *at, const char *role) {
    char param[ERROR_PARAM_MAX];
    reading_name_member(param, at, "function_call");
    if (json_present(message, "function_call"))
        return reading_refuse(reading, param, "is not supported; tool_calls is");
    if (strcmp(role, "tool") == 0 && !check_member(reading, message, at, "tool_call_id"))
        return false;
    return check_calls(reading, message, at, role);
}

/* Messages. */

static int append_to_buf(const char *text, size_t len, void *arg) {
    buf_append(arg, text, len);
    return 0;
}

/* Nothing when the value is absent. Strings are escaped by the library, as they will be by the worker that
 * reads them, so that a text stays the same byte for byte. */
static void write_member(struct buf *out, const char *key, const json_t *value) {
    if (!value)
        return;
    buf_append_str(out, key);
    if (json_dump_callback(value, append_to_buf, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        out->failed = true; /* memory is out */
}

/* What a chat template may look at; "developer" is what newer clients call "system". */
static void write_message(struct buf *out, const json_t *message, const char *role) {
    const json_t *content = json_present(message, "content");
    const json_t *calls = json_object_get(message, "tool_calls");
    json_append_str(out, "{\"role\":", strcmp(role, "developer") == 0 ? "system" : role);
    write_member(out, ",\"content\":", content);
    if (!content)
        buf_append_str(out, ",\"content\":\"\"");
    write_member(out, ",\"name\":", json_present(message, "name"));
    /* Templates ask whether there is a list, not how long it is. */
    if (json_array_size(calls) > 0)
        write_member(out, ",\"tool_calls\":", calls);
    if (strcmp(role, "tool") == 0)
        write_member(out, ",\"tool_call_id\":", json_present(message, "tool_call_id"));
    buf_append_char(out, '}');
}

static bool read_message(struct reading *reading, const json_t *message, size_t index, struct buf *out) {
    char at[ERROR_PARAM_MAX], param[ERROR_PARAM_MAX];
    reading_name_element(at, "messages", index);
    if (!json_is_object(message))
        return reading_refuse(reading, at, "must be an object with role and content, not %s",
                              json_kind(message));
    if (!check_member(reading, message, at, "role"))
        return false;
    const char *role = json_string_value(json_object_get(message, "role"));
    reading_name_member(param, at, "role");
    if (!is_role(role))
        return reading_refuse(reading, param,
                              "is \"%.*s\"; it must be system, developer, user, assistant or tool",
                              quoted_len(role), role);
    if (!check_name(reading, message, at) || !check_tools(reading, message, at, role) ||
        !check_content(reading, message, at, role))
        return false;
    write_message(out, message, role);
    return true;
}

bool openai_read_messages(struct reading *reading) {
    const json_t *messages = json_object_get(reading->body, "messages");
    if (!json_is_array(messages))
        return reading_refuse(reading, "messages",
                              messages ? "must be an array of messages, not %s" : "is %s",
                              json_kind(messages));
    size_t count = json_array_size(messages);
    if (count == 0)
        return reading_refuse(reading, "messages", "is empty; it must hold at least one message");
    if (count > OPENAI_MESSAGES_MAX)
        return reading_refuse(reading, "messages", "holds %zu messages; at most %d are allowed", count,
                              OPENAI_MESSAGES_MAX);
    struct buf out;
    buf_init(&out, 0);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        buf_append_char(&out, i ? ',' : '[');
        ok = read_message(reading, json_array_get(messages, i), i, &out);
    }
    buf_append_char(&out, ']');
    if (ok) {
        reading->chat->messages_json = buf_take(&out);
        ok = reading->chat->messages_json ||
             reading_refuse(reading, "messages", "could not be stored: out of memory");
    }
    buf_release(&out);
    return ok;
}
