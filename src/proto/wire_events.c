/* Events of jobs: the hot path. Keys are short, since a token's event is sent for every token.
 *
 *   {"v":1,"w":"worker-1","inc":"k3...","ev":[
 *     {"k":"a","r":"chatcmpl-x","a":1,"position":3,"waitMs":250},    accepted; place in the queue, estimate
 *     {"k":"s","r":"chatcmpl-x","a":1,"p":12},                       started; prompt tokens
 *     {"k":"t","r":"chatcmpl-x","a":1,"i":0,"id":77,"t":"The"},      token; index, id, text
 *     {"k":"f","r":"chatcmpl-x","a":1,"i":9,"t":"","f":"stop","u":[12,9,0]},  finished; how many tokens, rest
 *                                  of the text, reason, usage: prompt, completion, cached tokens
 *     {"k":"e","r":"chatcmpl-x","a":1,"c":"ENGINE_ERROR","m":"...","q":"param"}]}   failed */
#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire.h"
#include "proto/wire_read.h"
#include "proto/wire_scan.h"

/* By kind; the finish reasons below by reason. */
static const char kind_letters[] = {[WIRE_EVENT_ACCEPTED] = 'a',
                                    [WIRE_EVENT_STARTED] = 's',
                                    [WIRE_EVENT_TOKEN] = 't',
                                    [WIRE_EVENT_FINISHED] = 'f',
                                    [WIRE_EVENT_FAILED] = 'e'};

void wire_events_open(struct buf *out, const char *worker_id, const char *incarnation) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"w\":", worker_id);
    json_append_str(out, ",\"inc\":", incarnation);
    buf_append_str(out, ",\"ev\":[");
}

static void append_finish(struct buf *out, const struct wire_event *event) {
    json_append_int(out, ",\"i\":", event->index);
    buf_append_str(out, ",\"t\":");
    buf_append_json(out, event->text ? event->text : "", event->text_len);
    json_append_str(out, ",\"f\":", finish_reason_name(event->finish));
    json_append_int(out, ",\"u\":[", event->usage.prompt_tokens);
    json_append_int(out, ",", event->usage.completion_tokens);
    json_append_int(out, ",", event->usage.cached_tokens);
    buf_append_char(out, ']');
}

static void append_failure(struct buf *out, const struct wire_event *event) {
    json_append_str(out, ",\"c\":", status_name(event->status));
    json_append_str(out, ",\"m\":", event->message ? event->message : "");
    if (event->param && event->param[0])
        json_append_str(out, ",\"q\":", event->param);
}

void wire_events_add(struct buf *out, const struct wire_event *event) {
    /* Only the first event follows the opening bracket directly. A buffer that failed at once is empty. */
    bool first = out->len > 0 && out->data[out->len - 1] == '[';
    buf_append_str(out, first ? "{\"k\":\"" : ",{\"k\":\"");
    buf_append_char(out, kind_letters[event->kind]);
    json_append_str(out, "\",\"r\":", event->request_id);
    json_append_int(out, ",\"a\":", event->attempt);
    switch (event->kind) {
    case WIRE_EVENT_ACCEPTED:
        if (event->position >= 0)
            json_append_int(out, ",\"position\":", event->position);
        if (event->wait_ms >= 0)
            json_append_int(out, ",\"waitMs\":", event->wait_ms);
        break;
    case WIRE_EVENT_STARTED:
        json_append_int(out, ",\"p\":", event->prompt_tokens);
        break;
    case WIRE_EVENT_TOKEN:
        json_append_int(out, ",\"i\":", event->index);
        json_append_int(out, ",\"id\":", event->token);
        buf_append_str(out, ",\"t\":");
        buf_append_json(out, event->text ? event->text : "", event->text_len);
        break;
    case WIRE_EVENT_FINISHED:
        append_finish(out, event);
        break;
    case WIRE_EVENT_FAILED:
        append_failure(out, event);
        break;
    }
    buf_append_char(out, '}');
}

void wire_events_close(struct buf *out) {
    buf_append_str(out, "]}");
}

/* Reading. The strings of an event stay the parsed document's. */

static bool refuse(const char *key, struct error *error) {
    error_set(error, STATUS_PROTOCOL_ERROR, key, "an event's \"%s\" is missing or wrong", key);
    return false;
}

static bool read_text(const json_t *object, struct wire_event *event, struct error *error) {
    const json_t *text = json_object_get(object, "t");
    if (!json_is_string(text) || json_string_length(text) > WIRE_TEXT_MAX)
        return refuse("t", error);
    event->text = json_string_value(text);
    event->text_len = json_string_length(text);
    return true;
}

static bool read_index(const json_t *object, struct wire_event *event, struct error *error) {
    int64_t index;
    if (!wire_take_int(object, "i", 0, INT32_MAX, &index, error))
        return false;
    event->index = (uint32_t)index;
    return true;
}

static bool read_position(const json_t *object, struct wire_event *event, struct error *error) {
    int64_t position;
    if (!wire_take_int_or(object, "position", 0, INT32_MAX, -1, &position, error) ||
        !wire_take_int_or(object, "waitMs", 0, INT64_MAX, -1, &event->wait_ms, error))
        return false;
    event->position = (int32_t)position;
    return true;
}

static bool read_token(const json_t *object, struct wire_event *event, struct error *error) {
    int64_t token;
    if (!wire_take_int(object, "id", 0, INT32_MAX, &token, error))
        return false;
    event->token = (int32_t)token;
    return read_index(object, event, error) && read_text(object, event, error);
}

static bool read_finish(const json_t *object, struct wire_event *event, struct error *error) {
    const char *name = json_string_value(json_object_get(object, "f"));
    const json_t *usage = json_object_get(object, "u");
    if (!name || json_array_size(usage) != 3)
        return refuse(name ? "u" : "f", error);
    if (strcmp(name, finish_reason_name(FINISH_STOP)) == 0)
        event->finish = FINISH_STOP;
    else if (strcmp(name, finish_reason_name(FINISH_LENGTH)) == 0)
        event->finish = FINISH_LENGTH;
    else
        return refuse("f", error);
    int64_t *const counts[] = {&event->usage.prompt_tokens, &event->usage.completion_tokens,
                               &event->usage.cached_tokens};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        const json_t *count = json_array_get(usage, i);
        if (!json_is_integer(count) || json_integer_value(count) < 0 || json_integer_value(count) > INT32_MAX)
            return refuse("u", error);
        *counts[i] = json_integer_value(count);
    }
    return read_index(object, event, error) && read_text(object, event, error);
}

static bool read_failure(const json_t *object, struct wire_event *event, struct error *error) {
    const char *code = json_string_value(json_object_get(object, "c"));
    if (!code)
        return refuse("c", error);
    event->status = status_from_name(code, STATUS_ENGINE_ERROR);
    if (event->status == STATUS_OK)
        return refuse("c", error);
    event->message = json_string_value(json_object_get(object, "m"));
    event->param = json_string_value(json_object_get(object, "q"));
    return true;
}

static bool read_body(const json_t *object, struct wire_event *event, struct error *error) {
    int64_t prompt_tokens;
    switch (event->kind) {
    case WIRE_EVENT_ACCEPTED:
        return read_position(object, event, error);
    case WIRE_EVENT_STARTED:
        if (!wire_take_int(object, "p", 0, INT32_MAX, &prompt_tokens, error))
            return false;
        event->prompt_tokens = (int32_t)prompt_tokens;
        return true;
    case WIRE_EVENT_TOKEN:
        return read_token(object, event, error);
    case WIRE_EVENT_FINISHED:
        return read_finish(object, event, error);
    case WIRE_EVENT_FAILED:
        return read_failure(object, event, error);
    }
    return false;
}

static bool read_event(const json_t *object, struct wire_event *event, struct error *error) {
    const char *kind = json_string_value(json_object_get(object, "k"));
    const json_t *request = json_object_get(object, "r");
    int64_t attempt;
    if (!kind || strlen(kind) != 1)
        return refuse("k", error);
    const char *request_id = json_string_value(request);
    if (!request_id || !wire_is_token(request_id, WIRE_REQUEST_ID_MAX) ||
        strlen(request_id) != json_string_length(request))
        return refuse("r", error);
    if (!wire_take_int(object, "a", 1, UINT32_MAX, &attempt, error))
        return false;
    const char *letter = memchr(kind_letters, kind[0], sizeof(kind_letters));
    if (!letter)
        return refuse("k", error);
    *event = (struct wire_event){.kind = (enum wire_event_kind)(letter - kind_letters),
                                 .request_id = request_id,
                                 .attempt = (uint32_t)attempt};
    return read_body(object, event, error);
}

static enum status read_all(const json_t *root, wire_event_fn *fn, void *arg, struct error *error) {
    struct wire_events_source source;
    const json_t *events = json_object_get(root, "ev");
    if (!wire_take_id(root, "w", source.worker_id, sizeof(source.worker_id), error) ||
        !wire_take_id(root, "inc", source.incarnation, sizeof(source.incarnation), error))
        return STATUS_PROTOCOL_ERROR;
    if (!json_is_array(events) || json_array_size(events) > WIRE_EVENTS_MAX)
        return error_set(error, STATUS_PROTOCOL_ERROR, "ev", "ev must be an array of at most %d events",
                         WIRE_EVENTS_MAX);
    for (size_t i = 0; i < json_array_size(events); i++) {
        struct wire_event event;
        if (!read_event(json_array_get(events, i), &event, error))
            return STATUS_PROTOCOL_ERROR;
        fn(&source, &event, arg);
    }
    return STATUS_OK;
}

enum status wire_read_events(const char *data, size_t len, wire_event_fn *fn, void *arg,
                             struct error *error) {
    if (wire_scan_events(data, len, fn, arg))
        return STATUS_OK;
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    enum status status = read_all(root, fn, arg, error);
    json_decref(root);
    return status;
}
