#include "worker/forecast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void until_it_knows_replies_the_limit_is_the_forecast(void **state) {
    (void)state;
    struct forecast forecast = {.limited.count = 0};
    assert_int_equal(forecast_reply(&forecast, 100, 400), 100);
    assert_int_equal(forecast_reply(&forecast, 1000, 400), 400);
    assert_int_equal(forecast_reply(&forecast, 0, 400), 400);
    for (int i = 0; i < FORECAST_LEAST - 1; i++)
        forecast_note(&forecast, 100, 10);
    assert_int_equal(forecast_reply(&forecast, 100, 400), 100);
    forecast_note(&forecast, 100, 10);
    assert_int_equal(forecast_reply(&forecast, 100, 400), 10);
    assert_int_equal(forecast_reply(&forecast, 0, 400), 400); /* of those without a limit it knows none */
}

static void replies_with_a_limit_count_by_their_part_of_it(void **state) {
    (void)state;
    struct forecast forecast = {.limited.count = 0};
    for (int i = 0; i < 20; i++)
        forecast_note(&forecast, 100, 25);
    assert_int_equal(forecast_reply(&forecast, 400, 4000), 100);
    assert_int_equal(forecast_reply(&forecast, 400, 60), 60);
}

static void nine_of_ten_replies_stay_within_the_forecast(void **state) {
    (void)state;
    struct forecast forecast = {.limited.count = 0};
    for (int i = 1; i <= FORECAST_REPLIES; i++)
        forecast_note(&forecast, 0, i * 10);
    int32_t expected = forecast_reply(&forecast, 0, 4000);
    assert_in_range(expected, FORECAST_REPLIES * 9, FORECAST_REPLIES * 9 + 10);
}

static void old_replies_are_forgotten(void **state) {
    (void)state;
    struct forecast forecast = {.limited.count = 0};
    for (int i = 0; i < FORECAST_REPLIES; i++)
        forecast_note(&forecast, 0, 1000);
    for (int i = 0; i < FORECAST_REPLIES; i++)
        forecast_note(&forecast, 0, 7);
    assert_int_equal(forecast_reply(&forecast, 0, 4000), 7);
}

static void replies_that_use_their_limit_make_it_the_forecast_again(void **state) {
    (void)state;
    struct forecast forecast = {.limited.count = 0};
    for (int i = 0; i < FORECAST_REPLIES; i++)
        forecast_note(&forecast, 50, 5);
    for (int i = 0; i < FORECAST_REPLIES / 8; i++)
        forecast_note(&forecast, 50, 50);
    assert_int_equal(forecast_reply(&forecast, 50, 4000), 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(until_it_knows_replies_the_limit_is_the_forecast),
        cmocka_unit_test(replies_with_a_limit_count_by_their_part_of_it),
        cmocka_unit_test(nine_of_ten_replies_stay_within_the_forecast),
        cmocka_unit_test(old_replies_are_forgotten),
        cmocka_unit_test(replies_that_use_their_limit_make_it_the_forecast_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
