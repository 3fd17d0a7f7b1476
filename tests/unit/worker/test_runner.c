#include "worker/runner.h"

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
#include "script.h"

/* Submits jobs 0..count-1 whose texts differ and compares every reply with what the engine alone would say.
 */
static struct buf expected[JOBS_MAX];
static int32_t expected_tokens[JOBS_MAX];

static void submit_expected(int index, struct wire_job *wire) {
    expected[index] = harness_expected(&t.harness, wire, &expected_tokens[index]);
    submit(wire);
}

/* Jobs 0..count-1 with texts of their own, long enough that none ends while others are still being started.
 */
static void submit_some(int count) {
    for (int i = 0; i < count; i++) {
        char text[64];
        snprintf(text, sizeof text, "question number %d [reply %d]", i, 60 + i);
        struct wire_job wire = harness_job(i, text);
        submit_expected(i, &wire);
    }
}

static void check_text(int index) {
    const struct seen *seen = &t.harness.seen[index];
    assert_int_equal(seen->status, STATUS_OK);
    assert_int_equal(seen->ended, 1);
    assert_int_equal(seen->tokens, expected_tokens[index]);
    assert_string_equal(seen->text.data, expected[index].data);
    assert_int_equal(seen->usage.completion_tokens, expected_tokens[index]);
    assert_int_equal(seen->usage.prompt_tokens, seen->prompt_tokens);
    assert_true(seen->prompt_tokens > 0);
    buf_release(&expected[index]);
}

static void sixteen_jobs_in_one_batch_each_get_their_own_text(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 16;
    start();
    gate_close();
    submit_some(16);
    step_until_starts(16);
    assert_int_equal(load_now().running, 16);
    gate_open();
    wait_done(16);
    for (int i = 0; i < 16; i++) {
        check_text(i);
        assert_int_equal(t.harness.seen[i].finish, FINISH_STOP);
    }
    struct worker_load load = load_now();
    assert_int_equal(load.batch_max, 16);
    assert_true(load.batch_sequences > load.steps);
    assert_int_equal(load.progress, load.steps);
    assert_int_equal(load.steps, gate_steps());
    assert_int_equal(load.running, 0);
    assert_int_equal(load.queued, 0);
    assert_int_equal(load.kv_cells_used, 0);
    assert_int_equal(t.ends[JOB_FINISHED], 16);
}

static void more_jobs_than_slots_all_get_their_own_text(void **state) {
    (void)state;
    start();
    submit_some(12);
    wait_done(12);
    for (int i = 0; i < 12; i++)
        check_text(i);
    assert_true(load_now().batch_max <= 4);
}

static void events_of_a_step_travel_in_one_message(void **state) {
    (void)state;
    start();
    gate_close();
    submit_some(4);
    step_until_starts(4);
    step();
    int messages = t.harness.messages[0];
    int tokens = t.harness.seen[0].tokens;
    t.harness.most_events = 0;
    step();
    assert_int_equal(t.harness.messages[0], messages + 1);
    assert_int_equal(t.harness.most_events, 4);
    assert_int_equal(t.harness.seen[0].tokens, tokens + 1);
    gate_open();
    wait_done(4);
    for (int i = 0; i < 4; i++)
        check_text(i);
}

static void every_controller_gets_its_own_events_only(void **state) {
    (void)state;
    start();
    gate_close();
    for (int i = 0; i < 3; i++) {
        struct wire_job wire = harness_job(i, "hello");
        snprintf(wire.controller_id, sizeof wire.controller_id, "c%d", i);
        submit_expected(i, &wire);
    }
    step_until_starts(3);
    gate_open();
    wait_done(3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(t.harness.seen[i].controller, i);
        check_text(i);
    }
}

static void a_decoding_job_frees_its_slot_one_step_after_its_cancel(void **state) {
    (void)state;
    start();
    gate_close();
    struct job *job = submit_text(0, "[reply 400]");
    gate_wait_arrival();
    gate_permit(5);
    gate_wait_arrival();
    assert_true(load_now().kv_cells_used > 0);
    runner_cancel(t.runner, job);
    gate_permit(1);
    wait_done(1);
    assert_int_equal(gate_steps(), 6);
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(t.ends[JOB_CANCELLED], 1);
    struct worker_load load = load_now();
    assert_int_equal(load.running, 0);
    assert_in_range(load.cancel_steps_max, 0, 2);
}

static void a_job_in_prefill_frees_its_slot_one_step_after_its_cancel(void **state) {
    (void)state;
    t.harness.config.worker.batch_tokens = 16;
    start();
    char text[401];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    gate_close();
    struct job *job = submit_text(0, text);
    gate_wait_arrival();
    step();
    runner_cancel(t.runner, job);
    gate_permit(1);
    wait_done(1);
    assert_int_equal(gate_steps(), 2);
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(t.harness.seen[0].tokens, 0);
    assert_int_equal(load_now().running, 0);
}

static void a_queued_job_is_gone_one_step_after_its_cancel(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    struct wire_job first = harness_job(0, "hello");
    submit_expected(0, &first);
    gate_wait_arrival();
    struct job *job = submit_text(1, "hello");
    harness_wait(&t.harness, prompts_made, &(int){2});
    step();
    assert_int_equal(load_now().queued, 1);
    runner_cancel(t.runner, job);
    step();
    wait_done(1);
    assert_int_equal(t.harness.seen[1].status, STATUS_CANCELLED);
    assert_int_equal(t.harness.seen[1].started, 0);
    assert_int_equal(load_now().queued, 0);
    assert_int_equal(t.harness.seen[0].ended, 0);
    gate_open();
    wait_done(2);
    check_text(0);
}

static void a_job_cancelled_before_its_prompt_is_made_never_starts(void **state) {
    (void)state;
    start();
    struct wire_job wire = harness_job(0, "hello");
    struct job *job = job_new(&wire, clock_ms());
    atomic_store(&job->cancelled, true);
    runner_submit(t.runner, job);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(t.harness.seen[0].started, 0);
    assert_int_equal(gate_prompts(), 0);
    assert_int_equal(load_now().queued, 0);
}

static void a_freed_slot_goes_to_the_next_job_in_the_same_turn(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    struct job *job = submit_text(0, "[reply 400]");
    gate_wait_arrival();
    struct wire_job wire = harness_job(1, "hello");
    submit_expected(1, &wire);
    harness_wait(&t.harness, prompts_made, &(int){2});
    step();
    runner_cancel(t.runner, job);
    step();
    assert_int_equal(t.harness.seen[1].started, 1);
    gate_open();
    wait_done(2);
    check_text(1);
}

static bool is_past(void *arg) {
    return clock_ms() > *(const int64_t *)arg;
}

static void jobs_end_at_their_deadline_running_or_queued(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    struct wire_job wires[3];
    for (int i = 0; i < 3; i++) {
        wires[i] = harness_job(i, "[reply 400]");
        wires[i].remaining_ms = i == 2 ? 60000 : 30;
    }
    submit(&wires[0]);
    gate_wait_arrival();
    submit(&wires[1]);
    struct job *last = submit(&wires[2]);
    harness_wait(&t.harness, prompts_made, &(int){3});
    int64_t deadline_ms = clock_ms() + 30;
    harness_wait(&t.harness, is_past, &deadline_ms);
    gate_permit(1);
    wait_done(2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(t.harness.seen[i].status, STATUS_DEADLINE_EXCEEDED);
        assert_int_equal(t.harness.seen[i].started, i == 0);
    }
    assert_int_equal(t.ends[JOB_EXPIRED], 2);
    assert_int_equal(t.harness.seen[2].ended, 0);
    runner_cancel(t.runner, last);
    gate_open();
    wait_done(3);
}

static void a_full_queue_is_refused_until_a_job_is_done(void **state) {
    (void)state;
    start();
    gate_close();
    submit_some(12);
    struct error error;
    assert_int_equal(runner_make_room(t.runner, CHAT_PRIORITY_MEDIUM, &error), STATUS_WORKER_OVERLOADED);
    assert_int_equal(load_now().running + load_now().queued, 12);
    gate_open();
    wait_done(1);
    assert_int_equal(runner_make_room(t.runner, CHAT_PRIORITY_MEDIUM, &error), STATUS_OK);
    wait_done(12);
    for (int i = 0; i < 12; i++)
        check_text(i);
}

static void a_failing_item_hits_one_job_only(void **state) {
    (void)state;
    start();
    gate_close();
    for (int i = 0; i < 4; i++) {
        struct wire_job wire = harness_job(i, i == 2 ? "[fail at 3]" : "hello");
        submit_expected(i, &wire);
    }
    step_until_starts(4);
    gate_open();
    wait_done(4);
    assert_int_equal(t.harness.seen[2].status, STATUS_ENGINE_ERROR);
    assert_int_equal(t.harness.seen[2].tokens, 3);
    buf_release(&expected[2]);
    check_text(0);
    check_text(1);
    check_text(3);
    assert_int_equal(t.ends[JOB_FAILED], 1);
}

static void a_step_that_fails_once_costs_no_job(void **state) {
    (void)state;
    start();
    gate_close();
    for (int i = 0; i < 4; i++) {
        struct wire_job wire = harness_job(i, i == 2 ? "[step error at 3]" : "hello");
        submit_expected(i, &wire);
    }
    step_until_starts(4);
    gate_open();
    wait_done(4);
    for (int i = 0; i < 4; i++)
        check_text(i);
    /* One call of the engine that failed, and one for each job in its place. */
    assert_int_equal(load_now().progress, load_now().steps + 4);
}

static void a_step_that_keeps_failing_hits_the_guilty_job_only(void **state) {
    (void)state;
    start();
    gate_close();
    submit_some(4);
    step_until_starts(4);
    gate_break_slot(1);
    gate_open();
    wait_done(4);
    assert_int_equal(t.harness.seen[1].status, STATUS_ENGINE_ERROR);
    assert_non_null(strstr(t.harness.seen[1].message, "a slot is broken"));
    buf_release(&expected[1]);
    check_text(0);
    check_text(2);
    check_text(3);
}

static void a_stop_string_ends_the_text_before_it(void **state) {
    (void)state;
    start();
    struct wire_job wire = harness_job(0, "[reply 30]");
    struct buf text = harness_expected(&t.harness, &wire, NULL);
    const char *second = strchr(text.data, ' ') + 1;
    char stop[9];
    snprintf(stop, sizeof stop, "%.*s", (int)sizeof stop - 1, second + 2);
    size_t cut = (size_t)(strstr(text.data, stop) - text.data);
    harness_set_stop(&wire, "never said");
    harness_set_stop(&wire, stop);
    submit(&wire);
    wait_done(1);
    const struct seen *seen = &t.harness.seen[0];
    assert_int_equal(seen->finish, FINISH_STOP);
    assert_int_equal(seen->text.len, cut);
    assert_memory_equal(seen->text.data, text.data, cut);
    assert_true(seen->tokens < 30);
    assert_int_equal(seen->usage.completion_tokens, seen->tokens);
    buf_release(&text);
}

static void text_held_back_for_a_stop_string_comes_with_the_end(void **state) {
    (void)state;
    start();
    struct wire_job wire = harness_job(0, "[reply 6]");
    expected[0] = harness_expected(&t.harness, &wire, &expected_tokens[0]);
    /* The last word and its space, and something that never comes. */
    char stop[16];
    snprintf(stop, sizeof stop, "%s!", expected[0].data + expected[0].len - 5);
    harness_set_stop(&wire, stop);
    submit(&wire);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].finish, FINISH_STOP);
    check_text(0);
}

static void max_tokens_ends_with_length(void **state) {
    (void)state;
    start();
    struct wire_job wire = harness_job(0, "[reply 30]");
    wire.chat.max_tokens = 5;
    submit_expected(0, &wire);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].finish, FINISH_LENGTH);
    assert_int_equal(t.harness.seen[0].tokens, 5);
    check_text(0);
}

static void a_full_context_ends_with_length(void **state) {
    (void)state;
    t.harness.config.worker.context_tokens = 40;
    start();
    struct wire_job wire = harness_job(0, "[reply 400]");
    submit_expected(0, &wire);
    wait_done(1);
    const struct seen *seen = &t.harness.seen[0];
    assert_int_equal(seen->finish, FINISH_LENGTH);
    assert_int_equal(seen->prompt_tokens + seen->tokens, 40);
    check_text(0);
}

static void a_reply_without_text_is_a_reply(void **state) {
    (void)state;
    start();
    submit_text(0, "[reply 0]");
    wait_done(1);
    assert_int_equal(t.harness.seen[0].status, STATUS_OK);
    assert_int_equal(t.harness.seen[0].finish, FINISH_STOP);
    assert_int_equal(t.harness.seen[0].tokens, 0);
    assert_int_equal(t.harness.seen[0].usage.completion_tokens, 0);
}

static void a_prompt_that_does_not_fit_is_refused_with_its_param(void **state) {
    (void)state;
    start();
    char text[4001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    submit_text(0, text);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].status, STATUS_CONTEXT_LENGTH_EXCEEDED);
    assert_string_equal(t.harness.seen[0].param, "messages");
    assert_int_equal(t.harness.seen[0].started, 0);
    assert_int_equal(load_now().queued, 0);
}

/* Of job 0, with the gate closed. */
static void a_long_prompt_does_not_hold_up_a_running_stream(void **state) {
    (void)state;
    t.harness.config.worker.batch_tokens = 16;
    start();
    gate_close();
    struct wire_job first = harness_job(0, "[reply 300]");
    submit_expected(0, &first);
    step_until_first_token();
    char text[401];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct wire_job second = harness_job(1, text);
    submit_expected(1, &second);
    step_until_starts(2);
    int steps = 0;
    for (; t.harness.seen[1].tokens == 0 && steps < 100; steps++) {
        int before = t.harness.seen[0].tokens;
        step();
        assert_int_equal(t.harness.seen[0].tokens, before + 1);
        assert_in_range(gate_last_tokens(), 1, 16);
    }
    /* About 108 prompt tokens, 15 in each step beside the one that decodes. */
    assert_in_range(steps, 7, 9);
    gate_open();
    wait_done(2);
    check_text(0);
    check_text(1);
}

/* In one step: what decodes, then the shorter prompt, then the longer one, each with its tokens at once. */
static void first_tokens_do_not_wait_for_longer_prompts(void **state) {
    (void)state;
    gate_pass_tokens = 4;
    start();
    gate_close();
    struct wire_job first = harness_job(0, "[reply 300]");
    submit_expected(0, &first);
    step_until_first_token();
    struct wire_job longer = harness_job(1, "a prompt that has a good deal more to say than the other one");
    struct wire_job shorter = harness_job(2, "a prompt");
    submit_expected(1, &longer);
    submit_expected(2, &shorter);
    harness_wait(&t.harness, prompts_made, &(int){3});
    step_until_starts(3);
    uint64_t steps = load_now().steps;
    int decoded = t.harness.seen[0].tokens;
    step();
    assert_int_equal(t.harness.seen[0].tokens, decoded + 1);
    assert_int_equal(t.harness.seen[2].tokens, 0);
    step();
    assert_int_equal(t.harness.seen[2].tokens, 1);
    assert_int_equal(t.harness.seen[1].tokens, 0);
    step();
    assert_int_equal(t.harness.seen[1].tokens, 1);
    assert_int_equal(load_now().steps, steps + 1);
    assert_int_equal(load_now().batch_max, 3);
    gate_open();
    wait_done(3);
    for (int i = 0; i < 3; i++)
        check_text(i);
}

/* A prompt token takes 2 ms, and a pause may take 20: of about 108 tokens some ten go into each step. */
static void a_stream_pauses_for_prompts_only_as_long_as_it_may(void **state) {
    (void)state;
    char text[401];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    gate_pass_tokens = 16;
    t.harness.config.worker.fake_prompt_token_us = 2000;
    t.harness.config.worker.max_pause_ms = 20;
    start();
    gate_close();
    struct wire_job first = harness_job(0, "[reply 300]"), second = harness_job(1, text);
    submit_expected(0, &first);
    step_until_first_token();
    submit_expected(1, &second);
    step_until_starts(2);
    int before = t.harness.seen[0].tokens, most = 0;
    for (int passes = 0; t.harness.seen[1].tokens == 0 && passes < 200; passes++) {
        step();
        most = gate_last_tokens() > most ? gate_last_tokens() : most;
    }
    assert_in_range(most, 4, 12);
    assert_in_range(t.harness.seen[0].tokens - before, 108 / 12, 108 / 4 + 1);
    gate_open();
    wait_done(2);
    check_text(0);
    check_text(1);
}

static void jobs_of_a_controller_out_of_reach_end_and_free_their_slots(void **state) {
    (void)state;
    start();
    gate_close();
    submit_text(0, "[reply 400]");
    step_until_starts(1);
    transport_memory_set_link(t.harness.worker_link, false);
    gate_permit(1);
    wait_done(1);
    assert_int_equal(t.ends[JOB_FAILED], 1);
    assert_int_equal(t.harness.seen[0].ended, 0);
    assert_int_equal(load_now().running, 0);
    transport_memory_set_link(t.harness.worker_link, true);
    harness_settle(&t.harness);
    gate_open();
    struct wire_job wire = harness_job(1, "hello");
    submit_expected(1, &wire);
    wait_done(2);
    check_text(1);
}

static void dropped_jobs_are_answered_with_draining(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start();
    gate_close();
    struct job *jobs[2] = {submit_text(0, "[reply 400]"), NULL};
    gate_wait_arrival();
    jobs[1] = submit_text(1, "hello");
    harness_wait(&t.harness, prompts_made, &(int){2});
    step();
    runner_drop(t.runner, jobs[0]);
    runner_drop(t.runner, jobs[1]);
    gate_permit(1);
    wait_done(2);
    assert_int_equal(t.harness.seen[0].status, STATUS_WORKER_DRAINING);
    assert_int_equal(t.harness.seen[1].status, STATUS_WORKER_DRAINING);
}

static void freeing_hands_back_every_job(void **state) {
    (void)state;
    start();
    gate_close();
    for (int i = 0; i < 12; i++)
        submit_text(i, "[reply 400]");
    gate_wait_arrival();
    gate_open();
    runner_free(t.runner);
    t.runner = NULL;
    assert_int_equal(t.done, 12);
}

static void a_model_that_is_ready_tells_what_it_has(void **state) {
    (void)state;
    gate_close();
    new_runner();
    gate_wait_arrival();
    assert_true(runner_load_percent(t.runner) < 100);
    assert_int_equal(load_now().kv_cells_total, 0);
    gate_open();
    harness_wait(&t.harness, is_loaded, NULL);
    assert_int_equal(runner_load_percent(t.runner), 100);
    assert_int_equal(runner_engine_info(t.runner)->context_tokens, 512);
    assert_int_equal(runner_engine_info(t.runner)->slots, 4);
    assert_int_equal(runner_capabilities(t.runner), model_capability_bit(CAPABILITY_CHAT));
    assert_int_equal(load_now().kv_cells_total, 4 * 512);
}

static void a_failed_load_is_reported_with_its_reason(void **state) {
    (void)state;
    gate_fail_loads("fake");
    new_runner();
    harness_wait(&t.harness, is_loaded, NULL);
    assert_int_equal(t.load_error.status, STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.load_error.message, "fake is broken");
}

static void a_model_that_the_check_refuses_is_never_opened_and_tells_why(void **state) {
    (void)state;
    char script[SCRIPT_PATH_MAX];
    script_write(script, "kill -SEGV $$");
    t.checker = script;
    config_set_text(&t.harness.config.models[0].path, MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf");
    gate_close(); /* an open would not come back */
    new_runner();
    harness_wait(&t.harness, is_loaded, NULL);
    unlink(script);
    assert_string_equal(t.load_error.message, "loading it crashed (signal 11, Segmentation fault)");
}

static bool is_stopped(void *arg) {
    (void)arg;
    return t.stops > 0;
}

static void stopping_an_idle_runner_closes_its_engine_and_tells_so(void **state) {
    (void)state;
    start();
    submit_some(4);
    wait_done(4);
    assert_int_equal(gate_engines(), 1);
    runner_stop(t.runner);
    harness_wait(&t.harness, is_stopped, NULL);
    assert_int_equal(gate_engines(), 0);
    assert_int_equal(t.stops, 1);
}

static void stopping_during_a_load_ends_it_without_a_word_about_the_load(void **state) {
    (void)state;
    t.harness.config.worker.fake_load_ms = 60000;
    new_runner();
    runner_stop(t.runner);
    harness_wait(&t.harness, is_stopped, NULL);
    assert_int_equal(t.loads, 0);
    assert_int_equal(gate_engines(), 0);
}

static void freeing_ends_a_check(void **state) {
    (void)state;
    char script[SCRIPT_PATH_MAX];
    script_write(script, "exec sleep 60");
    t.checker = script;
    config_set_text(&t.harness.config.models[0].path, MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf");
    int64_t began_ms = clock_ms();
    new_runner();
    runner_free(t.runner);
    t.runner = NULL;
    unlink(script);
    assert_int_equal(t.loads, 0);
    assert_true(clock_ms() - began_ms < 30000);
}

static void freeing_aborts_a_load(void **state) {
    (void)state;
    gate_close();
    new_runner();
    gate_wait_arrival();
    gate_open();
    runner_free(t.runner);
    t.runner = NULL;
    assert_int_equal(t.loads, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(sixteen_jobs_in_one_batch_each_get_their_own_text),
        TEST(more_jobs_than_slots_all_get_their_own_text),
        TEST(events_of_a_step_travel_in_one_message),
        TEST(every_controller_gets_its_own_events_only),
        TEST(a_decoding_job_frees_its_slot_one_step_after_its_cancel),
        TEST(a_job_in_prefill_frees_its_slot_one_step_after_its_cancel),
        TEST(a_queued_job_is_gone_one_step_after_its_cancel),
        TEST(a_job_cancelled_before_its_prompt_is_made_never_starts),
        TEST(a_freed_slot_goes_to_the_next_job_in_the_same_turn),
        TEST(jobs_end_at_their_deadline_running_or_queued),
        TEST(a_full_queue_is_refused_until_a_job_is_done),
        TEST(a_failing_item_hits_one_job_only),
        TEST(a_step_that_fails_once_costs_no_job),
        TEST(a_step_that_keeps_failing_hits_the_guilty_job_only),
        TEST(a_stop_string_ends_the_text_before_it),
        TEST(text_held_back_for_a_stop_string_comes_with_the_end),
        TEST(max_tokens_ends_with_length),
        TEST(a_full_context_ends_with_length),
        TEST(a_reply_without_text_is_a_reply),
        TEST(a_prompt_that_does_not_fit_is_refused_with_its_param),
        TEST(a_long_prompt_does_not_hold_up_a_running_stream),
        TEST(first_tokens_do_not_wait_for_longer_prompts),
        TEST(a_stream_pauses_for_prompts_only_as_long_as_it_may),
        TEST(jobs_of_a_controller_out_of_reach_end_and_free_their_slots),
        TEST(dropped_jobs_are_answered_with_draining),
        TEST(freeing_hands_back_every_job),
        TEST(a_model_that_is_ready_tells_what_it_has),
        TEST(a_failed_load_is_reported_with_its_reason),
        TEST(a_model_that_the_check_refuses_is_never_opened_and_tells_why),
        TEST(stopping_an_idle_runner_closes_its_engine_and_tells_so),
        TEST(stopping_during_a_load_ends_it_without_a_word_about_the_load),
        TEST(freeing_ends_a_check),
        TEST(freeing_aborts_a_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
