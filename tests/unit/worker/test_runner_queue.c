/* Which of the jobs of a runner gets the next slot, which gives way, and when an idle engine begins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "runner_rig.h"

static void higher_priority_gets_the_next_slot(void **state) {
    (void)state;
    static const enum chat_priority priorities[] = {CHAT_PRIORITY_LOW, CHAT_PRIORITY_MEDIUM,
                                                    CHAT_PRIORITY_HIGH};
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    submit_text(0, "[reply 200]");
    gate_wait_arrival();
    for (int i = 0; i < 3; i++) {
        struct wire_job wire = harness_job(i + 1, "hello");
        wire.chat.priority = priorities[i];
        submit(&wire);
    }
    harness_wait(&t.harness, prompts_made, &(int){4});
    gate_open();
    wait_done(4);
    assert_int_equal(t.harness.seen[3].order, 2);
    assert_int_equal(t.harness.seen[2].order, 3);
    assert_int_equal(t.harness.seen[1].order, 4);
}

/* A slot and two places behind it, all taken: job 0 runs, jobs 1 and 2 wait at the given priorities. */
static void fill_up(enum chat_priority first, enum chat_priority second) {
    t.harness.config.worker.max_batch_size = 1;
    t.harness.config.worker.max_depth = 2;
    t.harness.config.worker.reject_when_full = false;
    start();
    gate_close();
    submit_text(0, "[reply 200]");
    gate_wait_arrival();
    const enum chat_priority priorities[] = {first, second};
    for (int i = 0; i < 2; i++) {
        struct wire_job wire = harness_job(i + 1, "hello");
        wire.chat.priority = priorities[i];
        submit(&wire);
    }
    harness_wait(&t.harness, prompts_made, &(int){3});
}

static void submit_at(int index, enum chat_priority priority) {
    struct wire_job wire = harness_job(index, "hello");
    wire.chat.priority = priority;
    submit(&wire);
}

static void a_full_queue_gives_up_the_youngest_of_the_lowest_level_and_says_so(void **state) {
    (void)state;
    struct error error;
    fill_up(CHAT_PRIORITY_LOW, CHAT_PRIORITY_LOW);
    assert_int_equal(runner_make_room(t.runner, CHAT_PRIORITY_LOW, &error), STATUS_WORKER_OVERLOADED);
    submit_at(3, CHAT_PRIORITY_HIGH);
    harness_wait(&t.harness, prompts_made, &(int){4});
    gate_permit(1);
    wait_done(1);
    assert_int_equal(t.harness.seen[2].status, STATUS_WORKER_OVERLOADED);
    assert_non_null(strstr(t.harness.seen[2].message, "gave way"));
    assert_int_equal(t.harness.seen[2].started, 0);
    assert_int_equal(load_now().queue.evicted, 1);
    assert_int_equal(load_now().queue.rejected, 1);
    gate_open();
    wait_done(4);
    assert_int_equal(t.harness.seen[3].order, 2);
    assert_int_equal(t.harness.seen[1].order, 3);
    assert_int_equal(t.ends[JOB_FINISHED], 3);
}

/* One step that takes long, and the queue is filled anew for each level meanwhile: nothing is lost. */
static void evicted_jobs_may_pile_up_while_a_step_runs(void **state) {
    (void)state;
    fill_up(CHAT_PRIORITY_LOW, CHAT_PRIORITY_LOW);
    for (int i = 3; i < 5; i++)
        submit_at(i, CHAT_PRIORITY_MEDIUM);
    for (int i = 5; i < 7; i++)
        submit_at(i, CHAT_PRIORITY_HIGH);
    struct error error;
    assert_int_equal(runner_make_room(t.runner, CHAT_PRIORITY_HIGH, &error), STATUS_WORKER_OVERLOADED);
    gate_open();
    wait_done(7);
    for (int i = 1; i < 5; i++)
        assert_int_equal(t.harness.seen[i].status, STATUS_WORKER_OVERLOADED);
    for (int i = 5; i < 7; i++)
        assert_int_equal(t.harness.seen[i].status, STATUS_OK);
    assert_int_equal(load_now().queue.evicted, 4);
    assert_int_equal(load_now().queued, 0);
}

static void with_one_level_nobody_gives_way_and_the_deadline_decides(void **state) {
    (void)state;
    t.harness.config.worker.priority_levels = 1;
    fill_up(CHAT_PRIORITY_LOW, CHAT_PRIORITY_HIGH);
    struct error error;
    assert_int_equal(runner_make_room(t.runner, CHAT_PRIORITY_HIGH, &error), STATUS_WORKER_OVERLOADED);
    gate_open();
    wait_done(3);
    assert_true(t.harness.seen[1].order < t.harness.seen[2].order);
}

static void the_nearer_deadline_gets_the_next_slot(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    submit_text(0, "[reply 200]");
    gate_wait_arrival();
    static const int64_t remaining_ms[] = {50000, 30000, 40000};
    for (int i = 0; i < 3; i++) {
        struct wire_job wire = harness_job(i + 1, "hello");
        wire.remaining_ms = remaining_ms[i];
        submit(&wire);
    }
    harness_wait(&t.harness, prompts_made, &(int){4});
    gate_open();
    wait_done(4);
    assert_int_equal(t.harness.seen[2].order, 2);
    assert_int_equal(t.harness.seen[3].order, 3);
    assert_int_equal(t.harness.seen[1].order, 4);
}

static void a_job_that_has_waited_passes_by_one_of_higher_priority(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    submit_text(0, "[reply 200]");
    gate_wait_arrival();
    struct wire_job wire = harness_job(1, "hello");
    wire.chat.priority = CHAT_PRIORITY_LOW;
    struct job *job = job_new(&wire, clock_ms());
    job->since_ms -= 3 * t.harness.config.worker.aging_ms;
    struct error error;
    assert_int_equal(runner_make_room(t.runner, CHAT_PRIORITY_LOW, &error), STATUS_OK);
    runner_submit(t.runner, job);
    submit_at(2, CHAT_PRIORITY_HIGH);
    harness_wait(&t.harness, prompts_made, &(int){3});
    assert_true(load_now().queue.oldest_ms[CHAT_PRIORITY_LOW] >= 3 * t.harness.config.worker.aging_ms);
    assert_int_equal(load_now().queue.depth[CHAT_PRIORITY_LOW], 1);
    assert_int_equal(load_now().queue.depth[CHAT_PRIORITY_HIGH], 1);
    gate_open();
    wait_done(3);
    assert_int_equal(t.harness.seen[1].order, 2);
}

static void positions_count_the_free_slot_and_those_who_wait_at_that_level_or_above(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    assert_int_equal(runner_position(t.runner, CHAT_PRIORITY_LOW), 0);
    gate_close();
    submit_text(0, "[reply 200]");
    gate_wait_arrival();
    harness_settle(&t.harness);
    assert_int_equal(runner_position(t.runner, CHAT_PRIORITY_LOW), 1);
    submit_at(1, CHAT_PRIORITY_MEDIUM);
    assert_int_equal(runner_position(t.runner, CHAT_PRIORITY_LOW), 2);
    assert_int_equal(runner_position(t.runner, CHAT_PRIORITY_MEDIUM), 2);
    assert_int_equal(runner_position(t.runner, CHAT_PRIORITY_HIGH), 1);
    gate_open();
    wait_done(2);
}

/* Many cancels while one step runs: each notice is read once, those of jobs that are over say nothing. */
static void all_waiting_jobs_can_be_cancelled_at_once(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    t.harness.config.worker.max_depth = JOBS_MAX - 2;
    start();
    for (int round = 0; round < 3; round++) {
        gate_close();
        struct job *jobs[20];
        for (int i = 0; i < 20; i++)
            jobs[i] = submit_text(20 * round + i, "[reply 400]");
        gate_wait_arrival();
        for (int i = 0; i < 20; i++) {
            runner_cancel(t.runner, jobs[i]);
            runner_drop(t.runner, jobs[i]);
        }
        gate_open();
        wait_done(20 * (round + 1));
    }
    assert_int_equal(t.ends[JOB_CANCELLED], 60);
    assert_int_equal(load_now().queued, 0);
}

static void start_waiting_for_two(int64_t timeout_ms) {
    t.harness.config.worker.min_batch_size = 2;
    t.harness.config.worker.batch_timeout_ms = timeout_ms;
    t.harness.config.worker.adaptive_timeout = false;
    start();
}

static void an_idle_engine_waits_for_a_second_job_if_told_to(void **state) {
    (void)state;
    start_waiting_for_two(1000);
    gate_close();
    submit_text(0, "hello");
    harness_wait(&t.harness, prompts_made, &(int){1});
    submit_text(1, "hello");
    gate_wait_arrival();
    harness_settle(&t.harness);
    assert_int_equal(gate_steps(), 0);
    assert_int_equal(t.harness.starts, 2); /* in one step, the first one */
    gate_open();
    wait_done(2);
}

static void a_lone_job_is_begun_when_the_batch_timeout_is_over(void **state) {
    (void)state;
    start_waiting_for_two(40);
    int64_t begun_ms = clock_ms();
    submit_text(0, "hello");
    wait_done(1);
    assert_true(clock_ms() - begun_ms >= 40);
    assert_int_equal(t.ends[JOB_FINISHED], 1);
}

static void the_engine_does_not_wait_until_a_job_is_too_late(void **state) {
    (void)state;
    start_waiting_for_two(1000);
    struct wire_job wire = harness_job(0, "hello");
    wire.remaining_ms = 900;
    submit(&wire);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].status, STATUS_OK);
}

static void a_job_can_be_cancelled_while_the_engine_waits_for_more(void **state) {
    (void)state;
    start_waiting_for_two(1000);
    int64_t begun_ms = clock_ms();
    struct job *job = submit_text(0, "hello");
    harness_wait(&t.harness, prompts_made, &(int){1});
    runner_cancel(t.runner, job);
    wait_done(1);
    assert_true(clock_ms() - begun_ms < 1000);
    assert_int_equal(t.harness.seen[0].started, 0);
    assert_int_equal(t.ends[JOB_CANCELLED], 1);
}

static void after_the_only_job_has_left_the_next_one_is_waited_beside_as_long_as_any(void **state) {
    (void)state;
    enum { TIMEOUT_MS = 300 };
    start_waiting_for_two(TIMEOUT_MS);
    submit_text(0, "hello");
    submit_text(1, "hello");
    wait_done(2);
    struct job *job = submit_text(2, "hello");
    harness_wait(&t.harness, prompts_made, &(int){3});
    runner_cancel(t.runner, job);
    wait_done(3);
    usleep(TIMEOUT_MS / 2 * 1000);
    int64_t begun_ms = clock_ms();
    submit_text(3, "hello");
    wait_done(4);
    assert_true(clock_ms() - begun_ms >= TIMEOUT_MS);
    assert_true(load_now().batch_wait_ms >= TIMEOUT_MS);
}

/* A prompt takes more than 0.1 s, so that the engine may wait 15 ms for the client that was served with the
 * one that is back first. On a busy machine the test itself may be later than that: then once more. */
static void clients_in_lockstep_are_served_together(void **state) {
    (void)state;
    enum { ROUNDS_MAX = JOBS_MAX / 2, APART_US = 5000 };
    bool together = false;
    t.harness.config.worker.fake_prompt_token_us = 10000;
    start();
    for (int round = 0; round < ROUNDS_MAX && !together; round++) {
        char text[64];
        snprintf(text, sizeof text, "%d is the number of the round [reply 3]", round);
        gate_close();
        int starts = t.harness.starts;
        submit_text(2 * round, text);
        usleep(APART_US);
        submit_text(2 * round + 1, text);
        gate_wait_arrival();
        harness_settle(&t.harness);
        together = t.harness.starts == starts + 2;
        gate_open();
        wait_done(2 * (round + 1));
    }
    assert_true(together);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(higher_priority_gets_the_next_slot),
        TEST(a_full_queue_gives_up_the_youngest_of_the_lowest_level_and_says_so),
        TEST(evicted_jobs_may_pile_up_while_a_step_runs),
        TEST(with_one_level_nobody_gives_way_and_the_deadline_decides),
        TEST(the_nearer_deadline_gets_the_next_slot),
        TEST(a_job_that_has_waited_passes_by_one_of_higher_priority),
        TEST(positions_count_the_free_slot_and_those_who_wait_at_that_level_or_above),
        TEST(all_waiting_jobs_can_be_cancelled_at_once),
        TEST(an_idle_engine_waits_for_a_second_job_if_told_to),
        TEST(a_lone_job_is_begun_when_the_batch_timeout_is_over),
        TEST(the_engine_does_not_wait_until_a_job_is_too_late),
        TEST(a_job_can_be_cancelled_while_the_engine_waits_for_more),
        TEST(after_the_only_job_has_left_the_next_one_is_waited_beside_as_long_as_any),
        TEST(clients_in_lockstep_are_served_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
