#include "worker/text_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/rng.h"
#include "base/utf8.h"

#define FFFD "\xEF\xBF\xBD"

/* What a filter has shown after all pieces; `finish` only when no stop string was complete. */
struct result {
    struct buf text;
    bool stopped;
};

static void feed(struct text_filter *filter, struct result *result, const char *piece, size_t len) {
    if (!result->stopped)
        result->stopped = text_filter_add(filter, piece, len, &result->text);
}

static size_t count_of(const char *const stop[CHAT_STOP_MAX]) {
    size_t count = 0;
    while (count < CHAT_STOP_MAX && stop[count])
        count++;
    return count;
}

static void init(struct text_filter *filter, const char *const stop[CHAT_STOP_MAX]) {
    char *strings[CHAT_STOP_MAX] = {NULL};
    size_t count = count_of(stop);
    memcpy(strings, stop, count * sizeof *stop);
    text_filter_init(filter, strings, count);
}

/* Pieces of random lengths up to `piece_max`. */
static struct result run(const char *const stop[CHAT_STOP_MAX], const char *text, size_t len,
                         size_t piece_max, struct rng *rng) {
    struct text_filter filter;
    init(&filter, stop);
    struct result result = {.stopped = false};
    buf_init(&result.text, 0);
    for (size_t at = 0; at < len;) {
        size_t piece = 1 + rng_below(rng, piece_max);
        piece = piece > len - at ? len - at : piece;
        feed(&filter, &result, text + at, piece);
        at += piece;
    }
    text_filter_finish(&filter, &result.text);
    text_filter_release(&filter);
    return result;
}

struct example {
    const char *stop[CHAT_STOP_MAX];
    const char *text;
    const char *shown;
    bool stopped;
};

static const struct example examples[] = {
    {{NULL}, "plain text", "plain text", false},
    {{"END"}, "some text END more", "some text ", true},
    {{"END"}, "some text EN", "some text EN", false},
    {{"END"}, "END", "", true},
    {{"END"}, "EENEND", "EEN", true},
    {{"aab"}, "aaab", "a", true},
    {{"aaa"}, "aabaaa", "aab", true},
    {{"abab"}, "abaabab", "aba", true},
    {{"\n\n"}, "one\ntwo\n\nthree", "one\ntwo", true},
    {{"b", "a"}, "xxab", "xx", true},
    /* Complete first, though the other one began earlier. */
    {{"abcd", "bc"}, "abcd", "a", true},
    /* Together: the longer one. */
    {{"bc", "abc"}, "xabc", "x", true},
    {{"abx", "abc", "d"}, "ababab d", "ababab ", true},
    {{"\xC3\xA9"}, "caf\xC3\xA9!", "caf", true},
    {{"\xC3\xA9"}, "caf\xC3\xA8!", "caf\xC3\xA8!", false},
    {{"\xF0\x9F\x98\x80"}, "ok \xF0\x9F\x98\x81 \xF0\x9F\x98\x80", "ok \xF0\x9F\x98\x81 ", true},
    /* The end of one character and the beginning of the next are the same bytes as no stop string. */
    {{"\xE4\xBD\xA0"}, "\xE5\xA5\xBD\xE4\xBD\xA1\xE4\xBD\xA0", "\xE5\xA5\xBD\xE4\xBD\xA1", true},
    /* Broken text: one replacement for each broken character. */
    {{NULL}, "a\xFFz", "a" FFFD "z", false},
    {{NULL}, "a\xE2\x82z", "a" FFFD "z", false},
    {{NULL}, "a\xE2\x82", "a", false},
    {{NULL}, "\x80\x80", FFFD FFFD, false},
    {{NULL}, "\xC0\xAF", FFFD FFFD, false},
    {{NULL}, "\xED\xA0\x80", FFFD FFFD FFFD, false},
    {{NULL}, "\xF0\x9F\x98", "", false},
    {{NULL}, "\xF0\x9F\xF0\x9F\x98\x80", FFFD "\xF0\x9F\x98\x80", false},
    {{"stop"}, "\xE2\x82stop", FFFD, true},
    {{"\xC3\xA9"}, "\xE2\x82\xC3", FFFD, false},
    {{"\xC3\xA9"}, "\xF0\xC3\xA9", FFFD, true},
};

static void examples_hold_however_the_text_is_cut(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
        const struct example *example = &examples[i];
        for (size_t piece_max = 1; piece_max <= 20; piece_max++) {
            struct result result = run(example->stop, example->text, strlen(example->text), piece_max, &rng);
            assert_int_equal(result.stopped, example->stopped);
            assert_string_equal(result.text.data, example->shown);
            buf_release(&result.text);
        }
    }
}

static void text_is_shown_as_soon_as_it_is_clear(void **state) {
    (void)state;
    static const struct {
        const char *piece;
        const char *shown_so_far;
    } steps[] = {
        {"Hello", "Hello"},
        {" <", "Hello "},
        {"/", "Hello "},
        {"b>", "Hello </b>"},
        {"\xF0\x9F", "Hello </b>"},
        {"\x98\x80x", "Hello </b>\xF0\x9F\x98\x80x"},
        {"<</", "Hello </b>\xF0\x9F\x98\x80x<"},
    };
    struct text_filter filter;
    init(&filter, (const char *const[CHAT_STOP_MAX]){"</s>"});
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_false(text_filter_add(&filter, steps[i].piece, strlen(steps[i].piece), &out));
        assert_string_equal(out.data, steps[i].shown_so_far);
    }
    assert_true(text_filter_add(&filter, "s>tail", 6, &out));
    assert_string_equal(out.data, "Hello </b>\xF0\x9F\x98\x80x<");
    text_filter_finish(&filter, &out);
    assert_string_equal(out.data, "Hello </b>\xF0\x9F\x98\x80x<");
    buf_release(&out);
    text_filter_release(&filter);
}

static void empty_pieces_change_nothing(void **state) {
    (void)state;
    struct text_filter filter;
    init(&filter, (const char *const[CHAT_STOP_MAX]){"ab"});
    struct buf out;
    buf_init(&out, 0);
    assert_false(text_filter_add(&filter, "", 0, &out));
    assert_false(text_filter_add(&filter, "a", 1, &out));
    assert_false(text_filter_add(&filter, "", 0, &out));
    assert_true(text_filter_add(&filter, "b", 1, &out));
    assert_int_equal(out.len, 0);
    buf_release(&out);
    text_filter_release(&filter);
}

static void at_most_one_stop_string_is_held_back(void **state) {
    (void)state;
    char stop[CHAT_STOP_BYTES_MAX + 1];
    memset(stop, 'a', sizeof stop - 1);
    stop[CHAT_STOP_BYTES_MAX - 1] = 'b';
    stop[CHAT_STOP_BYTES_MAX] = '\0';
    struct text_filter filter;
    init(&filter, (const char *const[CHAT_STOP_MAX]){stop});
    struct buf out;
    buf_init(&out, 0);
    for (int i = 0; i < 10000; i++) {
        assert_false(text_filter_add(&filter, "a", 1, &out));
        assert_true(filter.held.len < CHAT_STOP_BYTES_MAX);
    }
    assert_true(text_filter_add(&filter, "b", 1, &out));
    assert_int_equal(out.len, 10000 - (CHAT_STOP_BYTES_MAX - 1));
    buf_release(&out);
    text_filter_release(&filter);
}

/* The first stop string that is complete, by brute force. Returns where the text before it ends. */
static size_t cut_by_search(const char *const stop[CHAT_STOP_MAX], const char *text, size_t len,
                            bool *found) {
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < count_of(stop); i++) {
            size_t n = strlen(stop[i]);
            if (n <= end && n > longest && memcmp(text + end - n, stop[i], n) == 0)
                longest = n;
        }
        if (longest > 0) {
            *found = true;
            return end - longest;
        }
    }
    *found = false;
    return len;
}

static void stops_agree_with_a_search_of_the_whole_text(void **state) {
    (void)state;
    static const char *const sets[][CHAT_STOP_MAX] = {
        {"aab"}, {"abab", "bb"}, {"aaa", "ba", "bab"}, {"abba", "baab", "aabb", "bbaa"}, {"c", "abcab"},
    };
    struct rng rng;
    rng_seed(&rng, 3);
    for (int round = 0; round < 20000; round++) {
        char text[24];
        size_t len = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++)
            text[i] = "abc"[rng_below(&rng, round % 2 ? 2 : 3)];
        const char *const *stop = sets[rng_below(&rng, ARRAY_LEN(sets))];
        bool found = false;
        size_t cut = cut_by_search(stop, text, len, &found);
        struct result result = run(stop, text, len, 4, &rng);
        assert_int_equal(result.stopped, found);
        assert_int_equal(result.text.len, cut);
        assert_memory_equal(result.text.data, text, cut);
        buf_release(&result.text);
    }
}

/* Bytes that are likely to make characters, broken ones and parts of stop strings. */
static void any_cut_of_any_bytes_gives_the_same_valid_text(void **state) {
    (void)state;
    static const char bytes[] = "ab<\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF\xED\xC0";
    static const char *const stop[CHAT_STOP_MAX] = {"a<b", "\xC3\xA9\xE2\x82\xAC", "<<",
                                                    "\xF0\x9F\x98\x80\x61"};
    struct rng rng;
    rng_seed(&rng, 5);
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t len = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++)
            text[i] = bytes[rng_below(&rng, sizeof bytes - 1)];
        struct result whole = run(stop, text, len, 1000000, &rng);
        struct result parts = run(stop, text, len, 1 + rng_below(&rng, 5), &rng);
        assert_int_equal(whole.stopped, parts.stopped);
        assert_string_equal(whole.text.data, parts.text.data);
        assert_true(utf8_is_valid(whole.text.data, whole.text.len));
        buf_release(&whole.text);
        buf_release(&parts.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_hold_however_the_text_is_cut),
        cmocka_unit_test(text_is_shown_as_soon_as_it_is_clear),
        cmocka_unit_test(empty_pieces_change_nothing),
        cmocka_unit_test(at_most_one_stop_string_is_held_back),
        cmocka_unit_test(stops_agree_with_a_search_of_the_whole_text),
        cmocka_unit_test(any_cut_of_any_bytes_gives_the_same_valid_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
