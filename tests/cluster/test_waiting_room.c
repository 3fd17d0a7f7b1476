/* Requests that no worker can take at once: who waits, who is served next, who is refused and with what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster.h"

#define CHAT(prompt, more) \
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"" prompt "\"}]" more "}"

static long long number(struct cluster *cluster, const char *path, const char *key) {
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long value = json_number(call.reply, key);
    call_release(&call);
    return value;
}

/* The first "requests" behind "waitingRoom". */
static long long waiting(struct cluster *cluster) {
    struct call call = cluster_call(cluster, "GET", "/api/controller/metrics", NULL);
    long long value = json_number(strstr(call.reply, "\"waitingRoom\""), "requests");
    call_release(&call);
    return value;
}

struct wanted {
    struct cluster *cluster;
    long long waiting;
};
static bool that_many_wait(void *arg) {
    struct wanted *wanted = arg;
    return waiting(wanted->cluster) == wanted->waiting;
}
static void wait_for_waiting(struct cluster *cluster, long long count) {
    struct wanted wanted = {cluster, count};
    cluster_run_until(cluster, that_many_wait, &wanted, 5000);
}

static void begin(struct call *call, struct cluster *cluster, const char *body) {
    call->leave_after_bytes = 0;
    call->headers = NULL;
    call_begin(call, cluster, "POST", "/v1/chat/completions", body);
}

static bool is_idle(void *arg) {
    return number(arg, "/api/cluster/status", "active") == 0;
}

/* One slot, no place behind it. */
static void one_place(struct cluster *cluster) {
    cluster_init(cluster);
    cluster->config.worker.max_batch_size = 1;
    cluster->config.worker.max_depth = 0;
    cluster->config.worker.fake_step_us = 2000;
    cluster->config.worker.context_tokens = 1 << 17; /* the occupant's reply ends only with its client */
    cluster->config.routing.queue.timeout_ms = 25000;
}

/* Takes the only slot until its client is told to leave. */
static void occupy(struct call *call, struct cluster *cluster) {
    call->headers = NULL;
    call->leave_after_bytes = 0;
    call_begin(call, cluster, "POST", "/v1/chat/completions", CHAT("[reply 60000] long", ",\"stream\":true"));
    struct wanted wanted = {cluster, 0};
    cluster_run_until(cluster, that_many_wait, &wanted, 5000);
    while (number(cluster, "/api/cluster/workers/worker-1", "running") != 1)
        loop_run_once(cluster->loop, 5);
}

static void nothing_is_left_behind(struct cluster *cluster) {
    cluster_run_until(cluster, is_idle, cluster, 10000);
    assert_int_equal(waiting(cluster), 0);
    assert_int_equal(number(cluster, "/api/cluster/status", "impossibleEvents"), 0);
    assert_true(number(cluster, "/api/cluster/workers", "leases") <= 0); /* -1: there is no worker */
}

static void more_than_fits_waits_and_is_served(void **state) {
    (void)state;
    enum { CALLS = 12 };
    struct cluster cluster;
    static struct call calls[CALLS];
    one_place(&cluster);
    cluster.config.worker.fake_reply_tokens = 8;
    cluster_start(&cluster, 2);
    for (size_t i = 0; i < CALLS; i++)
        begin(&calls[i], &cluster, CHAT("crowd", ""));
    call_finish(calls, CALLS);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(calls[i].status, 200);
        call_release(&calls[i]);
    }
    struct call metrics = cluster_call(&cluster, "GET", "/api/controller/metrics", NULL);
    assert_true(json_number(metrics.reply, "entered") >= CALLS - 2 - 2);
    call_release(&metrics);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_full_room_refuses_with_the_time_to_come_back(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[2];
    one_place(&cluster);
    cluster.config.routing.queue.requests_max = 1;
    cluster_start(&cluster, 1);
    occupy(&calls[0], &cluster);
    begin(&calls[1], &cluster, CHAT("[reply 2] waits", ""));
    wait_for_waiting(&cluster, 1);
    struct call refused = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("one too many", ""));
    assert_int_equal(refused.status, 503);
    assert_non_null(strstr(refused.reply, "\"code\":\"CONTROLLER_OVERLOADED\""));
    /* Nothing has ended in ten seconds and one is ahead: 20 s and up to a quarter more. */
    const char *header = strcasestr(refused.head, "\nRetry-After: ");
    const char *header_ms = strcasestr(refused.head, "\nretry-after-ms: ");
    assert_non_null(header);
    assert_non_null(header_ms);
    assert_in_range(strtol(header + 14, NULL, 10), 20, 25);
    assert_in_range(strtol(header_ms + 17, NULL, 10), 20000, 25000);
    call_release(&refused);
    calls[0].leave = true;
    call_finish(calls, 2);
    assert_int_equal(calls[1].status, 200);
    for (size_t i = 0; i < 2; i++)
        call_release(&calls[i]);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void who_has_waited_for_long_enough_is_told_why(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call occupant;
    one_place(&cluster);
    cluster.config.routing.queue.timeout_ms = 300;
    cluster_start(&cluster, 1);
    occupy(&occupant, &cluster);
    struct call worker = cluster_call(&cluster, "GET", "/api/cluster/workers/worker-1", NULL);
    assert_non_null(strstr(worker.reply, "\"clients\":[{\"controller\":\"test\",\"jobs\":1}]"));
    call_release(&worker);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("waits in vain", ""));
    assert_int_equal(call.status, 503);
    assert_non_null(strstr(call.reply, "\"code\":\"WORKER_OVERLOADED\""));
    assert_in_range(json_number(call.reply, "waitedMs"), 300, 5000);
    assert_non_null(strcasestr(call.head, "\nRetry-After: "));
    call_release(&call);
    occupant.leave = true;
    call_finish(&occupant, 1);
    call_release(&occupant);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_request_waits_for_the_first_worker(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call call;
    cluster_init(&cluster);
    cluster.config.routing.queue.no_workers_timeout_ms = 10000;
    cluster_start(&cluster, 0);
    begin(&call, &cluster, CHAT("hi", ""));
    wait_for_waiting(&cluster, 1);
    cluster_start_worker(&cluster, 0);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void without_workers_it_does_not_wait_for_long(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.queue.no_workers_timeout_ms = 200;
    cluster_start(&cluster, 0);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("hi", ""));
    assert_int_equal(call.status, 503);
    assert_non_null(strstr(call.reply, "\"code\":\"NO_WORKERS_AVAILABLE\""));
    assert_in_range(json_number(call.reply, "waitedMs"), 200, 5000);
    assert_non_null(strcasestr(call.head, "\nRetry-After: "));
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void behind_others_it_does_not_wait_longer_for_nobody(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[2];
    cluster_init(&cluster);
    cluster.config.routing.queue.no_workers_timeout_ms = 300;
    cluster.config.routing.queue.timeout_ms = 20000;
    cluster_start(&cluster, 0);
    begin(&calls[0], &cluster, CHAT("first", ""));
    wait_for_waiting(&cluster, 1);
    begin(&calls[1], &cluster, CHAT("second", ""));
    call_finish(calls, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(calls[i].status, 503);
        assert_in_range(json_number(calls[i].reply, "waitedMs"), 300, 5000);
        call_release(&calls[i]);
    }
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_request_waits_for_the_link_to_nats(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call call;
    cluster_init(&cluster);
    cluster.config.routing.queue.no_workers_timeout_ms = 10000;
    cluster_start(&cluster, 1);
    transport_memory_set_link(cluster.transport, false);
    begin(&call, &cluster, CHAT("hi", ""));
    wait_for_waiting(&cluster, 1);
    transport_memory_set_link(cluster.transport, true);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_high_priority_puts_out_a_low_one_which_is_answered(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[3];
    one_place(&cluster);
    cluster.config.routing.queue.requests_max = 1;
    cluster_start(&cluster, 1);
    occupy(&calls[0], &cluster);
    begin(&calls[1], &cluster, CHAT("[reply 2] low", ",\"priority\":\"low\""));
    wait_for_waiting(&cluster, 1);
    begin(&calls[2], &cluster, CHAT("[reply 2] high", ",\"priority\":\"high\""));
    call_finish(&calls[1], 1);
    assert_int_equal(calls[1].status, 503);
    assert_non_null(strstr(calls[1].reply, "higher priority"));
    assert_int_equal(waiting(&cluster), 1);
    calls[0].leave = true;
    call_finish(&calls[2], 1);
    assert_int_equal(calls[2].status, 200);
    call_finish(&calls[0], 1);
    for (size_t i = 0; i < 3; i++)
        call_release(&calls[i]);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

/* By the order in which they ended: the list has the newest first. */
static void the_higher_priority_is_served_first_and_nobody_overtakes(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[4];
    static const char *const bodies[] = {CHAT("[reply 2] a", ",\"priority\":\"low\""),
                                         CHAT("[reply 2] b", ",\"priority\":\"medium\""),
                                         CHAT("[reply 2] c", ",\"priority\":\"high\"")};
    static const char *const headers[] = {"X-Request-Id: low\r\n", "X-Request-Id: medium\r\n",
                                          "X-Request-Id: high\r\n"};
    one_place(&cluster);
    cluster_start(&cluster, 1);
    occupy(&calls[3], &cluster);
    for (int i = 0; i < 3; i++) {
        calls[i].headers = headers[i];
        calls[i].leave_after_bytes = 0;
        call_begin(&calls[i], &cluster, "POST", "/v1/chat/completions", bodies[i]);
        wait_for_waiting(&cluster, i + 1);
    }
    calls[3].leave = true;
    call_finish(calls, 4);
    struct call list = cluster_call(&cluster, "GET", "/api/controller/requests?state=succeeded", NULL);
    const char *low = strstr(list.reply, "\"low\""), *medium = strstr(list.reply, "\"medium\""),
               *high = strstr(list.reply, "\"high\"");
    assert_true(low && medium && high && low < medium && medium < high);
    call_release(&list);
    for (size_t i = 0; i < 4; i++)
        call_release(&calls[i]);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_deadline_ends_the_wait(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[2];
    one_place(&cluster);
    cluster_start(&cluster, 1);
    occupy(&calls[0], &cluster);
    calls[1].leave_after_bytes = 0;
    calls[1].headers = "X-Request-Timeout-Ms: 250\r\n";
    call_begin(&calls[1], &cluster, "POST", "/v1/chat/completions", CHAT("hi", ""));
    call_finish(&calls[1], 1);
    assert_int_equal(calls[1].status, 504);
    assert_non_null(strstr(calls[1].reply, "\"code\":\"DEADLINE_EXCEEDED\""));
    assert_int_equal(json_number(calls[1].reply, "timeoutMs"), 250);
    calls[0].leave = true;
    call_finish(&calls[0], 1);
    call_release(&calls[0]);
    call_release(&calls[1]);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_client_can_lower_its_time_but_not_raise_it(void **state) {
    (void)state;
    static const char *const bad[] = {"0", "-5", "1.5", "ten", "10 ", "1234567890123"};
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.timeout_ms = 400;
    cluster.config.worker.fake_step_us = 50000;
    cluster_start(&cluster, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char header[64];
        static struct call call;
        snprintf(header, sizeof(header), "X-Request-Timeout-Ms: %s\r\n", bad[i]);
        call.headers = header;
        call_begin(&call, &cluster, "POST", "/v1/chat/completions", CHAT("hi", ""));
        call_finish(&call, 1);
        if (strcmp(bad[i], "10 ") == 0) { /* HTTP takes spaces after a value away */
            assert_int_equal(call.status, 504);
        } else {
            assert_int_equal(call.status, 400);
            assert_non_null(strstr(call.reply, "\"param\":\"X-Request-Timeout-Ms\""));
        }
        call_release(&call);
    }
    static struct call more;
    more.headers = "X-Request-Timeout-Ms: 100000\r\n";
    call_begin(&more, &cluster, "POST", "/v1/chat/completions", CHAT("[reply 100] hi", ""));
    call_finish(&more, 1);
    assert_int_equal(more.status, 504);
    assert_int_equal(json_number(more.reply, "timeoutMs"), 400);
    call_release(&more);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void who_leaves_gives_up_the_place(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.queue.no_workers_timeout_ms = 60000;
    cluster.config.routing.timeout_ms = 300;
    cluster_start(&cluster, 0);
    static struct call call;
    begin(&call, &cluster, CHAT("hi", ""));
    wait_for_waiting(&cluster, 1);
    call_finish(&call, 1);
    assert_int_equal(call.status, 504);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_fits_waits_and_is_served),
        cmocka_unit_test(a_full_room_refuses_with_the_time_to_come_back),
        cmocka_unit_test(who_has_waited_for_long_enough_is_told_why),
        cmocka_unit_test(a_request_waits_for_the_first_worker),
        cmocka_unit_test(without_workers_it_does_not_wait_for_long),
        cmocka_unit_test(behind_others_it_does_not_wait_longer_for_nobody),
        cmocka_unit_test(a_request_waits_for_the_link_to_nats),
        cmocka_unit_test(a_high_priority_puts_out_a_low_one_which_is_answered),
        cmocka_unit_test(the_higher_priority_is_served_first_and_nobody_overtakes),
        cmocka_unit_test(a_deadline_ends_the_wait),
        cmocka_unit_test(a_client_can_lower_its_time_but_not_raise_it),
        cmocka_unit_test(who_leaves_gives_up_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
