/* Reads the body of a chat completion, all but the messages. Each field has a reader that says what was found
 * and what would be right. */
#include "proto/openai.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "proto/json_read.h"
#include "proto/openai_reading.h"

enum { MAX_TOKENS_MAX = 1 << 20, TOP_LOGPROBS_MAX = 20 };

/* Doubles beyond 2^53 skip whole numbers: what was meant is not known there. */
#define REAL_INTEGER_MAX 9e15

bool reading_refuse(struct reading *reading, const char *param, const char *format, ...) {
    char message[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    error_set(reading->error, STATUS_REQUEST_VALIDATION_FAILED, param, "%s %s", param, message);
    return false;
}

/* Memory that is all there from the start never grows; a name that is too long keeps its beginning. */
static struct buf buf_over(char out[ERROR_PARAM_MAX]) {
    return (struct buf){.data = out, .cap = ERROR_PARAM_MAX - 1, .max = ERROR_PARAM_MAX - 1};
}

void reading_name_member(char out[ERROR_PARAM_MAX], const char *at, const char *key) {
    struct buf name = buf_over(out);
    buf_append_str(&name, at);
    buf_append_char(&name, '.');
    buf_append_str(&name, key);
}

void reading_name_element(char out[ERROR_PARAM_MAX], const char *at, size_t index) {
    struct buf name = buf_over(out);
    buf_append_str(&name, at);
    buf_append_char(&name, '[');
    buf_append_u64(&name, index);
    buf_append_char(&name, ']');
}

/* Numbers. */

static bool read_number(struct reading *reading, const char *key, double min, double max, double *out) {
    const json_t *value = json_present(reading->body, key);
    if (!value)
        return true;
    if (!json_is_number(value))
        return reading_refuse(reading, key, "must be a number from %g to %g, not %s", min, max,
                              json_kind(value));
    double number = json_number_value(value);
    if (!isfinite(number) || number < min || number > max)
        return reading_refuse(reading, key, "must be a number from %g to %g, not %g", min, max, number);
    *out = number;
    return true;
}

static bool read_integer(struct reading *reading, const char *key, int64_t min, int64_t max, int64_t *out) {
    const json_t *value = json_present(reading->body, key);
    if (!value)
        return true;
    /* 5.0 is how some clients write 5. */
    double real = json_real_value(value);
    if (!json_is_number(value) || real != floor(real))
        return reading_refuse(reading, key, "must be a whole number from %lld to %lld, not %s",
                              (long long)min, (long long)max,
                              json_is_real(value) ? "a fraction" : json_kind(value));
    if (json_is_real(value) && (real < (double)min || real > (double)max))
        return reading_refuse(reading, key,
                              "is out of range: it must be a whole number from %lld to %lld, not %g",
                              (long long)min, (long long)max, real);
    if (fabs(real) >= REAL_INTEGER_MAX)
        return reading_refuse(
            reading, key, "is out of range: from 9e15 on it must be written in digits only, not as %g", real);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : (int64_t)real;
    if (number < min || number > max)
        return reading_refuse(reading, key, "must be a whole number from %lld to %lld, not %lld",
                              (long long)min, (long long)max, (long long)number);
    *out = number;
    return true;
}

static bool read_boolean(struct reading *reading, const json_t *object, const char *key, const char *param,
                         bool *out) {
    const json_t *value = json_present(object, key);
    if (!value)
        return true;
    if (!json_is_boolean(value))
        return reading_refuse(reading, param, "must be true or false, not %s", json_kind(value));
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

static bool check_choices(struct reading *reading) {
    const json_t *value = json_present(reading->body, "n");
    if (!value || json_number_value(value) == 1)
        return true;
    return json_is_number(value)
               ? reading_refuse(reading, "n", "must be 1: several choices are not supported")
               : reading_refuse(reading, "n", "must be the number 1, not %s", json_kind(value));
}

static bool read_limits(struct reading *reading) {
    int64_t max_tokens = 0;
    if (!read_integer(reading, "max_tokens", 1, MAX_TOKENS_MAX, &max_tokens) ||
        !read_integer(reading, "max_completion_tokens", 1, MAX_TOKENS_MAX, &max_tokens) ||
        !check_choices(reading))
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
        return reading_refuse(reading, "model", "is missing; GET /v1/models lists the names");
    if (!json_is_string(value))
        return reading_refuse(reading, "model", "must be a string, not %s", json_kind(value));
    if (!is_model_name(json_string_value(value), json_string_length(value)))
        return reading_refuse(reading, "model", "must be 1 to %d characters of A-Z a-z 0-9 . _ : / -",
                              CHAT_MODEL_NAME_MAX);
    reading->chat->model = copy_string(value);
    return reading->chat->model || reading_refuse(reading, "model", "could not be stored: out of memory");
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
            return reading_refuse(reading, keys[i], "must be a string, not %s", json_kind(value));
        if (has_nul(value) || json_string_length(value) == 0 ||
            json_string_length(value) > CHAT_SESSION_ID_MAX)
            return reading_refuse(reading, keys[i], "must have 1 to %d bytes", CHAT_SESSION_ID_MAX);
        reading->chat->session_id = i == 0 ? copy_string(value) : session_of_cache_key(value);
        if (!reading->chat->session_id)
            return reading_refuse(reading, keys[i], "could not be stored: out of memory");
    }
    return true;
}

/* After read_stream. Who does not stream has a shorter limit and sees nothing before the last token. */
static bool read_priority(struct reading *reading) {
    const json_t *value = json_present(reading->body, "priority");
    int64_t number = reading->chat->stream ? CHAT_PRIORITY_MEDIUM : CHAT_PRIORITY_HIGH;
    if (json_is_string(value)) {
        for (number = 0; number < CHAT_PRIORITY_COUNT; number++)
            if (json_is_text(value, chat_priority_name((enum chat_priority)number)))
                break;
        if (number == CHAT_PRIORITY_COUNT)
            return reading_refuse(reading, "priority", "must be \"high\", \"medium\", \"low\" or 0, 1, 2");
    } else if (!read_integer(reading, "priority", 0, CHAT_PRIORITY_COUNT - 1, &number)) {
        return false;
    }
    reading->chat->priority = (enum chat_priority)number;
    return true;
}

static bool read_one_stop(struct reading *reading, const json_t *value, const char *param) {
    struct chat_request *chat = reading->chat;
    if (!json_is_string(value))
        return reading_refuse(reading, param, "must be a string, not %s", json_kind(value));
    if (has_nul(value) || json_string_length(value) == 0 || json_string_length(value) > CHAT_STOP_BYTES_MAX)
        return reading_refuse(reading, param, "must have 1 to %d bytes", CHAT_STOP_BYTES_MAX);
    char *copy = copy_string(value);
    if (!copy)
        return reading_refuse(reading, param, "could not be stored: out of memory");
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
                   : reading_refuse(reading, "stop", "must be a string or an array of strings, not %s",
                                    json_kind(value));
    if (json_array_size(value) > CHAT_STOP_MAX)
        return reading_refuse(reading, "stop", "holds %zu strings; at most %d are allowed",
                              json_array_size(value), CHAT_STOP_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        char param[ERROR_PARAM_MAX];
        reading_name_element(param, "stop", i);
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
        return reading_refuse(reading, "stream_options", "must be an object, not %s", json_kind(options));
    if (!reading->chat->stream)
        return reading_refuse(reading, "stream_options", "is only allowed when stream is true");
    return read_boolean(reading, options, "include_usage", "stream_options.include_usage",
                        &reading->chat->include_usage);
}

/* What would change the reply and is not built yet is refused, never passed over, unless its value asks for
 * what happens anyway. */

static bool refuse_unsupported(struct reading *reading, const char *key) {
    return reading_refuse(reading, key, "is not supported");
}

static bool check_tools(struct reading *reading) {
    static const char *const lists[] = {"tools", "functions"};
    static const char *const choices[] = {"tool_choice", "function_call"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const json_t *list = json_present(reading->body, lists[i]);
        if (list && (!json_is_array(list) || json_array_size(list) > 0))
            return refuse_unsupported(reading, lists[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        const json_t *choice = json_present(reading->body, choices[i]);
        if (choice && !json_is_text(choice, "none") && !json_is_text(choice, "auto"))
            return reading_refuse(reading, choices[i], "is not supported, except \"none\" and \"auto\"");
    }
    return true;
}

static bool check_logits(struct reading *reading) {
    static const char *const flags[] = {"logprobs", "echo"};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        bool set = false;
        if (!read_boolean(reading, reading->body, flags[i], flags[i], &set))
            return false;
        if (set)
            return refuse_unsupported(reading, flags[i]);
    }
    int64_t top = 0;
    if (!read_integer(reading, "top_logprobs", 0, TOP_LOGPROBS_MAX, &top))
        return false;
    if (top > 0)
        return refuse_unsupported(reading, "top_logprobs");
    const json_t *bias = json_present(reading->body, "logit_bias");
    return !bias || (json_is_object(bias) && json_object_size(bias) == 0) ||
           refuse_unsupported(reading, "logit_bias");
}

static bool check_formats(struct reading *reading) {
    const json_t *format = json_present(reading->body, "response_format");
    if (format && !json_is_text(json_object_get(format, "type"), "text"))
        return reading_refuse(reading, "response_format", "is not supported, except {\"type\":\"text\"}");
    const json_t *modalities = json_present(reading->body, "modalities");
    if (modalities &&
        (json_array_size(modalities) != 1 || !json_is_text(json_array_get(modalities, 0), "text")))
        return reading_refuse(reading, "modalities", "is not supported, except [\"text\"]");
    return !json_present(reading->body, "audio") || refuse_unsupported(reading, "audio");
}

enum status openai_read_chat(const char *body, size_t len, uint64_t seed_default,
                             struct chat_request *request, struct error *error) {
    chat_request_init(request);
    static const struct json_limits limits = {.depth = OPENAI_JSON_DEPTH_MAX,
                                              .values = OPENAI_JSON_VALUES_MAX};
    json_t *root = json_read_object(body, len, limits, STATUS_INVALID_JSON, error);
    if (!root)
        return STATUS_INVALID_JSON;
    struct reading reading = {.body = root, .chat = request, .error = error};
    bool ok = read_model(&reading) && openai_read_messages(&reading) &&
              read_sampling(&reading, seed_default) && read_limits(&reading) && read_stop(&reading) &&
              read_stream(&reading) && read_priority(&reading) && read_session(&reading) &&
              openai_read_skills(&reading) && check_tools(&reading) && check_logits(&reading) &&
              check_formats(&reading);
    json_decref(root);
    if (ok)
        return STATUS_OK;
    chat_request_release(request);
    return STATUS_REQUEST_VALIDATION_FAILED;
}
