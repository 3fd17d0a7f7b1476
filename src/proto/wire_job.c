/* Jobs and cancels.
 *
 *   job {"v":1,"request":"chatcmpl-x","controller":"c1","incarnation":"k3","attempt":1,
 *            "remaining_ms":30000,"now_s":1700000000,
 *            "chat":{"model":"m","messages":[...],"temperature":1,"top_p":1,"min_p":0,"top_k":0,
 *                    "presence_penalty":0,"frequency_penalty":0,"seed":"7","max_tokens":0,"stop":["..."],
 *                    "priority":1,"stream":true,"session_id":"..."},
 *            "generated":[12,7]}
 *   cancel {"v":1,"request":"chatcmpl-x","attempt":1} */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire.h"
#include "proto/wire_read.h"

/* 17 digits bring every double back as it was, but -0: JSON would make it the integer 0. Most are the whole
 * numbers of the defaults, and printing a double is slow. */
static void append_number(struct buf *out, const char *key, double value) {
    int whole = (int)value; /* in range: no field of sampling goes beyond 2 */
    if (value == whole)
        json_append_int(out, key, whole);
    else
        buf_printf(out, "%s%.17g", key, value);
}

static void append_stop(struct buf *out, const struct chat_request *chat) {
    buf_append_str(out, ",\"stop\":[");
    for (size_t i = 0; i < chat->stop_count; i++)
        json_append_str(out, i ? "," : "", chat->stop[i]);
    buf_append_char(out, ']');
}

static void append_chat(struct buf *out, const struct chat_request *chat) {
    const struct sampling *sampling = &chat->sampling;
    json_append_str(out, "{\"model\":", chat->model);
    buf_append_str(out, ",\"messages\":");
    buf_append_str(out, chat->messages_json);
    append_number(out, ",\"temperature\":", sampling->temperature);
    append_number(out, ",\"top_p\":", sampling->top_p);
    append_number(out, ",\"min_p\":", sampling->min_p);
    json_append_int(out, ",\"top_k\":", sampling->top_k);
    append_number(out, ",\"presence_penalty\":", sampling->presence_penalty);
    append_number(out, ",\"frequency_penalty\":", sampling->frequency_penalty);
    /* A string: readers that keep numbers as doubles would lose bits of it. */
    json_append_int(out, ",\"seed\":\"", (int64_t)sampling->seed);
    buf_append_char(out, '"');
    json_append_int(out, ",\"max_tokens\":", chat->max_tokens);
    append_stop(out, chat);
    json_append_int(out, ",\"priority\":", chat->priority);
    buf_append_str(out, chat->stream ? ",\"stream\":true" : ",\"stream\":false");
    if (chat->session_id)
        json_append_str(out, ",\"session_id\":", chat->session_id);
    buf_append_char(out, '}');
}

static void append_generated(struct buf *out, const struct wire_job *job) {
    buf_append_str(out, ",\"generated\":[");
    for (size_t i = 0; i < job->generated_count; i++)
        json_append_int(out, i ? "," : "", job->generated[i]);
    buf_append_char(out, ']');
}

void wire_write_job(struct buf *out, const struct wire_job *job) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"request\":", job->request_id);
    json_append_str(out, ",\"controller\":", job->controller_id);
    if (job->incarnation[0])
        json_append_str(out, ",\"incarnation\":", job->incarnation);
    json_append_int(out, ",\"attempt\":", job->attempt);
    json_append_int(out, ",\"remaining_ms\":", job->remaining_ms);
    json_append_int(out, ",\"now_s\":", job->now_s);
    buf_append_str(out, ",\"chat\":");
    append_chat(out, &job->chat);
    if (job->generated_count > 0)
        append_generated(out, job);
    buf_append_char(out, '}');
}

static bool take_string(const json_t *object, const char *key, size_t max, bool required, char **out,
                        struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!value && !required)
        return true;
    size_t len = json_string_length(value);
    if (!json_is_string(value) || len == 0 || len > max || strlen(json_string_value(value)) != len) {
        error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be a string of 1 to %zu bytes, not %s", key,
                  max, json_kind(value));
        return false;
    }
    *out = strdup(json_string_value(value));
    return *out || error_set(error, STATUS_PROTOCOL_ERROR, key, "out of memory") == STATUS_OK;
}

static bool take_stop(const json_t *chat, struct chat_request *out, struct error *error) {
    const json_t *stop = json_object_get(chat, "stop");
    if (stop && (!json_is_array(stop) || json_array_size(stop) > CHAT_STOP_MAX)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "stop", "stop must be an array of at most %d strings",
                  CHAT_STOP_MAX);
        return false;
    }
    for (size_t i = 0; i < json_array_size(stop); i++) {
        const json_t *value = json_array_get(stop, i);
        size_t len = json_string_length(value);
        if (!json_is_string(value) || len == 0 || len > CHAT_STOP_BYTES_MAX ||
            strlen(json_string_value(value)) != len) {
            error_set(error, STATUS_PROTOCOL_ERROR, "stop", "stop[%zu] must be a string of 1 to %d bytes", i,
                      CHAT_STOP_BYTES_MAX);
            return false;
        }
        out->stop[i] = strdup(json_string_value(value));
        if (!out->stop[i])
            return error_set(error, STATUS_PROTOCOL_ERROR, "stop", "out of memory") == STATUS_OK;
        out->stop_count++;
    }
    return true;
}

static bool take_messages(const json_t *chat, struct chat_request *out, struct error *error) {
    const json_t *messages = json_object_get(chat, "messages");
    if (!json_is_array(messages) || json_array_size(messages) == 0) {
        error_set(error, STATUS_PROTOCOL_ERROR, "messages", "messages must be an array that is not empty");
        return false;
    }
    for (size_t i = 0; i < json_array_size(messages); i++) {
        if (json_is_string(json_object_get(json_array_get(messages, i), "role")))
            continue;
        error_set(error, STATUS_PROTOCOL_ERROR, "messages", "messages[%zu] must be an object with a role", i);
        return false;
    }
    out->messages_json = json_dumps(messages, JSON_COMPACT);
    return out->messages_json ||
           error_set(error, STATUS_PROTOCOL_ERROR, "messages", "out of memory") == STATUS_OK;
}

/* A string of decimal digits, or a number. */
static bool take_seed(const json_t *chat, int64_t *out, struct error *error) {
    const json_t *value = json_object_get(chat, "seed");
    if (!json_is_string(value))
        return wire_take_int(chat, "seed", INT64_MIN, INT64_MAX, out, error);
    const char *text = json_string_value(value);
    size_t sign = text[0] == '-', digits = strspn(text + sign, "0123456789");
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (digits == 0 || sign + digits != json_string_length(value) || errno != 0) {
        error_set(error, STATUS_PROTOCOL_ERROR, "seed", "seed must be a whole number of 64 bits in digits");
        return false;
    }
    *out = number;
    return true;
}

static bool take_sampling(const json_t *chat, struct sampling *out, struct error *error) {
    int64_t top_k = 0, seed = 0;
    if (!wire_take_number(chat, "temperature", 0, 2, &out->temperature, error) ||
        !wire_take_number(chat, "top_p", 0, 1, &out->top_p, error) ||
        !wire_take_number(chat, "min_p", 0, 1, &out->min_p, error) ||
        !wire_take_int(chat, "top_k", 0, INT32_MAX, &top_k, error) ||
        !wire_take_number(chat, "presence_penalty", -2, 2, &out->presence_penalty, error) ||
        !wire_take_number(chat, "frequency_penalty", -2, 2, &out->frequency_penalty, error) ||
        !take_seed(chat, &seed, error))
        return false;
    out->top_k = (int32_t)top_k;
    out->seed = (uint64_t)seed;
    return true;
}

static bool take_chat(const json_t *chat, struct chat_request *out, struct error *error) {
    int64_t max_tokens = 0, priority = CHAT_PRIORITY_MEDIUM;
    if (!json_is_object(chat)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "chat", "chat must be an object, not %s", json_kind(chat));
        return false;
    }
    if (!take_string(chat, "model", CHAT_MODEL_NAME_MAX, true, &out->model, error) ||
        !take_messages(chat, out, error) || !take_sampling(chat, &out->sampling, error) ||
        !wire_take_int(chat, "max_tokens", 0, INT32_MAX, &max_tokens, error) ||
        !take_stop(chat, out, error) ||
        !wire_take_int_or(chat, "priority", 0, CHAT_PRIORITY_COUNT - 1, CHAT_PRIORITY_MEDIUM, &priority,
                          error) ||
        !take_string(chat, "session_id", CHAT_SESSION_ID_MAX, false, &out->session_id, error))
        return false;
    out->max_tokens = (int32_t)max_tokens;
    out->priority = (enum chat_priority)priority;
    out->stream = json_is_true(json_object_get(chat, "stream"));
    return true;
}

static bool take_generated(const json_t *root, struct wire_job *job, struct error *error) {
    const json_t *generated = json_object_get(root, "generated");
    size_t count = json_array_size(generated);
    if (generated && (!json_is_array(generated) || count > WIRE_GENERATED_MAX)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "generated",
                  "generated must be an array of at most %d tokens", WIRE_GENERATED_MAX);
        return false;
    }
    job->generated = count > 0 ? calloc(count, sizeof(*job->generated)) : NULL;
    if (count > 0 && !job->generated)
        return error_set(error, STATUS_PROTOCOL_ERROR, "generated", "out of memory") == STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        const json_t *token = json_array_get(generated, i);
        if (!json_is_integer(token) || json_integer_value(token) < 0 ||
            json_integer_value(token) > INT32_MAX) {
            error_set(error, STATUS_PROTOCOL_ERROR, "generated", "generated[%zu] must be a token's id", i);
            return false;
        }
        job->generated[i] = (int32_t)json_integer_value(token);
    }
    job->generated_count = count;
    return true;
}

/* The head first: with it a job whose rest is wrong can still be refused by name. */
static bool take_job(const json_t *root, struct wire_job *job, struct error *error) {
    int64_t attempt = 0;
    if (!wire_take_id(root, "request", job->request_id, sizeof(job->request_id), error) ||
        !wire_take_id(root, "controller", job->controller_id, sizeof(job->controller_id), error) ||
        !wire_take_int(root, "attempt", 1, UINT32_MAX, &attempt, error))
        return false;
    job->attempt = (uint32_t)attempt;
    if (json_object_get(root, "incarnation") &&
        !wire_take_id(root, "incarnation", job->incarnation, sizeof(job->incarnation), error))
        return false;
    return wire_take_int(root, "remaining_ms", 1, INT64_MAX, &job->remaining_ms, error) &&
           wire_take_int(root, "now_s", 0, INT64_MAX, &job->now_s, error) &&
           take_chat(json_object_get(root, "chat"), &job->chat, error) && take_generated(root, job, error);
}

enum status wire_read_job(const char *data, size_t len, struct wire_job *job, struct error *error) {
    *job = (struct wire_job){0};
    chat_request_init(&job->chat);
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = take_job(root, job, error);
    json_decref(root);
    if (ok)
        return STATUS_OK;
    wire_job_release(job);
    return STATUS_PROTOCOL_ERROR;
}

void wire_job_release(struct wire_job *job) {
    if (!job)
        return;
    chat_request_release(&job->chat);
    free(job->generated);
    job->generated = NULL;
    job->generated_count = 0;
}

void wire_write_cancel(struct buf *out, const struct wire_cancel *cancel) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"request\":", cancel->request_id);
    json_append_int(out, ",\"attempt\":", cancel->attempt);
    buf_append_char(out, '}');
}

enum status wire_read_cancel(const char *data, size_t len, struct wire_cancel *cancel, struct error *error) {
    int64_t attempt = 0;
    *cancel = (struct wire_cancel){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = wire_take_id(root, "request", cancel->request_id, sizeof(cancel->request_id), error) &&
              wire_take_int(root, "attempt", 1, UINT32_MAX, &attempt, error);
    cancel->attempt = (uint32_t)attempt;
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}
