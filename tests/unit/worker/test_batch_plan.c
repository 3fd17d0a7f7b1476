#include "worker/batch_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/rng.h"

static void check_item(const struct plan_item *item, int32_t slot, int32_t count) {
    assert_int_equal(item->slot, slot);
    assert_int_equal(item->count, count);
}

static void plan_of_free_slots_is_empty(void **state) {
    (void)state;
    const struct slot_view views[4] = {{.phase = SLOT_FREE}};
    struct plan_item out[4];
    assert_int_equal(batch_plan(views, 4, 4, out), 0);
}

static void decoding_slots_come_first_with_one_token_each(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_PREFILL, .prompt_left = 5, .started = 0},
        {.phase = SLOT_DECODE, .started = 1},
        {.phase = SLOT_FREE},
        {.phase = SLOT_DECODE, .started = 2},
    };
    struct plan_item out[4];
    assert_int_equal(batch_plan(views, 4, 100, out), 3);
    check_item(&out[0], 1, 1);
    check_item(&out[1], 3, 1);
    check_item(&out[2], 0, 5);
}

static void a_long_prompt_gets_what_is_left(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_DECODE, .started = 0},
        {.phase = SLOT_PREFILL, .prompt_left = 1000, .started = 1},
    };
    struct plan_item out[2];
    assert_int_equal(batch_plan(views, 2, 64, out), 2);
    check_item(&out[1], 1, 63);
}

static void prompts_share_the_budget_in_the_order_they_started(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_PREFILL, .prompt_left = 10, .started = 9},
        {.phase = SLOT_PREFILL, .prompt_left = 10, .started = 3},
        {.phase = SLOT_PREFILL, .prompt_left = 10, .started = 6},
    };
    struct plan_item out[3];
    assert_int_equal(batch_plan(views, 3, 25, out), 3);
    check_item(&out[0], 1, 10);
    check_item(&out[1], 2, 10);
    check_item(&out[2], 0, 5);
}

static void a_prompt_without_budget_waits_for_the_next_step(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_PREFILL, .prompt_left = 30, .started = 0},
        {.phase = SLOT_PREFILL, .prompt_left = 16, .started = 1},
    };
    struct plan_item out[2];
    assert_int_equal(batch_plan(views, 2, 30, out), 1);
    check_item(&out[0], 0, 30);
}

static void short_prompts_get_up_to_half_before_a_long_one(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_PREFILL, .prompt_left = 1000, .started = 0},
        {.phase = SLOT_PREFILL, .prompt_left = 40, .started = 1},
        {.phase = SLOT_PREFILL, .prompt_left = 8, .started = 2},
        {.phase = SLOT_PREFILL, .prompt_left = 50, .started = 3},
    };
    struct plan_item out[4];
    assert_int_equal(batch_plan(views, 4, 96, out), 3);
    check_item(&out[0], 0, 48);
    check_item(&out[1], 1, 40);
    check_item(&out[2], 2, 8);
    /* Of 50 the third one begins with the 2 that are left. */
    assert_int_equal(batch_plan(views, 4, 100, out), 4);
    check_item(&out[0], 0, 50);
    check_item(&out[3], 3, 2);
}

static void a_prompt_that_is_not_much_shorter_does_not_overtake(void **state) {
    (void)state;
    struct slot_view views[] = {
        {.phase = SLOT_PREFILL, .prompt_left = 1000, .started = 0},
        {.phase = SLOT_PREFILL, .prompt_left = 501, .started = 1},
    };
    struct plan_item out[2];
    assert_int_equal(batch_plan(views, 2, 100, out), 1);
    check_item(&out[0], 0, 100);
    views[1].prompt_left = 500;
    assert_int_equal(batch_plan(views, 2, 100, out), 2);
    check_item(&out[0], 0, 50);
    check_item(&out[1], 1, 50);
}

struct totals {
    int32_t work;
    size_t decoding;
    size_t first; /* the slot in prefill that started first; SLOTS: none */
};
enum { SLOTS = 16 };

static struct totals random_views(struct rng *rng, int round, struct slot_view views[SLOTS]) {
    struct totals totals = {.first = SLOTS};
    for (size_t i = 0; i < SLOTS; i++) {
        views[i] = (struct slot_view){.phase = (enum slot_phase)rng_below(rng, 3),
                                      .prompt_left = 1 + (int32_t)rng_below(rng, 1u << rng_below(rng, 12)),
                                      .started = (i * 7 + (size_t)round) % SLOTS};
        totals.decoding += views[i].phase == SLOT_DECODE;
        totals.work += views[i].phase == SLOT_DECODE    ? 1
                       : views[i].phase == SLOT_PREFILL ? views[i].prompt_left
                                                        : 0;
        if (views[i].phase == SLOT_PREFILL &&
            (totals.first == SLOTS || views[i].started < views[totals.first].started))
            totals.first = i;
    }
    return totals;
}

/* Random states: the budget holds and is used up as long as there is work, every decoding slot runs, no slot
 * twice, prompts are in the order in which they started, and the first of them gets half or all it needs. */
static void every_plan_keeps_the_rules(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 11);
    for (int round = 0; round < 20000; round++) {
        struct slot_view views[SLOTS];
        struct totals totals = random_views(&rng, round, views);
        int32_t budget = SLOTS + (int32_t)rng_below(&rng, 600);
        struct plan_item out[SLOTS];
        size_t count = batch_plan(views, SLOTS, budget, out);
        bool seen[SLOTS] = {false};
        int32_t used = 0;
        for (size_t i = 0; i < count; i++) {
            const struct slot_view *view = &views[out[i].slot];
            assert_false(seen[out[i].slot]);
            seen[out[i].slot] = true;
            used += out[i].count;
            assert_int_equal(view->phase, i < totals.decoding ? SLOT_DECODE : SLOT_PREFILL);
            int32_t whole = view->phase == SLOT_DECODE ? 1 : view->prompt_left;
            assert_in_range(out[i].count, 1, whole);
            if (i > totals.decoding)
                assert_true(views[out[i - 1].slot].started < view->started);
        }
        assert_int_equal(used, totals.work < budget ? totals.work : budget);
        if (totals.first == SLOTS)
            continue;
        const struct plan_item *first = &out[totals.decoding];
        assert_int_equal(first->slot, totals.first);
        assert_true(first->count == views[first->slot].prompt_left ||
                    first->count >= (budget - (int32_t)totals.decoding) / 2);
    }
}

/* Prompts of `lengths` that start together in this order, and in every step after that a new one of `crowd`
 * tokens as long as a slot is free (0: none). Writes for each how many steps it took. */
static void steps_of(const int32_t *lengths, size_t count, int32_t crowd, int32_t budget, int *steps) {
    struct slot_view views[SLOTS] = {0};
    uint64_t starts = 0;
    size_t open = count;
    for (size_t i = 0; i < count; i++)
        views[i] = (struct slot_view){.phase = SLOT_PREFILL, .prompt_left = lengths[i], .started = starts++};
    for (int step = 1; open > 0; step++) {
        struct plan_item out[SLOTS];
        size_t items = batch_plan(views, SLOTS, budget, out);
        assert_true(step < 10000);
        for (size_t i = 0; i < items; i++) {
            size_t slot = (size_t)out[i].slot;
            views[slot].prompt_left -= out[i].count;
            if (views[slot].prompt_left > 0)
                continue;
            views[slot].phase = SLOT_FREE;
            if (slot < count) {
                steps[slot] = step;
                open--;
            }
        }
        for (size_t slot = count; crowd > 0 && slot < SLOTS; slot++)
            if (views[slot].phase == SLOT_FREE)
                views[slot] =
                    (struct slot_view){.phase = SLOT_PREFILL, .prompt_left = crowd, .started = starts++};
    }
}

static void a_short_prompt_behind_a_long_one_is_done_in_its_first_step(void **state) {
    (void)state;
    int steps[2];
    steps_of((const int32_t[]){4000, 10}, 2, 0, 512, steps);
    assert_int_equal(steps[1], 1);
    assert_int_equal(steps[0], 8); /* as without it: 4010 / 512 */
}

static void a_crowd_of_short_prompts_costs_a_long_one_at_most_twice_its_time(void **state) {
    (void)state;
    int steps[1];
    steps_of((const int32_t[]){4096}, 1, 0, 512, steps);
    assert_int_equal(steps[0], 8);
    steps_of((const int32_t[]){4096}, 1, 256, 512, steps);
    assert_in_range(steps[0], 9, 16);
}

static void prompts_of_one_length_run_one_after_the_other(void **state) {
    (void)state;
    int steps[4];
    steps_of((const int32_t[]){1024, 1024, 1024, 1024}, 4, 0, 512, steps);
    for (int i = 0; i < 4; i++)
        assert_in_range(steps[i], 2 * i + 2, 2 * i + 3);
}

/* A middle-sized one between a long one before it and short ones that never end. */
static void every_prompt_gets_on(void **state) {
    (void)state;
    int steps[3];
    steps_of((const int32_t[]){8000, 6000, 3000}, 3, 200, 512, steps);
    for (int i = 0; i < 3; i++)
        assert_in_range(steps[i], 1, 2 * (8000 + 6000 + 3000) / 512 + 3);
}

static void check_passes(const int32_t *counts, size_t count, struct batch_pass_rule rule,
                         const char *expected) {
    struct plan_item items[8];
    char passes[64] = "";
    size_t used = 0, size;
    for (size_t i = 0; i < count; i++)
        items[i] = (struct plan_item){.slot = (int32_t)i, .count = counts[i]};
    batch_sort(items, count, &rule);
    for (size_t done = 0; done < count; done += size) {
        size = batch_pass(items + done, count - done, &rule);
        assert_in_range(size, 1, count - done);
        for (size_t i = 0; i < size; i++)
            used += (size_t)snprintf(passes + used, sizeof passes - used, "%s%d:%d",
                                     i > 0 ? "+" : (done > 0 ? " " : ""), items[done + i].slot,
                                     items[done + i].count);
    }
    assert_string_equal(passes, expected);
}

static void a_pass_is_filled_up_to_where_more_takes_longer(void **state) {
    (void)state;
    const struct {
        int32_t counts[6];
        struct batch_pass_rule rule;
        const char *expected;
    } rows[] = {
        {{1, 1, 1, 1, 1, 1}, {2, false}, "0:1+1:1+2:1+3:1+4:1+5:1"},
        {{1, 1, 1, 1, 1, 1}, {2, true}, "0:1+1:1+2:1+3:1+4:1+5:1"},
        {{1, 30, 1, 20, 40, 20}, {512, false}, "0:1+2:1+3:20+5:20+1:30+4:40"},
        {{1, 30, 1, 20, 40, 20}, {22, false}, "0:1+2:1+3:20 5:20 1:30 4:40"},
        {{1, 30, 1, 20, 40, 20}, {16, true}, "3:20 5:20 1:30 4:40 0:1+2:1"},
        {{1, 30, 1, 20, 40, 20}, {512, true}, "3:20+5:20 1:30 4:40 0:1+2:1"},
        {{5, 6, 5, 6, 300, 5}, {16, false}, "0:5+2:5+5:5 1:6+3:6 4:300"},
        {{5, 6, 5, 6, 300, 5}, {16, true}, "0:5+2:5+5:5 1:6+3:6 4:300"},
        {{5, 5, 5, 5, 5, 5}, {16, true}, "0:5+1:5+2:5 3:5+4:5+5:5"},
        {{5, 5, 5, 5, 6, 1}, {16, true}, "0:5+1:5 2:5+3:5 4:6 5:1"},
        {{5, 5, 5, 5, 5, 5}, {25, true}, "0:5+1:5+2:5 3:5+4:5+5:5"},
        {{5, 5, 5, 5, 5, 5}, {29, false}, "0:5+1:5+2:5+3:5+4:5 5:5"},
        {{9, 9, 9, 9, 9, 9}, {4, true}, "0:9 1:9 2:9 3:9 4:9 5:9"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_passes(rows[i].counts, 6, rows[i].rule, rows[i].expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_of_free_slots_is_empty),
        cmocka_unit_test(decoding_slots_come_first_with_one_token_each),
        cmocka_unit_test(a_long_prompt_gets_what_is_left),
        cmocka_unit_test(prompts_share_the_budget_in_the_order_they_started),
        cmocka_unit_test(a_prompt_without_budget_waits_for_the_next_step),
        cmocka_unit_test(short_prompts_get_up_to_half_before_a_long_one),
        cmocka_unit_test(a_prompt_that_is_not_much_shorter_does_not_overtake),
        cmocka_unit_test(every_plan_keeps_the_rules),
        cmocka_unit_test(a_short_prompt_behind_a_long_one_is_done_in_its_first_step),
        cmocka_unit_test(a_crowd_of_short_prompts_costs_a_long_one_at_most_twice_its_time),
        cmocka_unit_test(prompts_of_one_length_run_one_after_the_other),
        cmocka_unit_test(every_prompt_gets_on),
        cmocka_unit_test(a_pass_is_filled_up_to_where_more_takes_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
