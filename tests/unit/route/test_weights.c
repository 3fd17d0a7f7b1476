#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "route/weights.h"

static void a_star_stands_for_any_text(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool fits;
    } rows[] = {
        {"a", "a", true},         {"a", "b", false},       {"a", "ab", false},       {"", "", true},
        {"", "a", false},         {"*", "", true},         {"*", "abc", true},       {"gpu-*", "gpu-1", true},
        {"gpu-*", "gpu-", true},  {"gpu-*", "gpu", false}, {"*-a", "x-a", true},     {"*-a", "x-a-b", false},
        {"a*b*c", "axbyc", true}, {"a*b*c", "ac", false},  {"a*b*c", "abbcc", true}, {"**", "x", true},
        {"*ab", "aab", true},     {"*aab", "aaab", true},  {"a*a", "a", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(weights_pattern_fits(rows[i].pattern, rows[i].text), rows[i].fits);
}

static void many_stars_do_not_take_for_ever(void **state) {
    (void)state;
    char pattern[64];
    char text[65];
    for (size_t i = 0; i < 62; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + 62, "b", 2);
    memset(text, 'a', 64);
    text[64] = '\0';
    assert_false(weights_pattern_fits(pattern, text));
}

static void the_id_counts_most_then_the_first_pattern(void **state) {
    (void)state;
    struct weights weights = {0};
    assert_int_equal(weights_find(&weights, "w", "h"), WEIGHT_ONE);
    assert_true(weights_add(&weights, "gpu-*", 2000));
    assert_true(weights_add(&weights, "*", 3000));
    assert_true(weights_add(&weights, "gpu-7", 4000));
    assert_int_equal(weights_find(&weights, "gpu-7", "h"), 4000);
    assert_int_equal(weights_find(&weights, "gpu-8", "h"), 2000);
    assert_int_equal(weights_find(&weights, "w", "gpu-8"), 2000);
    assert_int_equal(weights_find(&weights, "w", "h"), 3000);
    weights_release(&weights);
    assert_int_equal(weights.count, 0);
}

static void they_are_bounded(void **state) {
    (void)state;
    struct weights weights = {0};
    for (size_t i = 0; i < WEIGHTS_MAX; i++)
        assert_true(weights_add(&weights, "x", 1));
    assert_false(weights_add(&weights, "x", 1));
    weights_release(&weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_star_stands_for_any_text),
        cmocka_unit_test(many_stars_do_not_take_for_ever),
        cmocka_unit_test(the_id_counts_most_then_the_first_pattern),
        cmocka_unit_test(they_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
