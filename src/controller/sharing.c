/* Breakers and sessions, told to other controllers and heard from them. */
#include <string.h>

#include "base/clock.h"
#include "controller/breakers.h"
#include "controller/peers.h"
#include "route/breaker_word.h"
#include "route/eject.h"

static struct wire_speaker self(const struct controller *controller) {
    struct wire_speaker speaker;
    memcpy(speaker.controller_id, controller->id, sizeof(speaker.controller_id));
    memcpy(speaker.incarnation, controller->peers->incarnation, sizeof(speaker.incarnation));
    return speaker;
}

/* false: it did not go out. */
static bool send_list(struct controller *controller, const char *subject) {
    wire_list_close(&controller->scratch);
    if (controller->scratch.failed ||
        transport_publish(controller->transport, subject, NULL, controller->scratch.data,
                          controller->scratch.len) != STATUS_OK)
        return false;
    controller->peers->stats.sent++;
    return true;
}

/* Breakers. */

void peers_note_breaker(struct controller *controller, struct breaker *breaker, bool by_operator) {
    if (breaker->state == BREAKER_HALF_OPEN) /* time alone did it, as it does elsewhere */
        return;
    breaker_stamp(breaker, peers_next_stamp(controller), by_operator);
    breaker->untold = true;
    loop_defer_ask(&controller->peers->tell);
}

static void add_breaker(struct buf *out, const struct registry_worker *worker, const char *model,
                        const struct breaker_word *word) {
    wire_breakers_add(out, &(struct wire_breaker){.worker_id = worker->info.id,
                                                  .incarnation = worker->info.incarnation,
                                                  .model = model,
                                                  .state = breaker_state_name(word->state),
                                                  .operator_stamp = word->operator_stamp,
                                                  .stamp = word->stamp,
                                                  .remaining_ms = word->remaining_ms,
                                                  .openings = word->openings,
                                                  .last_failure = word->last_failure});
}

/* A message in the making. */
struct telling {
    struct controller *controller;
    bool all_that_are_not_closed;
    size_t count; /* 0: not begun */
};

static void end_message(struct telling *telling) {
    if (telling->count > 0)
        (void)send_list(telling->controller, WIRE_SUBJECT_BREAKERS);
    telling->count = 0;
}

static void tell_breaker(struct telling *telling, const struct registry_worker *worker, const char *model,
                         struct breaker *breaker) {
    struct controller *controller = telling->controller;
    struct breaker_word word;
    if (!breaker->untold && !(telling->all_that_are_not_closed && breaker->state != BREAKER_CLOSED))
        return;
    if (telling->count == 0) {
        const struct wire_speaker speaker = self(controller);
        buf_clear(&controller->scratch);
        wire_breakers_open(&controller->scratch, &speaker);
    }
    breaker_tell(breaker, clock_ms(), &word);
    breaker->untold = false;
    add_breaker(&controller->scratch, worker, model, &word);
    if (++telling->count == WIRE_BREAKERS_MAX)
        end_message(telling);
}

/* What is not CLOSED is told again and again: that makes good what was lost. */
void sharing_tell_breakers(struct controller *controller, bool all_that_are_not_closed) {
    struct telling telling = {.controller = controller, .all_that_are_not_closed = all_that_are_not_closed};
    if (controller->peers->count == 0)
        return;
    for (size_t i = 0; i < controller->registry.count; i++) {
        struct registry_worker *worker = controller->registry.workers[i];
        tell_breaker(&telling, worker, NULL, &worker->breaker);
        for (size_t m = 0; m < worker->info.model_count; m++)
            tell_breaker(&telling, worker, worker->info.models[m].name, &worker->models[m].breaker);
    }
    end_message(&telling);
}

static bool read_word(const struct wire_breaker *wire, struct breaker_word *word) {
    *word = (struct breaker_word){.operator_stamp = wire->operator_stamp,
                                  .stamp = wire->stamp,
                                  .remaining_ms = wire->remaining_ms,
                                  .openings = wire->openings,
                                  .last_failure = wire->last_failure};
    return breaker_state_from_name(wire->state, &word->state);
}

static bool may_adopt(const struct controller *controller, const struct registry_worker *worker,
                      const struct breaker *breaker, const struct breaker_word *word, const char *model) {
    if (!breaker_word_ejects(word) || breaker_is_ejected(breaker))
        return true;
    return controller->registry.config.breaker.enabled &&
           eject_is_allowed(&controller->registry, worker, model);
}

static void take_newer(struct controller *controller, struct registry_worker *worker, struct breaker *breaker,
                       const struct breaker_word *word, const char *model) {
    struct peers_stats *stats = &controller->peers->stats;
    if (!may_adopt(controller, worker, breaker, word, model)) {
        stats->breakers_refused++;
        return;
    }
    stats->breakers_adopted++;
    breakers_note_adopted(worker, model, breaker, breaker_adopt(breaker, word, clock_ms()));
}

/* NULL: of another incarnation, or of a model that is not known there. */
static struct breaker *find_breaker(struct registry_worker *worker, const struct wire_breaker *wire) {
    if (!worker || strcmp(worker->info.incarnation, wire->incarnation) != 0)
        return NULL;
    if (!wire->model)
        return &worker->breaker;
    struct worker_model *model = worker_model_find(worker, wire->model);
    return model ? &model->breaker : NULL;
}

static void on_breaker(const struct wire_speaker *speaker, const struct wire_breaker *wire, void *arg) {
    struct controller *controller = arg;
    struct registry_worker *worker = registry_find(&controller->registry, wire->worker_id);
    struct breaker *breaker = find_breaker(worker, wire);
    struct breaker_word word;
    if (strcmp(speaker->controller_id, controller->id) == 0)
        return;
    if (!read_word(wire, &word)) {
        controller->peers->stats.malformed++;
        return;
    }
    stamp_seen(&controller->peers->clock, word.stamp);
    stamp_seen(&controller->peers->clock, word.operator_stamp);
    if (!breaker)
        return;
    switch (breaker_weigh(breaker, &word)) {
    case BREAKER_WORD_OLDER: /* it has missed something */
        breaker->untold = true;
        return;
    case BREAKER_WORD_SAME:
        return;
    case BREAKER_WORD_NEWER:
        take_newer(controller, worker, breaker, &word, wire->model);
        return;
    }
}

void sharing_on_breakers(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct error error;
    controller->peers->stats.received++;
    if (wire_read_breakers(message->data, message->len, on_breaker, controller, &error) == STATUS_OK)
        return;
    controller->peers->stats.malformed++;
    controller_note_malformed(controller, message->subject, &error);
}

/* Sessions. */

void peers_note_session(struct controller *controller, const char *id) {
    session_stamp(&controller->sessions, id, peers_next_stamp(controller), clock_ms());
}

/* false: its worker is not what it was, so nobody needs to know. */
static bool add_session(struct controller *controller, const struct session *session) {
    const struct registry_worker *worker = registry_find(&controller->registry, session->worker_id);
    if (!worker || worker->generation != session->generation || session->stamp == 0)
        return false;
    wire_sessions_add(&controller->scratch, &(struct wire_session){.id = session->id,
                                                                   .worker_id = session->worker_id,
                                                                   .incarnation = worker->info.incarnation,
                                                                   .stamp = session->stamp,
                                                                   .age_ms = clock_ms() - session->used_ms});
    return true;
}

/* One message; false when there was nothing left to tell. */
static bool tell_some_sessions(struct controller *controller, const struct wire_speaker *speaker) {
    size_t in_message = 0;
    const struct session *session = NULL;
    buf_clear(&controller->scratch);
    wire_sessions_open(&controller->scratch, speaker);
    while (in_message < WIRE_SESSIONS_MAX && (session = session_take_untold(&controller->sessions)))
        in_message += add_session(controller, session);
    if (in_message > 0)
        (void)send_list(controller, WIRE_SUBJECT_SESSIONS);
    return session;
}

void sharing_tell_sessions(struct controller *controller) {
    const struct wire_speaker speaker = self(controller);
    if (controller->peers->count == 0) {
        while (session_take_untold(&controller->sessions))
            ;
        return;
    }
    size_t messages = 0;
    while (messages < PEER_SESSION_MESSAGES_MAX && tell_some_sessions(controller, &speaker))
        messages++;
    controller->peers->stats.sessions_delayed += messages == PEER_SESSION_MESSAGES_MAX;
}

/* The one used longest ago comes first, so that each finds its place at the end of the other one's table. */
void sharing_tell_all_sessions(struct controller *controller, const char *controller_id) {
    const size_t max = (size_t)PEER_SESSION_MESSAGES_MAX * WIRE_SESSIONS_MAX;
    const struct wire_speaker speaker = self(controller);
    char subject[WIRE_SUBJECT_MAX];
    size_t active = controller->sessions.stats.active, skip = active > max ? active - max : 0, in_message = 0;
    const struct session *session;
    wire_subject_all_sessions(subject, controller_id);
    controller->peers->stats.sessions_left_out += skip;
    TAILQ_FOREACH(session, &controller->sessions.by_use, by_use) {
        if (skip > 0) {
            skip--;
            continue;
        }
        if (in_message == 0) {
            buf_clear(&controller->scratch);
            wire_sessions_open(&controller->scratch, &speaker);
        }
        in_message += add_session(controller, session);
        if (in_message < WIRE_SESSIONS_MAX)
            continue;
        (void)send_list(controller, subject);
        in_message = 0;
    }
    if (in_message > 0)
        (void)send_list(controller, subject);
}

static void on_session(const struct wire_speaker *speaker, const struct wire_session *wire, void *arg) {
    struct controller *controller = arg;
    const struct registry_worker *worker = registry_find(&controller->registry, wire->worker_id);
    int64_t now_ms = clock_ms();
    if (strcmp(speaker->controller_id, controller->id) == 0)
        return;
    stamp_seen(&controller->peers->clock, wire->stamp);
    if (!worker || strcmp(worker->info.incarnation, wire->incarnation) != 0)
        return;
    (void)session_adopt(&controller->sessions,
                        &(struct session_word){.id = wire->id,
                                               .worker_id = wire->worker_id,
                                               .generation = worker->generation,
                                               .used_ms = now_ms - wire->age_ms,
                                               .stamp = wire->stamp},
                        now_ms);
}

void sharing_on_sessions(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct error error;
    controller->peers->stats.received++;
    if (wire_read_sessions(message->data, message->len, on_session, controller, &error) == STATUS_OK)
        return;
    controller->peers->stats.malformed++;
    controller_note_malformed(controller, message->subject, &error);
}
