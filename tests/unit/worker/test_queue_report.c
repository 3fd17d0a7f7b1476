#include "worker/queue_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct queue_report report;

static void note(int64_t since_ms, int64_t started_ms, enum job_end end, int64_t now_ms) {
    struct job job = {.since_ms = since_ms, .started_ms = started_ms, .end = end};
    job.wire.chat.model = (char[]){"m"};
    queue_report_note(&report, &job, now_ms);
}

static struct worker_queue told(int64_t now_ms) {
    struct worker_queue queue = {.enqueued = 0};
    queue_report_add(&report, now_ms, &queue);
    return queue;
}

static void waits_are_those_of_jobs_that_had_a_slot(void **state) {
    (void)state;
    report = (struct queue_report){.expired = 0};
    for (int i = 1; i <= 100; i++)
        note(1000, 1000 + i, i % 2 ? JOB_FINISHED : JOB_CANCELLED, 2000);
    note(1000, -1, JOB_EXPIRED, 2000);
    note(1000, -1, JOB_CANCELLED, 2000);
    note(1000, -1, JOB_CANCELLED, 2000);
    note(1000, -1, JOB_FAILED, 2000);
    struct worker_queue queue = told(2000);
    assert_in_range(queue.wait_mean_ms, 50, 51);
    assert_in_range(queue.wait_p50_ms, 50, 52);
    assert_in_range(queue.wait_p99_ms, 99, 100);
    assert_int_equal(queue.expired, 1);
    assert_int_equal(queue.cancelled, 2);
}

static void waits_are_forgotten_after_one_to_two_minutes(void **state) {
    (void)state;
    report = (struct queue_report){.expired = 0};
    note(0, 500, JOB_FINISHED, 59000);
    note(60000, 60010, JOB_FINISHED, 61000);
    assert_in_range(told(61000).wait_p99_ms, 490, 500);
    assert_in_range(told(119999).wait_p99_ms, 490, 500);
    assert_in_range(told(120000).wait_p99_ms, 10, 10);
    assert_int_equal(told(180000).wait_p99_ms, 0);
    note(200000, 200007, JOB_FINISHED, 300000);
    assert_int_equal(told(300000).wait_p99_ms, 7);
    assert_int_equal(told(300000).wait_mean_ms, 7);
}

static void the_estimate_follows_from_how_fast_jobs_end(void **state) {
    (void)state;
    report = (struct queue_report){.expired = 0};
    assert_int_equal(queue_report_wait_ms(&report, "m", 0, 0), 0);
    assert_int_equal(queue_report_wait_ms(&report, "m", 3, 0), -1);
    for (int64_t now_ms = 0; now_ms < 20000; now_ms += 250) /* four a second */
        note(now_ms, now_ms, JOB_FINISHED, now_ms);
    assert_int_equal(queue_report_wait_ms(&report, "m", 0, 20000), 0);
    assert_in_range(queue_report_wait_ms(&report, "m", 1, 20000), 240, 260);
    assert_in_range(queue_report_wait_ms(&report, "m", 8, 20000), 1900, 2100);
    assert_int_equal(queue_report_wait_ms(&report, "another", 1, 20000), -1);
}

static void jobs_that_never_had_a_slot_do_not_count_as_progress(void **state) {
    (void)state;
    report = (struct queue_report){.expired = 0};
    for (int64_t now_ms = 0; now_ms < 5000; now_ms += 100)
        note(now_ms, -1, JOB_CANCELLED, now_ms);
    assert_int_equal(queue_report_wait_ms(&report, "m", 1, 5000), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_those_of_jobs_that_had_a_slot),
        cmocka_unit_test(waits_are_forgotten_after_one_to_two_minutes),
        cmocka_unit_test(the_estimate_follows_from_how_fast_jobs_end),
        cmocka_unit_test(jobs_that_never_had_a_slot_do_not_count_as_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
