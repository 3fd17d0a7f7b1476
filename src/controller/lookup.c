/* A call that reaches one controller may be about what another one has: a request under way or its record, a
 * session. Then all are asked, and each answers. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/monitoring.h"
#include "controller/peers.h"
#include "controller/query.h"

static bool ask(struct controller *controller, enum wire_lookup_op op, const char *id, int64_t stamp,
                const char *reply) {
    struct wire_lookup lookup = {.op = op, .stamp = stamp};
    memcpy(lookup.controller_id, controller->id, sizeof(lookup.controller_id));
    memcpy(lookup.id, id, strlen(id) + 1);
    controller->peers->stats.lookups++;
    buf_clear(&controller->scratch);
    wire_write_lookup(&controller->scratch, &lookup);
    return transport_publish(controller->transport, WIRE_SUBJECT_LOOKUP, reply, controller->scratch.data,
                             controller->scratch.len) == STATUS_OK;
}

/* Asks, and answers the exchange with `answer` later or, when there is nobody to be asked, at once. */
static void ask_and_wait(struct controller *controller, struct http_exchange *exchange,
                         enum wire_lookup_op op, const char *id, int64_t stamp, query_answer_fn *answer) {
    struct query *query = query_new(controller, exchange, answer, id);
    if (!query)
        return;
    char reply[WIRE_SUBJECT_MAX];
    query_subject(query, reply);
    query->missing = peers_fresh(controller);
    if (query->missing > 0 && ask(controller, op, id, stamp, reply))
        query_wait(query);
    else
        query_give_up(query);
}

/* What one controller answers; false: it has not got it, and others may still answer. */
static bool read_found(struct query *query, const struct transport_message *message,
                       struct wire_found *found) {
    struct error error;
    if (message->no_responders)
        return false;
    if (wire_read_found(message->data, message->len, found, &error) != STATUS_OK) {
        controller_note_malformed(query->controller, message->subject, &error);
        return false;
    }
    query->missing--;
    return found->found;
}

static bool is_over(const struct query *query, const struct transport_message *message) {
    return !message || message->no_responders || query->missing == 0;
}

static bool answer_request(struct query *query, const struct transport_message *message) {
    struct wire_found found = {0};
    bool done = true;
    if (message && read_found(query, message, &found) && found.record)
        http_reply(query->exchange, 200, "application/json", found.record, strlen(found.record));
    else if (is_over(query, message))
        controller_reply_not_found(query->exchange, STATUS_REQUEST_NOT_FOUND, "the request", query->about);
    else
        done = false;
    wire_found_release(&found);
    return done;
}

void lookup_request(struct controller *controller, struct http_exchange *exchange, const char *id) {
    if (wire_is_token(id, WIRE_REQUEST_ID_MAX))
        ask_and_wait(controller, exchange, WIRE_LOOKUP_REQUEST, id, 0, answer_request);
    else
        controller_reply_not_found(exchange, STATUS_REQUEST_NOT_FOUND, "the request", id);
}

static void reply_dropped(struct http_exchange *exchange) {
    http_reply(exchange, 204, "application/json", "", 0);
}

static void reply_no_session(struct http_exchange *exchange) {
    struct error error;
    error_set(&error, STATUS_SESSION_NOT_FOUND, NULL, "the session is not known");
    controller_reply_error(exchange, &error);
}

static bool answer_drop(struct query *query, const struct transport_message *message) {
    struct wire_found found = {0};
    bool done = true;
    if (message && read_found(query, message, &found))
        reply_dropped(query->exchange);
    else if (is_over(query, message))
        reply_no_session(query->exchange);
    else
        done = false;
    wire_found_release(&found);
    return done;
}

void lookup_drop_session(struct controller *controller, struct http_exchange *exchange, const char *id) {
    int64_t stamp = peers_next_stamp(controller);
    if (!session_id_is_valid(id)) {
        reply_no_session(exchange);
    } else if (!session_drop(&controller->sessions, id, stamp, clock_ms())) {
        ask_and_wait(controller, exchange, WIRE_LOOKUP_DROP_SESSION, id, stamp, answer_drop);
    } else {
        if (controller->peers->count > 0 && !ask(controller, WIRE_LOOKUP_DROP_SESSION, id, stamp, NULL))
            log_warn("session not dropped at other controllers");
        reply_dropped(exchange);
    }
}

/* Answering. */

static bool find_record(struct controller *controller, const char *id, struct buf *out) {
    struct record view;
    const struct record *record = requests_find(controller, id, &view);
    if (record)
        record_write(out, record);
    return record;
}

static bool serve(struct controller *controller, const struct wire_lookup *lookup, struct buf *record) {
    switch (lookup->op) {
    case WIRE_LOOKUP_REQUEST:
        return find_record(controller, lookup->id, record);
    case WIRE_LOOKUP_DROP_SESSION:
        break;
    }
    stamp_seen(&controller->peers->clock, lookup->stamp);
    return session_drop(&controller->sessions, lookup->id, lookup->stamp, clock_ms());
}

static void answer(struct controller *controller, const char *subject, bool has, char *record) {
    struct wire_found found = {.found = has, .record = record};
    memcpy(found.controller_id, controller->id, sizeof(found.controller_id));
    buf_clear(&controller->scratch);
    wire_write_found(&controller->scratch, &found);
    if (transport_publish(controller->transport, subject, NULL, controller->scratch.data,
                          controller->scratch.len) != STATUS_OK)
        log_warn("another controller was not answered", F_STR("subject", subject));
}

void lookup_on_question(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct wire_lookup lookup;
    struct error error;
    struct buf record;
    if (wire_read_lookup(message->data, message->len, &lookup, &error) != STATUS_OK) {
        controller_note_malformed(controller, message->subject, &error);
        return;
    }
    if (strcmp(lookup.controller_id, controller->id) == 0)
        return;
    buf_init(&record, 0);
    bool has = serve(controller, &lookup, &record);
    if (message->reply)
        answer(controller, message->reply, has, record.len > 0 ? record.data : NULL);
    buf_release(&record);
}
