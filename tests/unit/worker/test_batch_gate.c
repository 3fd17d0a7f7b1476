#include "worker/batch_gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct batch_gate gate_of(size_t min_jobs, bool adaptive) {
    struct batch_gate gate;
    batch_gate_init(&gate, &(struct batch_gate_config){min_jobs, 50, adaptive}, 8);
    return gate;
}

/* Eleven jobs with `gap_ms` between them, the last one while the engine is idle. Returns when it came. */
static int64_t note_rush(struct batch_gate *gate, int64_t gap_ms) {
    int64_t now_ms = 0;
    for (int i = 0; i < 10; i++)
        batch_gate_note(gate, false, now_ms += gap_ms);
    batch_gate_note(gate, true, now_ms += gap_ms);
    return now_ms;
}

static int64_t wait_ms(const struct batch_gate *gate, size_t waiting, int64_t now_ms) {
    return batch_gate_wait_ms(gate, &(struct batch_gate_jobs){.waiting = waiting}, now_ms);
}

/* `missing` clients have just been served, at 1000, and one has come back at 1002; its prompt takes 60 ms. */
static struct batch_gate gate_of_served(size_t missing) {
    struct batch_gate gate = gate_of(1, false);
    for (size_t i = 0; i <= missing; i++)
        batch_gate_served(&gate, 1000);
    batch_gate_note(&gate, true, 1002);
    return gate;
}

static int64_t wait_beside_60_ms(const struct batch_gate *gate, size_t waiting, size_t coming,
                                 int64_t now_ms) {
    const struct batch_gate_jobs jobs = {.waiting = waiting, .coming = coming, .cost_ms = 60};
    return batch_gate_wait_ms(gate, &jobs, now_ms);
}

static void one_job_is_enough_by_default(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(1, false);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(wait_ms(&gate, 1, 100), 0);
}

static void it_waits_for_the_missing_ones_until_the_first_has_waited_long_enough(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(3, false);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(wait_ms(&gate, 1, 100), 50);
    batch_gate_note(&gate, true, 120);
    assert_int_equal(wait_ms(&gate, 2, 120), 30);
    assert_int_equal(wait_ms(&gate, 3, 120), 0);
    assert_int_equal(wait_ms(&gate, 2, 150), 0);
    assert_int_equal(wait_ms(&gate, 2, 1000), 0);
}

static void a_busy_engine_never_waits(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(3, false);
    batch_gate_note(&gate, false, 100);
    assert_int_equal(wait_ms(&gate, 1, 100), 0);
}

static void each_time_the_engine_is_idle_again_it_waits_anew(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(2, false);
    batch_gate_note(&gate, true, 100);
    batch_gate_open(&gate, 150);
    assert_int_equal(wait_ms(&gate, 1, 151), 0);
    assert_int_equal(gate.waited_ms, 50);
    batch_gate_note(&gate, true, 500);
    assert_int_equal(wait_ms(&gate, 1, 500), 50);
    batch_gate_open(&gate, 530);
    batch_gate_open(&gate, 540);
    assert_int_equal(gate.waited_ms, 80);
}

static void adaptive_begins_at_once_while_nothing_is_known(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(2, true);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(wait_ms(&gate, 1, 100), 0);
}

static void adaptive_waits_twice_the_time_that_the_missing_ones_should_take(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(4, true);
    int64_t now_ms = note_rush(&gate, 5);
    assert_int_equal(wait_ms(&gate, 3, now_ms), 10);
    assert_int_equal(wait_ms(&gate, 2, now_ms), 20);
    assert_int_equal(wait_ms(&gate, 3, now_ms + 4), 6);
    assert_int_equal(wait_ms(&gate, 3, now_ms + 10), 0);
}

static void adaptive_does_not_wait_for_rare_jobs_but_soon_again_in_a_rush(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(2, true);
    int64_t now_ms = 0;
    for (int i = 0; i < 10; i++)
        batch_gate_note(&gate, true, now_ms += 3600000);
    assert_int_equal(wait_ms(&gate, 1, now_ms), 0);
    for (int i = 0; i < 10; i++)
        batch_gate_note(&gate, true, now_ms += 1);
    batch_gate_open(&gate, now_ms);
    batch_gate_note(&gate, true, now_ms += 1);
    assert_in_range(wait_ms(&gate, 1, now_ms), 1, 50);
}

static void no_more_are_waited_for_than_there_are_slots(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(20, true);
    int64_t now_ms = note_rush(&gate, 4);
    assert_int_equal(wait_ms(&gate, 7, now_ms), 8);
    assert_int_equal(wait_ms(&gate, 8, now_ms), 0);
}

static void it_waits_for_prompts_that_are_being_made(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(1, false);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 100), 0);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 2, 100), 10);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 2, 104), 6);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 2, 110), 0);
}

static void it_waits_for_clients_that_were_just_served(void **state) {
    (void)state;
    struct batch_gate gate = gate_of_served(2);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 1002), 10);
    batch_gate_note(&gate, true, 1005);
    assert_int_equal(wait_beside_60_ms(&gate, 2, 0, 1005), 10);
    batch_gate_note(&gate, true, 1006);
    assert_int_equal(wait_beside_60_ms(&gate, 3, 0, 1006), 0);
}

static void jobs_that_are_sent_at_once_are_waited_for(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(1, false);
    batch_gate_note(&gate, true, 100);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 100), 0);
    batch_gate_note(&gate, true, 101);
    assert_true(batch_gate_expects(&gate, 0));
    assert_int_equal(wait_beside_60_ms(&gate, 2, 0, 101), 2);
    batch_gate_note(&gate, true, 103);
    assert_int_equal(wait_beside_60_ms(&gate, 3, 0, 104), 1);
    assert_int_equal(wait_beside_60_ms(&gate, 3, 0, 105), 0);
    batch_gate_open(&gate, 105);
    batch_gate_note(&gate, true, 200);
    assert_false(batch_gate_expects(&gate, 0));
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 200), 0);
}

static void a_client_that_is_back_is_not_waited_for(void **state) {
    (void)state;
    struct batch_gate gate = gate_of_served(0);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 1002), 0);
}

static void those_that_come_one_by_one_are_waited_for_twice_as_long_at_most(void **state) {
    (void)state;
    struct batch_gate gate = gate_of_served(6);
    batch_gate_note(&gate, true, 1011);
    assert_int_equal(wait_beside_60_ms(&gate, 2, 0, 1011), 10);
    batch_gate_note(&gate, true, 1020);
    assert_int_equal(wait_beside_60_ms(&gate, 3, 0, 1020), 2);
    assert_int_equal(wait_beside_60_ms(&gate, 3, 0, 1022), 0);
}

static void nobody_is_waited_for_who_was_served_long_before(void **state) {
    (void)state;
    struct batch_gate gate = gate_of(1, false);
    for (int i = 0; i < 5; i++)
        batch_gate_served(&gate, 1000);
    batch_gate_note(&gate, true, 1011);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 1011), 0);
    /* The others have gone for good: only one is missing. */
    batch_gate_open(&gate, 1020);
    batch_gate_served(&gate, 2100);
    batch_gate_note(&gate, true, 2101);
    assert_int_equal(wait_beside_60_ms(&gate, 1, 0, 2101), 0);
}

static void a_prompt_that_is_soon_computed_waits_for_nobody(void **state) {
    (void)state;
    struct batch_gate gate = gate_of_served(3);
    const struct batch_gate_jobs jobs = {.waiting = 1, .coming = 3, .cost_ms = 5};
    assert_int_equal(wait_ms(&gate, 1, 1002), 0); /* nor one of which nothing is known */
    assert_int_equal(batch_gate_wait_ms(&gate, &jobs, 1002), 0);
}

static void nor_does_one_whose_step_has_no_room_for_more(void **state) {
    (void)state;
    struct batch_gate gate = gate_of_served(7);
    assert_int_equal(wait_beside_60_ms(&gate, 7, 3, 1002), 10);
    assert_int_equal(wait_beside_60_ms(&gate, 8, 3, 1002), 0);
}

static void without_a_timeout_nobody_waits(void **state) {
    (void)state;
    struct batch_gate gate = gate_of_served(3);
    gate.config.timeout_ms = 0;
    assert_int_equal(wait_beside_60_ms(&gate, 1, 3, 1002), 0);
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
        cmocka_unit_test(no_more_are_waited_for_than_there_are_slots),
        cmocka_unit_test(it_waits_for_prompts_that_are_being_made),
        cmocka_unit_test(it_waits_for_clients_that_were_just_served),
        cmocka_unit_test(jobs_that_are_sent_at_once_are_waited_for),
        cmocka_unit_test(a_client_that_is_back_is_not_waited_for),
        cmocka_unit_test(those_that_come_one_by_one_are_waited_for_twice_as_long_at_most),
        cmocka_unit_test(nobody_is_waited_for_who_was_served_long_before),
        cmocka_unit_test(a_prompt_that_is_soon_computed_waits_for_nobody),
        cmocka_unit_test(nor_does_one_whose_step_has_no_room_for_more),
        cmocka_unit_test(without_a_timeout_nobody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
