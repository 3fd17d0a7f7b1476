#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "route/drain_rate.h"

static int64_t ask(struct drain_rate *rate, const char *model, size_t ahead, int64_t now_ms) {
    struct rng rng;
    rng_seed(&rng, 3);
    return drain_rate_retry_after_ms(rate, model, ahead, now_ms, &rng);
}

static void note_many(struct drain_rate *rate, const char *model, int count, int64_t from_ms,
                      int64_t each_ms) {
    for (int i = 0; i < count; i++)
        drain_rate_note(rate, model, from_ms + i * each_ms);
}

static void the_rate_is_that_of_the_last_ten_seconds(void **state) {
    (void)state;
    static struct drain_rate rate;
    rate = (struct drain_rate){0};
    note_many(&rate, "m", 400, 0, 50); /* 20 a second, for 20 s */
    double per_s = drain_rate_per_s(&rate, "m", 20000);
    assert_true(per_s > 18 && per_s < 22);
    assert_true(drain_rate_per_s(&rate, "m", 40000) <= 0);
    assert_true(drain_rate_per_s(&rate, "unknown", 20000) <= 0);
}

static void a_young_rate_is_not_divided_by_time_before_it(void **state) {
    (void)state;
    static struct drain_rate rate;
    rate = (struct drain_rate){0};
    note_many(&rate, "m", 40, 100000, 50); /* 2 s */
    double per_s = drain_rate_per_s(&rate, "m", 102000);
    assert_true(per_s > 15 && per_s < 25);
}

static void who_is_refused_comes_back_when_those_ahead_have_ended(void **state) {
    (void)state;
    static struct drain_rate rate;
    rate = (struct drain_rate){0};
    note_many(&rate, "m", 200, 0, 50);
    for (size_t ahead = 40; ahead <= 400; ahead += 40) {
        int64_t ms = ask(&rate, "m", ahead, 10000);
        int64_t expected = (int64_t)ahead * 50;
        assert_in_range(ms, expected * 9 / 10, expected * 14 / 10);
    }
}

static void it_is_never_under_a_second_nor_over_a_minute(void **state) {
    (void)state;
    static struct drain_rate rate;
    rate = (struct drain_rate){0};
    assert_int_equal(ask(&rate, "m", 0, 0), RETRY_AFTER_MIN_S * 1000);
    assert_in_range(ask(&rate, "m", 1, 0), 10000, 12500); /* nothing has ended in ten seconds */
    assert_int_equal(ask(&rate, "m", 1000000, 0), RETRY_AFTER_MAX_S * 1000);
    note_many(&rate, "m", 5000, 0, 1);
    assert_in_range(ask(&rate, "m", 1, 5000), 1000, 1250);
}

static void those_refused_together_do_not_come_back_together(void **state) {
    (void)state;
    static struct drain_rate rate;
    rate = (struct drain_rate){0};
    struct rng rng;
    rng_seed(&rng, 5);
    note_many(&rate, "m", 100, 0, 100);
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 200; i++) {
        int64_t ms = drain_rate_retry_after_ms(&rate, "m", 100, 10000, &rng);
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_true(most > least * 115 / 100);
    assert_true(most <= least * 130 / 100);
}

static void of_too_many_models_the_one_silent_for_longest_is_forgotten(void **state) {
    (void)state;
    static struct drain_rate rate;
    rate = (struct drain_rate){0};
    char name[32];
    for (int i = 0; i < DRAIN_MODELS_MAX; i++) {
        snprintf(name, sizeof(name), "model-%d", i);
        drain_rate_note(&rate, name, 1000 + i);
    }
    drain_rate_note(&rate, "model-0", 5000);
    drain_rate_note(&rate, "one more", 5000);
    assert_true(drain_rate_per_s(&rate, "one more", 5000) > 0);
    assert_true(drain_rate_per_s(&rate, "model-0", 5000) > 0);
    assert_true(drain_rate_per_s(&rate, "model-1", 5000) <= 0);
    assert_true(drain_rate_per_s(&rate, "model-2", 5000) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_is_that_of_the_last_ten_seconds),
        cmocka_unit_test(a_young_rate_is_not_divided_by_time_before_it),
        cmocka_unit_test(who_is_refused_comes_back_when_those_ahead_have_ended),
        cmocka_unit_test(it_is_never_under_a_second_nor_over_a_minute),
        cmocka_unit_test(those_refused_together_do_not_come_back_together),
        cmocka_unit_test(of_too_many_models_the_one_silent_for_longest_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
