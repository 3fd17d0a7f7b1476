#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

/* As RFC 3629 puts bits into bytes, for any number: also for those that have no character. */
static size_t encode(uint32_t number, char *out) {
    if (number < 0x80) {
        out[0] = (char)number;
        return 1;
    }
    size_t len = number < 0x800 ? 2 : number < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, number >>= 6)
        out[i] = (char)(0x80 | (number & 0x3F));
    out[0] = (char)((0xF00u >> len & 0xFF) | number);
    return len;
}

static void every_character_is_valid_alone_and_unfinished_without_its_end(void **state) {
    (void)state;
    for (uint32_t number = 0; number <= 0x10FFFF; number++) {
        if (number >= 0xD800 && number <= 0xDFFF)
            continue;
        char text[4];
        size_t len = encode(number, text);
        bool truncated = true;
        if (utf8_valid_prefix(text, len, &truncated) != len || truncated)
            fail_msg("U+%04X is refused", number);
        for (size_t part = 1; part < len; part++) {
            if (utf8_valid_prefix(text, part, &truncated) != 0 || !truncated)
                fail_msg("the first %zu bytes of U+%04X are not seen as unfinished", part, number);
        }
    }
}

static void surrogates_and_numbers_past_the_last_are_broken_from_their_second_byte(void **state) {
    (void)state;
    const struct { uint32_t first, last; } ranges[] = {{0xD800, 0xDFFF}, {0x110000, 0x1FFFFF}};
    for (size_t i = 0; i < 2; i++) {
        for (uint32_t number = ranges[i].first; number <= ranges[i].last; number++) {
            char text[4];
            size_t len = encode(number, text);
            bool truncated = true;
            assert_int_equal(utf8_valid_prefix(text, len, &truncated), 0);
            assert_false(truncated);
            assert_int_equal(utf8_valid_prefix(text, 2, &truncated), 0);
            assert_false(truncated);
        }
    }
}

static void overlong_forms_are_broken(void **state) {
    (void)state;
    const char *const forms[] = {
        "\xC0\x80",         "\xC1\xBF",         /* U+0000 and U+007F in two bytes */
        "\xE0\x80\x80",     "\xE0\x9F\xBF",     /* U+0000 and U+07FF in three */
        "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", /* U+0000 and U+FFFF in four */
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        bool truncated = true;
        assert_int_equal(utf8_valid_prefix(forms[i], strlen(forms[i]), &truncated), 0);
        assert_false(truncated);
    }
}

static void only_the_bytes_c2_to_f4_begin_a_longer_character(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        bool truncated = false;
        size_t len = utf8_valid_prefix(&text, 1, &truncated);
        assert_int_equal(len, byte < 0x80);
        assert_int_equal(truncated, byte >= 0xC2 && byte <= 0xF4);
    }
}

static void the_prefix_ends_before_the_first_broken_byte_wherever_it_is(void **state) {
    (void)state;
    for (size_t before = 0; before < 40; before++) {
        char text[64];
        memset(text, 'a', sizeof text);
        text[before] = (char)0xFF;
        bool truncated = true;
        assert_int_equal(utf8_valid_prefix(text, sizeof text, &truncated), before);
        assert_false(truncated);
        assert_false(utf8_is_valid(text, sizeof text));
        assert_true(utf8_is_valid(text, before));
    }
}

static void a_nul_byte_is_a_character(void **state) {
    (void)state;
    assert_true(utf8_is_valid("a\0b", 3));
    assert_true(utf8_is_valid("", 0));
    bool truncated = true;
    assert_int_equal(utf8_valid_prefix(NULL, 0, &truncated), 0);
    assert_false(truncated);
}

static uint32_t random_character(struct rng *rng) {
    static const uint32_t bounds[] = {0x80, 0x800, 0x10000, 0x110000};
    uint32_t number = (uint32_t)rng_below(rng, bounds[rng_below(rng, 4)]);
    return number >= 0xD800 && number <= 0xDFFF ? 0x20AC : number;
}

/* Cut anywhere, the valid prefix and the trimmed text are both what stood before the cut character. */
static void any_cut_falls_back_to_the_character_before_it(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 300; round++) {
        char text[256];
        bool starts[256] = {false};
        size_t len = 0;
        while (len + 4 <= sizeof text) {
            starts[len] = true;
            len += encode(random_character(&rng), text + len);
        }
        size_t whole = 0;
        for (size_t cut = 1; cut < len; cut++) {
            whole = starts[cut] ? cut : whole;
            char *copy = malloc(cut); /* so that a read past its end is seen */
            memcpy(copy, text, cut);
            bool truncated;
            assert_int_equal(utf8_valid_prefix(copy, cut, &truncated), whole);
            assert_int_equal(truncated, whole < cut);
            assert_int_equal(utf8_trim_partial(copy, cut), whole);
            free(copy);
        }
    }
}

static void trimming_leaves_what_is_broken_but_not_unfinished(void **state) {
    (void)state;
    const char *const texts[] = {
        "",         "\x80",     "\x80\x80\x80\x80", "a\x80\x80\x80",       "a\xFF", "a\xC0", "\xE0\x80",
        "\xED\xA0", "\xF4\x90", "\xE2\x82\xAC",     "\xFF\xF0\x9F\x98\x80"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(utf8_trim_partial(texts[i], strlen(texts[i])), strlen(texts[i]));
    assert_int_equal(utf8_trim_partial("\xFF\xE2\x82", 3), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_is_valid_alone_and_unfinished_without_its_end),
        cmocka_unit_test(surrogates_and_numbers_past_the_last_are_broken_from_their_second_byte),
        cmocka_unit_test(overlong_forms_are_broken),
        cmocka_unit_test(only_the_bytes_c2_to_f4_begin_a_longer_character),
        cmocka_unit_test(the_prefix_ends_before_the_first_broken_byte_wherever_it_is),
        cmocka_unit_test(a_nul_byte_is_a_character),
        cmocka_unit_test(any_cut_falls_back_to_the_character_before_it),
        cmocka_unit_test(trimming_leaves_what_is_broken_but_not_unfinished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
