#include "controller/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/breakers.h"
#include "controller/peers.h"
#include "controller/room.h"

/* A reply that is not streamed is held until it is complete. A model's context bounds it long before this. */
enum { REPLY_TEXT_MAX = 64 * 1024 * 1024 };

/* A timer that is later than that was not held up by other work: the process was stopped, or its machine
 * slept. */
enum { PAUSE_MS = 500 };

static void arm_try_timer(struct request *request, int64_t after_ms) {
    request->try_due_ms = clock_ms() + after_ms;
    loop_timer_arm(&request->try_timer, after_ms);
}

static void on_try_timer(void *arg) {
    struct request *request = arg;
    if (request->state == REQUEST_BACKOFF || request->state == REQUEST_WAITING) {
        request_dispatch(request, request->state == REQUEST_BACKOFF ? EVENT_RETRY_DUE : EVENT_WAIT_OVER);
        return;
    }
    /* The timer is not moved with every token: it looks here how long the worker has really been silent.
     * While this process did not run, nobody could be heard. */
    int64_t late_ms = clock_ms() - request->try_due_ms;
    if (late_ms > PAUSE_MS)
        request->last_heard_ms += late_ms;
    int64_t left_ms = request->last_heard_ms + request->try_limit_ms - clock_ms();
    if (left_ms > 0)
        arm_try_timer(request, left_ms);
    else
        request_dispatch(request, EVENT_TIMED_OUT);
}

static void on_deadline(void *arg) {
    request_dispatch(arg, EVENT_DEADLINE);
}

static void on_client_gone(void *arg) {
    struct request *request = arg;
    request->exchange = NULL;
    request_dispatch(request, EVENT_CLIENT_GONE);
}

struct request *request_begin(struct controller *controller, struct http_exchange *exchange,
                              struct chat_request *chat, int64_t total_limit_ms) {
    struct request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->controller = controller;
    memcpy(request->id, "chatcmpl-", 9);
    rng_id(request->id + 9, 24);
    buf_init(&request->text, REPLY_TEXT_MAX);
    if (!loop_timer_init(&request->deadline_timer, controller->loop, on_deadline, request) ||
        !loop_timer_init(&request->try_timer, controller->loop, on_try_timer, request) ||
        !map_put(&controller->by_id, request->id, request)) {
        request_free(request);
        return NULL;
    }
    request->chat = *chat;
    *chat = (struct chat_request){0};
    request->exchange = exchange;
    request->begun_us = clock_us();
    request->begun_wall_ms = clock_wall_ms();
    request->queue_us = -1;
    request->queue_position = -1;
    request->queue_wait_ms = -1;
    if (controller_client_id(exchange))
        snprintf(request->client_id, sizeof(request->client_id), "%s", controller_client_id(exchange));
    request->total_limit_ms = total_limit_ms;
    migration_init(&request->migration,
                   request->chat.stream ? (size_t)controller->config->routing.retry.migrate_tokens_max : 0);
    request->deadline_ms = clock_ms() + total_limit_ms;
    room_init_waiter(request);
    request->reply = (struct openai_reply){.id = request->id,
                                           .model = request->chat.model,
                                           .created_s = clock_wall_ms() / 1000,
                                           .usage_follows = request->chat.include_usage};
    loop_timer_arm(&request->deadline_timer, total_limit_ms);
    retry_budget_request(&controller->retry_budget, clock_ms());
    TAILQ_INSERT_TAIL(&controller->active, request, link);
    controller->active_count++;
    http_on_close(exchange, on_client_gone, request);
    return request;
}

void request_free(struct request *request) {
    loop_timer_release(&request->deadline_timer);
    loop_timer_release(&request->try_timer);
    openai_chunk_template_release(&request->chunk);
    chat_request_release(&request->chat);
    buf_release(&request->text);
    migration_release(&request->migration);
    free(request);
}

static int64_t remaining_ms(const struct request *request) {
    return request->deadline_ms - clock_ms();
}

/* From now on the worker may be silent for at most this long; 0: as long as the request lives. */
void request_limit_silence(struct request *request, int64_t limit_ms) {
    request->last_heard_ms = clock_ms();
    request->try_limit_ms = limit_ms;
    if (limit_ms > 0)
        arm_try_timer(request, limit_ms);
    else
        loop_timer_disarm(&request->try_timer);
}

static void end_try(struct request *request, enum status status) {
    loop_timer_disarm(&request->try_timer);
    request->breaker_trips += breakers_end(request->controller, &request->lease, &request->ticket, status);
    if (!request->lease.generation)
        return;
    if (status == STATUS_OK)
        drain_rate_note(&request->controller->drain_rate, request->chat.model, clock_ms());
    lease_give_back(&request->controller->registry, &request->lease);
    room_call(request->controller);
}

void request_cancel_job(struct request *request) {
    if (!request->lease.generation)
        return;
    struct controller *controller = request->controller;
    struct wire_cancel cancel = {.attempt = request->attempt};
    memcpy(cancel.request_id, request->id, sizeof(cancel.request_id));
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_cancel(subject, request->lease.worker_id);
    buf_clear(&controller->scratch);
    wire_write_cancel(&controller->scratch, &cancel);
    /* When this is lost, the worker goes on until the deadline that travels with the job. */
    if (transport_publish(controller->transport, subject, NULL, controller->scratch.data,
                          controller->scratch.len) != STATUS_OK)
        log_warn("cancel not sent", F_STR("request", request->id), F_STR("worker", request->lease.worker_id));
}

void request_end_with(struct request *request, enum status outcome) {
    end_try(request, outcome);
    room_leave(request);
    loop_timer_disarm(&request->deadline_timer);
    request->outcome = outcome;
    controller_request_ended(request->controller, request);
}

/* Trying. */

/* A session is looked up once, however often the request is called from the waiting room; after a failed try
 * it moves. */
static uint64_t session_generation(struct request *request) {
    if (!request->chat.session_id || request->attempt > 0)
        return 0;
    if (!request->session_found) {
        const struct session *session =
            session_find(&request->controller->sessions, request->chat.session_id, clock_ms());
        request->session_found = true;
        request->session_generation = session ? session->generation : 0;
    }
    return request->session_generation;
}

/* Where the next request of its session should go. */
void request_bind_session(struct request *request) {
    if (!request->chat.session_id)
        return;
    session_bind(&request->controller->sessions, request->chat.session_id, request->lease.worker_id,
                 request->lease.generation, clock_ms());
    peers_note_session(request->controller, request->chat.session_id);
}

/* For how long at most it may wait for a worker, given why none can take it now; 0: waiting would not help.
 */
static int64_t wait_limit_ms(const struct request *request, enum status why) {
    const struct config *config = request->controller->config;
    const struct route_census *census = &request->decision.census;
    if (census->excluded > 0 && census->excluded + census->unskilled == census->serving)
        return 0; /* all that could were tried */
    if (why == STATUS_WORKER_OVERLOADED || why == STATUS_RESOURCE_LIMIT_EXCEEDED ||
        (why == STATUS_NO_WORKERS_AVAILABLE && census->loading > 0))
        return config->routing.queue.timeout_ms;
    bool nobody = why == STATUS_NO_WORKERS_AVAILABLE || why == STATUS_NO_HEALTHY_WORKERS ||
                  why == STATUS_CIRCUIT_BREAKER_OPEN || why == STATUS_NATS_ERROR;
    return nobody ? config->routing.queue.no_workers_timeout_ms : 0;
}

/* Nobody can take it now: it waits, or this is its end. */
static enum request_event no_worker(struct request *request, const struct error *why) {
    /* After a failed try, how that failed tells more than that nobody is left. */
    if (request->try_count == 0)
        request->failure = *why;
    request->wait_left_ms = room_time_left_ms(request, wait_limit_ms(request, why->status));
    return request->wait_left_ms > 0 ? EVENT_MUST_WAIT : EVENT_NO_WORKER;
}

/* Nobody was asked this time. */
static void forget_decision(struct request *request) {
    request->decision = (struct route_decision){0};
    request->explanation = (struct route_explanation){0};
}

static struct registry_worker *find_worker(struct request *request, const struct route_request *route,
                                           struct error *why) {
    struct controller *controller = request->controller;
    struct route_decision *decision = &request->decision;
    if (!controller_hears(controller)) {
        forget_decision(request);
        error_set(why, STATUS_NATS_ERROR, NULL, "the controller's link to NATS is down or silent");
        return NULL;
    }
    struct registry_worker *worker =
        router_pick(&controller->router, route, &request->exclusion, clock_ms(), decision, why);
    router_explain(&controller->router, route, &request->explanation);
    if (!worker || breakers_begin(controller, worker, route->model, decision->panic, &request->ticket))
        return worker;
    error_set(why, STATUS_CIRCUIT_BREAKER_OPEN, NULL, "worker %s lets no job through", worker->info.id);
    return NULL;
}

static void lease_worker(struct request *request, const struct route_request *route,
                         struct registry_worker *worker) {
    struct controller *controller = request->controller;
    lease_take(worker, request->chat.model, &request->lease);
    balancer_note_sent(&controller->balancer, route, worker);
    memcpy(request->incarnation, worker->info.incarnation, sizeof(request->incarnation));
    memcpy(request->worker_id, worker->info.id, sizeof(request->worker_id));
    if (request->attempt++ > 0)
        controller->stats.retries++;
}

/* Why those before it wait is not asked for each newcomer; it looks for itself when it has waited as long as
 * one does without any worker. */
static enum request_event join_line(struct request *request) {
    struct error why;
    int64_t no_workers_ms = request->controller->config->routing.queue.no_workers_timeout_ms;
    forget_decision(request);
    error_set(&why, STATUS_WORKER_OVERLOADED, NULL, "other requests for the model wait, too");
    enum request_event event = no_worker(request, &why);
    if (no_workers_ms > 0 && request->wait_left_ms > no_workers_ms)
        request->wait_left_ms = no_workers_ms;
    return event;
}

enum request_event request_act_pick(struct request *request) {
    struct error why;
    if (room_is_behind_others(request))
        return join_line(request);
    struct route_request route = {.model = request->chat.model,
                                  .prompt = request->chat.messages_json,
                                  .prompt_len = strlen(request->chat.messages_json),
                                  .max_tokens = request->chat.max_tokens,
                                  .priority = request->chat.priority,
                                  .session_generation = session_generation(request),
                                  .required_skills = (const char *const *)request->chat.required_skills,
                                  .required_skill_count = request->chat.required_skill_count};
    struct registry_worker *worker = find_worker(request, &route, &why);
    if (!worker)
        return no_worker(request, &why);
    room_leave(request);
    waiting_note_served(&request->controller->room, request->chat.model, request->waiter.since_ms);
    log_debug("worker picked", F_STR("request", request->id), F_STR("worker", request->decision.worker_id),
              F_STR("strategy", request->decision.strategy), F_NUM("score", request->decision.score),
              F_INT("candidates", request->decision.candidates));
    lease_worker(request, &route, worker);
    return EVENT_PICKED;
}

enum request_event request_act_wait_for_worker(struct request *request) {
    if (!room_enter(request))
        return EVENT_NO_WORKER;
    loop_timer_arm(&request->try_timer, request->wait_left_ms);
    return EVENT_NONE;
}

bool request_can_migrate(const struct request *request) {
    return request->text_shown && migration_is_possible(&request->migration);
}

/* Anew, or behind what the client has seen. */
static void begin_reply(struct request *request, struct wire_job *job) {
    if (request_can_migrate(request)) {
        migration_fill(&request->migration, job);
        request->migrations++;
        request->controller->stats.migrations++;
    } else {
        buf_clear(&request->text);
        migration_restart(&request->migration);
    }
    request->next_index = request->first_index = (uint32_t)job->generated_count;
}

enum request_event request_act_send(struct request *request) {
    struct controller *controller = request->controller;
    request->try_begun_ms = clock_ms();
    request->sent_us = clock_us();
    request->queue_us = -1;
    request->queue_position = -1;
    request->queue_wait_ms = -1;
    request->try_first_token_us = 0;
    struct wire_job job = {.attempt = request->attempt,
                           .remaining_ms = remaining_ms(request) > 1 ? remaining_ms(request) : 1,
                           .now_s = request->reply.created_s,
                           .chat = request->chat};
    memcpy(job.request_id, request->id, sizeof(job.request_id));
    memcpy(job.controller_id, controller->id, sizeof(job.controller_id));
    memcpy(job.incarnation, controller->peers->incarnation, sizeof(job.incarnation));
    begin_reply(request, &job);
    char subject[WIRE_SUBJECT_MAX], reply[WIRE_SUBJECT_MAX];
    wire_subject_job(subject, request->lease.worker_id);
    wire_subject_job_reply(reply, controller->id, request->id, request->attempt);
    buf_clear(&controller->scratch);
    wire_write_job(&controller->scratch, &job);
    enum status status = controller->scratch.failed
                             ? STATUS_PAYLOAD_TOO_LARGE
                             : transport_publish(controller->transport, subject, reply,
                                                 controller->scratch.data, controller->scratch.len);
    if (status != STATUS_OK) {
        error_set(&request->failure, status, NULL, "the job could not be sent to worker %s: %s",
                  request->lease.worker_id, status_text(status));
        return EVENT_TRY_FAILED;
    }
    request_limit_silence(request, controller->config->routing.ack_timeout_ms);
    return EVENT_NONE;
}

/* It waits in the worker's queue now. Waiting is limited by the deadline alone: it says nothing about the
 * worker's health, which its heartbeats tell. */
enum request_event request_act_note_accepted(struct request *request) {
    request->queue_position = request->event->position;
    request->queue_wait_ms = request->event->wait_ms;
    request_bind_session(request);
    breakers_renew(request->controller, &request->lease, &request->ticket, remaining_ms(request));
    request_limit_silence(request, 0);
    return EVENT_NONE;
}

enum request_event request_act_note_started(struct request *request) {
    struct controller *controller = request->controller;
    request->usage.prompt_tokens = request->event->prompt_tokens;
    if (request->queue_us < 0) {
        request->queue_us = clock_us() - request->sent_us;
        latency_add(&controller->stats.queue, request->queue_us);
    }
    breakers_renew(controller, &request->lease, &request->ticket,
                   controller->config->routing.first_token_timeout_ms);
    request_limit_silence(request, controller->config->routing.first_token_timeout_ms);
    return EVENT_NONE;
}

static void note_try(struct request *request) {
    struct controller *controller = request->controller;
    struct registry_worker *worker = registry_find(&controller->registry, request->lease.worker_id);
    if (worker && status_is_failure(request->failure.status))
        worker->jobs_failed++;
    controller->stats.failed_tries[request->failure.status]++;
    if (request->try_count == ROUTE_TRIES_MAX)
        return;
    struct request_try *tried = &request->tries[request->try_count++];
    memcpy(tried->worker_id, request->lease.worker_id, sizeof(tried->worker_id));
    tried->status = request->failure.status;
    tried->duration_ms = clock_ms() - request->try_begun_ms;
}

/* A worker that is full is full for everybody, one that is short of memory for all of that priority, one
 * where nobody listens is suspect until it is heard again: all may take this very request later. What else
 * broke the try may break the next one there. */
static void exclude_worker(struct request *request, enum status status) {
    if (status == STATUS_WORKER_OVERLOADED) {
        request->refusals++;
        controller_note_busy(request->controller, &request->lease);
    } else if (status == STATUS_RESOURCE_LIMIT_EXCEEDED) {
        request->refusals++;
        controller_note_short_of_memory(request->controller, &request->lease, request->chat.priority);
    } else if (status == STATUS_WORKER_UNAVAILABLE) {
        request->refusals++;
    } else if (status != STATUS_NATS_ERROR) { /* that was our own link, not the worker */
        route_exclude(&request->exclusion, request->lease.serial, request->lease.generation);
    }
}

/* A try whose worker is gone costs nothing that was not lost anyway, and one that was refused cost nothing;
 * all others draw on the budget. */
static bool may_retry(struct request *request) {
    enum status status = request->failure.status;
    if (status == STATUS_WORKER_OFFLINE || status == STATUS_WORKER_UNAVAILABLE ||
        status == STATUS_WORKER_OVERLOADED || status == STATUS_RESOURCE_LIMIT_EXCEEDED ||
        retry_budget_withdraw(&request->controller->retry_budget, clock_ms()))
        return true;
    log_warn("retry suppressed: the budget is spent", F_STR("request", request->id));
    return false;
}

/* What was not heard while our own link was not well says nothing about the worker. */
static void blame_own_link(struct request *request) {
    enum status status = request->failure.status;
    bool unheard = status == STATUS_WORKER_TIMEOUT || status == STATUS_PROTOCOL_ERROR;
    if (!unheard || controller_heard_since(request->controller, request->try_begun_ms))
        return;
    error_set(&request->failure, STATUS_NATS_ERROR, NULL,
              "the controller's link to NATS was down or silent while worker %s had the job",
              request->lease.worker_id);
}

enum request_event request_act_judge(struct request *request) {
    struct controller *controller = request->controller;
    blame_own_link(request);
    enum status status = request->failure.status;
    /* Refusals are many when a cluster is full; metrics count them. */
    bool refused = status == STATUS_WORKER_OVERLOADED || status == STATUS_RESOURCE_LIMIT_EXCEEDED;
    enum log_level level = refused ? LOG_DEBUG : LOG_WARN;
    LOG_AT(level, "try failed", F_STR("request", request->id), F_INT("attempt", request->attempt),
           F_STR("worker", request->lease.worker_id), F_STR("status", status_name(status)),
           F_STR("reason", request->failure.message));
    note_try(request);
    exclude_worker(request, status);
    if (status == STATUS_WORKER_OFFLINE && ++request->worker_deaths == RETRY_WORKER_DEATHS_MAX)
        poison_add(&controller->poison, request->chat.model, request->chat.messages_json, clock_ms());
    request_cancel_job(request);
    end_try(request, status);
    struct retry_case failed = {.status = status,
                                .retries = (int64_t)request->attempt - 1 - request->refusals,
                                .worker_deaths = request->worker_deaths,
                                .text_shown = request->text_shown && !request_can_migrate(request),
                                .remaining_ms = remaining_ms(request)};
    enum retry_verdict verdict =
        retry_decide(&controller->retry, &failed, &controller->rng, &request->retry_delay_ms);
    if (verdict == RETRY_NO || !may_retry(request))
        return EVENT_GIVE_UP;
    return verdict == RETRY_NOW ? EVENT_RETRY_NOW : EVENT_RETRY_LATER;
}

void request_note_timeout(struct request *request, enum request_timeout timeout) {
    request->timeouts++;
    request->controller->stats.timeouts[timeout]++;
}

enum request_event request_act_judge_timeout(struct request *request) {
    static const char *const waited_for[TIMEOUT_COUNT] = {[TIMEOUT_ACKNOWLEDGEMENT] = "its acknowledgement",
                                                          [TIMEOUT_FIRST_TOKEN] = "its first token",
                                                          [TIMEOUT_STALL] = "its next token"};
    enum request_timeout timeout = request->try_first_token_us ? TIMEOUT_STALL
                                   : request->queue_us >= 0    ? TIMEOUT_FIRST_TOKEN
                                                               : TIMEOUT_ACKNOWLEDGEMENT;
    request_note_timeout(request, timeout);
    error_set(&request->failure, STATUS_WORKER_TIMEOUT, NULL, "worker %s did not send %s within %lld ms",
              request->lease.worker_id, waited_for[timeout], (long long)request->try_limit_ms);
    struct lease lease = request->lease;
    enum request_event verdict = request_act_judge(request);
    /* Nobody took the job, and NATS did not say that nobody listens: the worker is stuck or cut off. */
    if (timeout == TIMEOUT_ACKNOWLEDGEMENT && request->failure.status == STATUS_WORKER_TIMEOUT)
        controller_suspect(request->controller, &lease);
    return verdict;
}

enum request_event request_act_wait(struct request *request) {
    loop_timer_arm(&request->try_timer, request->retry_delay_ms);
    return EVENT_NONE;
}

void request_fail_try(struct request *request, const struct error *error) {
    if (request->state == REQUEST_ENDED)
        return;
    request->failure = *error;
    request_dispatch(request, EVENT_TRY_FAILED);
}
