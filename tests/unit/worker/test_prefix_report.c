#include "worker/prefix_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "proto/chat.h"

enum { KINDS = 6, LENGTH_MAX = 12 };

static void blocks_are_the_hashes_of_the_prompt(void **state) {
    (void)state;
    char text[3 * PREFIX_BLOCK_BYTES + 7];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct prefix_blocks *blocks = prefix_blocks_new("m", text);
    assert_int_equal(blocks->count, 3);
    uint64_t hash = prefix_start("m");
    for (size_t i = 0; i < 3; i++) {
        hash = prefix_next(hash, text + i * PREFIX_BLOCK_BYTES);
        assert_true(blocks->hashes[i] == hash);
    }
    struct prefix_blocks *copy = prefix_blocks_copy(blocks);
    assert_memory_equal(copy->hashes, blocks->hashes, 3 * sizeof(uint64_t));
    free(copy);
    free(blocks);
    text[PREFIX_BLOCK_BYTES - 1] = '\0';
    assert_null(prefix_blocks_new("m", text));
    assert_null(prefix_blocks_copy(NULL));
}

/* Kinds share beginnings: the first `length` of 100, 101... or, for odd kinds, from the middle on others. */
static struct prefix_blocks *make(struct rng *rng) {
    size_t count = 1 + (size_t)rng_below(rng, LENGTH_MAX);
    uint64_t kind = rng_below(rng, KINDS);
    struct prefix_blocks *blocks = malloc(sizeof *blocks + count * sizeof(uint64_t));
    blocks->count = count;
    for (size_t i = 0; i < count; i++)
        blocks->hashes[i] = 100 + i + (i < 4 ? 0 : 1000 * kind);
    return blocks;
}

/* What a controller that hears everything knows. */
struct listener {
    int known[8000];
};

static void listen(struct listener *listener, struct prefix_report *report) {
    struct prefix_news news;
    while (prefix_report_take(report, &news)) {
        assert_true(news.held_count <= report->take_max && news.gone_count <= report->take_max);
        for (size_t i = 0; i < news.gone_count; i++)
            listener->known[news.gone[i]]--;
        for (size_t i = 0; i < news.held_count; i++)
            listener->known[news.held[i]]++;
    }
    assert_false(prefix_report_has_news(report));
}

static void who_hears_everything_knows_what_is_held_after_any_history(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        enum { SEQUENCES = 10 };
        struct prefix_blocks *held[SEQUENCES] = {NULL};
        static struct listener listener;
        struct prefix_report report;
        struct rng rng;
        memset(&listener, 0, sizeof listener);
        rng_seed(&rng, seed);
        assert_true(prefix_report_init(&report, 1 + (size_t)rng_below(&rng, 5)));
        for (int i = 0; i < 300; i++) {
            size_t at = (size_t)rng_below(&rng, SEQUENCES);
            prefix_report_drop(&report, held[at]);
            free(held[at]);
            held[at] = rng_below(&rng, 4) > 0 ? make(&rng) : NULL;
            prefix_report_hold(&report, held[at]);
            if (rng_below(&rng, 3) > 0)
                continue;
            listen(&listener, &report);
            int expected[8000] = {0};
            for (size_t s = 0; s < SEQUENCES; s++)
                for (size_t b = 0; held[s] && b < held[s]->count; b++)
                    expected[held[s]->hashes[b]] = 1;
            assert_memory_equal(listener.known, expected, sizeof expected);
        }
        for (size_t s = 0; s < SEQUENCES; s++) {
            prefix_report_drop(&report, held[s]);
            free(held[s]);
        }
        listen(&listener, &report);
        assert_int_equal(report.blocks.count, 0);
        prefix_report_release(&report);
    }
}

static void all_of_it_is_told_again_when_asked(void **state) {
    (void)state;
    static struct listener first, second;
    struct prefix_report report;
    struct rng rng;
    rng_seed(&rng, 7);
    assert_true(prefix_report_init(&report, 100));
    struct prefix_blocks *blocks[2] = {make(&rng), make(&rng)};
    for (int i = 0; i < 2; i++)
        prefix_report_hold(&report, blocks[i]);
    listen(&first, &report);
    prefix_report_repeat(&report);
    listen(&second, &report);
    assert_memory_equal(first.known, second.known, sizeof first.known);
    for (int i = 0; i < 2; i++)
        free(blocks[i]);
    prefix_report_release(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_the_hashes_of_the_prompt),
        cmocka_unit_test(who_hears_everything_knows_what_is_held_after_any_history),
        cmocka_unit_test(all_of_it_is_told_again_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
