#include "worker/model_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct model_table table;

static void begin(int64_t bytes_max, size_t count, const int64_t *bytes) {
    table = (struct model_table){
        .config = {.bytes_max = bytes_max, .on_demand = true, .warm_parallel = true, .retry_delay_ms = 100}};
    for (size_t i = 0; i < count; i++)
        assert_int_equal(model_table_add(&table, bytes[i]), i);
}

static void check_next(int64_t now_ms, enum model_move move, size_t index) {
    struct model_step step = model_table_next(&table, now_ms);
    assert_int_equal(step.move, move);
    if (move != MODEL_STAY)
        assert_int_equal(step.index, index);
}

/* Loads it at once. */
static void load(size_t index, int64_t now_ms) {
    model_table_job_came(&table, index, now_ms);
    check_next(now_ms, MODEL_LOAD, index);
    model_table_loading(&table, index, now_ms);
    model_table_loaded(&table, index, table.entries[index].bytes, now_ms);
    model_table_job_went(&table, index, now_ms);
}

static void a_job_makes_a_model_load_and_without_jobs_nothing_happens(void **state) {
    (void)state;
    begin(0, 2, (int64_t[]){10, 10});
    check_next(1, MODEL_STAY, 0);
    model_table_job_came(&table, 1, 1);
    check_next(1, MODEL_LOAD, 1);
    model_table_loading(&table, 1, 1);
    check_next(2, MODEL_STAY, 0);
    model_table_loaded(&table, 1, 12, 9);
    assert_int_equal(table.entries[1].load_ms, 8);
    assert_int_equal(model_table_bytes(&table), 12);
    check_next(10, MODEL_STAY, 0);
}

static void a_model_whose_jobs_went_before_its_turn_is_not_loaded(void **state) {
    (void)state;
    begin(10, 2, (int64_t[]){10, 10});
    model_table_job_came(&table, 0, 1);
    model_table_loading(&table, 0, 1);
    model_table_job_came(&table, 1, 2);
    check_next(2, MODEL_STAY, 0);
    assert_int_equal(table.entries[1].state, MODEL_WAITING);
    model_table_job_went(&table, 1, 3);
    check_next(3, MODEL_STAY, 0);
    assert_int_equal(table.entries[1].state, MODEL_UNLOADED);
}

static void the_idle_model_that_was_used_longest_ago_goes_first(void **state) {
    (void)state;
    begin(30, 4, (int64_t[]){10, 10, 10, 20});
    load(0, 1);
    load(1, 2);
    load(2, 3);
    model_table_job_came(&table, 0, 4);
    model_table_job_went(&table, 0, 5);
    model_table_job_came(&table, 3, 6);
    check_next(6, MODEL_UNLOAD, 1);
    model_table_unloading(&table, 1);
    check_next(7, MODEL_UNLOAD, 2);
    model_table_unloading(&table, 2);
    check_next(8, MODEL_STAY, 0);
    model_table_unloaded(&table, 1);
    check_next(9, MODEL_STAY, 0);
    model_table_unloaded(&table, 2);
    check_next(10, MODEL_LOAD, 3);
    assert_int_equal(table.entries[1].unloads, 1);
}

static void busy_loading_and_pinned_models_stay(void **state) {
    (void)state;
    begin(30, 4, (int64_t[]){10, 10, 10, 10});
    load(0, 1);
    load(1, 2);
    table.entries[0].pinned = true;
    model_table_job_came(&table, 1, 3);
    model_table_job_came(&table, 2, 4);
    check_next(4, MODEL_LOAD, 2);
    model_table_loading(&table, 2, 4);
    model_table_job_came(&table, 3, 5);
    check_next(5, MODEL_STAY, 0);
    model_table_job_went(&table, 1, 6);
    check_next(6, MODEL_UNLOAD, 1);
}

static void nothing_is_unloaded_for_one_that_cannot_have_the_room_yet(void **state) {
    (void)state;
    begin(30, 4, (int64_t[]){10, 10, 10, 30});
    load(0, 1);
    load(1, 2);
    model_table_job_came(&table, 0, 3);
    model_table_job_came(&table, 3, 4);
    check_next(4, MODEL_STAY, 0);
    /* And one behind it that needs nobody's room does not wait with it. */
    model_table_job_came(&table, 2, 5);
    check_next(5, MODEL_LOAD, 2);
}

static void who_waits_for_longest_gets_the_room(void **state) {
    (void)state;
    begin(10, 3, (int64_t[]){10, 10, 10});
    load(0, 1);
    model_table_job_came(&table, 0, 2);
    model_table_job_came(&table, 2, 3);
    check_next(3, MODEL_STAY, 0);
    model_table_job_came(&table, 1, 4);
    check_next(4, MODEL_STAY, 0);
    model_table_job_went(&table, 0, 5);
    check_next(5, MODEL_UNLOAD, 0);
    model_table_unloading(&table, 0);
    model_table_unloaded(&table, 0);
    check_next(6, MODEL_LOAD, 2);
}

static void what_can_never_fit_is_given_up_for_ever(void **state) {
    (void)state;
    struct error error;
    begin(30, 3, (int64_t[]){31, 20, INT64_MAX});
    load(1, 1);
    table.entries[1].pinned = true;
    for (size_t i = 0; i < 3; i += 2) {
        model_table_job_came(&table, i, 2);
        check_next(2, MODEL_GIVE_UP, i);
        model_table_failed(&table, i, true, 2);
        model_table_job_went(&table, i, 2);
        assert_int_equal(model_table_check(&table, i, INT64_MAX - 1, &error), STATUS_MODEL_LOAD_FAILED);
    }
    table.entries[0].bytes = 11; /* fits alone, and not beside the pinned one */
    table.entries[0].retry_ms = 0;
    model_table_job_came(&table, 0, 3);
    check_next(3, MODEL_GIVE_UP, 0);
}

static void a_failed_model_is_tried_again_later_each_time(void **state) {
    (void)state;
    struct error error;
    int64_t now_ms = 1000;
    static const int64_t delays[] = {100, 200, 400, 800, 1600, 3200, 3200, 3200};
    begin(0, 1, (int64_t[]){10});
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        model_table_job_came(&table, 0, now_ms);
        check_next(now_ms, MODEL_LOAD, 0);
        model_table_loading(&table, 0, now_ms);
        model_table_failed(&table, 0, false, now_ms);
        model_table_job_went(&table, 0, now_ms);
        check_next(now_ms, MODEL_STAY, 0);
        now_ms += delays[i] - 1;
        assert_int_equal(model_table_check(&table, 0, now_ms, &error), STATUS_MODEL_LOAD_FAILED);
        assert_false(model_table_takes_jobs(&table, 0, now_ms));
        assert_int_equal(model_table_check(&table, 0, ++now_ms, &error), STATUS_OK);
    }
    load(0, now_ms);
    assert_int_equal(table.entries[0].failures, 0);
    assert_int_equal(table.entries[0].load_failures, 8);
}

static void without_loading_on_demand_only_what_is_ready_takes_jobs(void **state) {
    (void)state;
    struct error error;
    begin(0, 2, (int64_t[]){1, 1});
    load(0, 1);
    table.config.on_demand = false;
    assert_int_equal(model_table_check(&table, 0, 2, &error), STATUS_OK);
    assert_int_equal(model_table_check(&table, 1, 2, &error), STATUS_MODEL_NOT_LOADED);
    assert_non_null(strstr(error.message, "unloaded"));
}

static void models_to_be_warm_are_loaded_in_turn_as_far_as_there_is_room_and_behind_jobs(void **state) {
    (void)state;
    begin(30, 4, (int64_t[]){10, 25, 10, 10});
    table.config.warm_parallel = false;
    for (size_t i = 0; i < 3; i++)
        table.entries[i].warm = true;
    check_next(1, MODEL_LOAD, 0);
    model_table_loading(&table, 0, 1);
    check_next(2, MODEL_STAY, 0);
    model_table_job_came(&table, 3, 3);
    check_next(3, MODEL_LOAD, 3); /* does not wait for a turn */
    model_table_loading(&table, 3, 3);
    model_table_loaded(&table, 0, 10, 4);
    check_next(4, MODEL_STAY, 0);
    model_table_loaded(&table, 3, 10, 5);
    check_next(5, MODEL_LEAVE_COLD, 1); /* nobody goes for it */
    check_next(5, MODEL_LOAD, 2);
    assert_int_equal(table.entries[1].state, MODEL_UNLOADED);
    assert_false(table.entries[1].warm);
}

static void one_that_is_not_warm_in_time_is_told_once(void **state) {
    (void)state;
    begin(0, 2, (int64_t[]){10, 10});
    table.config.warm_limit_ms = 50;
    table.entries[0].warm = table.entries[1].warm = true;
    table.entries[0].turn = 1;
    assert_true(model_table_late_ms(&table) == INT64_MAX);
    check_next(1, MODEL_LOAD, 1); /* its turn is before that of the other */
    model_table_loading(&table, 1, 1);
    assert_int_equal(model_table_late_ms(&table), 51);
    assert_int_equal(model_table_take_late(&table, 50), 2);
    assert_int_equal(model_table_take_late(&table, 51), 1);
    assert_int_equal(model_table_take_late(&table, 51), 2);
    model_table_unloading(&table, 1);
    model_table_unloaded(&table, 1);
    check_next(52, MODEL_LOAD, 0);
    assert_int_equal(table.entries[1].unloads, 0); /* it never was there */
}

static void models_to_be_warm_may_be_loaded_at_once(void **state) {
    (void)state;
    begin(0, 2, (int64_t[]){10, 10});
    table.entries[0].warm = table.entries[1].warm = true;
    check_next(1, MODEL_LOAD, 0);
    model_table_loading(&table, 0, 1);
    check_next(1, MODEL_LOAD, 1);
}

static void what_is_idle_for_longest_is_spared_first_and_the_newest_or_pinned_may_stay(void **state) {
    (void)state;
    begin(0, 4, (int64_t[]){1, 1, 1, 1});
    for (size_t i = 0; i < 4; i++)
        load(i, 10 - (int64_t)i);
    table.entries[3].pinned = true;
    model_table_job_came(&table, 2, 11);
    assert_int_equal(model_table_find_spare(&table, true), 1);
    model_table_unloading(&table, 1);
    assert_int_equal(model_table_find_spare(&table, true), 0); /* a busy one is newer */
    model_table_job_came(&table, 0, 12);
    model_table_job_went(&table, 0, 12);
    assert_int_equal(model_table_find_spare(&table, true), 4);
    assert_int_equal(model_table_find_spare(&table, false), 0);
    table.config.on_demand = false; /* it could not come back */
    assert_int_equal(model_table_find_spare(&table, false), 4);
}

static void who_is_not_warm_yet_need_not_be_where_jobs_can_load_it(void **state) {
    (void)state;
    begin(0, 2, (int64_t[]){1, 1});
    table.entries[0].warm = table.entries[1].warm = true;
    check_next(1, MODEL_LOAD, 0);
    model_table_loading(&table, 0, 1);
    table.config.on_demand = false;
    model_table_stop_warming(&table);
    assert_true(table.entries[1].warm);
    table.config.on_demand = true;
    model_table_stop_warming(&table);
    assert_true(table.entries[0].warm && !table.entries[1].warm);
    check_next(2, MODEL_STAY, 0);
    assert_int_equal(table.entries[1].state, MODEL_UNLOADED);
}

static void one_that_is_wanted_while_it_goes_comes_back(void **state) {
    (void)state;
    begin(10, 2, (int64_t[]){10, 10});
    load(0, 1);
    model_table_job_came(&table, 1, 2);
    check_next(2, MODEL_UNLOAD, 0);
    model_table_unloading(&table, 0);
    model_table_job_came(&table, 0, 3);
    check_next(3, MODEL_STAY, 0);
    model_table_unloaded(&table, 0);
    check_next(4, MODEL_LOAD, 1);
    model_table_loading(&table, 1, 4);
    model_table_loaded(&table, 1, 10, 5);
    model_table_job_went(&table, 1, 6);
    check_next(6, MODEL_UNLOAD, 1);
}

/* Busy from the start; its load took so long. */
static void load_busy(size_t index, int64_t load_ms, int64_t now_ms) {
    load(index, now_ms);
    table.entries[index].load_ms = load_ms;
    model_table_job_came(&table, index, now_ms);
}

static void a_busy_model_makes_way_when_another_was_waited_for_long_enough(void **state) {
    (void)state;
    begin(10, 2, (int64_t[]){10, 10});
    table.config.patience_ms = 100;
    load_busy(0, 5, 1);
    assert_int_equal(model_table_patience_ms(&table, 1), INT64_MAX);
    model_table_job_came(&table, 1, 51);
    check_next(51, MODEL_STAY, 0);
    assert_int_equal(model_table_patience_ms(&table, 51), 101);
    assert_int_equal(model_table_patience_ms(&table, 101), 151);
    check_next(150, MODEL_STAY, 0);
    check_next(151, MODEL_UNLOAD, 0);
    model_table_unloading(&table, 0);
    model_table_job_came(&table, 0, 152);
    model_table_job_went(&table, 0, 153); /* the one it was busy with; the other waits */
    check_next(153, MODEL_STAY, 0);
    model_table_unloaded(&table, 0);
    check_next(160, MODEL_LOAD, 1);
    model_table_loading(&table, 1, 160);
    check_next(300, MODEL_STAY, 0);
    model_table_loaded(&table, 1, 10, 460);
    check_next(759, MODEL_STAY, 0); /* for as long as the load took */
    assert_int_equal(model_table_patience_ms(&table, 759), 760);
    check_next(760, MODEL_UNLOAD, 1);
}

static void without_patience_named_busy_models_stay_and_pinned_ones_always(void **state) {
    (void)state;
    begin(20, 3, (int64_t[]){10, 10, 20});
    load_busy(0, 5, 1);
    load_busy(1, 5, 1);
    model_table_job_came(&table, 2, 2);
    check_next(2, MODEL_STAY, 0);
    check_next(1000000, MODEL_STAY, 0);
    assert_int_equal(model_table_patience_ms(&table, 2), INT64_MAX);
    table.config.patience_ms = 100;
    table.entries[1].pinned = true;
    check_next(1000000, MODEL_GIVE_UP, 2);
    table.entries[2].bytes = 10;
    check_next(1000000, MODEL_UNLOAD, 0);
}

static void nobody_makes_way_unless_that_is_enough_and_idle_ones_go_first(void **state) {
    (void)state;
    begin(30, 4, (int64_t[]){10, 10, 10, 30});
    table.config.patience_ms = 100;
    load_busy(0, 5, 1);
    load_busy(1, 500, 2);
    load(2, 3);
    model_table_job_came(&table, 3, 4);
    check_next(4, MODEL_STAY, 0);
    check_next(501, MODEL_STAY, 0);
    check_next(502, MODEL_UNLOAD, 2);
    model_table_unloading(&table, 2);
    check_next(502, MODEL_UNLOAD, 0);
    model_table_unloading(&table, 0);
    check_next(502, MODEL_UNLOAD, 1);
    model_table_unloading(&table, 1);
    check_next(502, MODEL_STAY, 0);
}

static void who_waits_behind_takes_nothing_of_the_room_that_another_has_waited_for(void **state) {
    (void)state;
    begin(30, 3, (int64_t[]){20, 25, 5});
    table.config.patience_ms = 100;
    load_busy(0, 5, 1);
    model_table_job_came(&table, 1, 2);
    check_next(2, MODEL_STAY, 0);
    model_table_job_came(&table, 2, 102); /* too late to go first; beside the other there is room for it */
    check_next(102, MODEL_UNLOAD, 0);
    model_table_unloading(&table, 0);
    check_next(103, MODEL_LOAD, 2);
    table.entries[2].bytes = 6;
    check_next(103, MODEL_STAY, 0);
    model_table_unloaded(&table, 0);
    check_next(104, MODEL_LOAD, 1);
}

static void those_behind_a_removed_one_move_up(void **state) {
    (void)state;
    begin(0, 3, (int64_t[]){1, 2, 3});
    load(2, 1);
    model_table_remove(&table, 1);
    assert_int_equal(table.count, 2);
    assert_int_equal(table.entries[1].bytes, 3);
    assert_int_equal(table.entries[1].state, MODEL_READY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_makes_a_model_load_and_without_jobs_nothing_happens),
        cmocka_unit_test(a_model_whose_jobs_went_before_its_turn_is_not_loaded),
        cmocka_unit_test(the_idle_model_that_was_used_longest_ago_goes_first),
        cmocka_unit_test(busy_loading_and_pinned_models_stay),
        cmocka_unit_test(nothing_is_unloaded_for_one_that_cannot_have_the_room_yet),
        cmocka_unit_test(who_waits_for_longest_gets_the_room),
        cmocka_unit_test(what_can_never_fit_is_given_up_for_ever),
        cmocka_unit_test(a_failed_model_is_tried_again_later_each_time),
        cmocka_unit_test(without_loading_on_demand_only_what_is_ready_takes_jobs),
        cmocka_unit_test(models_to_be_warm_are_loaded_in_turn_as_far_as_there_is_room_and_behind_jobs),
        cmocka_unit_test(one_that_is_not_warm_in_time_is_told_once),
        cmocka_unit_test(models_to_be_warm_may_be_loaded_at_once),
        cmocka_unit_test(what_is_idle_for_longest_is_spared_first_and_the_newest_or_pinned_may_stay),
        cmocka_unit_test(who_is_not_warm_yet_need_not_be_where_jobs_can_load_it),
        cmocka_unit_test(one_that_is_wanted_while_it_goes_comes_back),
        cmocka_unit_test(a_busy_model_makes_way_when_another_was_waited_for_long_enough),
        cmocka_unit_test(without_patience_named_busy_models_stay_and_pinned_ones_always),
        cmocka_unit_test(nobody_makes_way_unless_that_is_enough_and_idle_ones_go_first),
        cmocka_unit_test(who_waits_behind_takes_nothing_of_the_room_that_another_has_waited_for),
        cmocka_unit_test(those_behind_a_removed_one_move_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
