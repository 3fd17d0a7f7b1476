#include "controller/link_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Silent after 1000 ms; the life begins at 10000. */
static struct link_watch watch_of(void) {
    struct link_watch watch;
    link_watch_init(&watch, 1000, 10000);
    return watch;
}

static void while_echoes_come_back_it_is_well(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    for (int64_t now = 10250; now < 20000; now += 250) {
        assert_false(link_watch_tick(&watch, now));
        assert_int_equal(link_watch_heard(&watch, now, now + 3), 0);
    }
    assert_true(link_watch_is_well(&watch, 20000));
    assert_true(link_watch_was_well(&watch, 10000, 20000));
    assert_int_equal(watch.silences, 0);
}

static void without_an_echo_it_is_silent_and_what_was_not_heard_is_forgiven(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    assert_false(link_watch_tick(&watch, 11000));
    assert_true(link_watch_is_well(&watch, 11000));
    assert_true(link_watch_tick(&watch, 11001));
    assert_false(link_watch_is_well(&watch, 11001));
    assert_false(link_watch_tick(&watch, 12000));
    assert_int_equal(watch.silences, 1);
    assert_int_equal(link_watch_heard(&watch, 10500, 13000), 0); /* the first of those that were held up */
    assert_false(link_watch_is_well(&watch, 13000));
    assert_int_equal(link_watch_heard(&watch, 12500, 13000), 3000);
    assert_true(link_watch_is_well(&watch, 13000));
    assert_int_equal(link_watch_heard(&watch, 12900, 13001), 0);
}

static void a_try_from_before_the_end_of_a_silence_may_have_lost_something(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    link_watch_tick(&watch, 12000);
    assert_false(link_watch_was_well(&watch, 11990, 12000)); /* it is not well now */
    assert_int_equal(link_watch_heard(&watch, 12900, 13000), 3000);
    assert_false(link_watch_was_well(&watch, 10000, 13500));
    assert_false(link_watch_was_well(&watch, 13000, 13500));
    assert_true(link_watch_was_well(&watch, 13001, 13500));
}

static void a_silence_that_no_tick_has_seen_counts(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    assert_int_equal(link_watch_heard(&watch, 13000, 13000), 3000);
    assert_false(link_watch_was_well(&watch, 12000, 13100));
}

static void a_link_that_is_down_is_not_well_and_forgiven_from_the_last_echo_on(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    link_watch_heard(&watch, 10400, 10401);
    link_watch_lost(&watch, 10500);
    assert_false(link_watch_is_well(&watch, 10500));
    link_watch_tick(&watch, 12000);
    assert_int_equal(watch.silences, 0);
    assert_int_equal(link_watch_returned(&watch, 14000), 3600);
    assert_true(link_watch_is_well(&watch, 14000));
    assert_false(link_watch_was_well(&watch, 10450, 14001));
    assert_true(link_watch_was_well(&watch, 14001, 14002));
}

static void the_own_pause_is_no_silence(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    link_watch_paused(&watch, 60000);
    assert_false(link_watch_tick(&watch, 70500));
    assert_true(link_watch_is_well(&watch, 70500));
}

static void echoes_that_cannot_be_ours_change_nothing(void **state) {
    (void)state;
    struct link_watch watch = watch_of();
    assert_int_equal(link_watch_heard(&watch, INT64_MAX, 10100), 0);
    assert_int_equal(link_watch_heard(&watch, 9000, 10100), 0);
    assert_int_equal(watch.well_ms, 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_echoes_come_back_it_is_well),
        cmocka_unit_test(without_an_echo_it_is_silent_and_what_was_not_heard_is_forgiven),
        cmocka_unit_test(a_try_from_before_the_end_of_a_silence_may_have_lost_something),
        cmocka_unit_test(a_silence_that_no_tick_has_seen_counts),
        cmocka_unit_test(a_link_that_is_down_is_not_well_and_forgiven_from_the_last_echo_on),
        cmocka_unit_test(the_own_pause_is_no_silence),
        cmocka_unit_test(echoes_that_cannot_be_ours_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
