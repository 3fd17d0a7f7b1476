/* Several controllers on one bus: what one finds out the others know, and each owns its own requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cluster.h"

#define CHAT(prompt, more) \
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"" prompt "\"}]" more "}"

/* "Within two heartbeats" and what a busy machine adds. */
enum { SOON_MS = 2000 };

/* A question put to one controller again and again. */
struct question {
    struct cluster *cluster;
    int port;
    const char *method, *path, *wanted;
};

static bool is_answered_so(void *arg) {
    struct question *question = arg;
    struct call call =
        cluster_call_at(question->cluster, question->port, question->method, question->path, NULL);
    bool yes = call.reply && strstr(call.reply, question->wanted);
    call_release(&call);
    return yes;
}

static void wait_for(struct cluster *cluster, int port, const char *path, const char *wanted) {
    struct question question = {cluster, port, "GET", path, wanted};
    int64_t end_ms = clock_ms() + SOON_MS;
    while (!is_answered_so(&question)) {
        if (clock_ms() > end_ms)
            fail_msg("%s did not come to hold %s", path, wanted);
        loop_run_once(cluster->loop, 5);
    }
}

static void start(struct cluster *cluster, size_t workers) {
    cluster_start(cluster, workers);
    cluster_start_controller(cluster, 0);
    char wanted[32];
    snprintf(wanted, sizeof(wanted), "\"ready\":%zu", workers);
    wait_for(cluster, cluster->others[0].port, "/api/cluster/status", wanted);
    wait_for(cluster, cluster->others[0].port, "/api/cluster/status", "\"id\":\"test\"");
    wait_for(cluster, 0, "/api/cluster/status", "\"id\":\"other-1\"");
}

static int ask_at(struct cluster *cluster, int port, const char *body) {
    struct call call = cluster_call_at(cluster, port, "POST", "/v1/chat/completions", body);
    int status = call.status;
    call_release(&call);
    return status;
}

static int do_at(struct cluster *cluster, int port, const char *method, const char *path, const char *body) {
    struct call call = cluster_call_at(cluster, port, method, path, body);
    int status = call.status;
    call_release(&call);
    return status;
}

static long long metric(struct cluster *cluster, int port, const char *key) {
    struct call call = cluster_call_at(cluster, port, "GET", "/api/controller/metrics", NULL);
    const char *at = strstr(call.reply, ",\"controllers\":{");
    assert_non_null(at);
    long long number = json_number(at, key);
    call_release(&call);
    return number;
}

/* The state of the breaker of model `fake` on the worker; static text. */
static const char *model_breaker(struct cluster *cluster, int port, size_t worker) {
    static char state[32];
    char id[16];
    struct call call = cluster_call_at(cluster, port, "GET", "/api/controller/circuit-breakers", NULL);
    json_t *root = json_loads(call.reply, 0, NULL);
    snprintf(id, sizeof(id), "worker-%zu", worker);
    const json_t *models = json_object_get(json_object_get(root, id), "models");
    const char *text = json_string_value(json_object_get(json_object_get(models, "fake"), "state"));
    assert_non_null(text);
    snprintf(state, sizeof(state), "%s", text);
    json_decref(root);
    call_release(&call);
    return state;
}

static void wait_for_breaker(struct cluster *cluster, int port, size_t worker, const char *state) {
    int64_t end_ms = clock_ms() + SOON_MS;
    while (strcmp(model_breaker(cluster, port, worker), state) != 0)
        if (clock_ms() > end_ms)
            fail_msg("worker %zu is not %s", worker, state);
}

/* Requests that fail at the first controller, until a breaker opens there: of this worker. */
static size_t open_a_breaker(struct cluster *cluster, size_t workers) {
    for (int i = 0; i < 60; i++) {
        ask_at(cluster, 0, CHAT("[fail at 2]", ""));
        for (size_t w = 1; w <= workers; w++)
            if (strcmp(model_breaker(cluster, 0, w), "OPEN") == 0)
                return w;
    }
    fail_msg("no breaker opened");
    return 0;
}

static void controllers_see_each_other_come_and_go(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 1);
    cluster_start_controller(&cluster, 1);
    wait_for(&cluster, 0, "/api/cluster/status", "\"id\":\"other-2\"");
    assert_true(metric(&cluster, 0, "others") == 2);
    cluster_end_controller(&cluster, 1); /* it says so */
    int64_t begin_ms = clock_ms();
    while (metric(&cluster, 0, "others") != 1)
        assert_true(clock_ms() - begin_ms < cluster.config.controller.worker_offline_timeout_ms / 2);
    cluster_kill_controller(&cluster, 0);
    while (metric(&cluster, 0, "others") != 0) /* silent for the offline timeout */
        assert_true(clock_ms() - begin_ms < 10 * SOON_MS);
    cluster_stop(&cluster);
}

static void a_breaker_that_opens_at_one_is_open_at_the_other(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.retry.enabled = false; /* one breaker at a time */
    cluster.config.routing.breaker.failure_threshold = 3;
    start(&cluster, 4);
    size_t open = open_a_breaker(&cluster, 4);
    wait_for_breaker(&cluster, cluster.others[0].port, open, "OPEN");
    assert_true(metric(&cluster, cluster.others[0].port, "breakersAdopted") > 0);
    assert_int_equal(ask_at(&cluster, cluster.others[0].port, CHAT("well", "")), 200);
    cluster_stop(&cluster);
}

static void a_breaker_that_closes_after_probes_at_one_closes_at_the_other(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.retry.enabled = false; /* one breaker at a time */
    cluster.config.routing.breaker.failure_threshold = 3;
    cluster.config.routing.breaker.timeout_ms = 400;
    start(&cluster, 2);
    int other = cluster.others[0].port;
    size_t worker = open_a_breaker(&cluster, 2);
    wait_for_breaker(&cluster, other, worker, "OPEN");
    int64_t end_ms = clock_ms() + 5 * SOON_MS;
    while (strcmp(model_breaker(&cluster, 0, worker), "CLOSED") != 0) {
        assert_true(clock_ms() < end_ms);
        ask_at(&cluster, 0, CHAT("well again", ""));
    }
    wait_for_breaker(&cluster, other, worker, "CLOSED");
    cluster_stop(&cluster);
}

static void one_controllers_word_takes_no_more_than_half_of_the_workers(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.routing.breaker.failure_threshold = 1;
    cluster.config.routing.breaker.timeout_ms = 60000;
    cluster.config.routing.retry.budget_percent = 100;
    start(&cluster, 4);
    int other = cluster.others[0].port;
    for (int i = 0; i < 20; i++)
        ask_at(&cluster, 0, CHAT("[fail at 2]", ""));
    int64_t end_ms = clock_ms() + SOON_MS;
    while (metric(&cluster, other, "breakersRefused") == 0)
        assert_true(clock_ms() < end_ms);
    size_t closed = 0;
    for (size_t w = 1; w <= 4; w++)
        closed += strcmp(model_breaker(&cluster, other, w), "CLOSED") == 0;
    assert_int_equal(closed, 2);
    cluster_stop(&cluster);
}

static void what_an_operator_says_to_one_holds_for_all_and_can_be_taken_back_anywhere(void **state) {
    (void)state;
    static const char path[] = "/api/controller/circuit-breakers/worker-1";
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 1);
    int other = cluster.others[0].port;
    assert_int_equal(do_at(&cluster, 0, "POST", path, "{\"action\":\"open\"}"), 200);
    wait_for(&cluster, other, "/api/controller/circuit-breakers", "FORCED_OPEN");
    assert_int_equal(ask_at(&cluster, other, CHAT("hi", "")), 503);
    assert_int_equal(do_at(&cluster, other, "POST", path, "{\"action\":\"reset\"}"), 200);
    wait_for(&cluster, 0, "/api/controller/circuit-breakers", "\"worker-1\":{\"state\":\"CLOSED\"");
    assert_int_equal(ask_at(&cluster, 0, CHAT("hi", "")), 200);
    cluster_stop(&cluster);
}

static void a_controller_that_starts_learns_forced_breakers_and_sessions(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 4);
    for (int i = 0; i < 20; i++) {
        char body[256];
        snprintf(body, sizeof(body), CHAT("hi", ",\"session_id\":\"s-%d\""), i);
        assert_int_equal(ask_at(&cluster, 0, body), 200);
    }
    assert_int_equal(
        do_at(&cluster, 0, "POST", "/api/controller/circuit-breakers/worker-2", "{\"action\":\"close\"}"),
        200);
    cluster_start_controller(&cluster, 1);
    int newest = cluster.others[1].port;
    wait_for(&cluster, newest, "/api/controller/circuit-breakers", "\"worker\":{\"state\":\"FORCED_CLOSED\"");
    int64_t end_ms = clock_ms() + SOON_MS;
    while (metric(&cluster, newest, "sessionsAdopted") < 20)
        assert_true(clock_ms() < end_ms);
    cluster_stop(&cluster);
}

/* The worker that the newest ended request of this controller ran on. */
static void worker_of_last(struct cluster *cluster, int port, char out[32]) {
    static const char key[] = "\"selectedWorker\":\"";
    struct call call =
        cluster_call_at(cluster, port, "GET", "/api/controller/requests?limit=1&state=ended", NULL);
    const char *at = strstr(call.reply, key);
    assert_non_null(at);
    at += strlen(key);
    snprintf(out, 32, "%.*s", (int)strcspn(at, "\""), at);
    call_release(&call);
}

static void a_session_bound_at_one_is_honoured_at_the_other(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 8);
    int other = cluster.others[0].port;
    for (int i = 0; i < 6; i++) {
        char body[256], here[32], there[32];
        snprintf(body, sizeof(body), CHAT("hi", ",\"session_id\":\"s-%d\""), i);
        assert_int_equal(ask_at(&cluster, 0, body), 200);
        worker_of_last(&cluster, 0, here);
        int64_t end_ms = clock_ms() + SOON_MS;
        while (metric(&cluster, other, "sessionsAdopted") < i + 1)
            assert_true(clock_ms() < end_ms);
        assert_int_equal(ask_at(&cluster, other, body), 200);
        worker_of_last(&cluster, other, there);
        assert_string_equal(there, here);
    }
    cluster_stop(&cluster);
}

static void a_session_can_be_ended_at_any_controller(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 1);
    int other = cluster.others[0].port;
    assert_int_equal(ask_at(&cluster, 0, CHAT("hi", ",\"session_id\":\"s-1\"")), 200);
    assert_int_equal(do_at(&cluster, other, "DELETE", "/api/sessions/s-1", NULL), 204);
    assert_int_equal(do_at(&cluster, 0, "DELETE", "/api/sessions/s-1", NULL), 404);
    assert_int_equal(do_at(&cluster, other, "DELETE", "/api/sessions/s-1", NULL), 404);
    /* What was told before and comes late does not bring it back; a new use does. */
    assert_int_equal(ask_at(&cluster, 0, CHAT("hi", ",\"session_id\":\"s-1\"")), 200);
    assert_int_equal(do_at(&cluster, 0, "DELETE", "/api/sessions/s-1", NULL), 204);
    cluster_stop(&cluster);
}

static void the_record_of_a_request_is_found_through_every_controller(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 1);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("hi", ""));
    const char *id = strstr(call.reply, "chatcmpl-");
    char path[128];
    snprintf(path, sizeof(path), "/api/controller/requests/%.*s", (int)strcspn(id, "\""), id);
    call_release(&call);
    struct call here = cluster_call(&cluster, "GET", path, NULL);
    struct call there = cluster_call_at(&cluster, cluster.others[0].port, "GET", path, NULL);
    assert_int_equal(there.status, 200);
    json_t *owners = json_loads(here.reply, 0, NULL), *others = json_loads(there.reply, 0, NULL);
    assert_true(owners && json_equal(owners, others));
    json_decref(owners);
    json_decref(others);
    call_release(&here);
    call_release(&there);
    /* All have answered that they do not know it: nobody waits for the limit. */
    int64_t begin_ms = clock_ms();
    assert_int_equal(do_at(&cluster, 0, "GET", "/api/controller/requests/chatcmpl-never", NULL), 404);
    assert_true(clock_ms() - begin_ms < 400);
    cluster_stop(&cluster);
}

static void a_controller_that_does_not_answer_is_not_waited_for_long(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    start(&cluster, 1);
    transport_memory_set_frozen(cluster.others[0].transport, true);
    int64_t begin_ms = clock_ms();
    assert_int_equal(do_at(&cluster, 0, "GET", "/api/controller/requests/chatcmpl-never", NULL), 404);
    assert_true(clock_ms() - begin_ms < SOON_MS);
    transport_memory_set_frozen(cluster.others[0].transport, false);
    cluster_stop(&cluster);
}

static long long worker_load(struct cluster *cluster, const char *key) {
    struct call call = cluster_call(cluster, "GET", "/api/cluster/workers/worker-1", NULL);
    long long number = json_number(call.reply, key);
    call_release(&call);
    return number;
}

static bool two_run(void *arg) {
    return worker_load(arg, "running") == 2;
}
static bool one_was_orphaned(void *arg) {
    return worker_load(arg, "jobsOrphaned") == 1;
}

/* Its client must not be seen to leave first: that would cancel the job. */
static void jobs_of_a_controller_that_died_end_and_those_of_the_other_go_on(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.discovery.controller_timeout_ms = 600;
    cluster.config.worker.fake_step_us = 5000;
    start(&cluster, 1);
    static const char body[] =
        "{\"model\":\"fake\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"[reply 400]\"}]}";
    struct call calls[2] = {{.port = 0}, {.port = cluster.others[0].port}};
    for (size_t i = 0; i < 2; i++)
        call_begin(&calls[i], &cluster, "POST", "/v1/chat/completions", body);
    cluster_run_until(&cluster, two_run, &cluster, 5000);
    cluster_kill_controller(&cluster, 0);
    cluster_run_until(&cluster, one_was_orphaned, &cluster, 5000);
    call_finish(calls, 2);
    assert_non_null(strstr(calls[0].reply, "[DONE]"));
    assert_null(strstr(calls[1].reply ? calls[1].reply : "", "[DONE]"));
    call_release(&calls[0]);
    call_release(&calls[1]);
    assert_int_equal(worker_load(&cluster, "jobsFinished"), 1);
    assert_int_equal(worker_load(&cluster, "jobsCancelled"), 1);
    cluster_stop(&cluster);
}

static void a_request_to_a_controller_that_started_anew_is_not_lost(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 5000;
    start(&cluster, 1);
    int64_t end_ms = clock_ms() + 1000;
    while (clock_ms() < end_ms)
        loop_run_once(cluster.loop, 5); /* the worker has heard other-1 */
    transport_memory_set_link(cluster.workers[0].transport, false);
    cluster_kill_controller(&cluster, 0);
    cluster_start_controller(&cluster, 0);
    struct call call = {.port = cluster.others[0].port};
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", CHAT("[reply 400]", ""));
    end_ms = clock_ms() + 30;
    while (clock_ms() < end_ms)
        loop_run_once(cluster.loop, 5);
    transport_memory_set_link(cluster.workers[0].transport, true);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200);
    call_release(&call);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controllers_see_each_other_come_and_go),
        cmocka_unit_test(a_breaker_that_opens_at_one_is_open_at_the_other),
        cmocka_unit_test(a_breaker_that_closes_after_probes_at_one_closes_at_the_other),
        cmocka_unit_test(one_controllers_word_takes_no_more_than_half_of_the_workers),
        cmocka_unit_test(what_an_operator_says_to_one_holds_for_all_and_can_be_taken_back_anywhere),
        cmocka_unit_test(a_controller_that_starts_learns_forced_breakers_and_sessions),
        cmocka_unit_test(a_session_bound_at_one_is_honoured_at_the_other),
        cmocka_unit_test(a_session_can_be_ended_at_any_controller),
        cmocka_unit_test(the_record_of_a_request_is_found_through_every_controller),
        cmocka_unit_test(a_controller_that_does_not_answer_is_not_waited_for_long),
        cmocka_unit_test(jobs_of_a_controller_that_died_end_and_those_of_the_other_go_on),
        cmocka_unit_test(a_request_to_a_controller_that_started_anew_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
