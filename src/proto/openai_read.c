/* Reads the body of a chat completion. Each field has a reader that says what was found and what would be
 * right. */
#include "proto/openai.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "base/utf8.h"
#include "proto/json_read.h"

enum { MAX_TOKENS_MAX = 1 << 20 };

/* One body being read. */
struct reading {
    const json_t *body;
    struct chat_request *chat;
    struct error *error;
};

static bool refuse(struct reading *reading, const char *param, const char *format, ...) PRINTF_LIKE(3, 4);

static bool refuse(struct reading *reading, const char *param, const char *format, ...) {
    char message[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    error_set(reading->error, STATUS_REQUEST_VALIDATION_FAILED, param, "%s %s", param, message);
    return false;
}

/* The name of a field, as in messages[2].content[0].type. */
static void name_param(char out[ERROR_PARAM_MAX], const char *format, ...) PRINTF_LIKE(2, 3);

static void name_param(char out[ERROR_PARAM_MAX], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(out, ERROR_PARAM_MAX, format, args);
    va_end(args);
}

/* How much of a client's value an error quotes: at most 32 bytes, whole characters. */
static int quoted_len(const char *text) {
    return (int)utf8_trim_partial(text, strnlen(text, 32));
}

/* Numbers. */

static bool read_number(struct reading *reading, const char *key, double min, double max, double *out) {
    const json_t *value = json_present(reading->body, key);
    if (!value)
        return true;
    if (!json_is_number(value))
        return refuse(reading, key, "must be a number from %g to %g, not %s", min, max, json_kind(value));
    double number = json_number_value(value);
    if (!isfinite(number) || number < min || number > max)
        return refuse(reading, key, "must be a number from %g to %g, not %g", min, max, number);
    *out = number;
    return true;
}

static bool read_integer(struct reading *reading, const char *key, int64_t min, int64_t max, int64_t *out) {
    const json_t *value = json_present(reading->body, key);
    if (!value)
        return true;
    /* 5.0 is how some clients write 5. */
    bool whole = json_is_integer(value) ||
                 (json_is_real(value) && json_real_value(value) == floor(json_real_value(value)) &&
                  fabs(json_real_value(value)) < 9e15);
    if (!whole)
        return refuse(reading, key, "must be a whole number from %lld to %lld, not %s", (long long)min,
                      (long long)max, json_is_real(value) ? "a fraction" : json_kind(value));
    int64_t number = json_is_integer(value) ? json_integer_value(value) : (int64_t)json_real_value(value);
    if (number < min || number > max)
        return refuse(reading, key, "must be a whole number from %lld to %lld, not %lld", (long long)min,
                      (long long)max, (long long)number);
    *out = number;
    return true;
}

static bool read_boolean(struct reading *reading, const json_t *object, const char *key, const char *param,
                         bool *out) {
    const json_t *value = json_present(object, key);
    if (!value)
        return true;
    if (!json_is_boolean(value))
        return refuse(reading, param, "must be true or false, not %s", json_kind(value));
    *out = json_is_true(value);
    return true;
}

static bool read_sampling(struct reading *reading, uint64_t seed_default) {
    struct sampling *sampling = &reading->chat->sampling;
    int64_t top_k = 0, seed = (int64_t)seed_default;
    if (!read_number(reading, "temperature", 0, 2, &sampling->temperature) ||
        !read_number(reading, "top_p", 0, 1, &sampling->top_p) ||
        !read_number(reading, "min_p", 0, 1, &sampling->min_p) ||
        !read_number(reading, "presence_penalty", -2, 2, &sampling->presence_penalty) ||
        !read_number(reading, "frequency_penalty", -2, 2, &sampling->frequency_penalty) ||
        !read_integer(reading, "top_k", 0, INT32_MAX, &top_k) ||
        !read_integer(reading, "seed", INT64_MIN, INT64_MAX, &seed))
        return false;
    sampling->top_k = (int32_t)top_k;
    sampling->seed = (uint64_t)seed;
    return true;
}

static bool read_limits(struct reading *reading) {
    int64_t max_tokens = 0, choices = 1;
    if (!read_integer(reading, "max_tokens", 1, MAX_TOKENS_MAX, &max_tokens) ||
        !read_integer(reading, "max_completion_tokens", 1, MAX_TOKENS_MAX, &max_tokens) ||
        !read_integer(reading, "n", 1, 1, &choices))
        return false;
    reading->chat->max_tokens = (int32_t)max_tokens;
    return true;
}

/* Strings. */

static char *copy_string(const json_t *value) {
    return strndup(json_string_value(value), json_string_length(value));
}

static bool has_nul(const json_t *value) {
    return strlen(json_string_value(value)) != json_string_length(value);
}

static bool is_model_name(const char *text, size_t len) {
    if (len == 0 || len > CHAT_MODEL_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr("._:/-", c)) ||
            !c)
            return false;
    }
    return true;
}

static bool read_model(struct reading *reading) {
    const json_t *value = json_object_get(reading->body, "model");
    if (!value)
        return refuse(reading, "model", "is missing; GET /v1/models lists the names");
    if (!json_is_string(value))
        return refuse(reading, "model", "must be a string, not %s", json_kind(value));
    if (!is_model_name(json_string_value(value), json_string_length(value)))
        return refuse(reading, "model", "must be 1 to %d characters of A-Z a-z 0-9 . _ : / -",
                      CHAT_MODEL_NAME_MAX);
    reading->chat->model = copy_string(value);
    return reading->chat->model || refuse(reading, "model", "could not be stored: out of memory");
}

/* A key with other characters than a session id may have stands for itself by its hash. */
static char *session_of_cache_key(const json_t *value) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
    static const struct siphash_key
        key; /* nothing depends on it being secret: the key's owner chose the text */
    const char *text = json_string_value(value);
    char hashed[32];
    if (strspn(text, allowed) == json_string_length(value))
        return copy_string(value);
    snprintf(hashed, sizeof(hashed), "cache-key:%016llx",
             (unsigned long long)siphash(&key, text, json_string_length(value)));
    return strdup(hashed);
}

/* OpenAI's prompt_cache_key says the same as our session_id: these requests share a beginning. */
static bool read_session(struct reading *reading) {
    static const char *const keys[] = {"session_id", "prompt_cache_key"};
    for (size_t i = 0; i < ARRAY_LEN(keys) && !reading->chat->session_id; i++) {
        const json_t *value = json_present(reading->body, keys[i]);
        if (!value)
            continue;
        if (!json_is_string(value))
            return refuse(reading, keys[i], "must be a string, not %s", json_kind(value));
        if (has_nul(value) || json_string_length(value) == 0 ||
            json_string_length(value) > CHAT_SESSION_ID_MAX)
            return refuse(reading, keys[i], "must have 1 to %d bytes", CHAT_SESSION_ID_MAX);
        reading->chat->session_id = i == 0 ? copy_string(value) : session_of_cache_key(value);
        if (!reading->chat->session_id)
            return refuse(reading, keys[i], "could not be stored: out of memory");
    }
    return true;
}

static bool read_priority(struct reading *reading) {
    const json_t *value = json_present(reading->body, "priority");
    int64_t number = CHAT_PRIORITY_MEDIUM;
    if (json_is_string(value)) {
        for (number = 0; number < CHAT_PRIORITY_COUNT; number++)
            if (strcmp(chat_priority_name((enum chat_priority)number), json_string_value(value)) == 0)
                break;
        if (number == CHAT_PRIORITY_COUNT)
            return refuse(reading, "priority", "must be \"high\", \"medium\", \"low\" or 0, 1, 2");
    } else if (!read_integer(reading, "priority", 0, CHAT_PRIORITY_COUNT - 1, &number)) {
        return false;
    }
    reading->chat->priority = (enum chat_priority)number;
    return true;
}

static bool read_one_stop(struct reading *reading, const json_t *value, const char *param) {
    struct chat_request *chat = reading->chat;
    if (!json_is_string(value))
        return refuse(reading, param, "must be a string, not %s", json_kind(value));
    if (has_nul(value) || json_string_length(value) == 0 || json_string_length(value) > CHAT_STOP_BYTES_MAX)
        return refuse(reading, param, "must have 1 to %d bytes", CHAT_STOP_BYTES_MAX);
    char *copy = copy_string(value);
    if (!copy)
        return refuse(reading, param, "could not be stored: out of memory");
    chat->stop[chat->stop_count++] = copy;
    return true;
}

static bool read_stop(struct reading *reading) {
    const json_t *value = json_present(reading->body, "stop");
    if (!value)
        return true;
    if (!json_is_array(value))
        return json_is_string(value)
                   ? read_one_stop(reading, value, "stop")
                   : refuse(reading, "stop", "must be a string or an array of strings, not %s",
                            json_kind(value));
    if (json_array_size(value) > CHAT_STOP_MAX)
        return refuse(reading, "stop", "holds %zu strings; at most %d are allowed", json_array_size(value),
                      CHAT_STOP_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        char param[ERROR_PARAM_MAX];
        name_param(param, "stop[%zu]", i);
        if (!read_one_stop(reading, json_array_get(value, i), param))
            return false;
    }
    return true;
}

static bool read_stream(struct reading *reading) {
    const json_t *options = json_present(reading->body, "stream_options");
    if (!read_boolean(reading, reading->body, "stream", "stream", &reading->chat->stream))
        return false;
    if (!options)
        return true;
    if (!json_is_object(options))
        return refuse(reading, "stream_options", "must be an object, not %s", json_kind(options));
    if (!reading->chat->stream)
        return refuse(reading, "stream_options", "is only allowed when stream is true");
    return read_boolean(reading, options, "include_usage", "stream_options.include_usage",
                        &reading->chat->include_usage);
}

/* Messages. */

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};

static bool is_role(const char *text) {
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(roles[i], text) == 0)
            return true;
    return false;
}

static bool check_text(struct reading *reading, const json_t *value, const char *param) {
    if (!json_is_string(value))
        return refuse(reading, param, value ? "must be a string, not %s" : "is %s; it must be a string",
                      json_kind(value));
    return !has_nul(value) || refuse(reading, param, "holds a NUL character, which no model knows");
}

static bool check_part(struct reading *reading, const json_t *part, const char *param) {
    char inner[ERROR_PARAM_MAX];
    if (!json_is_object(part))
        return refuse(reading, param,
                      "must be an object such as {\"type\":\"text\",\"text\":\"...\"}, not %s",
                      json_kind(part));
    const char *type = json_string_value(json_object_get(part, "type"));
    name_param(inner, "%s.type", param);
    if (!type)
        return refuse(reading, inner, "must be the string \"text\"");
    if (strcmp(type, "text") != 0)
        return refuse(reading, inner, "is \"%.*s\"; only \"text\" is supported", quoted_len(type), type);
    name_param(inner, "%s.text", param);
    return check_text(reading, json_object_get(part, "text"), inner);
}

static bool check_content(struct reading *reading, const json_t *message, const char *role,
                          const char *param) {
    const json_t *content = json_object_get(message, "content");
    bool may_be_empty = strcmp(role, "assistant") == 0;
    if (may_be_empty && (!content || json_is_null(content)))
        return true;
    if (!json_is_array(content)) {
        if (!content || json_is_string(content))
            return check_text(reading, content, param);
        return refuse(reading, param, "must be a string or an array of text parts, not %s",
                      json_kind(content));
    }
    if (json_array_size(content) == 0)
        return refuse(reading, param, "is an empty array; it must hold at least one text part");
    for (size_t i = 0; i < json_array_size(content); i++) {
        char inner[ERROR_PARAM_MAX];
        name_param(inner, "%s[%zu]", param, i);
        if (!check_part(reading, json_array_get(content, i), inner))
            return false;
    }
    return true;
}

/* A copy with what a chat template may look at; "developer" is what newer clients call "system". */
static json_t *copy_message(const json_t *message, const char *role) {
    static const char *const kept[] = {"name", "tool_calls", "tool_call_id"};
    json_t *copy = json_object();
    json_object_set_new(copy, "role", json_string(strcmp(role, "developer") == 0 ? "system" : role));
    json_t *content = json_present(message, "content");
    if (content)
        json_object_set(copy, "content", content);
    else
        json_object_set_new(copy, "content", json_string(""));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        json_t *value = json_present(message, kept[i]);
        if (value)
            json_object_set(copy, kept[i], value);
    }
    return copy;
}

static bool read_message(struct reading *reading, size_t index, json_t *out) {
    char param[ERROR_PARAM_MAX];
    const json_t *message = json_array_get(json_object_get(reading->body, "messages"), index);
    name_param(param, "messages[%zu]", index);
    if (!json_is_object(message))
        return refuse(reading, param, "must be an object with role and content, not %s", json_kind(message));
    const json_t *role = json_object_get(message, "role");
    name_param(param, "messages[%zu].role", index);
    if (!json_is_string(role))
        return refuse(reading, param, role ? "must be a string, not %s" : "is %s", json_kind(role));
    const char *name = json_string_value(role);
    if (!is_role(name))
        return refuse(reading, param, "is \"%.*s\"; it must be system, developer, user, assistant or tool",
                      quoted_len(name), name);
    name_param(param, "messages[%zu].content", index);
    if (!check_content(reading, message, name, param))
        return false;
    json_array_append_new(out, copy_message(message, name));
    return true;
}

static bool read_messages(struct reading *reading) {
    const json_t *messages = json_object_get(reading->body, "messages");
    if (!json_is_array(messages))
        return refuse(reading, "messages", messages ? "must be an array of messages, not %s" : "is %s",
                      json_kind(messages));
    size_t count = json_array_size(messages);
    if (count == 0)
        return refuse(reading, "messages", "is empty; it must hold at least one message");
    if (count > OPENAI_MESSAGES_MAX)
        return refuse(reading, "messages", "holds %zu messages; at most %d are allowed", count,
                      OPENAI_MESSAGES_MAX);
    json_t *copies = json_array();
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = read_message(reading, i, copies);
    if (ok) {
        reading->chat->messages_json = json_dumps(copies, JSON_COMPACT | JSON_ENCODE_ANY);
        ok =
            reading->chat->messages_json || refuse(reading, "messages", "could not be stored: out of memory");
    }
    json_decref(copies);
    return ok;
}

/* What would change the reply and is not built yet is refused, never passed over. */
static bool check_unsupported(struct reading *reading) {
    static const char *const flags[] = {"logprobs", "echo"};
    static const char *const lists[] = {"tools", "functions"};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (json_is_true(json_object_get(reading->body, flags[i])))
            return refuse(reading, flags[i], "is not supported");
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (json_array_size(json_object_get(reading->body, lists[i])) > 0)
            return refuse(reading, lists[i], "is not supported");
    if (json_object_size(json_object_get(reading->body, "logit_bias")) > 0)
        return refuse(reading, "logit_bias", "is not supported");
    const json_t *format = json_present(reading->body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format && (!type || strcmp(type, "text") != 0))
        return refuse(reading, "response_format", "supports only {\"type\":\"text\"}");
    return true;
}

enum status openai_read_chat(const char *body, size_t len, uint64_t seed_default,
                             struct chat_request *request, struct error *error) {
    chat_request_init(request);
    json_t *root = json_read_object(body, len, OPENAI_JSON_DEPTH_MAX, STATUS_INVALID_JSON, error);
    if (!root)
        return STATUS_INVALID_JSON;
    struct reading reading = {.body = root, .chat = request, .error = error};
    bool ok = read_model(&reading) && read_messages(&reading) && read_sampling(&reading, seed_default) &&
              read_limits(&reading) && read_stop(&reading) && read_stream(&reading) &&
              read_priority(&reading) && read_session(&reading) && check_unsupported(&reading);
    json_decref(root);
    if (ok)
        return STATUS_OK;
    chat_request_release(request);
    return STATUS_REQUEST_VALIDATION_FAILED;
}
