#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runner_rig.h"

enum { REPLY = 200 };

static struct buf expected;
static int32_t expected_tokens;

static void submit_reply(void) {
    struct wire_job wire = harness_job(0, "[reply 200]");
    expected = harness_expected(&t.harness, &wire, &expected_tokens);
    submit(&wire);
}

static void check_reply(void) {
    assert_int_equal(t.harness.seen[0].status, STATUS_OK);
    assert_int_equal(t.harness.seen[0].tokens, expected_tokens);
    assert_string_equal(t.harness.seen[0].text.data, expected.data);
    buf_release(&expected);
}

/* The first token is out; those that follow wait until something makes them go. The gate is closed. */
static void begin_to_wait(void) {
    t.harness.config.worker.stream_interval_ms = 60000;
    start();
    gate_close();
    submit_reply();
    step_until_first_token();
}

static void start_another(const char *text) {
    submit_text(1, text);
    harness_wait(&t.harness, prompts_made, &(int){2});
    gate_permit(1);
    harness_wait_starts(&t.harness, 2);
}

static void without_an_interval_each_token_is_a_message(void **state) {
    (void)state;
    start();
    submit_reply();
    wait_done(1);
    assert_true(t.harness.messages[0] >= REPLY);
    check_reply();
}

/* A step takes a millisecond at least, so no more than 20 of them fit into a message. */
static void tokens_of_quick_steps_travel_together_but_for_the_interval_at_most(void **state) {
    (void)state;
    t.harness.config.worker.fake_step_us = 1000;
    t.harness.config.worker.stream_interval_ms = 20;
    start();
    submit_reply();
    wait_done(1);
    assert_in_range(t.harness.most_events, 2, 21 + 1);
    assert_true(t.harness.messages[0] >= REPLY / 20);
    check_reply();
}

static void the_first_token_and_the_end_wait_for_nothing(void **state) {
    (void)state;
    begin_to_wait();
    assert_int_equal(t.harness.seen[0].tokens, 1);
    int messages = t.harness.messages[0];
    gate_open();
    wait_done(1);
    assert_int_equal(t.harness.messages[0], messages + 1);
    check_reply();
}

static void what_waits_goes_out_before_a_step_that_may_take_long(void **state) {
    (void)state;
    begin_to_wait();
    gate_permit(3);
    gate_wait_arrival();
    harness_settle(&t.harness);
    assert_int_equal(t.harness.seen[0].tokens, 1);
    start_another("a prompt that is computed in the next step");
    harness_wait_tokens(&t.harness, 0, 5);
    gate_open();
    wait_done(2);
    check_reply();
}

static void beside_a_prompt_nothing_waits(void **state) {
    (void)state;
    char text[401];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    t.harness.config.worker.batch_tokens = 16;
    begin_to_wait();
    start_another(text);
    for (int i = 0; i < 5; i++) {
        int before = t.harness.seen[0].tokens;
        gate_permit(1);
        harness_wait_tokens(&t.harness, 0, before + 1);
    }
    assert_int_equal(t.harness.seen[1].tokens, 0);
    gate_open();
    wait_done(2);
    check_reply();
}

static void what_waits_goes_out_when_the_last_job_is_cancelled(void **state) {
    (void)state;
    t.harness.config.worker.stream_interval_ms = 60000;
    start();
    gate_close();
    struct job *job = submit_text(0, "[reply 200]");
    step_until_first_token();
    gate_permit(2);
    gate_wait_arrival();
    runner_cancel(t.runner, job);
    gate_permit(1);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].tokens, 4);
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    gate_open();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(without_an_interval_each_token_is_a_message),
        TEST(tokens_of_quick_steps_travel_together_but_for_the_interval_at_most),
        TEST(the_first_token_and_the_end_wait_for_nothing),
        TEST(what_waits_goes_out_before_a_step_that_may_take_long),
        TEST(beside_a_prompt_nothing_waits),
        TEST(what_waits_goes_out_when_the_last_job_is_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
