#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "proto/wire.h"

#define HEAD "{\"v\":1,\"workerId\":\"w1\",\"incarnation\":\"i1\","

static void what_is_written_is_read_again(void **state) {
    (void)state;
    static const uint64_t held[] = {0, 1, UINT64_MAX, UINT64_C(0x9C02F1A7B3D4E586)}, gone[] = {77};
    for (size_t count = 0; count <= ARRAY_LEN(held); count++) {
        const struct prefix_news news = {held, count, gone, count % 2};
        struct wire_prefixes read;
        struct buf out;
        buf_init(&out, 0);
        wire_write_prefixes(&out, "w1", "i1", &news);
        assert_int_equal(wire_read_prefixes(out.data, out.len, &read, NULL), STATUS_OK);
        assert_string_equal(read.worker_id, "w1");
        assert_string_equal(read.incarnation, "i1");
        assert_int_equal(read.held_count, count);
        assert_int_equal(read.gone_count, count % 2);
        assert_true(count == 0 || memcmp(read.held, held, count * sizeof *held) == 0);
        assert_true(count % 2 == 0 || read.gone[0] == 77);
        wire_prefixes_release(&read);
        buf_release(&out);
    }
    wire_prefixes_release(NULL);
}

static void what_is_malformed_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *json, *member;
    } rows[] = {
        {HEAD "\"gone\":[]}", "held"},
        {HEAD "\"held\":{},\"gone\":[]}", "held"},
        {HEAD "\"held\":[],\"gone\":[1]}", "gone"},
        {HEAD "\"held\":[\"12\"],\"gone\":[]}", "held"},
        {HEAD "\"held\":[\"000000000000000G\"],\"gone\":[]}", "held"},
        {HEAD "\"held\":[\"0000000000000001\",\"-000000000000001\"],\"gone\":[]}", "held"},
        {"{\"v\":1,\"incarnation\":\"i1\",\"held\":[],\"gone\":[]}", "workerId"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct wire_prefixes read;
        struct error error;
        assert_int_equal(wire_read_prefixes(rows[i].json, strlen(rows[i].json), &read, &error),
                         STATUS_PROTOCOL_ERROR);
        assert_non_null(strstr(error.message, rows[i].member));
        wire_prefixes_release(&read);
    }
}

static void a_list_over_the_limit_is_refused(void **state) {
    (void)state;
    static uint64_t hashes[WIRE_PREFIXES_MAX + 1];
    for (size_t count = WIRE_PREFIXES_MAX; count <= WIRE_PREFIXES_MAX + 1; count++) {
        struct wire_prefixes read;
        struct buf out;
        buf_init(&out, 0);
        wire_write_prefixes(&out, "w1", "i1", &(struct prefix_news){.held = hashes, .held_count = count});
        assert_int_equal(wire_read_prefixes(out.data, out.len, &read, NULL),
                         count <= WIRE_PREFIXES_MAX ? STATUS_OK : STATUS_PROTOCOL_ERROR);
        wire_prefixes_release(&read);
        buf_release(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(what_is_malformed_is_refused_by_name),
        cmocka_unit_test(a_list_over_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
