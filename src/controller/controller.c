#include "controller/controller.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/monitoring.h"
#include "controller/peers.h"
#include "controller/probe.h"
#include "controller/query.h"
#include "controller/room.h"

enum {
    FORGET_OFFLINE_MS =
        10 * 60 * 1000,             /* long enough to be seen by who looks in the morning after a restart */
    SCRATCH_MAX = 64 * 1024 * 1024, /* one reply that is not streamed, or one job */
    WRITE_HIGH_BYTES = 4 * 1024 * 1024, /* a client that is about 20,000 tokens behind is given up */
    HEAD_MAX_BYTES = 32 * 1024,
    HEAD_TIMEOUT_MS = 30 * 1000,
    IDLE_TIMEOUT_MS =
        75 * 1000, /* over the 60 s after which most proxies drop an idle connection themselves */
    WRITE_TIMEOUT_MS = 30 * 1000,
    FLUSH_MS = 300, /* how long the last replies may take to leave after the drain limit */
    FLUSH_POLL_MS = 5,
};

static void reap_ended(void *arg) {
    struct controller *controller = arg;
    struct request *request;
    while ((request = TAILQ_FIRST(&controller->ended))) {
        TAILQ_REMOVE(&controller->ended, request, link);
        request_free(request);
    }
}

static void finish_drain(void *arg) {
    struct controller *controller = arg;
    void (*on_drained)(void *) = controller->on_drained;
    controller->on_drained = NULL;
    if (on_drained)
        on_drained(controller->on_drained_arg);
}

static void count_end(struct controller_stats *stats, const struct record *record) {
    stats->requests_ended[record->end]++;
    if (record->outcome != STATUS_OK)
        stats->errors[record->outcome]++;
    if (record->waited_ms > 0)
        latency_add(&stats->waiting, record->waited_ms * 1000);
    latency_add(&stats->inter_token, record->inter_token_us);
    latency_add(&stats->total, record->duration_us);
}

static double ms_or_0(int64_t us) {
    return us > 0 ? (double)us / 1000 : 0;
}

static void log_end(const struct record *record) {
    log_info("request", F_STR("id", record->id), F_STR("model", record->model),
             F_STR("status", status_name(record->outcome)), F_BOOL("stream", record->stream),
             F_STR("worker", record->worker_id[0] ? record->worker_id : NULL),
             F_INT("tries", record->attempts), F_NUM("total_ms", ms_or_0(record->duration_us)),
             F_INT("waited_ms", record->waited_ms), F_NUM("queue_ms", ms_or_0(record->queue_us)),
             F_NUM("first_token_ms", ms_or_0(record->first_token_us)),
             F_INT("prompt_tokens", record->usage.prompt_tokens),
             F_INT("completion_tokens", record->usage.completion_tokens));
}

void controller_walk_begin(struct controller *controller, struct request_walk *walk) {
    *walk = (struct request_walk){.next = TAILQ_FIRST(&controller->active), .outer = controller->walks};
    controller->walks = walk;
}

struct request *controller_walk_next(struct controller *controller, struct request_walk *walk) {
    struct request *request = walk->next;
    if (request)
        walk->next = TAILQ_NEXT(request, link);
    else
        controller->walks = walk->outer;
    return request;
}

void controller_request_ended(struct controller *controller, struct request *request) {
    for (struct request_walk *walk = controller->walks; walk; walk = walk->outer)
        if (walk->next == request)
            walk->next = TAILQ_NEXT(request, link);
    map_take(&controller->by_id, request->id);
    TAILQ_REMOVE(&controller->active, request, link);
    controller->active_count--;
    TAILQ_INSERT_TAIL(&controller->ended, request, link);
    loop_defer_ask(&controller->reap);
    struct record record;
    request_describe(request, &record);
    count_end(&controller->stats, &record);
    log_end(&record);
    records_add(&controller->records, &record, clock_ms());
    if (controller->draining && controller->active_count == 0)
        loop_timer_arm(&controller->drain_timer, 0);
}

static void stop_requests(struct controller *controller) {
    struct request_walk walk;
    struct request *request;
    controller_walk_begin(controller, &walk);
    while ((request = controller_walk_next(controller, &walk)))
        request_dispatch(request, EVENT_STOP);
}

/* The last replies must have left before the caller closes everything: each ends its connection. */
static bool replies_are_sent(const struct controller *controller, int64_t now_ms) {
    struct http_stats http;
    http_server_stats(controller->http, &http);
    return http.connections == 0 || now_ms >= controller->drain_end_ms + FLUSH_MS;
}

static void on_drain_timer(void *arg) {
    struct controller *controller = arg;
    int64_t now_ms = clock_ms();
    if (now_ms >= controller->drain_end_ms)
        stop_requests(controller);
    if (controller->active_count > 0) {
        loop_timer_arm(&controller->drain_timer, controller->drain_end_ms - now_ms);
        return;
    }
    http_server_stop_accepting(controller->http);
    if (replies_are_sent(controller, now_ms))
        finish_drain(controller);
    else
        loop_timer_arm(&controller->drain_timer, FLUSH_POLL_MS);
}

static struct breaker_config breaker_config_of(const struct config *config) {
    return (struct breaker_config){
        .enabled = config->routing.breaker.enabled,
        .failure_threshold = config->routing.breaker.failure_threshold,
        .success_threshold = config->routing.breaker.success_threshold,
        .timeout_ms = config->routing.breaker.timeout_ms,
        .probe_lease_ms = config->routing.ack_timeout_ms + config->routing.first_token_timeout_ms,
    };
}

static_assert((int)EXPECTED_MAX >= (int)CONFIG_LIST_MAX, "every configured name has a place");

static void init_routing(struct controller *controller) {
    const struct config *config = controller->config;
    int64_t heartbeat_ms = config->discovery.heartbeat_interval_ms;
    registry_init(&controller->registry,
                  &(struct registry_config){.controller_id = controller->id,
                                            .suspect_after_ms = heartbeat_ms * 5 / 2,
                                            .offline_after_ms = config->controller.worker_offline_timeout_ms,
                                            .forget_after_ms = FORGET_OFFLINE_MS,
                                            .hung_after_ms = config->discovery.hung_after_ms,
                                            .queued_per_worker_max = config->routing.queued_per_worker_max,
                                            .breaker = breaker_config_of(config)});
    router_init(&controller->router, &controller->registry, &controller->balancer);
    controller->router.own_probes = config->routing.breaker.probe;
    controller->retry = (struct retry_config){.enabled = config->routing.retry.enabled,
                                              .max_retries = config->routing.retry.max_retries,
                                              .delay_ms = config->routing.retry.retry_delay_ms,
                                              .max_delay_ms = config->routing.retry.max_delay_ms};
    for (int i = 0; i < STATUS_COUNT; i++)
        controller->retry.on[i] =
            config_list_has(&config->routing.retry.on_errors, status_name((enum status)i));
    struct retry_budget_config budget = retry_budget_default;
    budget.percent = config->routing.retry.budget_percent;
    retry_budget_init(&controller->retry_budget, &budget, clock_ms());
    rng_seed(&controller->rng, rng_u64());
    expected_init(&controller->expected, (const char *const *)config->discovery.expected_workers.items,
                  config->discovery.expected_workers.count, config->discovery.expected_grace_ms, clock_ms());
}

static bool init_balancer(struct controller *controller) {
    const struct config_weights *weights = &controller->config->balancing.weights;
    bool ok = balancer_init(&controller->balancer, controller->config->balancing.strategy, rng_u64());
    for (size_t i = 0; ok && i < weights->count; i++)
        ok = balancer_add_weight(&controller->balancer, weights->rows[i].pattern,
                                 (uint32_t)weights->rows[i].thousandths);
    return ok;
}

static bool init_tables(struct controller *controller) {
    struct siphash_key key;
    rng_bytes(&key, sizeof(key));
    poison_init(&controller->poison, &key);
    rng_bytes(&key, sizeof(key));
    return session_table_init(
        &controller->sessions,
        &(struct session_config){.ttl_ms = controller->config->routing.session_ttl_ms,
                                 .max = (size_t)controller->config->routing.sessions_max},
        &key);
}

static enum status start_http(struct controller *controller, struct error *error) {
    const struct config *config = controller->config;
    struct http_options options = {.host = config->controller.host,
                                   .port = (int)config->controller.port,
                                   .reuse_port = config->controller.reuse_port,
                                   .connections_max = (size_t)config->controller.max_connections,
                                   .body_max_bytes = (size_t)config->controller.max_body_bytes,
                                   .head_max_bytes = HEAD_MAX_BYTES,
                                   .write_high_bytes = WRITE_HIGH_BYTES,
                                   .head_timeout_ms = HEAD_TIMEOUT_MS,
                                   .idle_timeout_ms = IDLE_TIMEOUT_MS,
                                   .write_timeout_ms = WRITE_TIMEOUT_MS,
                                   .handler = controller_handle_http,
                                   .error_body = controller_http_error_body,
                                   .arg = controller};
    controller->http = http_server_new(controller->loop, &options, error);
    return controller->http ? STATUS_OK : error->status;
}

static enum status start_parts(struct controller *controller, struct error *error) {
    if (!init_balancer(controller))
        return error_set(error, STATUS_CONFIG_INVALID, "cluster.loadBalancing.strategy",
                         "\"%s\" is no strategy, or memory is out", controller->config->balancing.strategy);
    if (!init_tables(controller) ||
        !records_init(&controller->records, (size_t)controller->config->controller.record_max) ||
        !loop_timer_init(&controller->tick_timer, controller->loop, controller_tick, controller) ||
        !loop_timer_init(&controller->drain_timer, controller->loop, on_drain_timer, controller) ||
        !loop_defer_init(&controller->reap, controller->loop, reap_ended, controller) ||
        !room_start(controller))
        return error_set(error, STATUS_START_FAILED, NULL, "out of memory");
    enum status status = controller_subscribe(controller);
    if (status == STATUS_OK)
        status = peers_start(controller);
    if (status != STATUS_OK)
        return error_set(error, status, NULL, "the controller could not subscribe: %s", status_text(status));
    if (start_http(controller, error) != STATUS_OK)
        return error->status;
    transport_on_link(controller->transport, controller_on_link, controller);
    controller_discover(controller);
    controller_tick(controller);
    return STATUS_OK;
}

struct controller *controller_new(const struct controller_env *env, struct error *error) {
    struct controller *controller = calloc(1, sizeof(*controller));
    if (!controller) {
        error_set(error, STATUS_START_FAILED, NULL, "out of memory");
        return NULL;
    }
    controller->config = env->config;
    controller->loop = env->loop;
    controller->transport = env->transport;
    controller->started_ms = clock_ms();
    controller->started_wall_ms = clock_wall_ms();
    snprintf(controller->id, sizeof(controller->id), "%s", env->id);
    TAILQ_INIT(&controller->active);
    TAILQ_INIT(&controller->ended);
    TAILQ_INIT(&controller->queries);
    TAILQ_INIT(&controller->probes);
    map_init(&controller->by_id);
    buf_init(&controller->scratch, SCRATCH_MAX);
    init_routing(controller);
    controller_start_link(controller);
    if (start_parts(controller, error) != STATUS_OK) {
        controller_free(controller);
        return NULL;
    }
    return controller;
}

int controller_port(const struct controller *controller) {
    return http_server_port(controller->http);
}

void controller_drain(struct controller *controller, int64_t limit_ms, void (*on_drained)(void *arg),
                      void *arg) {
    if (controller->draining)
        return;
    controller->draining = true;
    controller->on_drained = on_drained;
    controller->on_drained_arg = arg;
    controller->drain_end_ms = clock_ms() + limit_ms;
    /* Who connects meanwhile is told why it gets nothing, unless another controller has the port, too. */
    if (controller->config->controller.reuse_port)
        http_server_stop_accepting(controller->http);
    else
        http_server_wind_down(controller->http);
    loop_timer_arm(&controller->drain_timer, controller->active_count ? limit_ms : 0);
}

void controller_free(struct controller *controller) {
    if (!controller)
        return;
    query_release_all(controller);
    http_server_free(controller->http); /* ends every open request as CLIENT_GONE */
    reap_ended(controller);
    probe_release_all(controller);
    peers_stop(controller);
    loop_timer_release(&controller->tick_timer);
    loop_timer_release(&controller->drain_timer);
    loop_defer_release(&controller->reap);
    room_stop(controller);
    router_release(&controller->router);
    balancer_release(&controller->balancer);
    registry_release(&controller->registry);
    session_table_release(&controller->sessions);
    records_release(&controller->records);
    map_release(&controller->by_id);
    buf_release(&controller->scratch);
    free(controller);
}
