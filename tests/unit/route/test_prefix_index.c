#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"
#include "route/prefix_index.h"

enum { BLOCK = PREFIX_BLOCK_BYTES, MEGABYTE = 1 << 20 };

static char text[64 * BLOCK];
static const struct prefix_block *found[PREFIX_BLOCKS_MAX];

/* The text's first `shared` bytes are the same for all `kind`s. */
static struct prefix_text make_text(char *out, size_t len, size_t shared, char kind) {
    for (size_t i = 0; i < len; i++)
        out[i] = i < shared ? (char)('a' + i % 23) : kind;
    return (struct prefix_text){.model = "m", .bytes = out, .len = len};
}

static struct worker_gauge gauge_of(uint16_t seat, uint64_t generation) {
    return (struct worker_gauge){.seat = seat, .generation = generation, .slots = 1};
}

static bool holds(const struct prefix_index *index, const struct prefix_block *block,
                  const struct worker_gauge *gauge) {
    for (size_t i = 0; i < block->count; i++)
        if (block->holders[i].seat == gauge->seat)
            return prefix_holder_is_fresh(index, &block->holders[i], gauge);
    return false;
}

static void only_the_common_beginning_is_known(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge gauge = gauge_of(3, 1);
    assert_true(prefix_index_init(&index, MEGABYTE, 42));
    struct prefix_text sent = make_text(text, 10 * BLOCK + 17, 4 * BLOCK + 100, 'x');
    assert_int_equal(prefix_index_match(&index, &sent, found), 0);
    prefix_index_add(&index, &sent, &gauge);
    assert_int_equal(prefix_index_match(&index, &sent, found), 10);
    assert_true(holds(&index, found[9], &gauge));
    struct prefix_text other = make_text(text, 10 * BLOCK, 4 * BLOCK + 100, 'y');
    assert_int_equal(prefix_index_match(&index, &other, found), 4);
    other.len = BLOCK - 1;
    assert_int_equal(prefix_index_match(&index, &other, found), 0);
    prefix_index_release(&index);
}

static void the_same_text_for_another_model_is_unknown(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge gauge = gauge_of(0, 1);
    assert_true(prefix_index_init(&index, MEGABYTE, 42));
    struct prefix_text sent = make_text(text, 4 * BLOCK, 4 * BLOCK, 'x');
    prefix_index_add(&index, &sent, &gauge);
    sent.model = "n";
    assert_int_equal(prefix_index_match(&index, &sent, found), 0);
    prefix_index_release(&index);
}

static void a_new_incarnation_knows_nothing(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge old = gauge_of(5, 1), new = gauge_of(5, 2), other = gauge_of(6, 3);
    assert_true(prefix_index_init(&index, MEGABYTE, 42));
    struct prefix_text sent = make_text(text, 4 * BLOCK, 4 * BLOCK, 'x');
    prefix_index_add(&index, &sent, &old);
    prefix_index_add(&index, &sent, &other);
    assert_int_equal(prefix_index_match(&index, &sent, found), 4);
    assert_false(holds(&index, found[0], &new));
    assert_true(holds(&index, found[0], &other));
    prefix_index_add(&index, &sent, &new);
    assert_int_equal(found[0]->count, 2); /* it took the place of the old one */
    assert_true(holds(&index, found[0], &new));
    assert_false(holds(&index, found[0], &old));
    prefix_index_release(&index);
}

static void what_a_full_cache_has_lost_is_not_counted_on(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge gauge = gauge_of(0, 1);
    gauge.kv_cells = 10 * BLOCK / 3 + 1; /* ten blocks */
    assert_true(prefix_index_init(&index, MEGABYTE, 42));
    struct prefix_text first = make_text(text, 4 * BLOCK, 0, 'x');
    prefix_index_add(&index, &first, &gauge);
    char more[4 * BLOCK];
    for (char kind = 'a'; kind < 'd'; kind++) {
        assert_int_equal(prefix_index_match(&index, &first, found), 4);
        assert_true(holds(&index, found[0], &gauge));
        struct prefix_text next = make_text(more, sizeof more, 0, kind);
        prefix_index_add(&index, &next, &gauge);
    }
    assert_int_equal(prefix_index_match(&index, &first, found), 4);
    assert_false(holds(&index, found[0], &gauge)); /* twelve new blocks since */
    prefix_index_add(&index, &first, &gauge);
    assert_true(holds(&index, found[0], &gauge));
    prefix_index_release(&index);
}

static void memory_is_bounded_and_the_least_used_is_forgotten(void **state) {
    (void)state;
    static struct prefix_index index;
    enum { MAX = 64 * 1024 };
    struct worker_gauge gauge = gauge_of(0, 1);
    assert_true(prefix_index_init(&index, MAX, 42));
    char loved[8 * BLOCK], other[8 * BLOCK];
    struct prefix_text keep = make_text(loved, sizeof loved, sizeof loved, 'x');
    prefix_index_add(&index, &keep, &gauge);
    for (int i = 0; i < 2000; i++) {
        struct prefix_text next = make_text(other, sizeof other, 0, 'z');
        snprintf(other, 16, "%d", i);
        struct worker_gauge holder = gauge_of((uint16_t)(i % 100), (uint64_t)i % 100 + 1);
        prefix_index_add(&index, &next, &holder);
        prefix_index_add(&index, &keep, &holder);
        assert_true(index.bytes <= MAX);
    }
    assert_int_equal(prefix_index_match(&index, &keep, found), 8);
    assert_int_equal(found[7]->count, 100);
    snprintf(other, 16, "%d", 0);
    struct prefix_text first = {.model = "m", .bytes = other, .len = sizeof other};
    assert_int_equal(prefix_index_match(&index, &first, found), 0);
    prefix_index_release(&index);
    assert_int_equal(index.bytes, 0);
}

static void texts_longer_than_the_limit_are_known_up_to_it(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge gauge = gauge_of(0, 1);
    size_t len = (size_t)(PREFIX_BLOCKS_MAX + 10) * BLOCK;
    char *large = malloc(len);
    assert_non_null(large);
    assert_true(prefix_index_init(&index, 16 * MEGABYTE, 42));
    struct prefix_text sent = make_text(large, len, len, 'x');
    prefix_index_add(&index, &sent, &gauge);
    assert_int_equal(prefix_index_match(&index, &sent, found), PREFIX_BLOCKS_MAX);
    assert_int_equal(index.count, PREFIX_BLOCKS_MAX);
    prefix_index_release(&index);
    free(large);
}

static void what_the_worker_tells_counts_more_than_what_was_sent(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge gauge = gauge_of(2, 7);
    assert_true(prefix_index_init(&index, MEGABYTE, 42));
    struct prefix_text sent = make_text(text, 4 * BLOCK, 4 * BLOCK, 'x');
    uint64_t hashes[4], hash = prefix_start("m");
    for (size_t i = 0; i < 4; i++)
        hashes[i] = hash = prefix_next(hash, text + i * BLOCK);
    /* Nobody sent it there, as far as this controller knows. */
    prefix_index_told(&index, &(struct prefix_news){.held = hashes, .held_count = 4}, &gauge);
    assert_int_equal(prefix_index_match(&index, &sent, found), 4);
    assert_true(holds(&index, found[3], &gauge));
    /* Its last two blocks are gone, whatever was sent since. */
    prefix_index_add(&index, &sent, &gauge);
    prefix_index_told(&index, &(struct prefix_news){.gone = hashes + 2, .gone_count = 2}, &gauge);
    prefix_index_match(&index, &sent, found);
    assert_true(holds(&index, found[0], &gauge) && holds(&index, found[1], &gauge));
    assert_false(holds(&index, found[2], &gauge) || holds(&index, found[3], &gauge));
    /* Another process at the same seat has nothing. */
    struct worker_gauge next = gauge_of(2, 8);
    prefix_index_told(&index, &(struct prefix_news){.held = hashes, .held_count = 1}, &next);
    assert_true(holds(&index, found[0], &next));
    assert_false(holds(&index, found[1], &next));
    prefix_index_release(&index);
}

static void what_was_told_is_not_forgotten_because_much_was_sent(void **state) {
    (void)state;
    static struct prefix_index index;
    struct worker_gauge gauge = gauge_of(2, 7);
    gauge.kv_cells = 10 * BLOCK / 3 + 1; /* ten blocks */
    assert_true(prefix_index_init(&index, MEGABYTE, 42));
    struct prefix_text first = make_text(text, BLOCK, BLOCK, 'x');
    uint64_t hash = prefix_next(prefix_start("m"), text);
    prefix_index_told(&index, &(struct prefix_news){.held = &hash, .held_count = 1}, &gauge);
    for (int i = 0; i < 40; i++) {
        static char other[BLOCK];
        memset(other, 'A' + i, sizeof other);
        prefix_index_add(&index, &(struct prefix_text){.model = "m", .bytes = other, .len = BLOCK}, &gauge);
    }
    prefix_index_match(&index, &first, found);
    assert_true(holds(&index, found[0], &gauge));
    prefix_index_release(&index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_common_beginning_is_known),
        cmocka_unit_test(the_same_text_for_another_model_is_unknown),
        cmocka_unit_test(a_new_incarnation_knows_nothing),
        cmocka_unit_test(what_a_full_cache_has_lost_is_not_counted_on),
        cmocka_unit_test(memory_is_bounded_and_the_least_used_is_forgotten),
        cmocka_unit_test(texts_longer_than_the_limit_are_known_up_to_it),
        cmocka_unit_test(what_the_worker_tells_counts_more_than_what_was_sent),
        cmocka_unit_test(what_was_told_is_not_forgotten_because_much_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
