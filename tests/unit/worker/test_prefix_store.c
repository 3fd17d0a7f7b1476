#include "worker/prefix_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STATE_BYTES = 1000 };

static struct prefix_store store;
static struct prefix_report report;

static int setup(void **state) {
    (void)state;
    assert_true(prefix_report_init(&report, 16));
    prefix_store_init(&store, 4 * (STATE_BYTES + 200), &report);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    prefix_store_release(&store);
    struct prefix_news news;
    assert_false(prefix_report_take(&report, &news)); /* nobody was told, and all is gone again */
    assert_int_equal(report.blocks.count, 0);
    prefix_report_release(&report);
    return 0;
}

/* Tokens first, first + 1... */
static void make(int32_t first, int32_t count, int32_t *tokens) {
    for (int32_t i = 0; i < count; i++)
        tokens[i] = first + i;
}

static void add(int32_t first, int32_t count) {
    int32_t tokens[64];
    struct engine_state saved = {.bytes = malloc(STATE_BYTES), .size = STATE_BYTES};
    struct prefix_blocks *blocks = malloc(sizeof *blocks + sizeof(uint64_t));
    make(first, count, tokens);
    *blocks = (struct prefix_blocks){.count = 1};
    blocks->hashes[0] = (uint64_t)first;
    prefix_report_hold(&report, blocks);
    prefix_store_add(&store, tokens, count, &saved, blocks);
    assert_null(saved.bytes);
}

static bool has(int32_t first, int32_t count) {
    int32_t tokens[64];
    make(first, count, tokens);
    return prefix_store_has(&store, tokens, count);
}

static void the_longest_common_beginning_is_found(void **state) {
    (void)state;
    int32_t tokens[64], common;
    add(100, 20);
    add(500, 20);
    make(100, 30, tokens);
    struct prefix_entry *entry = prefix_store_find(&store, tokens, 30, &common);
    assert_int_equal(common, 20);
    assert_int_equal(entry->tokens[0], 100);
    tokens[7] = 0;
    assert_ptr_equal(prefix_store_find(&store, tokens, 30, &common), entry);
    assert_int_equal(common, 7);
    tokens[0] = 0;
    assert_null(prefix_store_find(&store, tokens, 30, &common));
    assert_int_equal(common, 0);
}

static void what_was_not_used_for_longest_makes_way(void **state) {
    (void)state;
    int32_t tokens[64], common;
    for (int32_t i = 1; i <= 4; i++)
        add(i * 100, 10);
    assert_int_equal(store.count, 4);
    make(100, 10, tokens);
    struct prefix_entry *used = prefix_store_find(&store, tokens, 10, &common);
    prefix_store_take(&store, used);
    assert_false(has(100, 10));
    prefix_store_put(&store, used);
    add(500, 10);
    assert_int_equal(store.count, 4);
    assert_int_equal(store.evicted, 1);
    assert_true(has(100, 10) && !has(200, 10) && has(300, 10) && has(500, 10));
    assert_true(store.bytes <= store.bytes_max);
}

static void a_longer_sequence_replaces_its_beginnings(void **state) {
    (void)state;
    add(100, 10);
    add(100, 20);
    assert_int_equal(store.count, 1);
    assert_int_equal(store.evicted, 0);
    assert_true(has(100, 20) && has(100, 10));
}

static void what_is_larger_than_all_the_room_is_dropped(void **state) {
    (void)state;
    int32_t token = 1;
    struct engine_state large = {.bytes = malloc(store.bytes_max), .size = store.bytes_max};
    prefix_store_add(&store, &token, 1, &large, NULL);
    assert_int_equal(store.count, 0);
    assert_int_equal(store.bytes, 0);
}

static void what_has_no_room_takes_nothing_with_it(void **state) {
    (void)state;
    add(1, 1);
    add(100, 10);
    int32_t tokens[] = {1, 2};
    struct engine_state large = {.bytes = malloc(store.bytes_max), .size = store.bytes_max};
    prefix_store_add(&store, tokens, 2, &large, NULL);
    assert_true(has(1, 1) && has(100, 10));
    assert_false(prefix_store_reserve(&store, store.bytes_max + 1));
    assert_true(prefix_store_reserve(&store, store.bytes_max - 2 * (STATE_BYTES + 200)));
    assert_false(prefix_store_reserve(&store, store.bytes_max - store.reserved + 1));
    assert_true(has(1, 1) && has(100, 10));
    assert_int_equal(store.evicted, 0);
    prefix_store_unreserve(&store, store.reserved);
}

static void reserved_memory_takes_the_room_of_entries(void **state) {
    (void)state;
    for (int32_t i = 1; i <= 4; i++)
        add(i * 100, 10);
    assert_false(prefix_store_reserve(&store, store.bytes_max + 1));
    assert_int_equal(store.count, 4);
    assert_true(prefix_store_reserve(&store, store.bytes_max / 2));
    assert_int_equal(store.count, 2);
    assert_true(has(400, 10) && has(300, 10));
    assert_true(prefix_store_reserve(&store, store.bytes_max / 2));
    assert_false(prefix_store_reserve(&store, 1));
    prefix_store_unreserve(&store, store.bytes_max / 2);
    prefix_store_unreserve(&store, store.bytes_max / 2);
    assert_int_equal(store.bytes, 0);
    add(100, 10);
    prefix_store_clear(&store);
    assert_int_equal(store.count, 0);
    assert_int_equal(store.bytes, 0);
}

static void a_closed_store_takes_nothing_but_what_is_reserved(void **state) {
    (void)state;
    add(100, 10);
    prefix_store_close(&store, true);
    assert_int_equal(store.bytes, 0);
    add(200, 10);
    assert_int_equal(store.count, 0);
    assert_true(prefix_store_reserve(&store, 100));
    prefix_store_unreserve(&store, 100);
    prefix_store_close(&store, false);
    add(300, 10);
    assert_true(has(300, 10));
}

static void use(int32_t first) {
    int32_t tokens[64], common;
    make(first, 64, tokens);
    struct prefix_entry *entry = prefix_store_find(&store, tokens, 64, &common);
    assert_non_null(entry);
    prefix_store_take(&store, entry);
    prefix_store_put(&store, entry);
}

static int worth_of_eight(void) {
    int worth = 0;
    for (int i = 0; i < 8; i++)
        worth += prefix_store_is_worth(&store);
    return worth;
}

static void while_nothing_is_used_one_in_eight_is_worth_it(void **state) {
    (void)state;
    for (int i = 0; i < 131; i++) {
        assert_true(prefix_store_is_worth(&store));
        add(100 * i, 20);
    }
    add(100 * 131, 20);
    assert_int_equal(worth_of_eight(), 1);
    assert_int_equal(worth_of_eight(), 1);
    assert_int_equal(store.skipped, 14);
    /* One that is used tells more than many that were not. */
    use(100 * 131);
    assert_int_equal(worth_of_eight(), 8);
    assert_int_equal(store.skipped, 14);
}

static void what_is_used_now_and_then_is_always_worth_it(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        add(100 * i, 20);
        if (i % 20 == 0)
            use(100 * i);
        assert_true(prefix_store_is_worth(&store));
    }
}

static void an_entry_that_is_used_often_counts_once(void **state) {
    (void)state;
    add(100, 20);
    for (int i = 0; i < 100; i++)
        use(100);
    assert_true(store.use_rate <= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_longest_common_beginning_is_found),
        TEST(what_was_not_used_for_longest_makes_way),
        TEST(a_longer_sequence_replaces_its_beginnings),
        TEST(what_is_larger_than_all_the_room_is_dropped),
        TEST(what_has_no_room_takes_nothing_with_it),
        TEST(reserved_memory_takes_the_room_of_entries),
        TEST(while_nothing_is_used_one_in_eight_is_worth_it),
        TEST(what_is_used_now_and_then_is_always_worth_it),
        TEST(an_entry_that_is_used_often_counts_once),
        TEST(a_closed_store_takes_nothing_but_what_is_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
