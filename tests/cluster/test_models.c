/* Requests for models that are not loaded, through a whole cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"
#include "exposition.h"

#define CHAT "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"[reply 3] hi\"}]}"

enum { LIMIT_MS = 10000 };

static void init(struct cluster *cluster, int64_t load_ms) {
    cluster_init(cluster);
    cluster->config.worker.pre_warming.enabled = false;
    cluster->config.worker.fake_load_ms = load_ms;
}

static void begin(struct call *call, struct cluster *cluster) {
    *call = (struct call){.leave_after_bytes = 0};
    call_begin(call, cluster, "POST", "/v1/chat/completions", CHAT);
}

static void wait_for(struct cluster *cluster, const char *path, const char *text) {
    cluster_wait_text(cluster, path, text, LIMIT_MS);
}

static long long number(struct cluster *cluster, const char *path, const char *key) {
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long value = json_number(call.reply, key);
    call_release(&call);
    return value;
}

/* Far longer than any limit on a worker's silence: waiting for a load is no silence. */
static void requests_for_an_unloaded_model_make_one_worker_load_it_and_wait(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[4];
    init(&cluster, 500);
    cluster.config.routing.ack_timeout_ms = 100;
    cluster.config.routing.first_token_timeout_ms = 100;
    cluster.config.routing.stall_timeout_ms = 100;
    cluster_start(&cluster, 2);
    wait_for(&cluster, "/v1/models", "\"id\":\"fake\"");
    for (size_t i = 0; i < 4; i++)
        begin(&calls[i], &cluster);
    call_finish(calls, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(calls[i].status, 200);
        call_release(&calls[i]);
    }
    assert_int_equal(number(&cluster, "/api/cluster/workers/worker-1", "loads") +
                         number(&cluster, "/api/cluster/workers/worker-2", "loads"),
                     1);
    assert_int_equal(number(&cluster, "/api/cluster/status", "retries"), 0);
    wait_for(&cluster, "/metrics", "\nmlx_controller_models{state=\"ready\"} 1\n");
    wait_for(&cluster, "/metrics", "\nmlx_controller_models{state=\"unloaded\"} 1\n");
    struct call metrics = cluster_call(&cluster, "GET", "/metrics", NULL);
    exposition_check(metrics.reply);
    call_release(&metrics);
    cluster_stop_idle(&cluster);
}

static void the_deadline_of_a_request_ends_its_wait_and_not_the_load(void **state) {
    (void)state;
    struct cluster cluster;
    init(&cluster, 600);
    cluster.config.routing.timeout_ms = 150;
    cluster_start(&cluster, 1);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT);
    assert_int_equal(call.status, 504);
    call_release(&call);
    wait_for(&cluster, "/api/cluster/workers/worker-1", "\"state\":\"ready\"");
    call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT);
    assert_int_equal(call.status, 200);
    call_release(&call);
    cluster_stop_idle(&cluster);
}

static void a_worker_that_dies_while_it_loads_is_replaced_by_another_one(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call call;
    init(&cluster, 300);
    cluster_start(&cluster, 1);
    begin(&call, &cluster);
    wait_for(&cluster, "/api/cluster/workers/worker-1", "\"waiting\":1");
    cluster_start_worker(&cluster, 1);
    wait_for(&cluster, "/api/cluster/status", "\"ready\":2");
    cluster_kill_worker(&cluster, 0);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200);
    call_release(&call);
    assert_int_equal(number(&cluster, "/api/cluster/workers/worker-2", "loads"), 1);
    cluster_stop_idle(&cluster);
}

static void a_draining_worker_hands_back_what_waits_for_its_load(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call call;
    init(&cluster, 1500);
    cluster_start(&cluster, 1);
    begin(&call, &cluster);
    wait_for(&cluster, "/api/cluster/workers/worker-1", "\"waiting\":1");
    cluster_start_worker(&cluster, 1);
    wait_for(&cluster, "/api/cluster/status", "\"ready\":2");
    struct call drain = cluster_call(&cluster, "POST", "/api/cluster/workers/worker-1/drain", NULL);
    assert_int_equal(drain.status, 202);
    call_release(&drain);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200);
    call_release(&call);
    struct call list = cluster_call(&cluster, "GET", "/api/controller/requests?limit=1", NULL);
    assert_non_null(strstr(list.reply, "{\"worker\":\"worker-1\",\"code\":\"WORKER_DRAINING\""));
    call_release(&list);
    cluster_stop_idle(&cluster);
}

static void where_nothing_is_loaded_on_demand_the_client_is_told_at_once(void **state) {
    (void)state;
    struct cluster cluster;
    init(&cluster, 0);
    cluster.config.worker.load_on_demand = false;
    cluster_start(&cluster, 1);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT);
    assert_int_equal(call.status, 503);
    assert_non_null(strstr(call.reply, "MODEL_NOT_LOADED"));
    assert_non_null(strstr(call.reply, "1 have it unloaded and do not load it now"));
    call_release(&call);
    cluster_stop_idle(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_for_an_unloaded_model_make_one_worker_load_it_and_wait),
        cmocka_unit_test(the_deadline_of_a_request_ends_its_wait_and_not_the_load),
        cmocka_unit_test(a_worker_that_dies_while_it_loads_is_replaced_by_another_one),
        cmocka_unit_test(a_draining_worker_hands_back_what_waits_for_its_load),
        cmocka_unit_test(where_nothing_is_loaded_on_demand_the_client_is_told_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
