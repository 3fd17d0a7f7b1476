#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "route/least.h"

static void it_is_one_of_the_least_whatever_the_size(void **state) {
    (void)state;
    static int32_t numbers[LEAST_MAX];
    struct rng rng;
    rng_seed(&rng, 9);
    for (size_t round = 0; round < 5000; round++) {
        size_t count = 1 + (size_t)rng_below(&rng, round % 10 ? 200 : LEAST_MAX);
        uint64_t kinds = 1 + rng_below(&rng, 500);
        int32_t least = INT32_MAX;
        for (size_t i = 0; i < count; i++) {
            numbers[i] = (int32_t)rng_below(&rng, kinds) - (int32_t)(round % 3);
            least = numbers[i] < least ? numbers[i] : least;
        }
        size_t at = least_pick(&rng, numbers, count);
        assert_in_range(at, 0, count - 1);
        assert_int_equal(numbers[at], least);
    }
}

static void a_single_least_is_found_at_every_place(void **state) {
    (void)state;
    int32_t numbers[150];
    struct rng rng;
    rng_seed(&rng, 9);
    for (size_t i = 0; i < 150; i++)
        numbers[i] = INT32_MAX;
    for (size_t i = 0; i < 150; i++) {
        numbers[i] = INT32_MIN;
        assert_int_equal(least_pick(&rng, numbers, 150), i);
        numbers[i] = INT32_MAX;
    }
}

static void equals_are_equally_likely(void **state) {
    (void)state;
    enum { COUNT = 201, EACH = 1000 };
    int32_t numbers[COUNT];
    size_t hits[COUNT] = {0}, equals = 0;
    struct rng rng;
    rng_seed(&rng, 9);
    for (size_t i = 0; i < COUNT; i++) {
        numbers[i] = i % 5 == 0 || i > 190 ? 7 : 8;
        equals += numbers[i] == 7;
    }
    for (size_t i = 0; i < equals * EACH; i++)
        hits[least_pick(&rng, numbers, COUNT)]++;
    for (size_t i = 0; i < COUNT; i++)
        if (numbers[i] == 7)
            assert_in_range(hits[i], EACH - 150, EACH + 150); /* nearly five standard deviations */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_one_of_the_least_whatever_the_size),
        cmocka_unit_test(a_single_least_is_found_at_every_place),
        cmocka_unit_test(equals_are_equally_likely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
