/* Where requests go: sessions, circuit breakers, strategies; the whole path in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"

#define CHAT(prompt, more) \
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"" prompt "\"}]" more "}"

static int ask(struct cluster *cluster, const char *body) {
    struct call call = cluster_call(cluster, "POST", "/v1/chat/completions", body);
    int status = call.status;
    call_release(&call);
    return status;
}

static long long worker_number(struct cluster *cluster, size_t index, const char *key) {
    char path[64];
    snprintf(path, sizeof(path), "/api/cluster/workers/worker-%zu", index + 1);
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long number = json_number(call.reply, key);
    call_release(&call);
    return number;
}

/* The state of a worker's own breaker, or of a model's there; static text. */
static const char *breaker_state(struct cluster *cluster, size_t index, const char *model) {
    static char state[32];
    char worker[64], wanted[64] = "\"worker\":{\"state\":\"";
    snprintf(worker, sizeof(worker), "\"worker-%zu\":{", index + 1);
    if (model)
        snprintf(wanted, sizeof(wanted), "\"%s\":{\"state\":\"", model);
    struct call call = cluster_call(cluster, "GET", "/api/controller/circuit-breakers", NULL);
    const char *at = strstr(call.reply, worker);
    assert_non_null(at);
    at = strstr(at + strlen(worker) - 1, wanted);
    assert_non_null(at);
    at += strlen(wanted);
    snprintf(state, sizeof(state), "%.*s", (int)strcspn(at, "\""), at);
    call_release(&call);
    return state;
}

static size_t one_with_jobs(struct cluster *cluster, size_t workers) {
    size_t found = workers;
    for (size_t i = 0; i < workers; i++) {
        if (worker_number(cluster, i, "jobsSent") > 0) {
            assert_int_equal(found, workers);
            found = i;
        }
    }
    assert_true(found < workers);
    return found;
}

static void a_session_stays_with_its_worker_and_moves_when_that_dies(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 4);
    for (int i = 0; i < 12; i++)
        assert_int_equal(ask(&cluster, CHAT("hi", ",\"session_id\":\"s-1\"")), 200);
    size_t home = one_with_jobs(&cluster, 4);
    cluster_kill_worker(&cluster, home);
    for (int i = 0; i < 12; i++)
        assert_int_equal(ask(&cluster, CHAT("hi", ",\"session_id\":\"s-1\"")), 200);
    int used = 0;
    for (size_t i = 0; i < 4; i++)
        used += i != home && worker_number(&cluster, i, "jobsSent") > 0;
    assert_int_equal(used, 1);
    cluster_stop(&cluster);
}

static void a_session_can_be_ended_and_a_malformed_id_is_refused(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    assert_int_equal(ask(&cluster, CHAT("hi", ",\"session_id\":\"s-1\"")), 200);
    struct call gone = cluster_call(&cluster, "DELETE", "/api/sessions/s-1", NULL);
    struct call again = cluster_call(&cluster, "DELETE", "/api/sessions/s-1", NULL);
    struct call bad =
        cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("hi", ",\"session_id\":\"a b\""));
    assert_int_equal(gone.status, 204);
    assert_int_equal(again.status, 404);
    assert_int_equal(bad.status, 400);
    assert_non_null(strstr(bad.reply, "INVALID_SESSION_ID"));
    assert_non_null(strstr(bad.reply, "\"param\":\"session_id\""));
    /* A cache key is somebody else's word: any text will do. */
    assert_int_equal(ask(&cluster, CHAT("hi", ",\"prompt_cache_key\":\"user 7 / chat 9\"")), 200);
    call_release(&gone);
    call_release(&again);
    call_release(&bad);
    cluster_stop(&cluster);
}

/* Failing requests until the model's breaker opens on a worker. */
static size_t open_one(struct cluster *cluster, size_t workers) {
    for (int i = 0; i < 60; i++) {
        ask(cluster, CHAT("[fail at 2]", ""));
        for (size_t w = 0; w < workers; w++)
            if (strcmp(breaker_state(cluster, w, "fake"), "OPEN") == 0)
                return w;
    }
    fail_msg("no breaker opened");
    return 0;
}

static bool is_closed(void *arg) {
    struct cluster *cluster = arg;
    for (size_t i = 0; i < 4; i++) {
        ask(cluster, CHAT("well again", ""));
        if (strcmp(breaker_state(cluster, i, "fake"), "CLOSED") != 0)
            return false;
    }
    return true;
}

static void a_failing_worker_is_left_alone_and_comes_back_after_its_probes(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.retry.enabled = false;
    cluster.config.routing.breaker.failure_threshold = 3;
    cluster.config.routing.breaker.timeout_ms = 1000;
    cluster_start(&cluster, 4);
    size_t broken = open_one(&cluster, 4);
    long long before = worker_number(&cluster, broken, "jobsSent");
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(&cluster, CHAT("a good one", "")), 200);
    assert_int_equal(worker_number(&cluster, broken, "jobsSent"), before);
    cluster_run_until(&cluster, is_closed, &cluster, 20000);
    cluster_stop(&cluster);
}

static void a_broken_model_leaves_the_other_models_of_its_worker_alone(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.retry.enabled = false;
    cluster.config.routing.breaker.failure_threshold = 3;
    assert_true(config_add_model(&cluster.config, "other", "other.gguf"));
    cluster_start(&cluster, 4);
    size_t broken = open_one(&cluster, 4);
    assert_string_equal(breaker_state(&cluster, broken, NULL), "CLOSED");
    assert_string_equal(breaker_state(&cluster, broken, "other"), "CLOSED");
    long long before = worker_number(&cluster, broken, "jobsSent");
    for (int i = 0; i < 60; i++)
        assert_int_equal(
            ask(&cluster, "{\"model\":\"other\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"),
            200);
    assert_true(worker_number(&cluster, broken, "jobsSent") > before);
    assert_string_equal(breaker_state(&cluster, broken, "fake"), "OPEN");
    cluster_stop(&cluster);
}

static void the_last_worker_is_never_left_alone(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.retry.enabled = false;
    cluster.config.routing.breaker.failure_threshold = 2;
    cluster_start(&cluster, 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&cluster, CHAT("[fail at 2]", "")), 500);
    assert_int_equal(ask(&cluster, CHAT("a good one", "")), 200);
    cluster_stop(&cluster);
}

static void the_operator_shuts_a_worker_out_and_lets_it_in_again(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 2);
    static const char path[] = "/api/controller/circuit-breakers/worker-1";
    struct call open = cluster_call(&cluster, "POST", path, "{\"action\":\"open\"}");
    assert_int_equal(open.status, 200);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(&cluster, CHAT("hi", "")), 200);
    assert_int_equal(worker_number(&cluster, 0, "jobsSent"), 0);
    struct call bad = cluster_call(&cluster, "POST", path, "{\"action\":\"explode\"}");
    struct call nobody =
        cluster_call(&cluster, "POST", "/api/controller/circuit-breakers/nobody", "{\"action\":\"reset\"}");
    struct call reset = cluster_call(&cluster, "POST", path, "{\"action\":\"reset\"}");
    assert_int_equal(bad.status, 400);
    assert_int_equal(nobody.status, 404);
    assert_int_equal(reset.status, 200);
    for (int i = 0; i < 30; i++)
        assert_int_equal(ask(&cluster, CHAT("hi", "")), 200);
    assert_true(worker_number(&cluster, 0, "jobsSent") > 0);
    call_release(&open);
    call_release(&bad);
    call_release(&nobody);
    call_release(&reset);
    cluster_stop(&cluster);
}

static void the_operator_shuts_a_model_of_a_worker_out(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 2);
    static const struct {
        const char *body;
        int status;
    } calls[] = {{"{\"action\":\"open\",\"model\":\"nothing\"}", 404},
                 {"{\"action\":\"open\",\"model\":7}", 400},
                 {"[]", 400},
                 {"{\"action\":\"open\",\"model\":\"fake\"}", 200}};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct call call =
            cluster_call(&cluster, "POST", "/api/controller/circuit-breakers/worker-1", calls[i].body);
        assert_int_equal(call.status, calls[i].status);
        call_release(&call);
    }
    assert_string_equal(breaker_state(&cluster, 0, "fake"), "FORCED_OPEN");
    assert_string_equal(breaker_state(&cluster, 0, NULL), "CLOSED");
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(&cluster, CHAT("hi", "")), 200);
    assert_int_equal(worker_number(&cluster, 0, "jobsSent"), 0);
    cluster_stop(&cluster);
}

static bool is_gone(void *arg) {
    struct call call = cluster_call(arg, "GET", "/api/cluster/workers/worker-1", NULL);
    bool gone = strstr(call.reply, "\"status\":\"offline\"") != NULL;
    call_release(&call);
    return gone;
}

static bool is_back(void *arg) {
    return !is_gone(arg);
}

/* What a POST to the worker's address is answered with. */
static void check_told(struct cluster *cluster, const char *rest, int status, const char *expected) {
    char path[64];
    snprintf(path, sizeof(path), "/api/cluster/workers/%s", rest);
    struct call call = cluster_call(cluster, "POST", path, NULL);
    assert_int_equal(call.status, status);
    assert_non_null(strstr(call.reply, expected));
    call_release(&call);
}

static void the_operator_drains_a_worker_and_calls_it_back(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 2);
    check_told(&cluster, "worker-1/drain", 202, "{\"draining\":true}");
    cluster_run_until(&cluster, is_gone, &cluster, 5000);
    int64_t sent = worker_number(&cluster, 0, "jobsSent");
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(&cluster, CHAT("hi", "")), 200);
    assert_int_equal(worker_number(&cluster, 0, "jobsSent"), sent);
    check_told(&cluster, "worker-1/resume", 202, "{\"draining\":false}");
    cluster_run_until(&cluster, is_back, &cluster, 5000);
    for (int i = 0; i < 1000 && worker_number(&cluster, 0, "jobsSent") == sent; i++) /* it starts slowly */
        assert_int_equal(ask(&cluster, CHAT("hi", "")), 200);
    assert_true(worker_number(&cluster, 0, "jobsSent") > sent);
    check_told(&cluster, "worker-1/resume", 202, "{\"draining\":false}"); /* it is as it should be */
    cluster_stop(&cluster);
}

static void what_cannot_be_told_to_a_worker_is_refused(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    check_told(&cluster, "worker-9/drain", 404, "nobody listens as worker worker-9");
    check_told(&cluster, "worker-9/resume", 404, "\"code\":\"WORKER_NOT_FOUND\"");
    check_told(&cluster, "worker*/drain", 404, "cannot be the id of a worker");
    check_told(&cluster, "worker-1", 404, "/api/cluster/workers/ID/resume");
    check_told(&cluster, "worker-1/drains", 404, "\"code\":\"ROUTE_NOT_FOUND\"");
    transport_memory_set_frozen(cluster.workers[0].transport, true);
    check_told(&cluster, "worker-1/drain", 504, "has not answered within 500 ms");
    transport_memory_set_frozen(cluster.workers[0].transport, false);
    cluster_run_until(&cluster, is_gone, &cluster, 5000);
    cluster_stop(&cluster);
}

static void every_strategy_serves(void **state) {
    (void)state;
    const char *const strategies[] = {"round_robin",  "least_requests", "weighted_random",
                                      "skills_based", "smart",          "prefix_aware"};
    for (size_t s = 0; s < sizeof(strategies) / sizeof(strategies[0]); s++) {
        struct cluster cluster;
        cluster_init(&cluster);
        free(cluster.config.balancing.strategy);
        cluster.config.balancing.strategy = strdup(strategies[s]);
        cluster_start(&cluster, 2);
        for (int i = 0; i < 8; i++)
            assert_int_equal(ask(&cluster, CHAT("hi", "")), 200);
        assert_int_equal(worker_number(&cluster, 0, "jobsSent") + worker_number(&cluster, 1, "jobsSent"), 8);
        cluster_stop(&cluster);
    }
}

static bool is_missed(void *arg) {
    struct call call = cluster_call(arg, "GET", "/api/cluster/status", NULL);
    bool missed = strstr(call.reply, "\"expectedWorkers\":{\"expected\":2,\"missing\":[\"gpu-*\"]}") != NULL;
    call_release(&call);
    return missed;
}

static void an_expected_worker_that_is_not_there_is_missed(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    struct config_list *expected = &cluster.config.discovery.expected_workers;
    expected->items[expected->count++] = strdup("worker-*");
    expected->items[expected->count++] = strdup("gpu-*");
    cluster.config.discovery.expected_grace_ms = 200;
    cluster_start(&cluster, 1);
    cluster_run_until(&cluster, is_missed, &cluster, 5000);
    struct call metrics = cluster_call(&cluster, "GET", "/metrics", NULL);
    assert_non_null(strstr(metrics.reply, "mlx_controller_workers_missing 1\n"));
    assert_non_null(strstr(metrics.reply, "mlx_controller_worker_missing{worker=\"gpu-*\"} 1\n"));
    assert_non_null(strstr(metrics.reply, "mlx_controller_worker_missing{worker=\"worker-*\"} 0\n"));
    call_release(&metrics);
    cluster_stop(&cluster);
}

static void what_is_not_on_the_list_of_errors_is_not_retried(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    struct config_list *on_errors = &cluster.config.routing.retry.on_errors;
    for (size_t i = 0; i < on_errors->count; i++)
        free(on_errors->items[i]);
    on_errors->items[0] = strdup("WORKER_TIMEOUT");
    on_errors->count = 1;
    cluster_start(&cluster, 2);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("[fail at 2]", ""));
    assert_int_equal(call.status, 500);
    assert_non_null(strstr(call.reply, "\"code\":\"ENGINE_ERROR\""));
    assert_null(strstr(strstr(call.reply, "\"tries\""), "},{"));
    call_release(&call);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_stays_with_its_worker_and_moves_when_that_dies),
        cmocka_unit_test(a_session_can_be_ended_and_a_malformed_id_is_refused),
        cmocka_unit_test(a_failing_worker_is_left_alone_and_comes_back_after_its_probes),
        cmocka_unit_test(a_broken_model_leaves_the_other_models_of_its_worker_alone),
        cmocka_unit_test(the_last_worker_is_never_left_alone),
        cmocka_unit_test(the_operator_shuts_a_worker_out_and_lets_it_in_again),
        cmocka_unit_test(the_operator_shuts_a_model_of_a_worker_out),
        cmocka_unit_test(the_operator_drains_a_worker_and_calls_it_back),
        cmocka_unit_test(what_cannot_be_told_to_a_worker_is_refused),
        cmocka_unit_test(every_strategy_serves),
        cmocka_unit_test(an_expected_worker_that_is_not_there_is_missed),
        cmocka_unit_test(what_is_not_on_the_list_of_errors_is_not_retried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
