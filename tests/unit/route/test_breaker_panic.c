/* When so many breakers of a set are open that all are used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "breaker_bench.h"

static void panic_begins_above_half_and_never_spares_the_last(void **state) {
    (void)state;
    static const struct {
        size_t ejected, live;
        bool panic;
    } rows[] = {{0, 0, false}, {0, 1, false}, {1, 1, true},  {1, 2, false}, {2, 2, true},
                {1, 3, false}, {2, 3, true},  {2, 4, false}, {3, 4, true},  {50, 100, false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(breaker_panic(rows[i].ejected, rows[i].live), rows[i].panic);
}

static void open_and_half_open_count_as_ejected(void **state) {
    (void)state;
    struct bench bench = new_bench();
    assert_false(breaker_is_ejected(&bench.breaker));
    half_open(&bench);
    assert_true(breaker_is_ejected(&bench.breaker));
    bench.breaker.state = BREAKER_OPEN;
    assert_true(breaker_is_ejected(&bench.breaker));
    breaker_force(&bench.breaker, BREAKER_FORCED_OPEN);
    assert_false(breaker_is_ejected(&bench.breaker));
}

static void panic_uses_an_open_worker_with_one_job_at_a_time(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    assert_false(can_acquire(&bench, false));
    struct breaker_ticket ticket = acquire_in_panic(&bench);
    assert_true(ticket.probe);
    assert_false(can_acquire(&bench, true));
    report(&bench, &ticket, STATUS_OK);
    assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
}

static void an_early_probe_that_fails_leaves_the_open_time_as_it_was(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    int64_t end_ms = bench.now_ms + breaker_remaining_ms(&bench.breaker, bench.now_ms);
    for (int i = 0; i < 10; i++) {
        bench.now_ms += 1000;
        struct breaker_ticket ticket = acquire_in_panic(&bench);
        assert_true(report(&bench, &ticket, i % 2 ? STATUS_ENGINE_ERROR : STATUS_CANCELLED));
        assert_int_equal(bench.breaker.state, BREAKER_OPEN);
        assert_int_equal(bench.now_ms + breaker_remaining_ms(&bench.breaker, bench.now_ms), end_ms);
        assert_int_equal(bench.breaker.openings, 1);
    }
}

static void a_probe_that_fails_after_the_open_time_reopens_even_if_it_began_early(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    bench.now_ms += breaker_remaining_ms(&bench.breaker, bench.now_ms) - 1;
    struct breaker_ticket ticket = acquire_in_panic(&bench);
    bench.now_ms++;
    report(&bench, &ticket, STATUS_ENGINE_ERROR);
    assert_int_equal(bench.breaker.openings, 2);
    assert_int_equal(peek(&bench), BREAKER_WAIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panic_begins_above_half_and_never_spares_the_last),
        cmocka_unit_test(open_and_half_open_count_as_ejected),
        cmocka_unit_test(panic_uses_an_open_worker_with_one_job_at_a_time),
        cmocka_unit_test(an_early_probe_that_fails_leaves_the_open_time_as_it_was),
        cmocka_unit_test(a_probe_that_fails_after_the_open_time_reopens_even_if_it_began_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
