#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"

static void assert_content(const struct buf *buf, const char *expected) {
    assert_int_equal(buf->len, strlen(expected));
    assert_memory_equal(buf->data, expected, buf->len + 1); /* with the NUL */
}

static void an_empty_buffer_is_an_empty_string_without_memory(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    assert_content(&buf, "");
    buf_append(&buf, "", 0);
    buf_printf(&buf, "%s", "");
    buf_clear(&buf);
    buf_drop_front(&buf, 10);
    assert_content(&buf, "");
    assert_int_equal(buf.cap, 0);
    assert_false(buf.failed);
    buf_release(&buf);
}

static void release_takes_null_and_released_buffers(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    buf_append_str(&buf, "text");
    buf_release(&buf);
    assert_null(buf.data);
    buf_printf(&buf, "%s", "");
    assert_false(buf.failed);
    buf_append_str(&buf, "more"); /* a zeroed buffer has no room */
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0);
    buf_release(&buf);
    buf_release(NULL);
}

static void appends_of_all_kinds_follow_each_other(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    buf_append(&buf, "a\0b", 3);
    buf_append_char(&buf, ' ');
    buf_append_str(&buf, "text ");
    buf_printf(&buf, "%d-%s ", 7, "x");
    buf_append_u64(&buf, UINT64_MAX);
    buf_append_char(&buf, ' ');
    buf_append_i64(&buf, INT64_MIN);
    const char expected[] = "a\0b text 7-x 18446744073709551615 -9223372036854775808";
    assert_int_equal(buf.len, sizeof expected - 1);
    assert_memory_equal(buf.data, expected, sizeof expected);
    buf_release(&buf);
}

static void numbers_are_written_as_printf_does(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    struct buf buf;
    buf_init(&buf, 0);
    for (int round = 0; round < 10000; round++) {
        uint64_t number = rng_next(&rng) >> rng_below(&rng, 64);
        char expected[64];
        snprintf(expected, sizeof expected, "%llu %lld", (unsigned long long)number, -(long long)number);
        buf_clear(&buf);
        buf_append_u64(&buf, number);
        buf_append_char(&buf, ' ');
        buf_append_i64(&buf, (int64_t)-number);
        assert_content(&buf, expected);
    }
    buf_release(&buf);
}

/* What a buffer should hold, kept beside it. */
struct model {
    char data[1 << 16];
    size_t len;
};

static void model_append(struct model *model, const char *data, size_t len) {
    memcpy(model->data + model->len, data, len);
    model->len += len;
}

static void random_text(struct rng *rng, char *out, size_t len) {
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + rng_below(rng, 26));
    out[len] = '\0';
}

static void random_step(struct rng *rng, struct buf *buf, struct model *model) {
    char text[301];
    size_t len = rng_below(rng, 8) ? rng_below(rng, 20) : rng_below(rng, 300);
    random_text(rng, text, len);
    switch (rng_below(rng, 4)) {
    case 0:
        buf_append(buf, text, len);
        model_append(model, text, len);
        break;
    case 1:
        buf_printf(buf, "<%s>", text);
        model_append(model, "<", 1);
        model_append(model, text, len);
        model_append(model, ">", 1);
        break;
    case 2:
        buf_append_char(buf, text[0]);
        model_append(model, text, 1);
        break;
    case 3: {
        size_t drop = rng_below(rng, 200);
        buf_drop_front(buf, drop);
        drop = drop < model->len ? drop : model->len;
        model->len -= drop;
        memmove(model->data, model->data + drop, model->len);
        break;
    }
    }
}

static void any_sequence_of_appends_and_drops_keeps_the_content(void **state) {
    (void)state;
    static struct model model;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int round = 0; round < 50; round++) {
        struct buf buf;
        buf_init(&buf, 0);
        model.len = 0;
        for (int step = 0; step < 200; step++) {
            random_step(&rng, &buf, &model);
            assert_false(buf.failed);
            assert_int_equal(buf.len, model.len);
            assert_memory_equal(buf.data, model.data, model.len);
            assert_int_equal(buf.data[buf.len], 0);
        }
        buf_release(&buf);
    }
}

static void an_append_past_the_maximum_changes_nothing_and_fails(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        struct buf buf;
        buf_init(&buf, 10);
        buf_append_str(&buf, "12345678");
        assert_false(buf.failed);
        if (kind == 0)
            buf_append(&buf, "abc", 3);
        else if (kind == 1)
            buf_printf(&buf, "%s", "abc");
        else if (kind == 2)
            buf_append_u64(&buf, 123);
        else if (kind == 3)
            buf_append_i64(&buf, -10);
        else
            buf_append_json(&buf, "a", 1);
        assert_true(buf.failed);
        assert_content(&buf, "12345678");
        /* Also what would fit is not appended any more: it would not stand where it belongs. */
        buf_append_char(&buf, '9');
        buf_printf(&buf, "%d", 9);
        assert_content(&buf, "12345678");
        buf_release(&buf);
    }
}

static void a_buffer_can_be_filled_to_its_maximum(void **state) {
    (void)state;
    for (size_t max = 1; max < 300; max++) {
        struct buf buf;
        buf_init(&buf, max);
        for (size_t i = 0; i < max; i++)
            buf_append_char(&buf, 'x');
        assert_false(buf.failed);
        assert_int_equal(buf.len, max);
        assert_true(buf.cap <= max);
        buf_append_char(&buf, 'x');
        assert_true(buf.failed);
        buf_release(&buf);
    }
}

static void clearing_makes_a_failed_buffer_usable_and_keeps_its_memory(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 4);
    buf_append_str(&buf, "1234");
    buf_append_str(&buf, "5");
    const char *memory = buf.data;
    buf_clear(&buf);
    assert_false(buf.failed);
    assert_content(&buf, "");
    buf_append_str(&buf, "abcd");
    assert_content(&buf, "abcd");
    assert_ptr_equal(buf.data, memory);
    buf_release(&buf);
}

static void taking_moves_the_content_out(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 8);
    char *empty = buf_take(&buf);
    assert_string_equal(empty, "");
    free(empty);
    buf_append_str(&buf, "text");
    char *taken = buf_take(&buf);
    assert_string_equal(taken, "text");
    free(taken);
    assert_content(&buf, "");
    buf_append_str(&buf, "more than 8"); /* the maximum stays */
    assert_null(buf_take(&buf));
    assert_false(buf.failed);
    buf_release(&buf);
}

/* The content of a JSON string (RFC 8259), for the escapes that a writer may use. Fails the test when it is
 * not one. */
static size_t decode_json(const char *json, size_t len, char *out) {
    assert_true(len >= 2 && json[0] == '"' && json[len - 1] == '"');
    static const char letters[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    size_t used = 0;
    for (size_t i = 1; i < len - 1; i++) {
        assert_true((unsigned char)json[i] >= 0x20 && json[i] != '"');
        if (json[i] != '\\') {
            out[used++] = json[i];
            continue;
        }
        i++;
        const char *letter = json[i] ? strchr(letters, json[i]) : NULL;
        if (letter) {
            out[used++] = meant[letter - letters];
            continue;
        }
        unsigned number;
        assert_int_equal(json[i], 'u');
        assert_true(i + 4 < len - 1);
        assert_int_equal(sscanf(json + i + 1, "%4x", &number), 1);
        assert_true(number < 0x80);
        out[used++] = (char)number;
        i += 4;
    }
    return used;
}

static void every_ascii_character_comes_back_from_json(void **state) {
    (void)state;
    for (int byte = 0; byte < 0x80; byte++) {
        const char text[3] = {'<', (char)byte, '>'};
        char back[16];
        struct buf buf;
        buf_init(&buf, 0);
        buf_append_json(&buf, text, 3);
        assert_int_equal(decode_json(buf.data, buf.len, back), 3);
        assert_memory_equal(back, text, 3);
        buf_release(&buf);
    }
}

static void every_byte_that_is_no_character_becomes_u_fffd(void **state) {
    (void)state;
    for (int byte = 0x80; byte < 0x100; byte++) {
        const char text[3] = {'<', (char)byte, '>'};
        struct buf buf;
        buf_init(&buf, 0);
        buf_append_json(&buf, text, 3);
        assert_content(&buf, "\"<\xEF\xBF\xBD>\"");
        buf_release(&buf);
    }
}

static void json_keeps_whole_characters_and_replaces_each_broken_byte(void **state) {
    (void)state;
    const struct {
        const char *text, *json;
    } cases[] = {
        {"", "\"\""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {"a\"b\\c/d\n\r\t\x01\x1F\x7F", "\"a\\\"b\\\\c/d\\n\\r\\t\\u0001\\u001f\x7F\""},
        {"\xE2\x82", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"a\xED\xA0\x80z", "\"a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf buf;
        buf_init(&buf, 0);
        buf_append_json(&buf, cases[i].text, strlen(cases[i].text));
        assert_content(&buf, cases[i].json);
        buf_release(&buf);
    }
}

static void json_of_any_bytes_is_valid_utf8_and_valid_text_comes_back(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 4);
    for (int round = 0; round < 5000; round++) {
        char text[48], back[256];
        size_t len = rng_below(&rng, sizeof text);
        uint64_t bound = round % 2 ? 0x100 : 0x80;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)rng_below(&rng, bound);
        struct buf buf;
        buf_init(&buf, 0);
        buf_append_json(&buf, text, len);
        assert_true(utf8_is_valid(buf.data, buf.len));
        size_t back_len = decode_json(buf.data, buf.len, back);
        if (utf8_is_valid(text, len)) {
            assert_int_equal(back_len, len);
            assert_memory_equal(back, text, len);
        }
        buf_release(&buf);
    }
}

static void a_json_string_that_does_not_fit_leaves_no_half(void **state) {
    (void)state;
    const char text[] = "ab\n\xE2\x82\xAC\xFF\x01";
    struct buf whole;
    buf_init(&whole, 0);
    buf_append_json(&whole, text, sizeof text - 1);
    for (size_t max = 1; max < whole.len + 1; max++) {
        struct buf buf;
        buf_init(&buf, max);
        buf_append_char(&buf, '[');
        buf_append_json(&buf, text, sizeof text - 1);
        assert_true(buf.failed);
        assert_content(&buf, "[");
        buf_release(&buf);
    }
    buf_release(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_is_an_empty_string_without_memory),
        cmocka_unit_test(release_takes_null_and_released_buffers),
        cmocka_unit_test(appends_of_all_kinds_follow_each_other),
        cmocka_unit_test(numbers_are_written_as_printf_does),
        cmocka_unit_test(any_sequence_of_appends_and_drops_keeps_the_content),
        cmocka_unit_test(an_append_past_the_maximum_changes_nothing_and_fails),
        cmocka_unit_test(a_buffer_can_be_filled_to_its_maximum),
        cmocka_unit_test(clearing_makes_a_failed_buffer_usable_and_keeps_its_memory),
        cmocka_unit_test(taking_moves_the_content_out),
        cmocka_unit_test(every_ascii_character_comes_back_from_json),
        cmocka_unit_test(every_byte_that_is_no_character_becomes_u_fffd),
        cmocka_unit_test(json_keeps_whole_characters_and_replaces_each_broken_byte),
        cmocka_unit_test(json_of_any_bytes_is_valid_utf8_and_valid_text_comes_back),
        cmocka_unit_test(a_json_string_that_does_not_fit_leaves_no_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
