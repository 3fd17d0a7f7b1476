/* A worker from its start to its end: loading, registering, draining, resuming. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker_rig.h"

static void a_worker_registers_while_it_loads_and_tells_when_it_is_ready(void **state) {
    (void)state;
    gate_close();
    begin();
    wait_count(&w.registrations, 1);
    assert_string_equal(w.info.id, "w1");
    assert_int_equal(strlen(w.info.incarnation), INCARNATION_CHARS);
    assert_int_equal(w.info.pid, getpid());
    assert_int_equal(w.info.phase, WORKER_PHASE_LOADING);
    assert_int_equal(w.info.model_count, 1);
    assert_int_equal(w.info.models[0].state, MODEL_LOADING);
    assert_true(w.info.load.rss_bytes > 0);
    wait_count(&w.heartbeats, 3);
    assert_int_equal(w.info.phase, WORKER_PHASE_LOADING);
    gate_open();
    wait_phase(WORKER_PHASE_READY);
    assert_int_equal(w.info.models[0].state, MODEL_READY);
    assert_string_equal(w.info.models[0].name, "fake");
    assert_int_equal(w.info.models[0].slots, 4);
    assert_int_equal(w.info.load.queue_max, 8);
    assert_int_equal(w.failed, 0);
}

static void a_worker_registers_again_when_asked_and_when_its_link_is_back(void **state) {
    (void)state;
    begin_ready();
    wait_count(&w.registrations, 1);
    struct buf body;
    buf_init(&body, 0);
    wire_write_discover(&body, "c0");
    send_to_worker(WIRE_SUBJECT_DISCOVER, NULL, body.data, body.len);
    buf_release(&body);
    wait_count(&w.registrations, 2);
    transport_memory_set_link(w.harness.worker_link, false);
    harness_settle(&w.harness);
    transport_memory_set_link(w.harness.worker_link, true);
    wait_count(&w.registrations, 3);
}

static void drain_finishes_what_runs_and_then_deregisters(void **state) {
    (void)state;
    begin_ready();
    gate_close();
    for (int i = 0; i < 6; i++)
        send_text(i, "fake", "hello");
    harness_wait_starts(&w.harness, 1);
    harness_settle(&w.harness);
    worker_drain(w.worker, 60000, on_drained, NULL);
    wait_phase(WORKER_PHASE_DRAINING);
    send_text(6, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[6].status, STATUS_WORKER_DRAINING);
    assert_int_equal(w.deregistrations, 0);
    gate_open();
    wait_count(&w.deregistrations, 1);
    assert_int_equal(w.ends_at_deregistration, 7);
    for (int i = 0; i < 6; i++)
        assert_int_equal(w.harness.seen[i].status, STATUS_OK);
    wait_count(&w.drained, 1);
    assert_string_equal(w.deregister.worker_id, "w1");
    assert_string_equal(w.deregister.incarnation, w.info.incarnation);
}

static void an_idle_worker_drains_at_once_and_is_silent_then(void **state) {
    (void)state;
    begin_ready();
    worker_drain(w.worker, 60000, on_drained, NULL);
    wait_count(&w.drained, 1);
    wait_count(&w.deregistrations, 1);
    harness_settle(&w.harness);
    int registrations = w.registrations;
    int heartbeats = w.heartbeats;
    send_to_worker(WIRE_SUBJECT_DISCOVER, NULL, "{\"v\":1}", 7);
    int64_t end_ms = clock_ms() + 3 * w.harness.config.discovery.heartbeat_interval_ms;
    while (clock_ms() < end_ms)
        loop_run_once(w.harness.loop, 5);
    assert_int_equal(w.registrations, registrations);
    assert_int_equal(w.heartbeats, heartbeats);
    assert_int_equal(w.drained, 1);
}

static void the_drain_limit_answers_the_rest(void **state) {
    (void)state;
    w.harness.config.worker.fake_step_us = 2000;
    begin_ready();
    for (int i = 0; i < 8; i++)
        send_text(i, "fake", "[reply 450]");
    harness_wait_starts(&w.harness, 4);
    worker_drain(w.worker, 20, on_drained, NULL);
    wait_count(&w.drained, 1);
    harness_settle(&w.harness);
    assert_int_equal(w.deregistrations, 1);
    assert_int_equal(w.ends_at_deregistration, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(w.harness.seen[i].status, STATUS_WORKER_DRAINING);
}

static void a_hung_engine_does_not_stop_the_drain(void **state) {
    (void)state;
    begin_at_gate("hello");
    worker_drain(w.worker, 1, on_drained, NULL);
    wait_count(&w.drained, 1);
    harness_settle(&w.harness);
    assert_int_equal(w.harness.seen[0].status, STATUS_WORKER_DRAINING);
    assert_int_equal(w.ends_at_deregistration, 1);
}

static void a_control_message_drains_and_a_later_drain_calls_back(void **state) {
    (void)state;
    begin_ready();
    send_control(WIRE_CONTROL_DRAIN);
    wait_count(&w.replies, 1);
    assert_int_equal(w.info.phase, WORKER_PHASE_STOPPED);
    wait_count(&w.deregistrations, 1);
    assert_int_equal(w.drained, 0);
    worker_drain(w.worker, 60000, on_drained, NULL);
    wait_count(&w.drained, 1);
    assert_int_equal(w.deregistrations, 1);
}

static void a_drained_worker_that_is_told_to_resume_registers_and_takes_jobs(void **state) {
    (void)state;
    begin_ready();
    send_control(WIRE_CONTROL_DRAIN);
    wait_count(&w.deregistrations, 1);
    harness_settle(&w.harness);
    int registrations = w.registrations, heartbeats = w.heartbeats;
    send_control(WIRE_CONTROL_RESUME);
    wait_count(&w.registrations, registrations + 1);
    wait_count(&w.replies, 2);
    assert_int_equal(w.info.phase, WORKER_PHASE_READY);
    assert_string_equal(w.info.incarnation, w.deregister.incarnation);
    wait_count(&w.heartbeats, heartbeats + 3);
    send_text(0, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_OK);
    assert_int_equal(model_now(0).loads, 1);
    send_control(WIRE_CONTROL_DRAIN); /* as well as the first time */
    wait_count(&w.deregistrations, 2);
}

static void what_runs_goes_on_when_a_drain_is_called_off(void **state) {
    (void)state;
    w.harness.config.worker.drain_timeout_ms = 50;
    begin_at_gate("hello");
    send_control(WIRE_CONTROL_DRAIN);
    wait_phase(WORKER_PHASE_DRAINING);
    send_control(WIRE_CONTROL_RESUME);
    wait_phase(WORKER_PHASE_READY);
    int heartbeats = w.heartbeats;
    wait_count(&w.heartbeats, heartbeats + 5); /* the limit of the drain is over */
    send_text(1, "fake", "hello");
    gate_open();
    harness_wait_ends(&w.harness, 2);
    assert_int_equal(w.harness.seen[0].status, STATUS_OK);
    assert_int_equal(w.harness.seen[1].status, STATUS_OK);
    assert_int_equal(w.deregistrations, 0);
}

static void a_worker_that_stops_does_not_resume(void **state) {
    (void)state;
    begin_at_gate("hello");
    worker_drain(w.worker, 60000, on_drained, NULL);
    assert_false(worker_resume(w.worker));
    send_control(WIRE_CONTROL_RESUME);
    wait_count(&w.replies, 1);
    assert_int_equal(w.info.phase, WORKER_PHASE_DRAINING);
    gate_open();
    wait_count(&w.drained, 1);
}

static void a_worker_without_a_link_resumes_when_the_link_is_back(void **state) {
    (void)state;
    begin_ready();
    worker_drain(w.worker, 60000, NULL, NULL);
    wait_count(&w.deregistrations, 1);
    int registrations = w.registrations;
    transport_memory_set_link(w.harness.worker_link, false);
    harness_settle(&w.harness);
    assert_true(worker_resume(w.worker));
    harness_settle(&w.harness);
    assert_int_equal(info_now().phase, WORKER_PHASE_CONNECTING);
    assert_int_equal(w.registrations, registrations);
    transport_memory_set_link(w.harness.worker_link, true);
    wait_count(&w.registrations, registrations + 1);
    assert_int_equal(info_now().phase, WORKER_PHASE_READY);
}

static void one_model_that_loads_is_enough(void **state) {
    (void)state;
    harness_add_model(&w.harness, "broken");
    gate_fail_loads("broken");
    begin_ready();
    struct worker_info info = info_now();
    while (info.models[1].state == MODEL_LOADING) {
        loop_run_once(w.harness.loop, 5);
        info = info_now();
    }
    assert_int_equal(info.models[1].state, MODEL_FAILED);
    assert_int_equal(info.phase, WORKER_PHASE_READY);
    send_text(0, "broken", "hello");
    check_refused(0, STATUS_MODEL_LOAD_FAILED);
    send_text(1, "fake", "hello");
    harness_wait_ends(&w.harness, 2);
    assert_int_equal(w.harness.seen[1].status, STATUS_OK);
    assert_int_equal(w.failed, 0);
}

static void no_model_at_all_is_a_failure(void **state) {
    (void)state;
    gate_fail_loads("fake");
    begin();
    wait_count(&w.failed, 1);
    harness_settle(&w.harness);
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.info.models[0].state, MODEL_FAILED);
}

static void restart_on_a_new_link(void) {
    worker_free(w.worker);
    transport_close(w.harness.worker_link);
    w.harness.worker_link = transport_memory_open(w.harness.bus, w.harness.loop);
    begin();
}

static void a_worker_goes_through_its_phases_and_can_live_again_as_another_incarnation(void **state) {
    (void)state;
    gate_close();
    transport_memory_set_link(w.harness.worker_link, false);
    begin();
    harness_settle(&w.harness);
    assert_int_equal(info_now().phase, WORKER_PHASE_CONNECTING);
    assert_int_equal(w.registrations, 0);
    transport_memory_set_link(w.harness.worker_link, true);
    for (int life = 1; life <= 3; life++) {
        wait_count(&w.registrations, life);
        assert_int_equal(info_now().phase, WORKER_PHASE_LOADING);
        gate_open();
        wait_phase(WORKER_PHASE_READY);
        worker_drain(w.worker, 60000, on_drained, NULL);
        wait_count(&w.drained, life);
        wait_count(&w.deregistrations, life);
        struct worker_info last = info_now();
        assert_int_equal(last.phase, WORKER_PHASE_STOPPED);
        assert_string_equal(w.deregister.incarnation, last.incarnation);
        gate_close();
        restart_on_a_new_link();
        assert_string_not_equal(info_now().incarnation, last.incarnation);
    }
}

static void say_controller(const char *incarnation) {
    struct wire_controller controller = {.id = "c0", .state = WIRE_CONTROLLER_READY};
    snprintf(controller.incarnation, sizeof controller.incarnation, "%s", incarnation);
    struct buf body;
    buf_init(&body, 0);
    wire_write_controller(&body, &controller);
    send_to_worker(WIRE_SUBJECT_CONTROLLER_HEARTBEAT, NULL, body.data, body.len);
    buf_release(&body);
}

static void send_job_of(int index, const char *incarnation) {
    struct wire_job job = harness_job(index, "[reply 5]");
    snprintf(job.incarnation, sizeof job.incarnation, "%s", incarnation);
    send_job(&job);
}

/* Jobs may come before the first word. */
static void of_a_controller_that_started_anew_only_the_old_jobs_end(void **state) {
    (void)state;
    begin_ready();
    say_controller("old");
    gate_close();
    send_job_of(0, "old");
    send_job_of(1, "new");
    send_job_of(2, "");
    harness_wait_starts(&w.harness, 1);
    harness_settle(&w.harness);
    assert_int_equal(info_now().load.jobs_accepted, 3);
    say_controller("new");
    harness_settle(&w.harness);
    gate_open();
    harness_wait_ends(&w.harness, 3);
    assert_int_equal(w.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(w.harness.seen[1].status, STATUS_OK);
    assert_int_equal(w.harness.seen[2].status, STATUS_CANCELLED);
    assert_int_equal(info_now().load.jobs_orphaned, 2);
}

static void a_drain_from_afar_does_not_put_off_the_end(void **state) {
    (void)state;
    begin_at_gate("[reply 5]");
    worker_drain(w.worker, 100, on_drained, NULL);
    send_control(WIRE_CONTROL_DRAIN); /* with its own limit of 30 s */
    wait_count(&w.drained, 1);
}

static void a_worker_whose_models_failed_during_a_drain_says_so_when_it_resumes(void **state) {
    (void)state;
    gate_fail_loads("fake");
    gate_close();
    begin();
    wait_state(0, MODEL_LOADING);
    gate_wait_arrival();
    send_control(WIRE_CONTROL_DRAIN);
    wait_count(&w.replies, 1);
    gate_open();
    wait_state(0, MODEL_FAILED);
    assert_int_equal(w.failed, 0);
    send_control(WIRE_CONTROL_RESUME);
    wait_count(&w.failed, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, worker_rig_setup, worker_rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_worker_registers_while_it_loads_and_tells_when_it_is_ready),
        TEST(a_worker_registers_again_when_asked_and_when_its_link_is_back),
        TEST(drain_finishes_what_runs_and_then_deregisters),
        TEST(an_idle_worker_drains_at_once_and_is_silent_then),
        TEST(the_drain_limit_answers_the_rest),
        TEST(a_hung_engine_does_not_stop_the_drain),
        TEST(a_control_message_drains_and_a_later_drain_calls_back),
        TEST(a_drained_worker_that_is_told_to_resume_registers_and_takes_jobs),
        TEST(what_runs_goes_on_when_a_drain_is_called_off),
        TEST(a_worker_that_stops_does_not_resume),
        TEST(a_worker_without_a_link_resumes_when_the_link_is_back),
        TEST(one_model_that_loads_is_enough),
        TEST(no_model_at_all_is_a_failure),
        TEST(a_worker_goes_through_its_phases_and_can_live_again_as_another_incarnation),
        TEST(of_a_controller_that_started_anew_only_the_old_jobs_end),
        TEST(a_drain_from_afar_does_not_put_off_the_end),
        TEST(a_worker_whose_models_failed_during_a_drain_says_so_when_it_resumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
