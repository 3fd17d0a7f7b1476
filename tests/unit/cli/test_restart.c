#include "cli/restart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_first_restart_comes_at_once_and_the_next_ones_later_and_later(void **state) {
    (void)state;
    struct restart restart = {.was_ready = true};
    static const int64_t delays[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000};
    int64_t now_ms = 1000;
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        restart_started(&restart, now_ms);
        now_ms += 10;
        assert_int_equal(restart_ended(&restart, now_ms, false), delays[i]);
        now_ms += delays[i];
    }
}

static void a_child_that_stayed_up_for_30_s_begins_anew(void **state) {
    (void)state;
    struct restart restart = {.was_ready = true};
    restart_started(&restart, 0);
    assert_int_equal(restart_ended(&restart, 1, false), 0);
    restart_started(&restart, 1);
    assert_int_equal(restart_ended(&restart, 30000, false), 100); /* 29999 ms */
    restart_started(&restart, 30000);
    assert_int_equal(restart_ended(&restart, 60000, false), 0);
}

static void five_failures_before_it_was_ever_ready_are_the_end(void **state) {
    (void)state;
    struct restart restart = {0};
    static const int64_t delays[] = {0, 100, 200, 400, -1};
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        restart_started(&restart, 0);
        assert_int_equal(restart_ended(&restart, 1, false), delays[i]);
    }
}

static void a_wrong_configuration_is_hopeless_before_it_was_ever_ready(void **state) {
    (void)state;
    struct restart fresh = {0};
    restart_started(&fresh, 0);
    assert_int_equal(restart_ended(&fresh, 1, true), -1);
    struct restart proven = {.was_ready = true};
    restart_started(&proven, 0);
    assert_int_equal(restart_ended(&proven, 1, true), 0);
}

static void a_child_that_was_ready_is_never_given_up(void **state) {
    (void)state;
    struct restart restart = {.was_ready = true};
    for (int i = 0; i < 1000; i++) {
        restart_started(&restart, 0);
        int64_t delay_ms = restart_ended(&restart, 1, false);
        assert_true(delay_ms >= 0 && delay_ms <= RESTART_DELAY_MAX_MS);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_restart_comes_at_once_and_the_next_ones_later_and_later),
        cmocka_unit_test(a_child_that_stayed_up_for_30_s_begins_anew),
        cmocka_unit_test(five_failures_before_it_was_ever_ready_are_the_end),
        cmocka_unit_test(a_wrong_configuration_is_hopeless_before_it_was_ever_ready),
        cmocka_unit_test(a_child_that_was_ready_is_never_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
