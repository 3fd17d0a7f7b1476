/* What operators and clients ask about the cluster: health, models, workers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/peers.h"
#include "controller/query.h"
#include "proto/json_write.h"

static bool can_work(const struct registry_worker *worker) {
    return worker->state == WORKER_ONLINE && worker->info.phase == WORKER_PHASE_READY;
}

static size_t workers_ready(const struct controller *controller) {
    size_t ready = 0;
    for (size_t i = 0; i < controller->registry.count; i++)
        ready += can_work(controller->registry.workers[i]);
    return ready;
}

static const char *phase_name(const struct controller *controller) {
    if (controller->draining)
        return "draining";
    return controller_hears(controller) ? "ready" : "disconnected";
}

/* Those that are expected and not there, as a JSON array. */
static void write_missing(const struct expected *expected, struct buf *out) {
    const char *comma = "";
    buf_append_char(out, '[');
    for (size_t i = 0; i < expected->count; i++) {
        if (!expected->workers[i].missing)
            continue;
        json_append_str(out, comma, expected->workers[i].pattern);
        comma = ",";
    }
    buf_append_char(out, ']');
}

static void write_health(const struct controller *controller, struct buf *out, const char *status) {
    buf_printf(out,
               "{\"status\":\"%s\",\"state\":\"%s\",\"controllerId\":\"%s\",\"version\":\"%s\","
               "\"workersReady\":%zu,\"missingWorkers\":",
               status, phase_name(controller), controller->id, MLX_VERSION, workers_ready(controller));
    write_missing(&controller->expected, out);
    buf_append_char(out, '}');
}

/* The process is alive: always 200, so that nobody restarts a controller because its workers are away. */
void cluster_api_health(struct controller *controller, struct http_exchange *exchange,
                        const char *rest UNUSED) {
    struct buf body;
    buf_init(&body, 0);
    write_health(controller, &body, "ok");
    controller_reply_json(exchange, 200, &body);
}

/* It can serve: what a load balancer in front of several controllers asks. */
void cluster_api_ready(struct controller *controller, struct http_exchange *exchange,
                       const char *rest UNUSED) {
    bool ready = !controller->draining && controller_hears(controller) && workers_ready(controller) > 0;
    struct buf body;
    buf_init(&body, 0);
    write_health(controller, &body, ready ? "ready" : "not ready");
    controller_reply_json(exchange, ready ? 200 : 503, &body);
}

/* Every model that a known worker serves, once; at most `max`. */
static size_t collect_models(const struct controller *controller, struct openai_model *models, size_t max) {
    size_t count = 0;
    for (size_t i = 0; i < controller->registry.count; i++) {
        const struct registry_worker *worker = controller->registry.workers[i];
        for (size_t m = 0; m < worker->info.model_count; m++) {
            const struct model_info *info = &worker->info.models[m];
            size_t at = 0;
            while (at < count && strcmp(models[at].id, info->name) != 0)
                at++;
            if (at == max)
                continue;
            if (at == count)
                models[count++] =
                    (struct openai_model){.id = info->name, .created_s = controller->started_wall_ms / 1000};
            if (info->context_tokens > models[at].context_tokens)
                models[at].context_tokens = info->context_tokens;
            models[at].workers += can_work(worker) && info->state == MODEL_READY;
        }
    }
    return count;
}

enum { MODELS_LISTED_MAX = 1024 };

void cluster_api_models(struct controller *controller, struct http_exchange *exchange,
                        const char *rest UNUSED) {
    struct openai_model *models = calloc(MODELS_LISTED_MAX, sizeof(*models));
    struct buf body;
    buf_init(&body, 0);
    openai_write_models(&body, models, models ? collect_models(controller, models, MODELS_LISTED_MAX) : 0);
    free(models);
    controller_reply_json(exchange, 200, &body);
}

void cluster_api_model(struct controller *controller, struct http_exchange *exchange, const char *rest) {
    struct openai_model *models = calloc(MODELS_LISTED_MAX, sizeof(*models));
    size_t count = models ? collect_models(controller, models, MODELS_LISTED_MAX) : 0;
    size_t at = 0;
    while (at < count && strcmp(models[at].id, rest) != 0)
        at++;
    if (at == count) {
        controller_reply_not_found(exchange, STATUS_MODEL_NOT_FOUND, "the model", rest);
    } else {
        struct buf body;
        buf_init(&body, 0);
        openai_write_model(&body, &models[at]);
        controller_reply_json(exchange, 200, &body);
    }
    free(models);
}

static void write_requests(const struct controller *controller, struct buf *out) {
    const struct controller_stats *stats = &controller->stats;
    buf_printf(
        out,
        "\"requests\":{\"active\":%zu,\"total\":%llu,\"succeeded\":%llu,\"failed\":%llu,\"refused\":%llu,"
        "\"cancelled\":%llu,\"retries\":%llu,\"promptTokens\":%llu,\"completionTokens\":%llu,"
        "\"firstTokenMsP50\":%.3f,\"firstTokenMsP99\":%.3f,\"totalMsP50\":%.3f,\"totalMsP99\":%.3f}",
        controller->active_count, (unsigned long long)stats->requests_total,
        (unsigned long long)stats->requests_ended[REQUEST_SUCCEEDED],
        (unsigned long long)stats->requests_ended[REQUEST_FAILED],
        (unsigned long long)stats->requests_ended[REQUEST_REFUSED],
        (unsigned long long)stats->requests_ended[REQUEST_CANCELLED], (unsigned long long)stats->retries,
        (unsigned long long)stats->prompt_tokens, (unsigned long long)stats->completion_tokens,
        (double)hist_percentile(&stats->first_token.us, 50) / 1000,
        (double)hist_percentile(&stats->first_token.us, 99) / 1000,
        (double)hist_percentile(&stats->total.us, 50) / 1000,
        (double)hist_percentile(&stats->total.us, 99) / 1000);
}

static void write_links(const struct controller *controller, struct buf *out) {
    struct transport_stats link;
    struct http_stats http;
    transport_get_stats(controller->transport, &link);
    http_server_stats(controller->http, &http);
    buf_printf(out,
               "\"nats\":{\"connected\":%s,\"messagesIn\":%llu,\"messagesOut\":%llu,\"droppedIn\":%llu,"
               "\"publishFailed\":%llu,\"reconnects\":%llu},",
               transport_is_up(controller->transport) ? "true" : "false",
               (unsigned long long)link.messages_in, (unsigned long long)link.messages_out,
               (unsigned long long)link.dropped_in, (unsigned long long)link.publish_failed,
               (unsigned long long)link.reconnects);
    buf_printf(out,
               "\"http\":{\"connections\":%llu,\"connectionsRefused\":%llu,\"requestsRefused\":%llu,"
               "\"clientLeft\":%llu},",
               (unsigned long long)http.connections, (unsigned long long)http.connections_refused,
               (unsigned long long)http.requests_refused, (unsigned long long)http.client_left);
    buf_printf(out,
               "\"protocol\":{\"staleEvents\":%llu,\"gaps\":%llu,\"malformedMessages\":%llu,"
               "\"impossibleEvents\":%llu},",
               (unsigned long long)controller->stats.stale_events, (unsigned long long)controller->stats.gaps,
               (unsigned long long)controller->stats.malformed_messages,
               (unsigned long long)controller->stats.impossible_events);
}

static void write_expected(const struct expected *expected, struct buf *out) {
    buf_printf(out, "\"expectedWorkers\":{\"expected\":%zu,\"missing\":", expected->count);
    write_missing(expected, out);
    buf_append_str(out, "},");
}

void cluster_api_status(struct controller *controller, struct http_exchange *exchange,
                        const char *rest UNUSED) {
    struct openai_model *models = calloc(MODELS_LISTED_MAX, sizeof(*models));
    size_t count = models ? collect_models(controller, models, MODELS_LISTED_MAX) : 0;
    struct buf body;
    buf_init(&body, 0);
    buf_printf(&body,
               "{\"controller\":{\"id\":\"%s\",\"version\":\"%s\",\"state\":\"%s\",\"uptimeMs\":%lld},",
               controller->id, MLX_VERSION, phase_name(controller),
               (long long)(clock_ms() - controller->started_ms));
    peers_write(controller, &body);
    buf_printf(&body, ",\"workers\":{\"total\":%zu,\"ready\":%zu},\"models\":[", controller->registry.count,
               workers_ready(controller));
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&body, i ? ",{\"id\":" : "{\"id\":");
        buf_append_json(&body, models[i].id, strlen(models[i].id));
        buf_printf(&body, ",\"workersReady\":%d}", models[i].workers);
    }
    buf_append_str(&body, "],");
    write_expected(&controller->expected, &body);
    write_links(controller, &body);
    write_requests(controller, &body);
    buf_append_char(&body, '}');
    free(models);
    controller_reply_json(exchange, 200, &body);
}

static void write_worker(struct buf *out, const struct registry_worker *worker,
                         const struct worker_info *info, bool live) {
    char extra[384];
    int64_t age_ms = clock_ms() - worker->heartbeat_ms;
    snprintf(
        extra, sizeof(extra),
        ",\"leases\":%d,\"jobsSent\":%llu,\"jobsFailed\":%llu,\"lastHeartbeat\":%lld,\"heartbeatAgeMs\":%lld,"
        "\"live\":%s,\"hung\":%s,\"busyMs\":%lld",
        worker->gauge->leases, (unsigned long long)worker->jobs_sent, (unsigned long long)worker->jobs_failed,
        (long long)(clock_wall_ms() - age_ms), (long long)age_ms, live ? "true" : "false",
        worker->hung ? "true" : "false", (long long)registry_busy_ms(worker, clock_ms()));
    wire_write_worker_object(out, info, worker_state_name(worker), extra);
}

void cluster_api_workers(struct controller *controller, struct http_exchange *exchange,
                         const char *rest UNUSED) {
    struct buf body;
    buf_init(&body, 0);
    buf_append_char(&body, '[');
    for (size_t i = 0; i < controller->registry.count; i++) {
        if (i)
            buf_append_char(&body, ',');
        write_worker(&body, controller->registry.workers[i], &controller->registry.workers[i]->info, false);
    }
    buf_append_char(&body, ']');
    controller_reply_json(exchange, 200, &body);
}

static void reply_no_worker(struct http_exchange *exchange, const char *id) {
    controller_reply_not_found(exchange, STATUS_WORKER_NOT_FOUND, "the worker", id);
}

/* One worker is asked for its numbers of this moment; the last heartbeat serves when it does not answer. */
static bool answer_worker(struct query *query, const struct transport_message *message) {
    const struct registry_worker *worker = registry_find(&query->controller->registry, query->about);
    struct worker_info info;
    if (!worker) {
        reply_no_worker(query->exchange, query->about);
        return true;
    }
    bool live = message && !message->no_responders &&
                wire_read_worker_info(message->data, message->len, &info, NULL) == STATUS_OK &&
                strcmp(info.id, query->about) == 0;
    struct buf body;
    buf_init(&body, 0);
    write_worker(&body, worker, live ? &info : &worker->info, live);
    controller_reply_json(query->exchange, 200, &body);
    return true;
}

static bool send_control(struct controller *controller, const char *worker_id, enum wire_control_op op,
                         const char *reply) {
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_control(subject, worker_id);
    buf_clear(&controller->scratch);
    wire_write_control(&controller->scratch, op);
    return transport_publish(controller->transport, subject, reply, controller->scratch.data,
                             controller->scratch.len) == STATUS_OK;
}

void cluster_api_worker(struct controller *controller, struct http_exchange *exchange, const char *rest) {
    const struct registry_worker *worker = registry_find(&controller->registry, rest);
    if (!worker) {
        reply_no_worker(exchange, rest);
        return;
    }
    struct query *query = query_new(controller, exchange, answer_worker, rest);
    if (!query)
        return;
    char reply[WIRE_SUBJECT_MAX];
    query_subject(query, reply);
    if (worker->state == WORKER_ONLINE && send_control(controller, rest, WIRE_CONTROL_STATS, reply))
        query_wait(query);
    else
        query_give_up(query);
}

/* How the worker is, now that it was told. */
static enum status read_phase(const struct query *query, const struct transport_message *message,
                              enum worker_phase *phase, struct error *error) {
    if (!message && !transport_is_up(query->controller->transport))
        return error_set(error, STATUS_NATS_ERROR, NULL, "worker %s cannot be told: no link to NATS",
                         query->about);
    if (!message)
        return error_set(error, STATUS_WORKER_TIMEOUT, NULL,
                         "worker %s has not answered within %d ms; it follows when it hears of it",
                         query->about, QUERY_WAIT_MS);
    if (message->no_responders)
        return error_set(error, STATUS_WORKER_NOT_FOUND, NULL, "nobody listens as worker %s", query->about);
    struct worker_info info;
    enum status status = wire_read_worker_info(message->data, message->len, &info, error);
    if (status == STATUS_OK)
        *phase = info.phase;
    return status;
}

static bool answer_told(struct query *query, const struct transport_message *message,
                        enum wire_control_op op) {
    enum worker_phase phase = WORKER_PHASE_INITIALIZING;
    struct error error;
    enum status status = read_phase(query, message, &phase, &error);
    bool draining = phase >= WORKER_PHASE_DRAINING;
    if (status == STATUS_OK && op == WIRE_CONTROL_RESUME && draining)
        status = error_set(&error, STATUS_WORKER_DRAINING, NULL,
                           "worker %s is about to end and cannot resume", query->about);
    if (status != STATUS_OK) {
        controller_reply_error(query->exchange, &error);
        return true;
    }
    log_info("worker told", F_STR("worker", query->about),
             F_STR("to", op == WIRE_CONTROL_DRAIN ? "drain" : "resume"));
    struct buf body;
    buf_init(&body, 0);
    buf_printf(&body, "{\"draining\":%s}", draining ? "true" : "false");
    controller_reply_json(query->exchange, 202, &body);
    return true;
}

static bool answer_drained(struct query *query, const struct transport_message *message) {
    return answer_told(query, message, WIRE_CONTROL_DRAIN);
}

static bool answer_resumed(struct query *query, const struct transport_message *message) {
    return answer_told(query, message, WIRE_CONTROL_RESUME);
}

static void tell_worker(struct controller *controller, struct http_exchange *exchange, const char *id,
                        enum wire_control_op op) {
    struct query *query =
        query_new(controller, exchange, op == WIRE_CONTROL_DRAIN ? answer_drained : answer_resumed, id);
    if (!query)
        return;
    char reply[WIRE_SUBJECT_MAX];
    query_subject(query, reply);
    if (send_control(controller, id, op, reply))
        query_wait(query);
    else
        query_give_up(query);
}

/* ID/drain: the worker finishes what it has and takes nothing new; its process stays. ID/resume: it is as
 * before. A drained worker is silent, and may be forgotten here: only itself knows whether it is there. */
void cluster_api_tell(struct controller *controller, struct http_exchange *exchange, const char *rest) {
    const char *verb = strchr(rest, '/');
    char id[WORKER_ID_MAX + 1];
    struct error error;
    snprintf(id, sizeof(id), "%.*s", verb ? (int)(verb - rest) : 0, rest);
    bool drain = verb && strcmp(verb, "/drain") == 0, resume = verb && strcmp(verb, "/resume") == 0;
    if (!drain && !resume)
        error_set(&error, STATUS_ROUTE_NOT_FOUND, NULL,
                  "a worker takes POST /api/cluster/workers/ID/drain and /api/cluster/workers/ID/resume");
    else if (!wire_is_token(id, WORKER_ID_MAX) || verb - rest > WORKER_ID_MAX)
        error_set(&error, STATUS_WORKER_NOT_FOUND, NULL, "\"%s\" cannot be the id of a worker", id);
    else {
        tell_worker(controller, exchange, id, drain ? WIRE_CONTROL_DRAIN : WIRE_CONTROL_RESUME);
        return;
    }
    controller_reply_error(exchange, &error);
}
