/* The whole path in one process: HTTP, controller, bus, workers, fake engine. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"
#include "engine/engine_fake.h"
#include "proto/openai.h"

enum { BODY_MAX = 4096 };

static void write_body(char *out, const char *prompt, const char *more) {
    snprintf(out, BODY_MAX,
             "{\"model\":\"fake\",\"seed\":7,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]%s}",
             prompt, more);
}

/* What the fake engine must have said to this body. */
static char *expected_text(const struct cluster *cluster, const char *body) {
    struct chat_request chat;
    struct error error;
    struct engine_options options = {.slots = (int32_t)cluster->config.worker.max_batch_size,
                                     .context_tokens = (int32_t)cluster->config.worker.context_tokens,
                                     .batch_tokens = (int32_t)cluster->config.worker.batch_tokens,
                                     .fake_reply_tokens = (int32_t)cluster->config.worker.fake_reply_tokens};
    assert_int_equal(openai_read_chat(body, strlen(body), 0, &chat, &error), STATUS_OK);
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, "");
    assert_true(engine_fake_reply(&chat, &options, &text) > 0);
    chat_request_release(&chat);
    return buf_take(&text);
}

static void assert_right_reply(const struct cluster *cluster, const struct call *call) {
    if (call->status != 200)
        fail_msg("%d %s", call->status, call->reply ? call->reply : "");
    char *expected = expected_text(cluster, call->body);
    char *got = reply_text(call->reply);
    assert_string_equal(got, expected);
    free(got);
    free(expected);
}

static long long status_number(struct cluster *cluster, const char *key) {
    struct call call = cluster_call(cluster, "GET", "/api/cluster/status", NULL);
    long long number = json_number(call.reply, key);
    call_release(&call);
    return number;
}

static long long worker_number(struct cluster *cluster, const char *id, const char *key) {
    char path[64];
    snprintf(path, sizeof(path), "/api/cluster/workers/%s", id);
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long number = json_number(call.reply, key);
    call_release(&call);
    return number;
}

static void nothing_is_left_behind(struct cluster *cluster) {
    assert_int_equal(status_number(cluster, "active"), 0);
    assert_int_equal(status_number(cluster, "impossibleEvents"), 0);
    assert_int_equal(status_number(cluster, "malformedMessages"), 0);
    struct call call = cluster_call(cluster, "GET", "/api/cluster/workers", NULL);
    for (const char *at = call.reply; (at = strstr(at, "\"leases\":")); at++)
        assert_int_equal(strtol(at + 9, NULL, 10), 0);
    call_release(&call);
}

static void a_reply_is_what_the_engine_said(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    write_body(body, "hello there", "");
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
    assert_right_reply(&cluster, &call);
    assert_int_equal(json_number(call.reply, "completion_tokens"), 24);
    assert_int_equal(json_number(call.reply, "total_tokens"), json_number(call.reply, "prompt_tokens") + 24);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_stream_carries_the_same_text_in_order(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    write_body(body, "hello there", ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
    assert_right_reply(&cluster, &call);
    assert_non_null(strstr(call.head, "text/event-stream"));
    assert_non_null(strstr(call.reply, "\"role\":\"assistant\""));
    assert_non_null(strstr(call.reply, "\"finish_reason\":\"stop\""));
    assert_int_equal(json_number(call.reply, "completion_tokens"), 24);
    size_t len = strlen(call.reply);
    assert_string_equal(call.reply + len - 14, "data: [DONE]\n\n");
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void many_at_once_each_get_their_own_reply_in_shared_batches(void **state) {
    (void)state;
    enum { CALLS = 32 };
    struct cluster cluster;
    static char bodies[CALLS][BODY_MAX];
    static struct call calls[CALLS];
    char prompt[64];
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 500;
    cluster_start(&cluster, 2);
    for (size_t i = 0; i < CALLS; i++) {
        snprintf(prompt, sizeof(prompt), "question number %zu", i);
        write_body(bodies[i], prompt, i % 2 ? ",\"stream\":true" : "");
        call_begin(&calls[i], &cluster, "POST", "/v1/chat/completions", bodies[i]);
    }
    call_finish(calls, CALLS);
    for (size_t i = 0; i < CALLS; i++) {
        assert_right_reply(&cluster, &calls[i]);
        call_release(&calls[i]);
    }
    assert_in_range(worker_number(&cluster, "worker-1", "batchMax"), 2, 8);
    assert_in_range(worker_number(&cluster, "worker-2", "batchMax"), 2, 8);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_failed_job_is_retried_on_another_worker(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    cluster_start(&cluster, 3);
    write_body(body, "[fail at 5]", "");
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
    assert_int_equal(call.status, 502);
    assert_non_null(strstr(call.reply, "ALL_RETRIES_EXHAUSTED"));
    assert_non_null(strstr(call.reply, "all 3 tries failed"));
    assert_non_null(strstr(call.head, "x-should-retry: false"));
    assert_int_equal(status_number(&cluster, "retries"), 2);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void set_text(char **field, const char *text) {
    free(*field);
    *field = strdup(text);
}

static bool both_are_ready(void *arg) {
    return status_number(arg, "ready") == 2;
}

/* Two calls, so that one of them begins on the worker that fails. */
static void what_is_wrong_with_the_request_is_told_though_a_try_failed_before(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    set_text(&cluster.config.balancing.strategy, "round_robin");
    set_text(&cluster.config.worker.fake_fault, "fail at 0");
    cluster_start(&cluster, 1);
    set_text(&cluster.config.worker.fake_fault, "");
    cluster.config.worker.context_tokens = 16;
    cluster_start_worker(&cluster, 1);
    cluster_run_until(&cluster, both_are_ready, &cluster, 10000);
    write_body(body, "a prompt that is longer than sixteen tokens, whatever a token is: 0 1 2 3 4 5 6 7 8 9",
               "");
    for (int i = 0; i < 2; i++) {
        struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
        assert_int_equal(call.status, 400);
        assert_non_null(strstr(call.reply, "\"code\":\"context_length_exceeded\""));
        assert_null(strstr(call.reply, "tries failed"));
        call_release(&call);
    }
    assert_true(status_number(&cluster, "retries") >= 1);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_killed_worker_costs_the_next_request_nothing(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    cluster_start(&cluster, 2);
    cluster_kill_worker(&cluster, 0);
    write_body(body, "after the kill", "");
    for (int i = 0; i < 8; i++) {
        struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
        assert_right_reply(&cluster, &call);
        call_release(&call);
    }
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static bool is_running(void *arg) {
    return worker_number(arg, "worker-1", "running") == 1;
}

static bool one_is_running(void *arg) {
    return worker_number(arg, "worker-1", "running") + worker_number(arg, "worker-2", "running") == 1;
}

static void a_job_that_dies_with_its_worker_is_done_by_another(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    struct call call = {0};
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 20000;
    cluster_start(&cluster, 2);
    write_body(body, "to be continued", "");
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", body);
    cluster_run_until(&cluster, one_is_running, &cluster, 5000);
    cluster_kill_worker(&cluster, worker_number(&cluster, "worker-1", "running") == 1 ? 0 : 1);
    call_finish(&call, 1);
    assert_right_reply(&cluster, &call);
    assert_int_equal(status_number(&cluster, "retries"), 1);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static bool is_idle(void *arg) {
    return worker_number(arg, "worker-1", "running") == 0 && worker_number(arg, "worker-1", "queued") == 0;
}

static void a_client_that_leaves_frees_its_slot_within_two_steps(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    struct call call = {.leave_after_bytes = 600};
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 5000;
    cluster.config.worker.fake_reply_tokens = 1000;
    cluster_start(&cluster, 1);
    write_body(body, "a long reply", ",\"stream\":true");
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", body);
    call_finish(&call, 1);
    cluster_run_until(&cluster, is_idle, &cluster, 3000);
    assert_in_range(worker_number(&cluster, "worker-1", "jobsCancelled"), 1, 1);
    assert_in_range(worker_number(&cluster, "worker-1", "cancelStepsMax"), 0, 2);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static bool one_was_cancelled(void *arg) {
    return status_number(arg, "cancelled") == 1;
}

static void a_client_that_reads_nothing_is_given_up(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX], request[BODY_MAX + 256];
    cluster_init(&cluster);
    cluster.config.worker.context_tokens = 65536;
    cluster_start(&cluster, 1);
    write_body(body, "[reply 60000]", ",\"stream\":true");
    snprintf(request, sizeof(request),
             "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)cluster.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    cluster_run_until(&cluster, one_was_cancelled, &cluster, 25000);
    cluster_run_until(&cluster, is_idle, &cluster, 5000);
    nothing_is_left_behind(&cluster);
    close(fd);
    cluster_stop(&cluster);
}

static void a_request_past_its_deadline_is_answered_and_stopped(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 20000;
    cluster.config.worker.fake_reply_tokens = 1000;
    cluster.config.routing.timeout_ms = 300;
    cluster_start(&cluster, 1);
    write_body(body, "too long", "");
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
    assert_int_equal(call.status, 504);
    assert_non_null(strstr(call.reply, "DEADLINE_EXCEEDED"));
    cluster_run_until(&cluster, is_idle, &cluster, 3000);
    call_release(&call);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void where_nobody_may_wait_a_full_cluster_refuses_and_says_so(void **state) {
    (void)state;
    enum { CALLS = 12 };
    struct cluster cluster;
    static char bodies[CALLS][BODY_MAX];
    static struct call calls[CALLS];
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 10000;
    cluster.config.worker.max_batch_size = 2;
    cluster.config.worker.max_depth = 4;
    cluster.config.routing.queue.requests_max = 0;
    cluster_start(&cluster, 1);
    for (size_t i = 0; i < CALLS; i++) {
        write_body(bodies[i], "crowd", "");
        call_begin(&calls[i], &cluster, "POST", "/v1/chat/completions", bodies[i]);
    }
    call_finish(calls, CALLS);
    int served = 0, refused = 0;
    for (size_t i = 0; i < CALLS; i++) {
        served += calls[i].status == 200;
        refused += calls[i].status == 503 && strstr(calls[i].head, "Retry-After: ") != NULL;
        call_release(&calls[i]);
    }
    assert_int_equal(served, 6);
    assert_int_equal(refused, 6);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void a_frozen_worker_is_suspect_and_its_job_moves(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    cluster_init(&cluster);
    cluster_start(&cluster, 2);
    transport_memory_set_frozen(cluster.workers[0].transport, true);
    write_body(body, "who answers", "");
    for (int i = 0; i < 6; i++) {
        struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
        assert_right_reply(&cluster, &call);
        call_release(&call);
    }
    struct call call = cluster_call(&cluster, "GET", "/api/cluster/workers/worker-1", NULL);
    transport_memory_set_frozen(cluster.workers[0].transport, false);
    call_release(&call);
    cluster_run_until(&cluster, is_idle, &cluster, 3000);
    nothing_is_left_behind(&cluster);
    cluster_stop(&cluster);
}

static void drained(void *arg) {
    *(bool *)arg = true;
}
static bool is_set(void *arg) {
    return *(bool *)arg;
}

static void a_draining_controller_finishes_what_runs(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    struct call call = {0};
    bool done = false;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 5000;
    cluster_start(&cluster, 1);
    write_body(body, "the last one", ",\"stream\":true");
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", body);
    cluster_run_until(&cluster, is_running, &cluster, 5000);
    controller_drain(cluster.controller, 10000, drained, &done);
    call_finish(&call, 1);
    assert_right_reply(&cluster, &call);
    cluster_run_until(&cluster, is_set, &done, 1000);
    call_release(&call);
    cluster_stop(&cluster);
}

static void a_controller_that_must_stop_still_answers(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    struct call call = {0};
    bool done = false;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 20000;
    cluster.config.worker.fake_reply_tokens = 1000;
    cluster_start(&cluster, 1);
    write_body(body, "too long to finish", "");
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", body);
    cluster_run_until(&cluster, is_running, &cluster, 5000);
    controller_drain(cluster.controller, 50, drained, &done);
    cluster_run_until(&cluster, is_set, &done, 2000);
    controller_free(cluster.controller);
    transport_close(cluster.transport);
    cluster.controller = NULL;
    cluster.transport = NULL;
    call_finish(&call, 1);
    assert_int_equal(call.status, 503);
    assert_non_null(strstr(call.reply, "CONTROLLER_DRAINING"));
    call_release(&call);
    cluster_stop(&cluster);
}

static void a_draining_worker_finishes_what_runs_and_gets_nothing_new(void **state) {
    (void)state;
    struct cluster cluster;
    char body[BODY_MAX];
    struct call call = {0};
    bool done = false;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 5000;
    cluster_start(&cluster, 1);
    write_body(body, "the last one", ",\"stream\":true");
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", body);
    cluster_run_until(&cluster, is_running, &cluster, 5000);
    worker_drain(cluster.workers[0].worker, 10000, drained, &done);
    struct call refused = cluster_call(&cluster, "POST", "/v1/chat/completions", body);
    assert_int_equal(refused.status, 503);
    call_finish(&call, 1);
    assert_right_reply(&cluster, &call);
    cluster_run_until(&cluster, is_set, &done, 1000);
    struct call gone = cluster_call(&cluster, "GET", "/api/cluster/workers/worker-1", NULL);
    assert_non_null(strstr(gone.reply, "\"status\":\"offline\""));
    call_release(&call);
    call_release(&refused);
    call_release(&gone);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_is_what_the_engine_said),
        cmocka_unit_test(a_stream_carries_the_same_text_in_order),
        cmocka_unit_test(many_at_once_each_get_their_own_reply_in_shared_batches),
        cmocka_unit_test(a_failed_job_is_retried_on_another_worker),
        cmocka_unit_test(what_is_wrong_with_the_request_is_told_though_a_try_failed_before),
        cmocka_unit_test(a_killed_worker_costs_the_next_request_nothing),
        cmocka_unit_test(a_job_that_dies_with_its_worker_is_done_by_another),
        cmocka_unit_test(a_client_that_leaves_frees_its_slot_within_two_steps),
        cmocka_unit_test(a_client_that_reads_nothing_is_given_up),
        cmocka_unit_test(a_request_past_its_deadline_is_answered_and_stopped),
        cmocka_unit_test(where_nobody_may_wait_a_full_cluster_refuses_and_says_so),
        cmocka_unit_test(a_frozen_worker_is_suspect_and_its_job_moves),
        cmocka_unit_test(a_draining_controller_finishes_what_runs),
        cmocka_unit_test(a_controller_that_must_stop_still_answers),
        cmocka_unit_test(a_draining_worker_finishes_what_runs_and_gets_nothing_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
