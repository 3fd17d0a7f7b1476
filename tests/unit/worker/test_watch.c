#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/watch.h"

enum { TIMEOUT_MS = 10000 };

static struct watch watch;

static int reset(void **state) {
    (void)state;
    watch = (struct watch){0};
    return 0;
}

static bool hear(const char *id, const char *incarnation, enum wire_controller_state state, int64_t now_ms) {
    struct wire_controller controller = {.state = state};
    snprintf(controller.id, sizeof controller.id, "%s", id);
    snprintf(controller.incarnation, sizeof controller.incarnation, "%s", incarnation);
    return watch_heartbeat(&watch, &controller, now_ms);
}

static void one_that_beats_is_never_silent_and_one_that_stopped_is_taken_once(void **state) {
    (void)state;
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    assert_false(hear("a", "1", WIRE_CONTROLLER_READY, 0));
    assert_false(hear("b", "1", WIRE_CONTROLLER_READY, 0));
    assert_false(hear("a", "1", WIRE_CONTROLLER_DRAINING, 9000));
    assert_false(watch_take_silent(&watch, TIMEOUT_MS, 9999, id));
    assert_true(watch_take_silent(&watch, TIMEOUT_MS, 10000, id));
    assert_string_equal(id, "b");
    assert_false(watch_take_silent(&watch, TIMEOUT_MS, 18999, id));
    assert_true(watch_take_silent(&watch, TIMEOUT_MS, 19000, id));
    assert_string_equal(id, "a");
}

static void a_controller_that_only_ever_sent_a_job_is_watched_too(void **state) {
    (void)state;
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    watch_job(&watch, "a", 500);
    assert_false(watch_take_silent(&watch, TIMEOUT_MS, 10499, id));
    assert_true(watch_take_silent(&watch, TIMEOUT_MS, 10500, id));
    assert_string_equal(id, "a");
}

static void another_process_under_the_same_id_ends_the_jobs_of_the_first(void **state) {
    (void)state;
    assert_false(hear("a", "1", WIRE_CONTROLLER_READY, 0));
    watch_job(&watch, "a", 10);
    assert_false(hear("a", "1", WIRE_CONTROLLER_READY, 20));
    assert_true(hear("a", "2", WIRE_CONTROLLER_READY, 30));
    assert_false(hear("a", "2", WIRE_CONTROLLER_READY, 40));
}

static void one_that_leaves_is_over_at_once(void **state) {
    (void)state;
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    assert_false(hear("a", "1", WIRE_CONTROLLER_READY, 0));
    assert_true(hear("a", "1", WIRE_CONTROLLER_LEFT, 10));
    assert_false(watch_take_silent(&watch, TIMEOUT_MS, 100000, id));
}

static void after_the_worker_could_hear_nobody_all_have_their_time_again(void **state) {
    (void)state;
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    hear("a", "1", WIRE_CONTROLLER_READY, 0);
    watch_restart(&watch, 60000);
    assert_false(watch_take_silent(&watch, TIMEOUT_MS, 69999, id));
    assert_true(watch_take_silent(&watch, TIMEOUT_MS, 70000, id));
}

static void of_too_many_the_ones_heard_last_are_watched(void **state) {
    (void)state;
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    for (int i = 0; i <= WATCHED_MAX; i++) {
        snprintf(id, sizeof id, "c%d", i);
        watch_job(&watch, id, i);
    }
    for (int i = 0; i < WATCHED_MAX; i++) {
        assert_true(watch_take_silent(&watch, TIMEOUT_MS, 100000, id));
        assert_string_not_equal(id, "c0");
    }
    assert_false(watch_take_silent(&watch, TIMEOUT_MS, 100000, id));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_that_beats_is_never_silent_and_one_that_stopped_is_taken_once, reset),
        cmocka_unit_test_setup(a_controller_that_only_ever_sent_a_job_is_watched_too, reset),
        cmocka_unit_test_setup(another_process_under_the_same_id_ends_the_jobs_of_the_first, reset),
        cmocka_unit_test_setup(one_that_leaves_is_over_at_once, reset),
        cmocka_unit_test_setup(after_the_worker_could_hear_nobody_all_have_their_time_again, reset),
        cmocka_unit_test_setup(of_too_many_the_ones_heard_last_are_watched, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
