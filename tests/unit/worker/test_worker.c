/* A worker and its messages: jobs, cancels, and what is neither. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker_rig.h"

static void a_job_is_accepted_started_and_answered_with_its_text(void **state) {
    (void)state;
    begin_ready();
    for (int i = 0; i < 12; i++) {
        char text[64];
        snprintf(text, sizeof text, "question number %d", i);
        send_text(i, "fake", text);
    }
    harness_wait_ends(&w.harness, 12);
    for (int i = 0; i < 12; i++) {
        char text[64];
        snprintf(text, sizeof text, "question number %d", i);
        struct wire_job job = harness_job(i, text);
        int32_t tokens;
        struct buf expected = harness_expected(&w.harness, &job, &tokens);
        const struct seen *seen = &w.harness.seen[i];
        assert_int_equal(seen->accepted, 1);
        assert_int_equal(seen->started, 1);
        assert_int_equal(seen->status, STATUS_OK);
        assert_int_equal(seen->tokens, tokens);
        assert_string_equal(seen->text.data, expected.data);
        buf_release(&expected);
        wire_job_release(&job);
    }
    wait_accounted();
    struct worker_load load = info_now().load;
    assert_int_equal(load.jobs_accepted, 12);
    assert_int_equal(load.jobs_finished, 12);
    assert_int_equal(load.jobs_rejected, 0);
    assert_int_equal(load.running, 0);
    assert_int_equal(load.queued, 0);
}

static void another_model_is_refused(void **state) {
    (void)state;
    begin_ready();
    send_text(0, "another", "hello");
    check_refused(0, STATUS_MODEL_NOT_LOADED);
}

static void without_loading_on_demand_a_job_for_a_model_that_is_being_loaded_is_refused(void **state) {
    (void)state;
    w.harness.config.worker.load_on_demand = false;
    gate_close();
    begin();
    send_text(0, "fake", "hello");
    check_refused(0, STATUS_MODEL_NOT_LOADED);
}

static void a_job_over_the_limit_is_refused(void **state) {
    (void)state;
    begin_ready();
    gate_close();
    for (int i = 0; i < 13; i++)
        send_text(i, "fake", "hello");
    check_refused(12, STATUS_WORKER_OVERLOADED);
    gate_open();
    harness_wait_ends(&w.harness, 13);
    assert_int_equal(info_now().load.jobs_accepted, 12);
}

static void a_job_that_comes_twice_runs_once(void **state) {
    (void)state;
    begin_ready();
    gate_close();
    send_text(0, "fake", "hello");
    send_text(0, "fake", "hello");
    harness_wait_starts(&w.harness, 1);
    gate_open();
    harness_wait_ends(&w.harness, 1);
    harness_settle(&w.harness);
    assert_int_equal(w.harness.seen[0].accepted, 1);
    assert_int_equal(w.harness.ends, 1);
    assert_int_equal(info_now().load.jobs_accepted, 1);
}

static void invalid_messages_change_nothing(void **state) {
    (void)state;
    static const char *const subjects[] = {"inference.w1", "inference.w1.cancel", "worker.w1.control",
                                           "cluster.discover"};
    static const char *const bodies[] = {"", "{", "[]", "{\"v\":2}", "\xff\xfe", "{\"v\":1,\"request\":7}"};
    begin_ready();
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        for (size_t j = 0; j < ARRAY_LEN(bodies); j++)
            send_to_worker(subjects[i], NULL, bodies[j], strlen(bodies[j]));
    }
    send_text(0, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_OK);
    assert_int_equal(info_now().load.jobs_accepted, 1);
    assert_int_equal(info_now().load.jobs_rejected, ARRAY_LEN(bodies));
}

static void a_job_with_a_readable_head_is_answered_though_invalid(void **state) {
    (void)state;
    begin_ready();
    struct wire_job job = harness_job(0, "hello");
    struct buf body;
    buf_init(&body, 0);
    wire_write_job(&body, &job);
    wire_job_release(&job);
    /* Another type than the messages must have. */
    char *role = strstr(body.data, "\"messages\":[");
    assert_non_null(role);
    role[strlen("\"messages\":")] = '7';
    char *end = strstr(body.data, "}]");
    memset(role + strlen("\"messages\":7"), ' ', (size_t)(end + 2 - (role + strlen("\"messages\":7"))));
    send_to_worker("inference.w1", NULL, body.data, body.len);
    buf_release(&body);
    check_refused(0, STATUS_PROTOCOL_ERROR);
}

static void a_cancel_ends_a_running_job_and_frees_its_place(void **state) {
    (void)state;
    begin_at_gate("[reply 400]");
    send_cancel(0);
    harness_settle(&w.harness);
    gate_permit(1);
    harness_wait_ends(&w.harness, 1);
    wait_accounted();
    assert_int_equal(w.harness.seen[0].status, STATUS_CANCELLED);
    struct worker_load load = info_now().load;
    assert_int_equal(load.jobs_cancelled, 1);
    assert_int_equal(load.running, 0);
    assert_in_range(load.cancel_steps_max, 0, 2);
}

static void a_cancel_that_overtakes_its_job_is_applied_to_it(void **state) {
    (void)state;
    begin_ready();
    send_cancel(0);
    send_text(0, "fake", "hello");
    send_text(1, "fake", "hello");
    harness_wait_ends(&w.harness, 2);
    assert_int_equal(w.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(w.harness.seen[0].started, 0);
    assert_int_equal(w.harness.seen[1].status, STATUS_OK);
}

static void many_cancels_of_unknown_jobs_forget_the_oldest(void **state) {
    (void)state;
    begin_ready();
    send_cancel(0);
    for (int i = 1; i <= 64; i++)
        send_cancel(i);
    send_text(0, "fake", "hello");
    send_text(1, "fake", "hello");
    harness_wait_ends(&w.harness, 2);
    assert_int_equal(w.harness.seen[0].status, STATUS_OK);
    assert_int_equal(w.harness.seen[1].status, STATUS_CANCELLED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, worker_rig_setup, worker_rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_job_is_accepted_started_and_answered_with_its_text),
        TEST(another_model_is_refused),
        TEST(without_loading_on_demand_a_job_for_a_model_that_is_being_loaded_is_refused),
        TEST(a_job_over_the_limit_is_refused),
        TEST(a_job_that_comes_twice_runs_once),
        TEST(invalid_messages_change_nothing),
        TEST(a_job_with_a_readable_head_is_answered_though_invalid),
        TEST(a_cancel_ends_a_running_job_and_frees_its_place),
        TEST(a_cancel_that_overtakes_its_job_is_applied_to_it),
        TEST(many_cancels_of_unknown_jobs_forget_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
