/* What workers say: registrations and heartbeats feed the registry, events of jobs feed the requests. What
 * other controllers say goes on to peers.h. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/breakers.h"
#include "controller/peers.h"
#include "controller/probe.h"
#include "controller/query.h"
#include "controller/room.h"

static void fail_requests_on(struct controller *controller, uint64_t generation, const struct error *error,
                             bool keep_shown) {
    probe_fail_on(controller, generation, error->status);
    struct request_walk walk;
    struct request *request;
    controller_walk_begin(controller, &walk);
    while ((request = controller_walk_next(controller, &walk)))
        if (request->lease.generation == generation &&
            !(keep_shown && request->text_shown && !request_can_migrate(request)))
            request_fail_try(request, error);
}

/* A suspect worker gets no new work. What it has is taken elsewhere, except streams that cannot go on there:
 * those wait for the stall limit, since the worker may come back. */
static void leave_suspect(struct controller *controller, const struct registry_worker *worker,
                          uint64_t generation) {
    struct error error;
    error_set(&error, STATUS_WORKER_TIMEOUT, NULL, "worker %s %s", worker->info.id,
              worker->hung ? "does not go on with its jobs" : "is silent");
    fail_requests_on(controller, generation, &error, true);
}

/* Only a new incarnation proves that the process died: silence may be the network's. */
static void leave_lost(struct controller *controller, const struct registry_worker *worker,
                       uint64_t generation, enum status status) {
    struct error error;
    session_purge_worker(&controller->sessions, generation);
    error_set(&error, status, NULL, "worker %s was lost while it had the job", worker->info.id);
    fail_requests_on(controller, generation, &error, false);
}

static void on_change(enum registry_change change, const struct registry_worker *worker,
                      uint64_t old_generation, void *arg) {
    struct controller *controller = arg;
    switch (change) {
    case REGISTRY_SAME:
        return;
    case REGISTRY_ADDED:
        log_info("worker registered", F_STR("worker", worker->info.id),
                 F_INT("models", worker->info.model_count));
        return;
    case REGISTRY_RETURNED:
        log_info("worker is back", F_STR("worker", worker->info.id));
        return;
    case REGISTRY_RESTARTED:
        log_warn("worker restarted", F_STR("worker", worker->info.id));
        leave_lost(controller, worker, old_generation, STATUS_WORKER_OFFLINE);
        return;
    case REGISTRY_SUSPECTED:
        log_warn("worker is suspect", F_STR("worker", worker->info.id), F_BOOL("hung", worker->hung),
                 F_INT("silent_ms", clock_ms() - worker->heartbeat_ms));
        leave_suspect(controller, worker, old_generation);
        return;
    case REGISTRY_LOST:
        log_warn("worker is offline", F_STR("worker", worker->info.id));
        leave_lost(controller, worker, old_generation, STATUS_WORKER_TIMEOUT);
        return;
    case REGISTRY_FULL:
        log_error("worker not registered: too many", F_INT("max", REGISTRY_WORKERS_MAX));
        return;
    }
}

void controller_suspect(struct controller *controller, const struct lease *lease) {
    struct registry_worker *worker = registry_find(&controller->registry, lease->worker_id);
    if (worker && worker->generation == lease->generation)
        registry_unreachable(&controller->registry, worker, on_change, controller);
}

void controller_note_busy(struct controller *controller, const struct lease *lease) {
    struct registry_worker *worker = registry_find(&controller->registry, lease->worker_id);
    if (!worker || worker->generation != lease->generation)
        return;
    /* Between a half and a whole interval: then it has told how full it is, and not all come back at once. */
    int64_t interval_ms = controller->config->discovery.heartbeat_interval_ms;
    int64_t busy_ms = interval_ms - (int64_t)rng_below(&controller->rng, (uint64_t)(interval_ms / 2) + 1);
    registry_note_busy(worker, clock_ms() + busy_ms);
}

void controller_note_short_of_memory(struct controller *controller, const struct lease *lease,
                                     enum chat_priority priority) {
    struct registry_worker *worker = registry_find(&controller->registry, lease->worker_id);
    if (worker && worker->generation == lease->generation)
        registry_note_short_of_memory(worker, priority);
}

void controller_note_malformed(struct controller *controller, const char *subject,
                               const struct error *error) {
    controller->stats.malformed_messages++;
    log_warn("malformed message", F_STR("subject", subject), F_STR("reason", error->message));
}

/* Does the worker say that it has nothing of ours? One that does not count by controller says so when it is
 * idle. */
static bool has_nothing_of_ours(const struct controller *controller, const struct worker_info *info) {
    for (size_t i = 0; i < info->client_count; i++)
        if (strcmp(info->clients[i].controller_id, controller->id) == 0)
            return info->clients[i].jobs == 0;
    if (info->client_count == WORKER_CLIENTS_MAX)
        return false; /* of more controllers the rest is left out */
    return info->client_count > 0 || info->load.running + info->load.queued == 0;
}

/* A job that was accepted waits without a limit of its own: its worker is well. When that worker has no job
 * of ours, the last events of the job were lost, as they are when NATS was away from one of the two. */
static void find_lost_jobs(struct controller *controller, const struct worker_info *info) {
    const struct registry_worker *worker = registry_find(&controller->registry, info->id);
    if (!worker || worker->gauge->leases == 0 || !has_nothing_of_ours(controller, info))
        return;
    struct error error;
    error_set(&error, STATUS_WORKER_UNAVAILABLE, NULL, "worker %s does not have the job any more", info->id);
    int64_t before_ms = clock_ms() - controller->config->discovery.heartbeat_interval_ms;
    struct request_walk walk;
    struct request *request;
    controller_walk_begin(controller, &walk);
    while ((request = controller_walk_next(controller, &walk)))
        if (request->state == REQUEST_ACCEPTED && request->lease.generation == worker->generation &&
            request->last_heard_ms < before_ms)
            request_fail_try(request, &error);
}

static void take_worker_info(struct controller *controller, const struct worker_info *info) {
    uint64_t refused = controller->registry.skills.refused;
    registry_update(&controller->registry, info, clock_ms(), on_change, controller);
    if (controller->registry.skills.refused > refused)
        log_warn("skills not learned: the cluster has too many", F_STR("worker", info->id),
                 F_INT("max", SKILLS_KNOWN_MAX),
                 F_INT("not_learned", controller->registry.skills.refused - refused));
    find_lost_jobs(controller, info);
    room_call(controller);
}

static void on_worker_info(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct worker_info info;
    struct error error;
    if (wire_read_worker_info(message->data, message->len, &info, &error) == STATUS_OK)
        take_worker_info(controller, &info);
    else
        controller_note_malformed(controller, message->subject, &error);
}

static void on_deregister(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct wire_deregister gone;
    struct error error;
    if (wire_read_deregister(message->data, message->len, &gone, &error) == STATUS_OK)
        registry_leave(&controller->registry, gone.worker_id, gone.incarnation, clock_ms(), on_change,
                       controller);
    else
        controller_note_malformed(controller, message->subject, &error);
}

static void deliver(struct request *request, const struct wire_event *event, enum request_event what) {
    request->event = event;
    request_dispatch(request, what);
    request->event = NULL;
}

/* Tokens must come one by one in order: a lower index is a repeat, a higher one means that some were lost. */
static void deliver_indexed(struct request *request, const struct wire_event *event,
                            enum request_event what) {
    struct controller *controller = request->controller;
    if (event->index == request->next_index) {
        deliver(request, event, what);
    } else if (event->index < request->next_index) {
        controller->stats.stale_events++;
    } else {
        controller->stats.gaps++;
        struct error error;
        error_set(&error, STATUS_PROTOCOL_ERROR, NULL, "tokens %u to %u of worker %s were lost on the way",
                  request->next_index, event->index - 1, request->lease.worker_id);
        request_fail_try(request, &error);
    }
}

static void deliver_failure(struct request *request, const struct wire_event *event) {
    struct error error;
    error_set(&error, event->status, event->param, "%s", event->message ? event->message : "");
    request_fail_try(request, &error);
}

static void on_event(const struct wire_events_source *source, const struct wire_event *event, void *arg) {
    struct controller *controller = arg;
    struct request *request = map_find(&controller->by_id, event->request_id);
    if (!request && probe_take_event(controller, source, event))
        return;
    if (!request || request->attempt != event->attempt ||
        strcmp(request->lease.worker_id, source->worker_id) != 0 ||
        strcmp(request->incarnation, source->incarnation) != 0) {
        controller->stats.stale_events++;
        return;
    }
    switch (event->kind) {
    case WIRE_EVENT_ACCEPTED:
        deliver(request, event, EVENT_ACCEPTED);
        return;
    case WIRE_EVENT_STARTED:
        deliver(request, event, EVENT_STARTED);
        return;
    case WIRE_EVENT_TOKEN:
        deliver_indexed(request, event, EVENT_TOKEN);
        return;
    case WIRE_EVENT_FINISHED:
        deliver_indexed(request, event, EVENT_FINISHED);
        return;
    case WIRE_EVENT_FAILED:
        deliver_failure(request, event);
        return;
    }
}

/* Nobody listens at its subject: what was just sent there has not arrived, and is not held against it. */
static void on_deaf(enum registry_change change, const struct registry_worker *worker, uint64_t generation,
                    void *arg) {
    struct controller *controller = arg;
    struct error error;
    error_set(&error, STATUS_WORKER_UNAVAILABLE, NULL, "nobody listens as worker %s", worker->info.id);
    struct request_walk walk;
    struct request *request;
    controller_walk_begin(controller, &walk);
    while ((request = controller_walk_next(controller, &walk)))
        if (request->lease.generation == generation && request->state == REQUEST_SENT)
            request_fail_try(request, &error);
    on_change(change, worker, generation, arg);
}

static void on_no_responders(struct controller *controller, const struct wire_reply *reply) {
    struct request *request = map_find(&controller->by_id, reply->request_id);
    if (!request && probe_take_no_responders(controller, reply))
        return;
    if (!request || !request->lease.generation || request->attempt != reply->attempt)
        return;
    struct registry_worker *worker = registry_find(&controller->registry, request->lease.worker_id);
    if (worker && worker->generation == request->lease.generation)
        registry_unreachable(&controller->registry, worker, on_deaf, controller);
    if (!request->lease.generation || request->attempt != reply->attempt)
        return;
    /* It was suspect already. */
    struct error error;
    error_set(&error, STATUS_WORKER_UNAVAILABLE, NULL, "nobody listens as worker %s",
              request->lease.worker_id);
    request_fail_try(request, &error);
}

static void on_reply(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct wire_reply reply;
    struct error error;
    wire_reply_read(&reply, message->subject);
    switch (reply.kind) {
    case WIRE_REPLY_EVENTS:
        if (wire_read_events(message->data, message->len, on_event, controller, &error) != STATUS_OK)
            controller_note_malformed(controller, message->subject, &error);
        return;
    case WIRE_REPLY_JOB:
        if (message->no_responders)
            on_no_responders(controller, &reply);
        return;
    case WIRE_REPLY_CONTROL:
        query_take_answer(controller, reply.ticket, message);
        return;
    case WIRE_REPLY_SESSIONS:
        sharing_on_sessions(message, controller);
        return;
    case WIRE_REPLY_ECHO:
        controller_on_echo(controller, reply.sent_ms);
        return;
    case WIRE_REPLY_UNKNOWN:
        controller->stats.malformed_messages++;
        return;
    }
}

/* Of an incarnation that is not known (yet) it is of no use. */
static void on_prefixes(const struct transport_message *message, void *arg) {
    struct controller *controller = arg;
    struct wire_prefixes prefixes;
    struct error error;
    if (!controller->balancer.ops->told)
        return;
    if (wire_read_prefixes(message->data, message->len, &prefixes, &error) == STATUS_OK) {
        const struct prefix_news news = {prefixes.held, prefixes.held_count, prefixes.gone,
                                         prefixes.gone_count};
        struct registry_worker *worker = registry_find(&controller->registry, prefixes.worker_id);
        if (worker && strcmp(worker->info.incarnation, prefixes.incarnation) == 0)
            balancer_note_told(&controller->balancer, &news, worker);
    } else {
        controller_note_malformed(controller, message->subject, &error);
    }
    wire_prefixes_release(&prefixes);
}

enum status controller_subscribe(struct controller *controller) {
    char replies[WIRE_SUBJECT_MAX];
    wire_subject_replies(replies, controller->id);
    const struct {
        const char *subject;
        transport_fn *fn;
    } wanted[] = {{replies, on_reply},
                  {WIRE_SUBJECT_REGISTER, on_worker_info},
                  {WIRE_SUBJECT_HEARTBEAT, on_worker_info},
                  {WIRE_SUBJECT_DEREGISTER, on_deregister},
                  {WIRE_SUBJECT_PREFIXES, on_prefixes}};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        enum status status =
            transport_subscribe(controller->transport, wanted[i].subject, wanted[i].fn, controller);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

void controller_discover(struct controller *controller) {
    buf_clear(&controller->scratch);
    wire_write_discover(&controller->scratch, controller->id);
    if (transport_publish(controller->transport, WIRE_SUBJECT_DISCOVER, NULL, controller->scratch.data,
                          controller->scratch.len) != STATUS_OK)
        log_warn("workers not asked to register; their heartbeats will do");
}

/* The time that this process did not run (it was stopped, its machine slept) is not the workers' silence. */
static void forgive_own_pause(struct controller *controller, int64_t now_ms, int64_t interval_ms) {
    int64_t late_ms = controller->tick_due_ms ? now_ms - controller->tick_due_ms : 0;
    controller->tick_due_ms = now_ms + interval_ms;
    if (late_ms <= interval_ms)
        return;
    log_warn("the controller did not run for a while", F_INT("ms", late_ms));
    controller->stats.pauses++;
    registry_forgive(&controller->registry, late_ms);
    peers_forgive(controller);
    link_watch_paused(&controller->link, late_ms);
}

static void on_expected(const char *pattern, bool missing, void *arg UNUSED) {
    if (missing)
        log_warn("an expected worker is missing", F_STR("worker", pattern));
    else
        log_info("an expected worker is back", F_STR("worker", pattern));
}

void controller_tick(void *arg) {
    struct controller *controller = arg;
    int64_t now_ms = clock_ms();
    int64_t interval_ms = controller->config->discovery.heartbeat_interval_ms / 4 + 1;
    forgive_own_pause(controller, now_ms, interval_ms);
    session_expire(&controller->sessions, now_ms);
    controller_watch_link(controller);
    /* While our own link is down every worker is silent: that says nothing about them. */
    if (controller_hears(controller))
        registry_tick(&controller->registry, now_ms, on_change, controller);
    expected_tick(&controller->expected, &controller->registry, now_ms, on_expected, controller);
    breakers_tick(controller);
    probe_tick(controller);
    records_expire(&controller->records, now_ms);
    room_call(controller); /* a breaker or a busy worker may be ready again */
    loop_timer_arm(&controller->tick_timer, interval_ms);
}
