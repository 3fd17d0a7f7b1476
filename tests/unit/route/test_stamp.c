#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "route/stamp.h"

static void stamps_grow_whatever_the_wall_clock_does(void **state) {
    (void)state;
    static const int64_t walls[] = {1000, 1000, 1001, 5, -7, INT64_MIN, 2000, 2000};
    struct stamp_clock clock;
    stamp_clock_init(&clock, 12345);
    int64_t last = 0;
    for (size_t i = 0; i < sizeof(walls) / sizeof(walls[0]); i++) {
        int64_t stamp = stamp_next(&clock, walls[i]);
        assert_true(stamp > last);
        last = stamp;
    }
}

static void a_stamp_is_greater_than_those_that_others_used(void **state) {
    (void)state;
    struct stamp_clock fast, slow;
    stamp_clock_init(&fast, 1);
    stamp_clock_init(&slow, 2);
    int64_t theirs = stamp_next(&fast, 1000000);
    stamp_seen(&slow, theirs);
    assert_true(stamp_next(&slow, 3) > theirs);
    stamp_seen(&slow, 1); /* an old one changes nothing */
    assert_true(stamp_next(&slow, 3) > theirs);
}

static void of_two_that_did_not_hear_each_other_the_later_one_wins(void **state) {
    (void)state;
    struct stamp_clock a, b;
    stamp_clock_init(&a, UINT64_MAX);
    stamp_clock_init(&b, 0);
    assert_true(stamp_next(&b, 501) > stamp_next(&a, 500));
}

static void two_controllers_never_make_the_same_stamp(void **state) {
    (void)state;
    struct stamp_clock a, b;
    stamp_clock_init(&a, 77);
    stamp_clock_init(&b, 78);
    for (int i = 0; i < 1000; i++) {
        int64_t stamp = stamp_next(&a, i / 10);
        assert_true(stamp != stamp_next(&b, i / 10));
        if (i % 3 == 0)
            stamp_seen(&b, stamp);
    }
}

static void the_greatest_stamp_is_never_passed(void **state) {
    (void)state;
    struct stamp_clock clock;
    stamp_clock_init(&clock, UINT64_MAX);
    stamp_seen(&clock, INT64_MAX);
    assert_true(clock.last == STAMP_MAX);
    assert_true(stamp_next(&clock, 1) == STAMP_MAX);
    stamp_clock_init(&clock, UINT64_MAX);
    assert_true(stamp_next(&clock, INT64_MAX) == STAMP_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamps_grow_whatever_the_wall_clock_does),
        cmocka_unit_test(a_stamp_is_greater_than_those_that_others_used),
        cmocka_unit_test(of_two_that_did_not_hear_each_other_the_later_one_wins),
        cmocka_unit_test(two_controllers_never_make_the_same_stamp),
        cmocka_unit_test(the_greatest_stamp_is_never_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
