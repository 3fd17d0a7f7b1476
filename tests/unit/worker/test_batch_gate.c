#include "worker/batch_gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct batch_gate gate_of(size_t min_jobs, bool adaptive) {
    struct batch_gate gate;
    batch_gate_init(&gate, &(struct batch_gate_config){min_jobs, 50, adaptive});
    return gate;
}

static void one_job_is_enough_by_default(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(1, false);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, 100), 0);
}

static void it_waits_for_the_missing_ones_until_the_first_has_waited_long_enough(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(3, false);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, 100), 50);
    batch_gate_note(&gate, true, 120);
    assert_int_equal(batch_gate_wait_ms(&gate, 2, 120), 30);
    assert_int_equal(batch_gate_wait_ms(&gate, 3, 120), 0);
    assert_int_equal(batch_gate_wait_ms(&gate, 2, 150), 0);
    assert_int_equal(batch_gate_wait_ms(&gate, 2, 1000), 0);
}

static void a_busy_engine_never_waits(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(3, false);
    batch_gate_note(&gate, false, 100);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, 100), 0);
}

static void each_time_the_engine_is_idle_again_it_waits_anew(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(2, false);
    batch_gate_note(&gate, true, 100);
    batch_gate_open(&gate);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, 101), 0);
    batch_gate_note(&gate, true, 500);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, 500), 50);
}

static void adaptive_begins_at_once_while_nothing_is_known(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(2, true);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, 100), 0);
}

static void adaptive_waits_twice_the_time_that_the_missing_ones_should_take(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(4, true);
    int64_t now_ms = 0;
    for (int i = 0; i < 10; i++)
        batch_gate_note(&gate, false, now_ms += 5);
    batch_gate_note(&gate, true, now_ms += 5);
    assert_int_equal(batch_gate_wait_ms(&gate, 3, now_ms), 10);
    assert_int_equal(batch_gate_wait_ms(&gate, 2, now_ms), 20);
    assert_int_equal(batch_gate_wait_ms(&gate, 3, now_ms + 4), 6);
    assert_int_equal(batch_gate_wait_ms(&gate, 3, now_ms + 10), 0);
}

static void adaptive_does_not_wait_for_rare_jobs_but_soon_again_in_a_rush(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(2, true);
    int64_t now_ms = 0;
    for (int i = 0; i < 10; i++)
        batch_gate_note(&gate, true, now_ms += 3600000);
    assert_int_equal(batch_gate_wait_ms(&gate, 1, now_ms), 0);
    for (int i = 0; i < 10; i++)
        batch_gate_note(&gate, true, now_ms += 1);
    batch_gate_open(&gate);
    batch_gate_note(&gate, true, now_ms += 1);
    assert_in_range(batch_gate_wait_ms(&gate, 1, now_ms), 1, 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_job_is_enough_by_default),
        cmocka_unit_test(it_waits_for_the_missing_ones_until_the_first_has_waited_long_enough),
        cmocka_unit_test(a_busy_engine_never_waits),
        cmocka_unit_test(each_time_the_engine_is_idle_again_it_waits_anew),
        cmocka_unit_test(adaptive_begins_at_once_while_nothing_is_known),
        cmocka_unit_test(adaptive_waits_twice_the_time_that_the_missing_ones_should_take),
        cmocka_unit_test(adaptive_does_not_wait_for_rare_jobs_but_soon_again_in_a_rush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
