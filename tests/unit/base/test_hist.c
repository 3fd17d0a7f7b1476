#include "base/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

static struct hist hist; /* 15 KiB: not on the stack */

static void an_empty_histogram_says_zero(void **state) {
    (void)state;
    hist_clear(&hist);
    assert_int_equal(hist_percentile(&hist, 0), 0);
    assert_int_equal(hist_percentile(&hist, 50), 0);
    assert_int_equal(hist_percentile(&hist, 100), 0);
    assert_true(hist_mean(&hist) == 0);
}

static void one_value_is_every_percentile_exactly(void **state) {
    (void)state;
    const uint64_t values[] = {0, 1, 31, 32, 33, 63, 64, 1000, 123456789, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        hist_clear(&hist);
        hist_add(&hist, values[i]);
        for (double percent = 0; percent <= 100; percent += 12.5)
            assert_true(hist_percentile(&hist, percent) == values[i]);
    }
}

/* A value far above keeps the maximum from hiding the bucket's bound. */
static void a_bucket_is_at_most_a_thirtysecond_wide(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 10);
    for (int round = 0; round < 3000; round++) {
        uint64_t value = (rng_next(&rng) >> rng_below(&rng, 64)) >> 1;
        if (round < 64)
            value = (UINT64_C(1) << (round % 63)) - (round > 31);
        hist_clear(&hist);
        hist_add(&hist, value);
        hist_add(&hist, UINT64_MAX);
        uint64_t said = hist_percentile(&hist, 50);
        assert_true(said >= value);
        assert_true(said - value <= value / 32);
    }
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void percentiles_are_within_three_percent_of_the_sorted_values(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    static uint64_t values[COUNT];
    struct rng rng;
    for (uint64_t seed = 0; seed < 20; seed++) {
        rng_seed(&rng, seed);
        hist_clear(&hist);
        for (size_t i = 0; i < COUNT; i++) {
            values[i] = rng_next(&rng) >> (24 + rng_below(&rng, 40));
            hist_add(&hist, values[i]);
        }
        qsort(values, COUNT, sizeof values[0], compare);
        for (int percent = 1; percent <= 100; percent++) {
            uint64_t exact = values[COUNT * percent / 100 - 1];
            uint64_t said = hist_percentile(&hist, percent);
            assert_true(said >= exact);
            assert_true(said - exact <= exact / 32);
        }
        assert_true(hist_percentile(&hist, 0) - values[0] <= values[0] / 32);
        assert_true(hist_percentile(&hist, 1000) == values[COUNT - 1]);
    }
}

static void small_values_are_exact(void **state) {
    (void)state;
    hist_clear(&hist);
    for (uint64_t i = 0; i < 32; i++)
        hist_add(&hist, i);
    hist_add(&hist, 1000000);
    for (uint64_t i = 0; i < 32; i++)
        assert_int_equal(hist_percentile(&hist, (double)(i + 1) * 100 / 33 - 0.01), i);
}

static void the_mean_is_exact_until_the_sum_overflows(void **state) {
    (void)state;
    hist_clear(&hist);
    hist_add(&hist, 10);
    hist_add(&hist, 15);
    assert_true(hist_mean(&hist) == 12.5);
    hist_add(&hist, UINT64_MAX);
    hist_add(&hist, UINT64_MAX);
    assert_true(hist.sum == UINT64_MAX);
    assert_int_equal(hist.total, 4);
    hist_clear(&hist);
    assert_true(hist_mean(&hist) == 0 && hist.max == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(one_value_is_every_percentile_exactly),
        cmocka_unit_test(a_bucket_is_at_most_a_thirtysecond_wide),
        cmocka_unit_test(percentiles_are_within_three_percent_of_the_sorted_values),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(the_mean_is_exact_until_the_sum_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
