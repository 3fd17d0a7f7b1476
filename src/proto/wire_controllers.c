/* What controllers say to everybody, and to each other.
 *
 *   discover  {"v":1,"controller":"c1"}
 *   heartbeat {"v":1,"controller":"c1","incarnation":"k3...","state":"ready","activeRequests":3}
 *   breakers  {"v":1,"controller":"c1","incarnation":"k3...","list":[
 *               {"worker":"w1","incarnation":"p9...","model":"m","state":"OPEN","stamp":7,"operator":0,
 *                "remainingMs":20000,"openings":1,"lastFailure":"WORKER_TIMEOUT"}]}
 *   sessions  {"v":1,"controller":"c1","incarnation":"k3...","list":[
 *               {"id":"s","worker":"w1","incarnation":"p9...","stamp":8,"ageMs":12}]}
 *   lookup    {"v":1,"controller":"c1","op":"request","id":"chatcmpl-x"}
 *             {"v":1,"controller":"c1","op":"dropSession","id":"s","stamp":9}
 *   found     {"v":1,"controller":"c2","found":true,"record":{...}} */
#include <stdlib.h>
#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire.h"
#include "proto/wire_read.h"

#define STAMP_MAX ((int64_t)1 << 62)
enum {
    CODE_MAX = 64, /* bytes of the name of a state or an error */
    DIGITS = 15,   /* of a double, which come back as they were written */
};

static void open_message(struct buf *out, const char *controller_id) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"controller\":", controller_id);
}

static bool take_controller(const json_t *root, char out[WIRE_CONTROLLER_ID_MAX + 1], struct error *error) {
    return wire_take_id(root, "controller", out, WIRE_CONTROLLER_ID_MAX + 1, error);
}

/* The index of the member's text in `names`, or -1 and an error. */
static int take_name(const json_t *object, const char *key, const char *const *names, size_t count,
                     struct error *error) {
    const json_t *name = json_object_get(object, key);
    for (size_t i = 0; i < count; i++)
        if (json_is_text(name, names[i]))
            return (int)i;
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s is missing or has an unknown value", key);
    return -1;
}

void wire_write_discover(struct buf *out, const char *controller_id) {
    open_message(out, controller_id);
    buf_append_char(out, '}');
}

enum status wire_read_discover(const char *data, size_t len, struct wire_discover *discover,
                               struct error *error) {
    *discover = (struct wire_discover){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = take_controller(root, discover->controller_id, error);
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}

/* Heartbeats. */

static const char *const state_names[] = {[WIRE_CONTROLLER_READY] = "ready",
                                          [WIRE_CONTROLLER_DRAINING] = "draining",
                                          [WIRE_CONTROLLER_LEFT] = "left"};

const char *wire_controller_state_name(enum wire_controller_state state) {
    return state_names[state];
}

void wire_write_controller(struct buf *out, const struct wire_controller *controller) {
    open_message(out, controller->id);
    json_append_str(out, ",\"incarnation\":", controller->incarnation);
    json_append_str(out, ",\"state\":", state_names[controller->state]);
    json_append_int(out, ",\"activeRequests\":", controller->active_requests);
    buf_append_char(out, '}');
}

enum status wire_read_controller(const char *data, size_t len, struct wire_controller *controller,
                                 struct error *error) {
    *controller = (struct wire_controller){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    int state = take_name(root, "state", state_names, ARRAY_LEN(state_names), error);
    bool ok =
        state >= 0 && take_controller(root, controller->id, error) &&
        wire_take_id(root, "incarnation", controller->incarnation, sizeof(controller->incarnation), error) &&
        wire_take_int(root, "activeRequests", 0, INT64_MAX, &controller->active_requests, error);
    json_decref(root);
    if (!ok)
        return STATUS_PROTOCOL_ERROR;
    controller->state = (enum wire_controller_state)state;
    return STATUS_OK;
}

/* Lists. */

static void open_list(struct buf *out, const struct wire_speaker *speaker) {
    open_message(out, speaker->controller_id);
    json_append_str(out, ",\"incarnation\":", speaker->incarnation);
    buf_append_str(out, ",\"list\":[");
}

void wire_list_close(struct buf *out) {
    buf_append_str(out, "]}");
}

/* Only the first member follows the opening bracket directly. A buffer that failed at once is empty. */
static const char *member_begin(const struct buf *out, const char *text) {
    bool first = out->len > 0 && out->data[out->len - 1] == '[';
    return first ? text + 1 : text;
}

/* A string that stays the document's; absent is NULL when it is not required. */
static bool take_string(const json_t *object, const char *key, size_t max, bool required, const char **out,
                        struct error *error) {
    const json_t *value = json_object_get(object, key);
    *out = NULL;
    if (!value && !required)
        return true;
    const char *text = json_string_value(value);
    if (!text || !text[0] || strlen(text) > max || strlen(text) != json_string_length(value)) {
        error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be a text of 1 to %zu bytes, not %s", key, max,
                  json_kind(value));
        return false;
    }
    *out = text;
    return true;
}

static bool take_token(const json_t *object, const char *key, size_t max, const char **out,
                       struct error *error) {
    if (!take_string(object, key, max, true, out, error))
        return false;
    if (wire_is_token(*out, max))
        return true;
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be of A-Z a-z 0-9 _ -", key);
    return false;
}

/* Who is told of each member; the reader of a kind of list uses its own function. */
struct listener {
    wire_breaker_fn *on_breaker;
    wire_session_fn *on_session;
    void *arg;
};
typedef bool take_member_fn(const json_t *member, const struct wire_speaker *speaker,
                            const struct listener *listener, struct error *error);

static enum status take_list(const json_t *root, size_t max, take_member_fn *take,
                             const struct listener *listener, struct error *error) {
    struct wire_speaker speaker;
    const json_t *list = json_object_get(root, "list");
    if (!take_controller(root, speaker.controller_id, error) ||
        !wire_take_id(root, "incarnation", speaker.incarnation, sizeof(speaker.incarnation), error))
        return STATUS_PROTOCOL_ERROR;
    if (!json_is_array(list) || json_array_size(list) > max)
        return error_set(error, STATUS_PROTOCOL_ERROR, "list", "list must be an array of at most %zu", max);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!take(json_array_get(list, i), &speaker, listener, error))
            return STATUS_PROTOCOL_ERROR;
    return STATUS_OK;
}

static enum status read_list(const char *data, size_t len, size_t max, take_member_fn *take,
                             const struct listener *listener, struct error *error) {
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    enum status status = take_list(root, max, take, listener, error);
    json_decref(root);
    return status;
}

void wire_breakers_open(struct buf *out, const struct wire_speaker *speaker) {
    open_list(out, speaker);
}

void wire_breakers_add(struct buf *out, const struct wire_breaker *breaker) {
    json_append_str(out, member_begin(out, ",{\"worker\":"), breaker->worker_id);
    json_append_str(out, ",\"incarnation\":", breaker->incarnation);
    if (breaker->model)
        json_append_str(out, ",\"model\":", breaker->model);
    json_append_str(out, ",\"state\":", breaker->state);
    json_append_int(out, ",\"stamp\":", breaker->stamp);
    json_append_int(out, ",\"operator\":", breaker->operator_stamp);
    json_append_int(out, ",\"remainingMs\":", breaker->remaining_ms);
    json_append_int(out, ",\"openings\":", breaker->openings);
    if (breaker->last_failure != STATUS_OK)
        json_append_str(out, ",\"lastFailure\":", status_name(breaker->last_failure));
    buf_append_char(out, '}');
}

/* A code that this version does not know is a failure all the same. */
static bool take_last_failure(const json_t *object, enum status *out, struct error *error) {
    const char *name;
    *out = STATUS_OK;
    if (!take_string(object, "lastFailure", CODE_MAX, false, &name, error))
        return false;
    if (name)
        *out = status_from_name(name, STATUS_ENGINE_ERROR);
    return true;
}

static bool take_breaker(const json_t *object, const struct wire_speaker *speaker,
                         const struct listener *listener, struct error *error) {
    struct wire_breaker breaker = {0};
    if (!take_token(object, "worker", WORKER_ID_MAX, &breaker.worker_id, error) ||
        !take_token(object, "incarnation", INCARNATION_CHARS, &breaker.incarnation, error) ||
        !take_string(object, "model", CHAT_MODEL_NAME_MAX, false, &breaker.model, error) ||
        !take_token(object, "state", CODE_MAX, &breaker.state, error) ||
        !wire_take_int(object, "stamp", 0, STAMP_MAX, &breaker.stamp, error) ||
        !wire_take_int(object, "operator", 0, STAMP_MAX, &breaker.operator_stamp, error) ||
        !wire_take_int(object, "remainingMs", 0, INT32_MAX, &breaker.remaining_ms, error) ||
        !wire_take_int(object, "openings", 0, INT32_MAX, &breaker.openings, error) ||
        !take_last_failure(object, &breaker.last_failure, error))
        return false;
    listener->on_breaker(speaker, &breaker, listener->arg);
    return true;
}

enum status wire_read_breakers(const char *data, size_t len, wire_breaker_fn *fn, void *arg,
                               struct error *error) {
    const struct listener listener = {.on_breaker = fn, .arg = arg};
    return read_list(data, len, WIRE_BREAKERS_MAX, take_breaker, &listener, error);
}

void wire_sessions_open(struct buf *out, const struct wire_speaker *speaker) {
    open_list(out, speaker);
}

void wire_sessions_add(struct buf *out, const struct wire_session *session) {
    json_append_str(out, member_begin(out, ",{\"id\":"), session->id);
    json_append_str(out, ",\"worker\":", session->worker_id);
    json_append_str(out, ",\"incarnation\":", session->incarnation);
    json_append_int(out, ",\"stamp\":", session->stamp);
    json_append_int(out, ",\"ageMs\":", session->age_ms);
    buf_append_char(out, '}');
}

static bool take_session(const json_t *object, const struct wire_speaker *speaker,
                         const struct listener *listener, struct error *error) {
    struct wire_session session = {0};
    if (!take_string(object, "id", CHAT_SESSION_ID_MAX, true, &session.id, error) ||
        !take_token(object, "worker", WORKER_ID_MAX, &session.worker_id, error) ||
        !take_token(object, "incarnation", INCARNATION_CHARS, &session.incarnation, error) ||
        !wire_take_int(object, "stamp", 1, STAMP_MAX, &session.stamp, error) ||
        !wire_take_int(object, "ageMs", 0, INT32_MAX, &session.age_ms, error))
        return false;
    listener->on_session(speaker, &session, listener->arg);
    return true;
}

enum status wire_read_sessions(const char *data, size_t len, wire_session_fn *fn, void *arg,
                               struct error *error) {
    const struct listener listener = {.on_session = fn, .arg = arg};
    return read_list(data, len, WIRE_SESSIONS_MAX, take_session, &listener, error);
}

/* Questions. */

static const char *const op_names[] = {
    [WIRE_LOOKUP_REQUEST] = "request", [WIRE_LOOKUP_DROP_SESSION] = "dropSession"};

void wire_write_lookup(struct buf *out, const struct wire_lookup *lookup) {
    open_message(out, lookup->controller_id);
    json_append_str(out, ",\"op\":", op_names[lookup->op]);
    json_append_str(out, ",\"id\":", lookup->id);
    if (lookup->op == WIRE_LOOKUP_DROP_SESSION)
        json_append_int(out, ",\"stamp\":", lookup->stamp);
    buf_append_char(out, '}');
}

static bool take_lookup(const json_t *root, struct wire_lookup *lookup, struct error *error) {
    const char *id;
    int op = take_name(root, "op", op_names, ARRAY_LEN(op_names), error);
    if (op < 0 || !take_controller(root, lookup->controller_id, error) ||
        !take_string(root, "id", WIRE_LOOKUP_ID_MAX, true, &id, error))
        return false;
    lookup->op = (enum wire_lookup_op)op;
    memcpy(lookup->id, id, strlen(id) + 1);
    return lookup->op != WIRE_LOOKUP_DROP_SESSION ||
           wire_take_int(root, "stamp", 1, STAMP_MAX, &lookup->stamp, error);
}

enum status wire_read_lookup(const char *data, size_t len, struct wire_lookup *lookup, struct error *error) {
    *lookup = (struct wire_lookup){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = take_lookup(root, lookup, error);
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}

void wire_write_found(struct buf *out, const struct wire_found *found) {
    open_message(out, found->controller_id);
    buf_append_str(out, found->found ? ",\"found\":true" : ",\"found\":false");
    if (found->record) {
        buf_append_str(out, ",\"record\":");
        buf_append_str(out, found->record);
    }
    buf_append_char(out, '}');
}

static bool take_found(const json_t *root, struct wire_found *found, struct error *error) {
    const json_t *flag = json_object_get(root, "found"), *record = json_object_get(root, "record");
    if (!json_is_boolean(flag) || (record && !json_is_object(record))) {
        error_set(error, STATUS_PROTOCOL_ERROR, "found", "found must be a boolean, and record an object");
        return false;
    }
    if (!take_controller(root, found->controller_id, error))
        return false;
    found->found = json_is_true(flag);
    if (record)
        found->record = json_dumps(record, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));
    return !record || found->record ||
           error_set(error, STATUS_PROTOCOL_ERROR, "record", "out of memory") == STATUS_OK;
}

enum status wire_read_found(const char *data, size_t len, struct wire_found *found, struct error *error) {
    *found = (struct wire_found){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = take_found(root, found, error);
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}

void wire_found_release(struct wire_found *found) {
    if (!found)
        return;
    free(found->record);
    *found = (struct wire_found){0};
}
