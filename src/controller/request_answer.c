/* What the client gets of a request: its stream, its whole reply, or its error. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/breakers.h"
#include "controller/controller_internal.h"
#include "controller/room.h"
#include "proto/json_write.h"

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
    if (!request->try_first_token_us) {
        request->try_first_token_us = clock_us();
        request_limit_silence(request, controller->config->routing.stall_timeout_ms);
        breakers_first_token(controller, &request->lease, &request->ticket);
    } else {
        request->last_heard_ms = clock_ms();
    }
    request->next_index++;
    migration_note(&request->migration, event->token);
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
    request_bind_session(request); /* again: a stream may outlive a session's time */
    controller->stats.prompt_tokens += (uint64_t)event->usage.prompt_tokens;
    controller->stats.completion_tokens += (uint64_t)event->usage.completion_tokens;
    buf_clear(&controller->scratch);
    show_text(request, event->text, event->text_len);
    if (request->chat.stream)
        finish_stream(request);
    else
        finish_whole(request);
    request->exchange = NULL;
    request_end_with(request, STATUS_OK);
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

/* The numbers behind an error, for programs; its message is for people. */
static void write_context(struct buf *out, const struct request *request) {
    json_append_str(out, "{\"requestId\":", request->id);
    json_append_str(out, ",\"model\":", request->chat.model);
    json_append_int(out, ",\"elapsedMs\":", (clock_us() - request->begun_us) / 1000);
    json_append_int(out, ",\"waitedMs\":", room_waited_ms(request));
    json_append_int(out, ",\"timeoutMs\":", request->total_limit_ms);
    buf_append_str(out, ",\"tries\":");
    request_tries_write(out, request->tries, request->try_count);
    buf_append_char(out, '}');
}

static void answer_error(struct request *request) {
    struct controller *controller = request->controller;
    if (!request->exchange)
        return;
    struct buf context;
    buf_init(&context, 0);
    write_context(&context, request);
    if (request->stream_started) {
        buf_clear(&controller->scratch);
        openai_write_error_event(&controller->scratch, &request->failure, &context);
        openai_write_done(&controller->scratch);
        (void)write_stream(request);
        http_stream_end(request->exchange);
    } else {
        /* Our own tries are spent: the client library should not repeat them all. A refusal is no try. */
        if (request->try_count > 0 && !all_tries_were_refusals(request))
            http_add_header(request->exchange, "x-should-retry", "false");
        add_id_header(request);
        controller_reply_error_with(request->exchange, &request->failure, &context,
                                    room_retry_after_ms(request));
    }
    buf_release(&context);
    request->exchange = NULL;
}

/* What the last worker said is wrong with the request itself is wrong on all of them: earlier failures do not
 * matter then. */
static bool is_clients_fault(enum status status) {
    return status_http(status) < 500;
}

enum request_event request_act_reply_error(struct request *request) {
    if (request->try_count > 1 && !is_clients_fault(request->failure.status))
        summarize_tries(request);
    answer_error(request);
    request_end_with(request, request->failure.status);
    return EVENT_NONE;
}

enum request_event request_act_expire(struct request *request) {
    request_cancel_job(request);
    request_note_timeout(request, TIMEOUT_DEADLINE);
    error_set(&request->failure, STATUS_DEADLINE_EXCEEDED, NULL,
              "the request took longer than its limit of %lld ms", (long long)request->total_limit_ms);
    answer_error(request);
    request_end_with(request, STATUS_DEADLINE_EXCEEDED);
    return EVENT_NONE;
}

enum request_event request_act_abandon(struct request *request) {
    request_cancel_job(request);
    request_end_with(request, STATUS_CANCELLED);
    return EVENT_NONE;
}

enum request_event request_act_stop(struct request *request) {
    request_cancel_job(request);
    error_set(&request->failure, STATUS_CONTROLLER_DRAINING, NULL,
              "the controller stops and the request did not finish in time");
    answer_error(request);
    request_end_with(request, STATUS_CONTROLLER_DRAINING);
    return EVENT_NONE;
}
