#include "controller/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/breakers.h"
#include "controller/controller_internal.h"

/* A reply that is not streamed is held until it is complete. A model's context bounds it long before this. */
enum { REPLY_TEXT_MAX = 64 * 1024 * 1024 };

static void on_try_timer(void *arg) {
    struct request *request = arg;
    if (request->state == REQUEST_BACKOFF) {
        request_dispatch(request, EVENT_RETRY_DUE);
        return;
    }
    /* The timer is not moved with every token: it looks here how long the worker has really been silent. */
    int64_t left_ms = request->last_heard_ms + request->try_limit_ms - clock_ms();
    if (left_ms > 0)
        loop_timer_arm(&request->try_timer, left_ms);
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

static int64_t total_limit_ms(const struct controller *controller, const struct chat_request *chat) {
    return chat->stream ? controller->config->routing.streaming_timeout_ms
                        : controller->config->routing.timeout_ms;
}

struct request *request_begin(struct controller *controller, struct http_exchange *exchange,
                              struct chat_request *chat) {
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
    if (controller_client_id(exchange))
        snprintf(request->client_id, sizeof(request->client_id), "%s", controller_client_id(exchange));
    request->deadline_ms = clock_ms() + total_limit_ms(controller, &request->chat);
    request->reply = (struct openai_reply){.id = request->id,
                                           .model = request->chat.model,
                                           .created_s = clock_wall_ms() / 1000,
                                           .usage_follows = request->chat.include_usage};
    loop_timer_arm(&request->deadline_timer, total_limit_ms(controller, &request->chat));
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
    free(request);
}

static int64_t remaining_ms(const struct request *request) {
    return request->deadline_ms - clock_ms();
}

/* From now on the worker may be silent for at most this long; 0: as long as the request lives. */
static void limit_silence(struct request *request, int64_t limit_ms) {
    request->last_heard_ms = clock_ms();
    request->try_limit_ms = limit_ms;
    if (limit_ms > 0)
        loop_timer_arm(&request->try_timer, limit_ms);
    else
        loop_timer_disarm(&request->try_timer);
}

static void end_try(struct request *request, enum status status) {
    loop_timer_disarm(&request->try_timer);
    breakers_end(request->controller, &request->lease, &request->ticket, status);
    lease_give_back(&request->controller->registry, &request->lease);
}

static void cancel_on_worker(struct request *request) {
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

static void end_request(struct request *request, enum status outcome) {
    end_try(request, outcome);
    loop_timer_disarm(&request->deadline_timer);
    request->outcome = outcome;
    controller_request_ended(request->controller, request);
}

/* Trying. */

/* A session is looked up once: after a failed try it moves. */
static uint64_t session_generation(struct request *request) {
    if (!request->chat.session_id || request->attempt > 0)
        return 0;
    const struct session *session =
        session_find(&request->controller->sessions, request->chat.session_id, clock_ms());
    return session ? session->generation : 0;
}

/* Where the next request of its session should go. */
static void bind_session(struct request *request) {
    if (request->chat.session_id)
        session_bind(&request->controller->sessions, request->chat.session_id, request->lease.worker_id,
                     request->lease.generation, clock_ms());
}

enum request_event request_act_pick(struct request *request) {
    struct controller *controller = request->controller;
    struct route_request route = {.model = request->chat.model,
                                  .prompt = request->chat.messages_json,
                                  .prompt_len = strlen(request->chat.messages_json),
                                  .max_tokens = request->chat.max_tokens,
                                  .priority = request->chat.priority,
                                  .session_generation = session_generation(request)};
    struct route_decision *decision = &request->decision;
    struct error nobody;
    struct registry_worker *worker =
        router_pick(&controller->router, &route, &request->exclusion, clock_ms(), decision, &nobody);
    if (worker && !breakers_begin(controller, worker, route.model, decision->panic, &request->ticket)) {
        error_set(&nobody, STATUS_CIRCUIT_BREAKER_OPEN, NULL, "worker %s lets no job through",
                  worker->info.id);
        worker = NULL;
    }
    if (!worker) {
        /* After a failed try, how that failed tells more than that nobody is left. */
        if (request->try_count == 0)
            request->failure = nobody;
        return EVENT_NO_WORKER;
    }
    log_debug("worker picked", F_STR("request", request->id), F_STR("worker", decision->worker_id),
              F_STR("strategy", decision->strategy), F_NUM("score", decision->score),
              F_INT("candidates", decision->candidates));
    lease_take(worker, request->chat.model, &request->lease);
    balancer_note_sent(&controller->balancer, &route, worker);
    memcpy(request->incarnation, worker->info.incarnation, sizeof(request->incarnation));
    memcpy(request->worker_id, worker->info.id, sizeof(request->worker_id));
    if (request->attempt++ > 0)
        controller->stats.retries++;
    return EVENT_PICKED;
}

enum request_event request_act_send(struct request *request) {
    struct controller *controller = request->controller;
    buf_clear(&request->text);
    request->next_index = 0;
    request->try_begun_ms = clock_ms();
    request->sent_us = clock_us();
    request->queue_us = -1;
    struct wire_job job = {.attempt = request->attempt,
                           .remaining_ms = remaining_ms(request) > 1 ? remaining_ms(request) : 1,
                           .now_s = request->reply.created_s,
                           .chat = request->chat};
    memcpy(job.request_id, request->id, sizeof(job.request_id));
    memcpy(job.controller_id, controller->id, sizeof(job.controller_id));
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
    limit_silence(request, controller->config->routing.ack_timeout_ms);
    return EVENT_NONE;
}

/* It waits in the worker's queue now. Waiting is limited by the deadline alone: it says nothing about the
 * worker's health, which its heartbeats tell. */
enum request_event request_act_note_accepted(struct request *request) {
    bind_session(request);
    breakers_renew(request->controller, &request->lease, &request->ticket, remaining_ms(request));
    limit_silence(request, 0);
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
    limit_silence(request, controller->config->routing.first_token_timeout_ms);
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

/* A try whose worker is gone costs nothing that was not lost anyway; all others draw on the budget. */
static bool may_retry(struct request *request) {
    enum status status = request->failure.status;
    if (status == STATUS_WORKER_OFFLINE || status == STATUS_WORKER_UNAVAILABLE ||
        retry_budget_withdraw(&request->controller->retry_budget, clock_ms()))
        return true;
    log_warn("retry suppressed: the budget is spent", F_STR("request", request->id));
    return false;
}

enum request_event request_act_judge(struct request *request) {
    struct controller *controller = request->controller;
    enum status status = request->failure.status;
    log_warn("try failed", F_STR("request", request->id), F_INT("attempt", request->attempt),
             F_STR("worker", request->lease.worker_id), F_STR("status", status_name(status)),
             F_STR("reason", request->failure.message));
    note_try(request);
    if (status != STATUS_NATS_ERROR) /* that was our own link, not the worker */
        route_exclude(&request->exclusion, request->lease.serial, request->lease.generation);
    if (status == STATUS_WORKER_OFFLINE && ++request->worker_deaths == RETRY_WORKER_DEATHS_MAX)
        poison_add(&controller->poison, request->chat.model, request->chat.messages_json, clock_ms());
    cancel_on_worker(request);
    end_try(request, status);
    struct retry_case failed = {.status = status,
                                .retries = (int64_t)request->attempt - 1,
                                .worker_deaths = request->worker_deaths,
                                .text_shown = request->text_shown,
                                .remaining_ms = remaining_ms(request)};
    enum retry_verdict verdict =
        retry_decide(&controller->retry, &failed, &controller->rng, &request->retry_delay_ms);
    if (verdict == RETRY_NO || !may_retry(request))
        return EVENT_GIVE_UP;
    return verdict == RETRY_NOW ? EVENT_RETRY_NOW : EVENT_RETRY_LATER;
}

static void note_timeout(struct request *request, enum request_timeout timeout) {
    request->timeouts++;
    request->controller->stats.timeouts[timeout]++;
}

/* While our own link is down nobody could have been heard. A worker that took the job and whose heartbeats
 * come is well, and so is the way to it: what does not go on is the engine of that model. */
static enum status status_of_timeout(const struct request *request, enum request_timeout timeout) {
    const struct controller *controller = request->controller;
    if (!transport_is_up(controller->transport))
        return STATUS_NATS_ERROR;
    const struct registry_worker *worker = registry_find(&controller->registry, request->lease.worker_id);
    bool is_well = worker && worker->state == WORKER_ONLINE;
    return is_well && timeout != TIMEOUT_ACKNOWLEDGEMENT ? STATUS_ENGINE_TIMEOUT : STATUS_WORKER_TIMEOUT;
}

enum request_event request_act_judge_timeout(struct request *request) {
    static const char *const waited_for[TIMEOUT_COUNT] = {[TIMEOUT_ACKNOWLEDGEMENT] = "its acknowledgement",
                                                          [TIMEOUT_FIRST_TOKEN] = "its first token",
                                                          [TIMEOUT_STALL] = "its next token"};
    enum request_timeout timeout = request->next_index > 0  ? TIMEOUT_STALL
                                   : request->queue_us >= 0 ? TIMEOUT_FIRST_TOKEN
                                                            : TIMEOUT_ACKNOWLEDGEMENT;
    note_timeout(request, timeout);
    enum status status = status_of_timeout(request, timeout);
    error_set(&request->failure, status, NULL, "worker %s did not send %s within %lld ms",
              request->lease.worker_id, waited_for[timeout], (long long)request->try_limit_ms);
    struct lease lease = request->lease;
    enum request_event verdict = request_act_judge(request);
    /* Nobody took the job, and NATS did not say that nobody listens: the worker is stuck or cut off. */
    if (timeout == TIMEOUT_ACKNOWLEDGEMENT && status == STATUS_WORKER_TIMEOUT)
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

/* Answering. */

/* false: the client is so far behind that it is not waited for. */
static bool write_stream(struct request *request) {
    struct buf *out = &request->controller->scratch;
    return !request->exchange || out->len == 0 || http_stream_write(request->exchange, out->data, out->len);
}

static enum request_event give_up_client(struct request *request) {
    log_warn("client reads too slowly", F_STR("request", request->id),
             F_INT("pending_bytes", http_stream_pending(request->exchange)));
    http_abort(request->exchange);
    request->exchange = NULL;
    return EVENT_CLIENT_GONE;
}

/* A client that named the request finds its own name again. */
static void add_id_header(struct request *request) {
    http_add_header(request->exchange, "X-Request-Id",
                    request->client_id[0] ? request->client_id : request->id);
}

/* The head of the reply goes out with the first token, so that an error before it has its own HTTP status. */
static void start_stream(struct request *request) {
    request->stream_started = true;
    openai_chunk_template_init(&request->chunk, &request->reply);
    http_add_header(request->exchange, "Cache-Control", "no-cache");
    http_add_header(request->exchange, "X-Accel-Buffering", "no");
    add_id_header(request);
    http_stream_start(request->exchange, 200, "text/event-stream");
    openai_write_role_chunk(&request->controller->scratch, &request->reply);
}

static void show_text(struct request *request, const char *text, size_t len) {
    struct buf *out = &request->controller->scratch;
    if (!request->chat.stream) {
        buf_append(&request->text, text, len);
        return;
    }
    if (!request->stream_started)
        start_stream(request);
    if (len > 0) {
        request->text_shown = true;
        openai_write_content_chunk(out, &request->chunk, text, len);
    }
}

enum request_event request_act_show_token(struct request *request) {
    const struct wire_event *event = request->event;
    struct controller *controller = request->controller;
    if (!request->first_token_us) {
        request->first_token_us = clock_us();
        latency_add(&controller->stats.first_token, request->first_token_us - request->begun_us);
    }
    if (request->next_index == 0) {
        request->try_first_token_us = clock_us();
        limit_silence(request, controller->config->routing.stall_timeout_ms);
        breakers_first_token(controller, &request->lease, &request->ticket);
    } else {
        request->last_heard_ms = clock_ms();
    }
    request->next_index++;
    buf_clear(&controller->scratch);
    show_text(request, event->text, event->text_len);
    return write_stream(request) ? EVENT_NONE : give_up_client(request);
}

static void finish_stream(struct request *request) {
    struct buf *out = &request->controller->scratch;
    openai_write_finish_chunk(out, &request->reply, request->finish);
    if (request->chat.include_usage)
        openai_write_usage_chunk(out, &request->reply, &request->usage);
    openai_write_done(out);
    (void)write_stream(request); /* the end comes all the same */
    http_stream_end(request->exchange);
}

static void finish_whole(struct request *request) {
    struct buf *out = &request->controller->scratch;
    openai_write_completion(out, &request->reply, request->text.data ? request->text.data : "",
                            request->text.len, request->finish, &request->usage);
    add_id_header(request);
    http_reply(request->exchange, 200, "application/json", out->data, out->len);
}

enum request_event request_act_finish(struct request *request) {
    const struct wire_event *event = request->event;
    struct controller *controller = request->controller;
    request->usage = event->usage;
    request->finish = event->finish;
    bind_session(request); /* again: a stream may outlive a session's time */
    controller->stats.prompt_tokens += (uint64_t)event->usage.prompt_tokens;
    controller->stats.completion_tokens += (uint64_t)event->usage.completion_tokens;
    buf_clear(&controller->scratch);
    show_text(request, event->text, event->text_len);
    if (request->chat.stream)
        finish_stream(request);
    else
        finish_whole(request);
    request->exchange = NULL;
    end_request(request, STATUS_OK);
    return EVENT_NONE;
}

static bool all_tries_were_refusals(const struct request *request) {
    for (size_t i = 0; i < request->try_count; i++)
        if (status_outcome(request->tries[i].status) != OUTCOME_NEUTRAL)
            return false;
    return true;
}

/* Names every try once there was more than one. When all workers only refused (full, draining) that is what
 * the client must know: it may come back. */
static void summarize_tries(struct request *request) {
    char list[ERROR_MESSAGE_MAX] = "";
    size_t used = 0;
    for (size_t i = 0; i < request->try_count && used < sizeof(list) - 128; i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s: %s after %lld ms", i ? "; " : "",
                                 request->tries[i].worker_id, status_name(request->tries[i].status),
                                 (long long)request->tries[i].duration_ms);
    enum status status = all_tries_were_refusals(request) ? request->tries[request->try_count - 1].status
                                                          : STATUS_ALL_RETRIES_EXHAUSTED;
    error_set(&request->failure, status, NULL, "all %zu tries failed (%s)", request->try_count, list);
}

static void answer_error(struct request *request) {
    struct controller *controller = request->controller;
    if (!request->exchange)
        return;
    if (request->stream_started) {
        buf_clear(&controller->scratch);
        openai_write_error_event(&controller->scratch, &request->failure);
        openai_write_done(&controller->scratch);
        (void)write_stream(request);
        http_stream_end(request->exchange);
    } else {
        /* Our own tries are spent: the client library should not repeat them all. A refusal is no try. */
        if (request->try_count > 0 && !all_tries_were_refusals(request))
            http_add_header(request->exchange, "x-should-retry", "false");
        add_id_header(request);
        controller_reply_error(request->exchange, &request->failure);
    }
    request->exchange = NULL;
}

enum request_event request_act_reply_error(struct request *request) {
    if (request->try_count > 1)
        summarize_tries(request);
    answer_error(request);
    end_request(request, request->failure.status);
    return EVENT_NONE;
}

enum request_event request_act_expire(struct request *request) {
    cancel_on_worker(request);
    note_timeout(request, TIMEOUT_DEADLINE);
    error_set(&request->failure, STATUS_DEADLINE_EXCEEDED, NULL,
              "the request took longer than its limit of %lld ms",
              (long long)total_limit_ms(request->controller, &request->chat));
    answer_error(request);
    end_request(request, STATUS_DEADLINE_EXCEEDED);
    return EVENT_NONE;
}

enum request_event request_act_abandon(struct request *request) {
    cancel_on_worker(request);
    end_request(request, STATUS_CANCELLED);
    return EVENT_NONE;
}

enum request_event request_act_stop(struct request *request) {
    cancel_on_worker(request);
    error_set(&request->failure, STATUS_CONTROLLER_DRAINING, NULL,
              "the controller stops and the request did not finish in time");
    answer_error(request);
    end_request(request, STATUS_CONTROLLER_DRAINING);
    return EVENT_NONE;
}
