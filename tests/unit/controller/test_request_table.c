#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/controller.h"
#include "controller/request_table.h"

static bool is_waiting(enum request_state state) {
    return state == REQUEST_SENT || state == REQUEST_ACCEPTED || state == REQUEST_STREAMING ||
           state == REQUEST_BACKOFF || state == REQUEST_WAITING;
}

static bool is_running(enum request_state state) {
    return is_waiting(state) && state != REQUEST_BACKOFF && state != REQUEST_WAITING;
}

static void every_step_has_an_action_and_leads_to_a_state(void **state) {
    (void)state;
    for (int s = 0; s < REQUEST_STATE_COUNT; s++) {
        for (int e = 0; e < EVENT_COUNT; e++) {
            const struct request_row *row = request_row((enum request_state)s, (enum request_event)e);
            if (row->kind != ROW_GO)
                continue;
            assert_in_range(row->next, REQUEST_NEW + 1, REQUEST_STATE_COUNT - 1);
            assert_non_null(row->action);
            assert_non_null(row->action_name);
        }
    }
}

/* Wherever a request waits for somebody else, it can be ended: by its deadline, its client, and by us. */
static void every_waiting_state_can_be_ended(void **state) {
    (void)state;
    const enum request_event ends[] = {EVENT_DEADLINE, EVENT_CLIENT_GONE, EVENT_STOP};
    for (int s = 0; s < REQUEST_STATE_COUNT; s++) {
        if (!is_waiting((enum request_state)s))
            continue;
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
            const struct request_row *row = request_row((enum request_state)s, ends[i]);
            assert_int_equal(row->kind, ROW_GO);
            assert_int_equal(row->next, REQUEST_ENDED);
        }
    }
}

static void every_failing_try_is_judged(void **state) {
    (void)state;
    const enum request_event failures[] = {EVENT_TRY_FAILED, EVENT_TIMED_OUT};
    for (int s = 0; s < REQUEST_STATE_COUNT; s++) {
        for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
            const struct request_row *row = request_row((enum request_state)s, failures[i]);
            assert_int_equal(row->kind == ROW_GO, is_running((enum request_state)s));
            if (row->kind == ROW_GO)
                assert_int_equal(row->next, REQUEST_JUDGING);
        }
    }
}

static void nothing_leaves_the_end(void **state) {
    (void)state;
    for (int e = 0; e < EVENT_COUNT; e++)
        assert_int_not_equal(request_row(REQUEST_ENDED, (enum request_event)e)->kind, ROW_GO);
}

/* What a worker or a timer sends may come after the end of a request without being a defect. */
static void late_events_are_ignored_at_the_end(void **state) {
    (void)state;
    const enum request_event late[] = {EVENT_ACCEPTED, EVENT_STARTED,     EVENT_TOKEN,
                                       EVENT_FINISHED, EVENT_TRY_FAILED,  EVENT_TIMED_OUT,
                                       EVENT_DEADLINE, EVENT_CLIENT_GONE, EVENT_STOP};
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++)
        assert_int_equal(request_row(REQUEST_ENDED, late[i])->kind, ROW_IGNORE);
}

static void every_state_is_reached_from_new_and_reaches_the_end(void **state) {
    (void)state;
    bool reached[REQUEST_STATE_COUNT] = {[REQUEST_NEW] = true};
    bool ends[REQUEST_STATE_COUNT] = {[REQUEST_ENDED] = true};
    for (int round = 0; round < REQUEST_STATE_COUNT; round++) {
        for (int s = 0; s < REQUEST_STATE_COUNT; s++) {
            for (int e = 0; e < EVENT_COUNT; e++) {
                const struct request_row *row = request_row((enum request_state)s, (enum request_event)e);
                if (row->kind != ROW_GO)
                    continue;
                reached[row->next] = reached[row->next] || reached[s];
                ends[s] = ends[s] || ends[row->next];
            }
        }
    }
    for (int s = 0; s < REQUEST_STATE_COUNT; s++) {
        assert_true(reached[s]);
        assert_true(ends[s]);
    }
}

static void the_printed_table_names_every_state_and_event(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    controller_write_states(&out);
    assert_false(out.failed);
    for (int s = 0; s < REQUEST_STATE_COUNT; s++)
        assert_non_null(strstr(out.data, request_state_name((enum request_state)s)));
    for (int e = 0; e < EVENT_COUNT; e++)
        assert_non_null(strstr(out.data, request_event_name((enum request_event)e)));
    buf_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_has_an_action_and_leads_to_a_state),
        cmocka_unit_test(every_waiting_state_can_be_ended),
        cmocka_unit_test(every_failing_try_is_judged),
        cmocka_unit_test(nothing_leaves_the_end),
        cmocka_unit_test(late_events_are_ignored_at_the_end),
        cmocka_unit_test(every_state_is_reached_from_new_and_reaches_the_end),
        cmocka_unit_test(the_printed_table_names_every_state_and_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
