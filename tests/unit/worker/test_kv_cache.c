/* Which slot a prompt gets that nothing is known of; when what free slots hold goes to memory. */
#include "worker/kv_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/attr.h"
#include "proto/chat.h"

enum { SLOTS = 6, CONTEXT = 64, SHARED = 256, PROMPT = 40, MEMORY = 1 << 20 };

static struct engine *engine;
static struct kv_cache cache;

static void open_cache(int32_t shared_tokens) {
    struct error error;
    const struct engine_options options = {.slots = SLOTS,
                                           .context_tokens = CONTEXT,
                                           .cache_tokens = shared_tokens,
                                           .batch_tokens = PROMPT,
                                           .fake_step_us = 1};
    engine = engine_fake_ops.open(&options, &error);
    assert_non_null(engine);
    const struct kv_config config = {.reuse = true, .memory_bytes_max = MEMORY};
    assert_true(kv_cache_init(&cache, engine, &config));
}

static int close_cache(void **state) {
    (void)state;
    for (int32_t i = 0; i < SLOTS; i++)
        if (cache.busy[i])
            kv_cache_leave(&cache, i);
    kv_cache_release(&cache);
    engine_fake_ops.close(engine);
    return 0;
}

/* A prompt of one token, which no other has. */
static int32_t take(void) {
    static int32_t next = 1;
    struct kv_place place;
    int32_t *token = malloc(sizeof *token);
    assert_non_null(token);
    *token = next++;
    assert_true(kv_cache_find(&cache, token, 1, &place));
    kv_cache_take(&cache, &place, token, NULL);
    return place.slot;
}

static void take_all(void) {
    for (int32_t i = 0; i < SLOTS; i++)
        take();
}

static void leave(int32_t slot) {
    kv_cache_grow(&cache, slot, 1);
    kv_cache_leave(&cache, slot);
}

/* Who comes to a full cache that these have left, one after the other. */
static int32_t take_after(size_t count, const int32_t *left) {
    take_all();
    for (size_t i = 0; i < count; i++)
        leave(left[i]);
    return take();
}

static void running_slots_are_side_by_side(void **state) {
    (void)state;
    open_cache(0);
    int32_t first = take(), last = first;
    for (int i = 1; i < SLOTS - 1; i++) {
        int32_t slot = take();
        assert_true(slot == first - 1 || slot == last + 1);
        first = slot < first ? slot : first;
        last = slot > last ? slot : last;
    }
}

static void a_gap_is_filled_before_a_slot_that_was_not_used_for_longer(void **state) {
    (void)state;
    open_cache(0);
    assert_int_equal(take_after(3, (int32_t[]){5, 0, 2}), 2);
}

static void a_wide_gap_is_filled_before_a_slot_at_the_end_that_holds_nothing(void **state) {
    (void)state;
    open_cache(0);
    for (int32_t i = 0; i < SLOTS - 1; i++)
        assert_int_equal(take(), i);
    leave(1);
    leave(2);
    int32_t slot = take();
    assert_true(slot == 1 || slot == 2);
}

static void the_smallest_gap_is_filled_first(void **state) {
    (void)state;
    open_cache(0);
    assert_int_equal(take_after(3, (int32_t[]){1, 2, 4}), 4);
}

static void what_is_left_of_a_gap_stays_in_one_piece(void **state) {
    (void)state;
    open_cache(0);
    assert_int_equal(take_after(3, (int32_t[]){2, 3, 1}), 3);
}

static void between_equals_it_is_the_one_that_was_not_used_for_longest(void **state) {
    (void)state;
    open_cache(0);
    assert_int_equal(take_after(2, (int32_t[]){4, 1}), 4);
    assert_int_equal(take(), 1);
}

static void in_a_shared_cache_neighbours_do_not_count(void **state) {
    (void)state;
    open_cache(SHARED);
    assert_int_equal(take_after(3, (int32_t[]){5, 0, 2}), 5);
}

/* A job at 5000 whose prompt no other has. Returns its slot. */
static int32_t serve(void) {
    static int32_t next = 1000;
    struct kv_place place;
    const struct sampling sampling = {0};
    int32_t *tokens = malloc(PROMPT * sizeof *tokens);
    assert_non_null(tokens);
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = next++;
    const struct engine_prompt prompt = {.tokens = tokens, .count = PROMPT};
    assert_true(kv_cache_find(&cache, tokens, PROMPT, &place));
    assert_int_equal(kv_cache_take(&cache, &place, tokens, NULL), 0);
    assert_int_equal(engine_slot_start(engine, place.slot, &sampling, &prompt, 0), STATUS_OK);
    struct error error;
    struct engine_item item = {.slot = place.slot, .tokens = tokens, .count = PROMPT};
    assert_int_equal(engine_step(engine, &item, 1, &error), STATUS_OK);
    engine_slot_stop(engine, place.slot);
    kv_cache_grow(&cache, place.slot, PROMPT);
    cache.now_ms = 5000;
    kv_cache_leave(&cache, place.slot);
    return place.slot;
}

/* One slot has been free for long enough; a token of it takes `token_bytes` in memory. */
static void open_untidy(size_t token_bytes) {
    open_cache(0);
    serve();
    cache.now_ms = 9000;
    cache.token_bytes = token_bytes;
}

static void a_slot_that_nobody_goes_on_with_is_saved_after_a_while(void **state) {
    (void)state;
    open_cache(0);
    serve();
    assert_int_equal(kv_cache_tidy_due_ms(&cache, 5400), 600);
    cache.now_ms = 5999;
    assert_false(kv_cache_tidy(&cache, false));
    cache.now_ms = 6000;
    assert_true(kv_cache_tidy(&cache, false));
    assert_int_equal(cache.store.count, 1);
    assert_false(kv_cache_tidy(&cache, false));
    assert_int_equal(kv_cache_tidy_due_ms(&cache, 6000), -1);
    size_t bytes = cache.store.bytes;
    take_all(); /* overwritten: it is there already */
    assert_int_equal(cache.store.count, 1);
    assert_int_equal(cache.store.bytes, bytes);
}

static void one_slot_at_a_time_the_one_that_was_left_first(void **state) {
    (void)state;
    open_cache(0);
    int32_t first = serve(), second = serve();
    cache.slots[second].left_ms++;
    cache.now_ms = 9000;
    assert_true(kv_cache_tidy(&cache, false));
    assert_true(cache.slots[first].tidy && !cache.slots[second].tidy);
    assert_true(kv_cache_tidy(&cache, false));
    assert_int_equal(cache.store.count, 2);
}

static void a_large_one_is_saved_only_while_nothing_runs(void **state) {
    (void)state;
    open_untidy(1 << 20);
    cache.config.memory_bytes_max = cache.store.bytes_max = (size_t)1 << 40;
    assert_false(kv_cache_tidy(&cache, false));
    assert_int_equal(kv_cache_tidy_due_ms(&cache, 9000), 0);
    assert_true(kv_cache_tidy(&cache, true));
    assert_int_equal(cache.store.count, 1);
}

static void memory_too_small_for_all_slots_is_left_to_what_is_in_none(void **state) {
    (void)state;
    open_untidy(MEMORY / PROMPT / SLOTS);
    assert_true(kv_cache_tidy(&cache, true));
    assert_int_equal(cache.store.count, 0);
    assert_false(kv_cache_tidy(&cache, true));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(running_slots_are_side_by_side, close_cache),
        cmocka_unit_test_teardown(a_gap_is_filled_before_a_slot_that_was_not_used_for_longer, close_cache),
        cmocka_unit_test_teardown(a_wide_gap_is_filled_before_a_slot_at_the_end_that_holds_nothing,
                                  close_cache),
        cmocka_unit_test_teardown(the_smallest_gap_is_filled_first, close_cache),
        cmocka_unit_test_teardown(what_is_left_of_a_gap_stays_in_one_piece, close_cache),
        cmocka_unit_test_teardown(between_equals_it_is_the_one_that_was_not_used_for_longest, close_cache),
        cmocka_unit_test_teardown(in_a_shared_cache_neighbours_do_not_count, close_cache),
        cmocka_unit_test_teardown(a_slot_that_nobody_goes_on_with_is_saved_after_a_while, close_cache),
        cmocka_unit_test_teardown(one_slot_at_a_time_the_one_that_was_left_first, close_cache),
        cmocka_unit_test_teardown(a_large_one_is_saved_only_while_nothing_runs, close_cache),
        cmocka_unit_test_teardown(memory_too_small_for_all_slots_is_left_to_what_is_in_none, close_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
