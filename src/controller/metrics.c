/* The controller's counters: GET /api/controller/metrics as JSON, GET /metrics for Prometheus. */
#include "base/clock.h"
#include "controller/breakers.h"
#include "controller/monitoring.h"
#include "controller/peers.h"
#include "controller/prometheus.h"
#include "proto/json_write.h"

static const char *const timeout_names[TIMEOUT_COUNT] = {
#define X(name, text) [TIMEOUT_##name] = (text),
    REQUEST_TIMEOUT_MAP(X)
#undef X
};

static uint64_t completed(const struct controller *controller) {
    uint64_t sum = 0;
    for (int e = 0; e < REQUEST_END_COUNT; e++)
        sum += controller->stats.requests_ended[e];
    return sum;
}

/* As JSON. */

static void write_u64(struct buf *out, const char *key, uint64_t value) {
    buf_append_str(out, key);
    buf_append_u64(out, value);
}

static void write_requests(struct buf *out, const struct controller *controller) {
    const struct controller_stats *stats = &controller->stats;
    write_u64(out, ",\"requests\":{\"total\":", stats->requests_total);
    for (int e = 0; e < REQUEST_END_COUNT; e++)
        buf_printf(out, ",\"%s\":%llu", request_end_name((enum request_end)e),
                   (unsigned long long)stats->requests_ended[e]);
    write_u64(out, ",\"retries\":", stats->retries);
    write_u64(out, ",\"migrations\":", stats->migrations);
    buf_append_str(out, "},\"timeouts\":{");
    for (int t = 0; t < TIMEOUT_COUNT; t++)
        buf_printf(out, "%s\"%s\":%llu", t ? "," : "", timeout_names[t],
                   (unsigned long long)stats->timeouts[t]);
    write_u64(out, "},\"tokens\":{\"prompt\":", stats->prompt_tokens);
    write_u64(out, ",\"completion\":", stats->completion_tokens);
    buf_append_char(out, '}');
}

/* Only codes that occurred. */
static void write_codes(struct buf *out, const char *key, const uint64_t counts[STATUS_COUNT]) {
    const char *comma = "";
    buf_append_str(out, key);
    for (int s = 1; s < STATUS_COUNT; s++) {
        if (counts[s] == 0)
            continue;
        buf_printf(out, "%s\"%s\":%llu", comma, status_name((enum status)s), (unsigned long long)counts[s]);
        comma = ",";
    }
    buf_append_char(out, '}');
}

static void write_latency(struct buf *out, const char *key, const struct latency *latency) {
    static const double percents[] = {50, 90, 95, 99};
    write_u64(out, key, latency->us.total);
    buf_printf(out, ",\"mean\":%.3f", hist_mean(&latency->us) / 1000);
    for (size_t i = 0; i < ARRAY_LEN(percents); i++)
        buf_printf(out, ",\"p%.0f\":%.3f", percents[i],
                   (double)hist_percentile(&latency->us, percents[i]) / 1000);
    buf_printf(out, ",\"max\":%.3f}", (double)latency->us.max / 1000);
}

static void write_workers(struct buf *out, const struct registry *registry) {
    buf_append_str(out, ",\"workers\":[");
    for (size_t i = 0; i < registry->count; i++) {
        const struct registry_worker *worker = registry->workers[i];
        json_append_str(out, i ? ",{\"worker\":" : "{\"worker\":", worker->info.id);
        json_append_str(out, ",\"state\":", worker_state_name(worker));
        json_append_int(out, ",\"leases\":", worker->gauge->leases);
        write_u64(out, ",\"jobsSent\":", worker->jobs_sent);
        write_u64(out, ",\"jobsFailed\":", worker->jobs_failed);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void write_room(struct buf *out, const struct controller *controller) {
    const struct waiting_room *room = &controller->room;
    write_u64(out, ",\"waitingRoom\":{\"requests\":", room->count);
    write_u64(out, ",\"bytes\":", room->bytes);
    write_u64(out, ",\"maxRequests\":", room->config.requests_max);
    write_u64(out, ",\"maxBytes\":", room->config.bytes_max);
    write_u64(out, ",\"entered\":", room->stats.entered);
    write_u64(out, ",\"refused\":", room->stats.refused);
    write_u64(out, ",\"evicted\":", room->stats.evicted);
    buf_append_char(out, '}');
}

void metrics_api_json(struct controller *controller, struct http_exchange *exchange,
                      const char *rest UNUSED) {
    const struct controller_stats *stats = &controller->stats;
    struct buf body;
    buf_init(&body, 0);
    json_append_str(&body, "{\"controllerId\":", controller->id);
    json_append_int(&body, ",\"timestamp\":", clock_wall_ms());
    json_append_int(&body, ",\"uptimeMs\":", clock_ms() - controller->started_ms);
    write_u64(&body, ",\"activeRequests\":", controller->active_count);
    write_u64(&body, ",\"completedRequests\":", completed(controller));
    write_requests(&body, controller);
    write_codes(&body, ",\"errors\":{", stats->errors);
    write_codes(&body, ",\"failedTries\":{", stats->failed_tries);
    buf_append_str(&body, ",\"circuitBreaker\":");
    breakers_write(&body, controller);
    write_room(&body, controller);
    write_latency(&body, ",\"latencyMs\":{\"waiting\":{\"count\":", &stats->waiting);
    write_latency(&body, ",\"queue\":{\"count\":", &stats->queue);
    write_latency(&body, ",\"firstToken\":{\"count\":", &stats->first_token);
    write_latency(&body, ",\"interToken\":{\"count\":", &stats->inter_token);
    write_latency(&body, ",\"total\":{\"count\":", &stats->total);
    write_u64(&body, "},\"records\":{\"kept\":", controller->records.count);
    write_u64(&body, ",\"max\":", controller->records.max);
    write_u64(&body, ",\"displaced\":", controller->records.displaced);
    buf_append_char(&body, '}');
    write_u64(&body, ",\"probes\":{\"sent\":", stats->probes_sent);
    write_u64(&body, ",\"passed\":", stats->probes_passed);
    write_u64(&body, ",\"failed\":", stats->probes_failed);
    buf_append_char(&body, '}');
    write_workers(&body, &controller->registry);
    peers_write_metrics(&body, controller);
    buf_append_char(&body, '}');
    controller_reply_json(exchange, 200, &body);
}

/* For Prometheus. */

static void expose_codes(struct buf *out, const char *name, const char *help,
                         const uint64_t counts[STATUS_COUNT]) {
    prometheus_head(out, name, "counter", help);
    for (int s = 1; s < STATUS_COUNT; s++)
        prometheus_labelled(out, name, "code", status_name((enum status)s), counts[s]);
}

static void expose_requests(struct buf *out, const struct controller *controller) {
    const struct controller_stats *stats = &controller->stats;
    prometheus_counter(out, "mlx_controller_requests_received_total", "Completions asked for.",
                       stats->requests_total);
    prometheus_head(out, "mlx_controller_requests_total", "counter",
                    "Requests that are over, by how they ended.");
    for (int e = 0; e < REQUEST_END_COUNT; e++)
        prometheus_labelled(out, "mlx_controller_requests_total", "outcome",
                            request_end_name((enum request_end)e), stats->requests_ended[e]);
    expose_codes(out, "mlx_controller_errors_total", "Requests that did not succeed, by error code.",
                 stats->errors);
    expose_codes(out, "mlx_controller_tries_failed_total",
                 "Tries on one worker that failed, by error code; the request may have succeeded elsewhere.",
                 stats->failed_tries);
    prometheus_head(out, "mlx_controller_timeouts_total", "counter", "Limits that ran out.");
    for (int t = 0; t < TIMEOUT_COUNT; t++)
        prometheus_labelled(out, "mlx_controller_timeouts_total", "limit", timeout_names[t],
                            stats->timeouts[t]);
    prometheus_counter(out, "mlx_controller_retries_total", "Tries after the first one of a request.",
                       stats->retries);
    prometheus_counter(out, "mlx_controller_migrations_total",
                       "Streams that went on behind what the client had seen, on another worker.",
                       stats->migrations);
    prometheus_gauge(out, "mlx_controller_active_requests", "Requests under way.", controller->active_count);
    prometheus_counter(out, "mlx_controller_prompt_tokens_total", "Prompt tokens of successful requests.",
                       stats->prompt_tokens);
    prometheus_counter(out, "mlx_controller_completion_tokens_total",
                       "Generated tokens of successful requests.", stats->completion_tokens);
}

static void expose_latencies(struct buf *out, const struct controller_stats *stats) {
    prometheus_latency(out, "mlx_controller_waiting_seconds",
                       "In the waiting room of the controller, of requests that had to wait there.",
                       &stats->waiting);
    prometheus_latency(out, "mlx_controller_queue_seconds",
                       "From sending a job until the worker had a slot for it.", &stats->queue);
    prometheus_latency(out, "mlx_controller_first_token_seconds",
                       "From the arrival of a request until its first token.", &stats->first_token);
    prometheus_latency(out, "mlx_controller_inter_token_seconds",
                       "Mean time between two tokens, one value a request.", &stats->inter_token);
    prometheus_latency(out, "mlx_controller_request_seconds",
                       "From the arrival of a request until its end, whatever the end.", &stats->total);
}

static void expose_expected(struct buf *out, const struct expected *expected) {
    prometheus_gauge(out, "mlx_controller_workers_expected",
                     "Ids and patterns in cluster.discovery.expected_workers.", expected->count);
    prometheus_gauge(out, "mlx_controller_workers_missing", "How many of them no worker fits.",
                     expected->missing);
    if (expected->count == 0)
        return;
    prometheus_head(out, "mlx_controller_worker_missing", "gauge", "1 for each one that no worker fits.");
    for (size_t i = 0; i < expected->count; i++)
        prometheus_labelled(out, "mlx_controller_worker_missing", "worker", expected->workers[i].pattern,
                            expected->workers[i].missing);
}

static void expose_skills(struct buf *out, const struct skill_table *skills) {
    prometheus_gauge(out, "mlx_controller_skills", "Distinct skills of workers and models.",
                     (uint64_t)__builtin_popcountll(skills->taken));
    prometheus_counter(out, "mlx_controller_skills_refused_total",
                       "Skills of workers that were not learned because there were too many.",
                       skills->refused);
}

static void expose_room(struct buf *out, const struct waiting_room *room) {
    prometheus_gauge(out, "mlx_controller_waiting_requests",
                     "Requests in the waiting room: no worker could take them yet.", room->count);
    prometheus_gauge(out, "mlx_controller_waiting_bytes", "Memory of their messages.", room->bytes);
    prometheus_counter(out, "mlx_controller_waiting_entered_total", "Requests that had to wait.",
                       room->stats.entered);
    prometheus_counter(out, "mlx_controller_waiting_refused_total",
                       "Requests refused because the waiting room was full.", room->stats.refused);
    prometheus_counter(out, "mlx_controller_waiting_evicted_total",
                       "Requests that gave way in it to those of higher priority.", room->stats.evicted);
}

static void expose_http(struct buf *out, const struct controller *controller) {
    struct http_stats http;
    http_server_stats(controller->http, &http);
    prometheus_gauge(out, "mlx_controller_http_connections", "Open client connections.", http.connections);
    prometheus_counter(out, "mlx_controller_http_connections_total", "Client connections accepted.",
                       http.connections_total);
    prometheus_counter(out, "mlx_controller_http_connections_refused_total",
                       "Client connections over the maximum.", http.connections_refused);
    prometheus_counter(out, "mlx_controller_http_requests_total", "HTTP requests of any kind.",
                       http.requests_total);
    prometheus_counter(out, "mlx_controller_http_requests_refused_total",
                       "HTTP requests that are malformed, too large or too slow.", http.requests_refused);
    prometheus_counter(out, "mlx_controller_http_clients_left_total",
                       "Clients that left before their reply was complete.", http.client_left);
}

static void expose_nats(struct buf *out, const struct controller *controller) {
    struct transport_stats nats;
    transport_get_stats(controller->transport, &nats);
    prometheus_gauge(out, "mlx_controller_nats_up", "1 while connected to NATS.",
                     transport_is_up(controller->transport));
    prometheus_counter(out, "mlx_controller_nats_messages_received_total", "Messages from NATS.",
                       nats.messages_in);
    prometheus_counter(out, "mlx_controller_nats_messages_sent_total", "Messages to NATS.",
                       nats.messages_out);
    prometheus_counter(out, "mlx_controller_nats_received_bytes_total", "Payload from NATS.", nats.bytes_in);
    prometheus_counter(out, "mlx_controller_nats_sent_bytes_total", "Payload to NATS.", nats.bytes_out);
    prometheus_counter(out, "mlx_controller_nats_messages_dropped_total",
                       "Messages from NATS lost because the mailbox was full.", nats.dropped_in);
    prometheus_counter(out, "mlx_controller_nats_publish_failures_total", "Messages that NATS did not take.",
                       nats.publish_failed);
    prometheus_counter(out, "mlx_controller_nats_silences_total",
                       "Times that NATS was not heard although connected.", controller->link.silences);
    prometheus_counter(out, "mlx_controller_nats_reconnects_total", "Times the link to NATS came back.",
                       nats.reconnects);
}

static void expose_probes(struct buf *out, const struct controller_stats *stats) {
    prometheus_counter(out, "mlx_controller_probes_sent_total",
                       "Jobs of our own, to find out whether a worker is well again.", stats->probes_sent);
    prometheus_counter(out, "mlx_controller_probes_passed_total", "Those that succeeded.",
                       stats->probes_passed);
    prometheus_counter(out, "mlx_controller_probes_failed_total",
                       "Those that failed through the worker's fault.", stats->probes_failed);
}

static void expose_routing(struct buf *out, struct controller *controller) {
    const struct session_stats *sessions = &controller->sessions.stats;
    prometheus_gauge(out, "mlx_controller_sessions", "Sessions that are bound to a worker.",
                     sessions->active);
    prometheus_counter(out, "mlx_controller_session_hits_total", "Requests whose session was known.",
                       sessions->hits);
    prometheus_counter(out, "mlx_controller_session_misses_total", "Requests whose session was not.",
                       sessions->misses);
    prometheus_counter(out, "mlx_controller_sessions_evicted_total",
                       "Sessions that gave way to newer ones before their time.", sessions->evicted);
    prometheus_gauge(out, "mlx_controller_retry_budget", "Retries that could be made now.",
                     (uint64_t)retry_budget_held(&controller->retry_budget, clock_ms()));
    prometheus_counter(out, "mlx_controller_retries_suppressed_total",
                       "Retries that the budget did not allow.", controller->retry_budget.suppressed);
    prometheus_counter(out, "mlx_controller_poison_denied_total",
                       "Requests refused because two workers died of the same one.",
                       controller->poison.denied);
}

static void expose_protocol(struct buf *out, const struct controller *controller) {
    const struct controller_stats *stats = &controller->stats;
    prometheus_counter(out, "mlx_controller_stale_events_total",
                       "Events of older tries, other incarnations or requests that are over.",
                       stats->stale_events);
    prometheus_counter(out, "mlx_controller_gaps_total", "Streams in which tokens were missing.",
                       stats->gaps);
    prometheus_counter(out, "mlx_controller_malformed_messages_total",
                       "Messages of workers that could not be read.", stats->malformed_messages);
    prometheus_counter(out, "mlx_controller_pauses_total", "Times that this process did not run for a while.",
                       stats->pauses);
    prometheus_counter(out, "mlx_controller_impossible_events_total",
                       "Events that a request's state cannot have: defects.", stats->impossible_events);
    prometheus_gauge(out, "mlx_controller_records", "Records of ended requests.", controller->records.count);
    prometheus_counter(out, "mlx_controller_records_displaced_total",
                       "Records that gave way to newer ones before their time.",
                       controller->records.displaced);
}

void metrics_api_prometheus(struct controller *controller, struct http_exchange *exchange,
                            const char *rest UNUSED) {
    struct buf body;
    buf_init(&body, 0);
    buf_printf(&body,
               "# HELP mlx_controller_info Who this is.\n# TYPE mlx_controller_info gauge\n"
               "mlx_controller_info{controller=\"%s\",version=\"%s\"} 1\n",
               controller->id, MLX_VERSION);
    prometheus_gauge(&body, "mlx_controller_start_time_seconds", "When it started, since 1970.",
                     (uint64_t)(controller->started_wall_ms / 1000));
    expose_requests(&body, controller);
    expose_latencies(&body, &controller->stats);
    worker_metrics_expose(&body, &controller->registry);
    expose_expected(&body, &controller->expected);
    expose_skills(&body, &controller->registry.skills);
    expose_room(&body, &controller->room);
    expose_probes(&body, &controller->stats);
    expose_routing(&body, controller);
    peers_expose(&body, controller);
    expose_http(&body, controller);
    expose_nats(&body, controller);
    expose_protocol(&body, controller);
    http_reply(exchange, 200, PROMETHEUS_CONTENT_TYPE, body.data ? body.data : "", body.len);
    buf_release(&body);
}
