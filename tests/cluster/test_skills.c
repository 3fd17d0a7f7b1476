/* Requests that only some workers can do, from the header to the worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"
#include "exposition.h"

#define CHAT(more) "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" more "}"

static void give_skills(struct cluster *cluster, const char *list) {
    char text[128];
    struct error error = {0};
    int len = snprintf(text, sizeof(text), "cluster: {worker: {skills: %s}}", list);
    if (config_read_text(&cluster->config, "test", text, (size_t)len, &error) != STATUS_OK)
        fail_msg("%s", error.message);
}

/* worker-1 has none, worker-2 is the lawyer. */
static void start(struct cluster *cluster) {
    cluster_init(cluster);
    cluster->config.routing.queue.no_workers_timeout_ms = 0;
    cluster_start(cluster, 1);
    give_skills(cluster, "[legal, fast.disk]");
    cluster_start_worker(cluster, 1);
}

static bool lawyer_is_known(void *arg) {
    struct call call = cluster_call(arg, "GET", "/api/cluster/workers", NULL);
    bool known = strstr(call.reply, "\"skills\":[\"legal\",\"fast.disk\"]") &&
                 strstr(call.reply, "\"skills\":[]") && !strstr(call.reply, "\"state\":\"loading\"");
    call_release(&call);
    return known;
}

static struct call ask(struct cluster *cluster, const char *headers, const char *body) {
    struct call call = {.headers = headers};
    call_begin(&call, cluster, "POST", "/v1/chat/completions", body);
    call_finish(&call, 1);
    return call;
}

static int status_of(struct cluster *cluster, const char *headers, const char *body) {
    struct call call = ask(cluster, headers, body);
    int status = call.status;
    call_release(&call);
    return status;
}

static long long jobs_of(struct cluster *cluster, const char *path) {
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long jobs = json_number(call.reply, "jobsSent");
    call_release(&call);
    return jobs;
}

static void only_the_skilled_worker_gets_a_request_that_requires_it(void **state) {
    (void)state;
    struct cluster cluster;
    start(&cluster);
    cluster_run_until(&cluster, lawyer_is_known, &cluster, 10000);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(status_of(&cluster, "X-Required-Skills: legal, chat\r\n", CHAT("")), 200);
        assert_int_equal(status_of(&cluster, NULL, CHAT(",\"required_skills\":[\"fast.disk\"]")), 200);
    }
    assert_int_equal(jobs_of(&cluster, "/api/cluster/workers/worker-1"), 0);
    assert_int_equal(jobs_of(&cluster, "/api/cluster/workers/worker-2"), 12);
    cluster_stop(&cluster);
}

static void a_skill_that_nobody_has_is_named_in_the_error_and_the_record(void **state) {
    (void)state;
    struct cluster cluster;
    start(&cluster);
    cluster_run_until(&cluster, lawyer_is_known, &cluster, 10000);
    struct call call = ask(&cluster, "X-Required-Skills: gpu\r\n", CHAT(",\"required_skills\":[\"legal\"]"));
    assert_int_equal(call.status, 503);
    assert_non_null(strstr(call.reply, "NO_WORKERS_AVAILABLE"));
    assert_non_null(strstr(call.reply, "legal,gpu"));
    struct call records = cluster_call(&cluster, "GET", "/api/controller/requests", NULL);
    assert_int_equal(json_number(records.reply, "unskilled"), 2);
    struct call bad = ask(&cluster, "X-Required-Skills: a,,b\r\n", CHAT(""));
    assert_int_equal(bad.status, 400);
    assert_non_null(strstr(bad.reply, "\"param\":\"X-Required-Skills\""));
    struct call metrics = cluster_call(&cluster, "GET", "/metrics", NULL);
    exposition_check(metrics.reply);
    assert_int_equal(exposition_sum(metrics.reply, "mlx_controller_skills "), 3); /* and chat */
    call_release(&call);
    call_release(&records);
    call_release(&bad);
    call_release(&metrics);
    cluster_stop(&cluster);
}

static bool one_waits(void *arg) {
    struct call call = cluster_call(arg, "GET", "/metrics", NULL);
    bool waits = exposition_sum(call.reply, "mlx_controller_waiting_requests ") == 1;
    call_release(&call);
    return waits;
}

static bool is_done(void *arg) {
    return ((const struct call *)arg)->done;
}

static void who_waits_for_a_special_worker_does_not_hold_up_others(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.worker.max_batch_size = 1;
    cluster.config.worker.fake_step_us = 2000;
    cluster.config.routing.queued_per_worker_max = 0;
    cluster_start(&cluster, 1);
    give_skills(&cluster, "[legal, fast.disk]");
    cluster_start_worker(&cluster, 1);
    cluster_run_until(&cluster, lawyer_is_known, &cluster, 10000);
    struct call calls[3] = {{.headers = "X-Required-Skills: legal\r\n"},
                            {.headers = "X-Required-Skills: legal\r\n"}};
    for (int i = 0; i < 2; i++)
        call_begin(&calls[i], &cluster, "POST", "/v1/chat/completions",
                   "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"[reply 500]\"}]}");
    cluster_run_until(&cluster, one_waits, &cluster, 10000);
    call_begin(&calls[2], &cluster, "POST", "/v1/chat/completions", CHAT(""));
    cluster_run_until(&cluster, is_done, &calls[2], 10000);
    assert_false(calls[0].done && calls[1].done);
    call_finish(calls, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(calls[i].status, 200);
        call_release(&calls[i]);
    }
    assert_int_equal(jobs_of(&cluster, "/api/cluster/workers/worker-2"), 2);
    cluster_stop(&cluster);
}

static long long waiting(struct cluster *cluster) {
    struct call call = cluster_call(cluster, "GET", "/metrics", NULL);
    long long count = (long long)exposition_sum(call.reply, "mlx_controller_waiting_requests ");
    call_release(&call);
    return count;
}

static void ignore_drained(void *arg) {
    (void)arg;
}

enum { CROWD = 36 }; /* more than are asked about at once */

static bool the_crowd_waits(void *arg) {
    return waiting(arg) == CROWD;
}

static void a_crowd_that_waits_for_a_special_worker_does_not_hold_up_who_can_use_another(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.worker.max_batch_size = 1;
    cluster.config.worker.fake_step_us = 2000;
    cluster.config.worker.context_tokens = 1 << 17; /* the occupant's reply ends only with its client */
    cluster.config.routing.queued_per_worker_max = 0;
    cluster.config.routing.queue.timeout_ms = 60000;
    cluster.config.routing.queue.no_workers_timeout_ms = 60000;
    cluster_start(&cluster, 1);
    give_skills(&cluster, "[legal, fast.disk]");
    cluster_start_worker(&cluster, 1);
    cluster_run_until(&cluster, lawyer_is_known, &cluster, 10000);
    static struct call crowd[CROWD + 1];
    for (int i = 0; i <= CROWD; i++) {
        crowd[i] = (struct call){.headers = "X-Required-Skills: legal\r\n"};
        call_begin(
            &crowd[i], &cluster, "POST", "/v1/chat/completions",
            "{\"model\":\"fake\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"[reply "
            "60000]\"}]}");
    }
    cluster_run_until(&cluster, the_crowd_waits, &cluster, 10000);
    struct call other = {.headers = "X-Required-Skills: chat\r\n"};
    call_begin(&other, &cluster, "POST", "/v1/chat/completions", CHAT(",\"stream\":true"));
    cluster_run_until(&cluster, is_done, &other, 10000);
    call_finish(&other, 1);
    assert_int_equal(other.status, 200);
    assert_int_equal(waiting(&cluster), CROWD);
    call_release(&other);
    controller_drain(cluster.controller, 0, ignore_drained, NULL);
    call_finish(crowd, CROWD + 1);
    for (int i = 0; i <= CROWD; i++)
        call_release(&crowd[i]);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_skilled_worker_gets_a_request_that_requires_it),
        cmocka_unit_test(who_waits_for_a_special_worker_does_not_hold_up_others),
        cmocka_unit_test(a_crowd_that_waits_for_a_special_worker_does_not_hold_up_who_can_use_another),
        cmocka_unit_test(a_skill_that_nobody_has_is_named_in_the_error_and_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
