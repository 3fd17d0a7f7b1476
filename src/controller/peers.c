#include "controller/peers.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { TELL_DOUBLE_EVERY_MS = 60 * 1000 };

static int64_t interval_ms(const struct controller *controller) {
    return controller->config->discovery.heartbeat_interval_ms;
}

int64_t peers_next_stamp(struct controller *controller) {
    return stamp_next(&controller->peers->clock, clock_wall_ms());
}

static enum wire_controller_state state_of(const struct controller *controller) {
    return controller->draining ? WIRE_CONTROLLER_DRAINING : WIRE_CONTROLLER_READY;
}

/* One that is lost is made good by the next one. */
static void say_state(struct controller *controller, enum wire_controller_state state) {
    struct wire_controller self = {.state = state, .active_requests = (int64_t)controller->active_count};
    memcpy(self.id, controller->id, sizeof(self.id));
    memcpy(self.incarnation, controller->peers->incarnation, sizeof(self.incarnation));
    buf_clear(&controller->scratch);
    wire_write_controller(&controller->scratch, &self);
    if (transport_publish(controller->transport, WIRE_SUBJECT_CONTROLLER_HEARTBEAT, NULL,
                          controller->scratch.data, controller->scratch.len) != STATUS_OK)
        log_debug("heartbeat not sent");
}

static void forget(struct peers *peers, struct peer *peer) {
    *peer = peers->list[--peers->count];
}

static void expire(struct controller *controller, int64_t now_ms) {
    struct peers *peers = controller->peers;
    /* While our own link is down nobody can be heard. */
    if (!controller_hears(controller))
        return;
    for (size_t i = peers->count; i-- > 0;) {
        struct peer *peer = &peers->list[i];
        if (now_ms - peer->heard_ms < controller->config->controller.worker_offline_timeout_ms)
            continue;
        log_warn("controller is silent", F_STR("controller", peer->info.id),
                 F_INT("silent_ms", now_ms - peer->heard_ms));
        forget(peers, peer);
    }
}

/* Those that started need a moment until they know the workers that sessions belong to. */
static void serve_newcomers(struct controller *controller, int64_t now_ms) {
    struct peers *peers = controller->peers;
    for (size_t i = 0; i < peers->count; i++) {
        struct peer *peer = &peers->list[i];
        if (peer->asked_ms == 0 || now_ms - peer->asked_ms < interval_ms(controller) / 2)
            continue;
        peer->asked_ms = 0;
        sharing_tell_all_sessions(controller, peer->info.id);
    }
}

static void on_beat(void *arg) {
    struct controller *controller = arg;
    int64_t now_ms = clock_ms();
    expire(controller, now_ms);
    say_state(controller, state_of(controller));
    sharing_tell_breakers(controller, true);
    sharing_tell_sessions(controller);
    serve_newcomers(controller, now_ms);
    loop_timer_arm(&controller->peers->beat, interval_ms(controller));
}

static void on_tell(void *arg) {
    sharing_tell_breakers(arg, false);
}

size_t peers_fresh(const struct controller *controller) {
    int64_t now_ms = clock_ms();
    size_t fresh = 0;
    for (size_t i = 0; i < controller->peers->count; i++)
        fresh += now_ms - controller->peers->list[i].heard_ms < interval_ms(controller) * 5 / 2;
    return fresh;
}

static struct peer *find_peer(struct peers *peers, const char *id) {
    for (size_t i = 0; i < peers->count; i++)
        if (strcmp(peers->list[i].info.id, id) == 0)
            return &peers->list[i];
    return NULL;
}

static struct peer *add_peer(struct peers *peers, const struct wire_controller *info) {
    if (peers->count == PEERS_MAX) {
        peers->stats.overflows++;
        return NULL;
    }
    log_info("another controller", F_STR("controller", info->id));
    struct peer *peer = &peers->list[peers->count++];
    *peer = (struct peer){.info = *info};
    return peer;
}

/* Each would take the other one's answers for stale ones. */
static void note_double(struct controller *controller, const struct wire_controller *other) {
    struct peers *peers = controller->peers;
    if (strcmp(other->incarnation, peers->incarnation) == 0 || other->state == WIRE_CONTROLLER_LEFT)
        return;
    if (peers->double_told_ms > 0 && clock_ms() - peers->double_told_ms < TELL_DOUBLE_EVERY_MS)
        return;
    peers->double_told_ms = clock_ms();
    log_error("another controller has the same id (cluster.controller.id); requests of both will fail",
              F_STR("controller", controller->id));
}

static void note_heard(struct controller *controller, const struct wire_controller *info) {
    struct peers *peers = controller->peers;
    struct peer *peer = find_peer(peers, info->id);
    if (info->state == WIRE_CONTROLLER_LEFT) {
        if (peer && strcmp(peer->info.incarnation, info->incarnation) == 0)
            forget(peers, peer);
        return;
    }
    if (!peer)
        peer = add_peer(peers, info);
    if (!peer)
        return;
    peer->info = *info;
    peer->heard_ms = clock_ms();
}

static void on_heartbeat(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct wire_controller info;
    struct error error;
    if (wire_read_controller(message->data, message->len, &info, &error) != STATUS_OK)
        controller_note_malformed(controller, message->subject, &error);
    else if (strcmp(info.id, controller->id) == 0)
        note_double(controller, &info);
    else
        note_heard(controller, &info);
}

/* All have the same sessions: a few of those that are there tell them, the ones with the least ids. */
static bool is_one_to_answer(const struct controller *controller, const char *asker) {
    const struct peers *peers = controller->peers;
    size_t before = 0;
    for (size_t i = 0; i < peers->count; i++)
        before +=
            strcmp(peers->list[i].info.id, controller->id) < 0 && strcmp(peers->list[i].info.id, asker) != 0;
    return before < PEER_SESSION_ANSWERS;
}

/* Its heartbeat came before it. */
static void on_discover(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct wire_discover discover;
    struct error error;
    if (wire_read_discover(message->data, message->len, &discover, &error) != STATUS_OK) {
        controller_note_malformed(controller, message->subject, &error);
        return;
    }
    struct peer *peer = find_peer(controller->peers, discover.controller_id);
    if (!peer)
        return;
    say_state(controller, state_of(controller));
    if (is_one_to_answer(controller, peer->info.id))
        peer->asked_ms = clock_ms();
}

static enum status subscribe(struct controller *controller) {
    const struct {
        const char *subject;
        transport_fn *fn;
    } wanted[] = {{WIRE_SUBJECT_CONTROLLER_HEARTBEAT, on_heartbeat},
                  {WIRE_SUBJECT_DISCOVER, on_discover},
                  {WIRE_SUBJECT_BREAKERS, sharing_on_breakers},
                  {WIRE_SUBJECT_SESSIONS, sharing_on_sessions},
                  {WIRE_SUBJECT_LOOKUP, lookup_on_question}};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < ARRAY_LEN(wanted) && status == STATUS_OK; i++)
        status = transport_subscribe(controller->transport, wanted[i].subject, wanted[i].fn, controller);
    return status;
}

enum status peers_start(struct controller *controller) {
    struct peers *peers = calloc(1, sizeof(*peers));
    if (!peers)
        return STATUS_START_FAILED;
    controller->peers = peers;
    rng_id(peers->incarnation, INCARNATION_CHARS);
    stamp_clock_init(&peers->clock, rng_u64());
    if (!loop_timer_init(&peers->beat, controller->loop, on_beat, controller) ||
        !loop_defer_init(&peers->tell, controller->loop, on_tell, controller))
        return STATUS_START_FAILED;
    enum status status = subscribe(controller);
    if (status == STATUS_OK)
        on_beat(controller);
    return status;
}

void peers_stop(struct controller *controller) {
    struct peers *peers = controller->peers;
    if (!peers)
        return;
    say_state(controller, WIRE_CONTROLLER_LEFT);
    loop_timer_release(&peers->beat);
    loop_defer_release(&peers->tell);
    free(peers);
    controller->peers = NULL;
}

void peers_forgive(struct controller *controller) {
    int64_t now_ms = clock_ms();
    for (size_t i = 0; i < controller->peers->count; i++)
        controller->peers->list[i].heard_ms = now_ms;
    say_state(controller, state_of(controller));
}

static void write_controller(struct buf *out, const struct wire_controller *info, bool self, int64_t age_ms) {
    buf_printf(out,
               "{\"id\":\"%s\",\"incarnation\":\"%s\",\"state\":\"%s\",\"self\":%s,\"ageMs\":%lld,"
               "\"activeRequests\":%lld}",
               info->id, info->incarnation, wire_controller_state_name(info->state), self ? "true" : "false",
               (long long)age_ms, (long long)info->active_requests);
}

void peers_write(const struct controller *controller, struct buf *out) {
    const struct peers *peers = controller->peers;
    struct wire_controller self = {.state = state_of(controller),
                                   .active_requests = (int64_t)controller->active_count};
    memcpy(self.id, controller->id, sizeof(self.id));
    memcpy(self.incarnation, peers->incarnation, sizeof(self.incarnation));
    buf_append_str(out, "\"controllers\":[");
    write_controller(out, &self, true, 0);
    for (size_t i = 0; i < peers->count; i++) {
        buf_append_char(out, ',');
        write_controller(out, &peers->list[i].info, false, clock_ms() - peers->list[i].heard_ms);
    }
    buf_append_char(out, ']');
}
