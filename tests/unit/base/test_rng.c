#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void the_generator_is_splitmix64(void **state) {
    (void)state;
    /* The first numbers of the authors' reference implementation, seeded with 1234567. */
    const uint64_t expected[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                 UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                 UINT64_C(16408922859458223821)};
    struct rng rng;
    rng_seed(&rng, 1234567);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_true(rng_next(&rng) == expected[i]);
}

static void numbers_below_a_bound_are_uniform(void **state) {
    (void)state;
    enum { DRAWS = 70000 };
    struct rng rng;
    rng_seed(&rng, 7);
    const uint64_t bounds[] = {1, 2, 7};
    for (size_t b = 0; b < ARRAY_LEN(bounds); b++) {
        unsigned counts[7] = {0};
        for (int i = 0; i < DRAWS; i++) {
            uint64_t number = rng_below(&rng, bounds[b]);
            assert_true(number < bounds[b]);
            counts[number]++;
        }
        for (uint64_t i = 0; i < bounds[b]; i++)
            assert_in_range(counts[i], DRAWS / bounds[b] * 95 / 100, DRAWS / bounds[b] * 105 / 100);
    }
}

/* With a bound of 3/4 of all numbers a plain remainder would draw the lowest third twice as often. */
static void large_bounds_have_no_bias(void **state) {
    (void)state;
    const uint64_t bound = UINT64_C(3) << 62;
    struct rng rng;
    rng_seed(&rng, 8);
    unsigned lowest_third = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t number = rng_below(&rng, bound);
        assert_true(number < bound);
        lowest_third += number < bound / 3;
    }
    assert_in_range(lowest_third, 9500, 10500);
}

static void keyed_numbers_depend_on_all_three_keys_and_on_nothing_else(void **state) {
    (void)state;
    const double unit = rng_keyed_unit(1, 2, 3);
    assert_true(rng_keyed_unit(1, 2, 3) == unit);
    assert_true(rng_keyed_unit(2, 2, 3) != unit);
    assert_true(rng_keyed_unit(1, 3, 3) != unit);
    assert_true(rng_keyed_unit(1, 2, 4) != unit);
    assert_true(rng_keyed_unit(2, 1, 3) != unit && rng_keyed_unit(3, 2, 1) != unit &&
                rng_keyed_unit(1, 3, 2) != unit);
}

static void keyed_numbers_are_uniform_along_each_key(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) {
        unsigned tenths[10] = {0};
        for (uint64_t i = 0; i < 50000; i++) {
            double unit = rng_keyed_unit(which == 0 ? i : 0, which == 1 ? i : 0, which == 2 ? i : 0);
            assert_true(unit >= 0 && unit < 1);
            tenths[(int)(unit * 10)]++;
        }
        for (int i = 0; i < 10; i++)
            assert_in_range(tenths[i], 4750, 5250);
    }
}

static void each_input_bit_of_the_hash_flips_about_half_of_the_output(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 9);
    for (int word = 0; word < 2; word++) {
        for (int bit = 0; bit < 64; bit++) {
            int flipped = 0;
            for (int round = 0; round < 100; round++) {
                uint64_t a = rng_next(&rng), b = rng_next(&rng);
                uint64_t flip = UINT64_C(1) << bit;
                uint64_t other = word ? rng_mix(a, b ^ flip) : rng_mix(a ^ flip, b);
                flipped += __builtin_popcountll(rng_mix(a, b) ^ other);
            }
            assert_in_range(flipped, 2900, 3500); /* of 6400; the deviation is 40 */
        }
    }
}

static void ids_have_the_length_and_characters_promised(void **state) {
    (void)state;
    for (size_t chars = 0; chars <= 100; chars++) {
        char id[102];
        memset(id, '#', sizeof id);
        rng_id(id, chars);
        assert_int_equal(strlen(id), chars);
        assert_int_equal(strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz"), chars);
        assert_int_equal(id[chars + 1], '#');
    }
}

static void ids_use_every_character_and_do_not_repeat(void **state) {
    (void)state;
    bool seen[256] = {false};
    char last[25] = "";
    for (int i = 0; i < 200; i++) {
        char id[25];
        rng_id(id, 24);
        assert_string_not_equal(id, last);
        memcpy(last, id, sizeof last);
        for (size_t c = 0; c < 24; c++)
            seen[(unsigned char)id[c]] = true;
    }
    size_t count = 0;
    for (size_t c = 0; c < ARRAY_LEN(seen); c++)
        count += seen[c];
    assert_int_equal(count, 36); /* 4800 draws: missing one has a chance of 1e-57 */
}

static void kernel_bytes_fill_all_of_a_long_buffer(void **state) {
    (void)state;
    static unsigned char bytes[4096];
    rng_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i += 32) {
        bool zero = true;
        for (size_t j = 0; j < 32; j++)
            zero &= bytes[i + j] == 0;
        assert_false(zero);
    }
    assert_true(rng_u64() != rng_u64());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_is_splitmix64),
        cmocka_unit_test(numbers_below_a_bound_are_uniform),
        cmocka_unit_test(large_bounds_have_no_bias),
        cmocka_unit_test(keyed_numbers_depend_on_all_three_keys_and_on_nothing_else),
        cmocka_unit_test(keyed_numbers_are_uniform_along_each_key),
        cmocka_unit_test(each_input_bit_of_the_hash_flips_about_half_of_the_output),
        cmocka_unit_test(ids_have_the_length_and_characters_promised),
        cmocka_unit_test(ids_use_every_character_and_do_not_repeat),
        cmocka_unit_test(kernel_bytes_fill_all_of_a_long_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
