/* What a worker tells of itself: its queue, its progress, its statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker_rig.h"

static void accepted_jobs_learn_their_place_and_the_books_tell_of_the_queue(void **state) {
    (void)state;
    w.harness.config.worker.max_batch_size = 1;
    begin_ready();
    gate_close();
    for (int i = 0; i < 3; i++) {
        send_text(i, "fake", "[reply 40]");
        harness_wait_starts(&w.harness, 1);
        harness_settle(&w.harness);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(w.harness.seen[i].position, i);
    assert_int_equal(w.harness.seen[0].wait_ms, 0);
    assert_int_equal(w.harness.seen[2].wait_ms, -1); /* nothing has ended yet */
    struct worker_queue queue = info_now().load.queue;
    assert_int_equal(queue.enqueued, 3);
    assert_int_equal(queue.depth[CHAT_PRIORITY_MEDIUM], 2);
    assert_int_equal(queue.depth[CHAT_PRIORITY_HIGH] + queue.depth[CHAT_PRIORITY_LOW], 0);
    assert_int_equal(queue.next_wait_ms, -1);
    send_cancel(2);
    harness_settle(&w.harness);
    gate_open();
    harness_wait_ends(&w.harness, 3);
    wait_accounted();
    queue = info_now().load.queue;
    assert_int_equal(queue.cancelled, 1);
    assert_int_equal(queue.depth[CHAT_PRIORITY_MEDIUM], 0);
    assert_int_equal(queue.next_wait_ms, 0);
    gate_close();
    for (int i = 3; i < 5; i++) {
        send_text(i, "fake", "[reply 40]");
        harness_wait_starts(&w.harness, 3);
    }
    harness_settle(&w.harness);
    assert_true(w.harness.seen[4].wait_ms > 0); /* two have ended: that is a rate */
    assert_true(info_now().load.queue.next_wait_ms > 0);
    gate_open();
    harness_wait_ends(&w.harness, 5);
}

static void progress_grows_with_the_steps(void **state) {
    (void)state;
    begin_at_gate("[reply 400]");
    uint64_t before = info_now().load.progress;
    assert_int_equal(info_now().load.running, 1);
    gate_permit(3);
    gate_wait_arrival();
    assert_int_equal(info_now().load.progress, before + 1);
    assert_int_equal(info_now().load.progress, before + 1); /* nothing was done since */
    assert_int_equal(info_now().load.batch_max, 1);
    gate_open();
    harness_wait_ends(&w.harness, 1);
}

static bool has_progressed(void *arg) {
    return info_now().load.progress > *(const uint64_t *)arg;
}

static void a_model_that_stands_still_does_not_hide_behind_another(void **state) {
    (void)state;
    w.harness.config.worker.fake_step_us = 1000;
    harness_add_model(&w.harness, "second");
    begin_ready();
    struct wire_job stands = harness_job(0, "[slow x8000] [reply 9]"), runs = harness_job(1, "[reply 400]");
    config_set_text(&stands.chat.model, "second");
    send_job(&stands);
    harness_wait_starts(&w.harness, 1);
    send_job(&runs);
    harness_wait_tokens(&w.harness, 1, 10);
    uint64_t before = info_now().load.progress;
    harness_wait_tokens(&w.harness, 1, 100);
    assert_int_equal(info_now().load.progress, before);
    send_cancel(0); /* which ends the step that takes so long */
    harness_wait(&w.harness, has_progressed, &before);
    harness_wait_ends(&w.harness, 2);
}

static void statistics_are_answered(void **state) {
    (void)state;
    begin_ready();
    send_text(0, "fake", "[reply 9]");
    harness_wait_ends(&w.harness, 1);
    send_control(WIRE_CONTROL_STATS);
    wait_count(&w.replies, 1);
    assert_string_equal(w.info.id, "w1");
    assert_int_equal(w.info.load.generated_tokens, 9);
    assert_int_equal(w.info.load.prompt_tokens, w.harness.seen[0].prompt_tokens);
}

static bool is_told(void *arg) {
    (void)arg;
    return w.told.len > 0;
}

/* The worker's reply to a control message. */
static const char *ask(const char *op) {
    char body[64];
    int len = snprintf(body, sizeof body, "{\"v\":1,\"op\":\"%s\"}", op);
    buf_clear(&w.told);
    send_to_worker("worker.w1.control", "reply.c0.told", body, (size_t)len);
    harness_wait(&w.harness, is_told, NULL);
    return w.told.data;
}

static void each_part_of_the_statistics_is_answered_alone(void **state) {
    (void)state;
    begin_ready();
    send_text(0, "fake", "[reply 9]");
    harness_wait_ends(&w.harness, 1);
    wait_accounted();
    assert_non_null(strstr(ask("getWorkerStats"), "\"generatedTokens\":9,"));
    assert_non_null(strstr(w.told.data, "\"hostname\":"));
    assert_non_null(strstr(ask("getBatchStats"), "\"running\":0,\"slots\":4,\"steps\":"));
    assert_non_null(strstr(w.told.data, "\"avgBatchSize\":1.000,\"batchMax\":1,"));
    assert_non_null(strstr(w.told.data, "\"generatedTokens\":9}"));
    assert_non_null(strstr(ask("getResourceStats"), "\"level\":\"ok\","));
    assert_non_null(strstr(w.told.data, "\"kvCellsUsed\":0,"));
    assert_non_null(strstr(ask("getQueueStats"), "\"depth\":0,\"maxDepth\":8,\"isFull\":false,"));
    assert_non_null(strstr(w.told.data, "\"enqueued\":1,\"rejected\":0,"));
}

/* 4 run and 8 wait. */
static void a_worker_says_that_its_queue_is_full_when_it_refuses_the_next_job(void **state) {
    (void)state;
    begin_ready();
    gate_close();
    for (int i = 0; i < 11; i++)
        send_text(i, "fake", "hello");
    harness_wait_starts(&w.harness, 1);
    harness_settle(&w.harness);
    assert_non_null(strstr(ask("getQueueStats"), "\"isFull\":false,"));
    send_text(11, "fake", "hello");
    assert_non_null(strstr(ask("getQueueStats"), "\"isFull\":true,"));
    assert_non_null(strstr(w.told.data, "\"rejected\":0,"));
    send_text(12, "fake", "hello");
    assert_non_null(strstr(ask("getQueueStats"), "\"rejected\":1,"));
    gate_open();
    harness_wait_ends(&w.harness, 13);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, worker_rig_setup, worker_rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(accepted_jobs_learn_their_place_and_the_books_tell_of_the_queue),
        TEST(progress_grows_with_the_steps),
        TEST(a_model_that_stands_still_does_not_hide_behind_another),
        TEST(statistics_are_answered),
        TEST(each_part_of_the_statistics_is_answered_alone),
        TEST(a_worker_says_that_its_queue_is_full_when_it_refuses_the_next_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
