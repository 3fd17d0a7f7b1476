#include "worker/batch_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/rng.h"

static void check_item(const struct plan_item *item, int32_t slot, int32_t count, bool last) {
    assert_int_equal(item->slot, slot);
    assert_int_equal(item->count, count);
    assert_int_equal(item->last, last);
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
    check_item(&out[0], 1, 1, true);
    check_item(&out[1], 3, 1, true);
    check_item(&out[2], 0, 5, true);
}

static void a_long_prompt_gets_what_is_left_and_is_not_last(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_DECODE, .started = 0},
        {.phase = SLOT_PREFILL, .prompt_left = 1000, .started = 1},
    };
    struct plan_item out[2];
    assert_int_equal(batch_plan(views, 2, 64, out), 2);
    check_item(&out[1], 1, 63, false);
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
    check_item(&out[0], 1, 10, true);
    check_item(&out[1], 2, 10, true);
    check_item(&out[2], 0, 5, false);
}

static void a_prompt_without_budget_waits_for_the_next_step(void **state) {
    (void)state;
    const struct slot_view views[] = {
        {.phase = SLOT_PREFILL, .prompt_left = 30, .started = 0},
        {.phase = SLOT_PREFILL, .prompt_left = 1, .started = 1},
    };
    struct plan_item out[2];
    assert_int_equal(batch_plan(views, 2, 30, out), 1);
    check_item(&out[0], 0, 30, true);
}

/* Random states: the budget holds and is used up as long as there is work, every decoding slot runs, no slot
 * twice, and a prompt is only cut by the end of the budget. */
static void every_plan_keeps_the_rules(void **state) {
    (void)state;
    enum { SLOTS = 16 };
    struct rng rng;
    rng_seed(&rng, 11);
    for (int round = 0; round < 5000; round++) {
        struct slot_view views[SLOTS];
        int32_t work = 0;
        size_t decoding = 0;
        for (size_t i = 0; i < SLOTS; i++) {
            views[i] = (struct slot_view){.phase = (enum slot_phase)rng_below(&rng, 3),
                                          .prompt_left = 1 + (int32_t)rng_below(&rng, 40),
                                          .started = (i * 7 + (size_t)round) % SLOTS};
            decoding += views[i].phase == SLOT_DECODE;
            work += views[i].phase == SLOT_DECODE    ? 1
                    : views[i].phase == SLOT_PREFILL ? views[i].prompt_left
                                                     : 0;
        }
        int32_t budget = SLOTS + (int32_t)rng_below(&rng, 200);
        struct plan_item out[SLOTS];
        size_t count = batch_plan(views, SLOTS, budget, out);
        bool seen[SLOTS] = {false};
        int32_t used = 0;
        for (size_t i = 0; i < count; i++) {
            const struct slot_view *view = &views[out[i].slot];
            assert_false(seen[out[i].slot]);
            seen[out[i].slot] = true;
            used += out[i].count;
            assert_int_equal(view->phase, i < decoding ? SLOT_DECODE : SLOT_PREFILL);
            int32_t whole = view->phase == SLOT_DECODE ? 1 : view->prompt_left;
            assert_int_equal(out[i].last, out[i].count == whole);
            assert_true(out[i].last || i == count - 1);
        }
        assert_int_equal(used, work < budget ? work : budget);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_of_free_slots_is_empty),
        cmocka_unit_test(decoding_slots_come_first_with_one_token_each),
        cmocka_unit_test(a_long_prompt_gets_what_is_left_and_is_not_last),
        cmocka_unit_test(prompts_share_the_budget_in_the_order_they_started),
        cmocka_unit_test(a_prompt_without_budget_waits_for_the_next_step),
        cmocka_unit_test(every_plan_keeps_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
