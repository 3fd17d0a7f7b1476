#include "worker/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

static struct admission admission;
static struct admission_entry entries[16];

/* One slot and two places behind it. */
static void begin(bool evict) {
    admission_init(&admission,
                   &(struct admission_config){.slots = 1, .depth = 2, .evict = evict, .present_max = 6});
    for (size_t i = 0; i < 16; i++)
        entries[i] = (struct admission_entry){.since_ms = (int64_t)i};
}

/* Whether entry i came in, and who gave way. */
static bool come(size_t i, int level, struct admission_entry **evicted) {
    if (!admission_make_room(&admission, level, evicted))
        return false;
    entries[i].level = level;
    admission_enter(&admission, &entries[i]);
    return true;
}

static void come_in(size_t i, int level) {
    struct admission_entry *evicted;
    assert_true(come(i, level, &evicted));
    assert_null(evicted);
}

static void a_full_model_refuses_whatever_the_level_until_one_leaves(void **state) {
    (void)state;
    struct admission_entry *evicted;
    begin(false);
    for (size_t i = 0; i < 3; i++)
        come_in(i, 2);
    assert_false(come(3, 0, &evicted));
    assert_null(evicted);
    assert_int_equal(admission.refused, 1);
    admission_leave(&admission, &entries[1]);
    come_in(3, 0);
    assert_int_equal(admission.entered, 4);
}

static void the_youngest_of_the_lowest_level_gives_way(void **state) {
    (void)state;
    struct admission_entry *evicted;
    begin(true);
    come_in(0, 2);
    come_in(1, 2);
    come_in(2, 1);
    assert_true(come(3, 0, &evicted));
    assert_ptr_equal(evicted, &entries[1]);
    assert_true(admission_is_evicted(evicted));
    assert_true(come(4, 0, &evicted));
    assert_ptr_equal(evicted, &entries[0]);
    assert_true(come(5, 0, &evicted));
    assert_ptr_equal(evicted, &entries[2]);
    assert_false(come(6, 0, &evicted));
    assert_int_equal(admission.evicted, 3);
    /* The evicted leave without making room a second time. */
    for (size_t i = 0; i < 3; i++)
        admission_leave(&admission, &entries[i]);
    assert_false(come(6, 0, &evicted));
    assert_int_equal(admission.inside, 3);
}

static void the_evicted_take_room_until_they_have_left(void **state) {
    (void)state;
    struct admission_entry *evicted;
    begin(true);
    for (size_t i = 0; i < 3; i++)
        come_in(i, 2);
    for (size_t i = 3; i < 6; i++)
        assert_true(come(i, 1, &evicted));
    assert_false(come(6, 0, &evicted));
    assert_null(evicted);
    admission_leave(&admission, &entries[0]);
    assert_true(come(6, 0, &evicted));
    assert_ptr_equal(evicted, &entries[5]);
}

static void only_a_lower_level_gives_way(void **state) {
    (void)state;
    struct admission_entry *evicted;
    begin(true);
    for (size_t i = 0; i < 3; i++)
        come_in(i, 1);
    assert_false(come(3, 1, &evicted));
    assert_false(come(3, 2, &evicted));
    assert_true(come(3, 0, &evicted));
}

static void who_has_a_slot_keeps_it(void **state) {
    (void)state;
    struct admission_entry *evicted;
    begin(true);
    for (size_t i = 0; i < 3; i++)
        come_in(i, 2);
    assert_true(admission_start(&entries[2]));
    assert_true(come(3, 0, &evicted));
    assert_ptr_equal(evicted, &entries[1]);
    assert_false(admission_start(&entries[1]));
    assert_true(admission_start(&entries[0]));
    assert_false(come(4, 0, &evicted));
}

static void the_oldest_is_the_first_that_still_waits(void **state) {
    (void)state;
    begin(true);
    assert_int_equal(admission_oldest_ms(&admission, 1), -1);
    for (size_t i = 0; i < 3; i++)
        come_in(i, 1);
    assert_int_equal(admission_oldest_ms(&admission, 1), 0);
    assert_true(admission_start(&entries[0]));
    admission_leave(&admission, &entries[1]);
    assert_int_equal(admission_oldest_ms(&admission, 1), 2);
    assert_int_equal(admission_oldest_ms(&admission, 0), -1);
    admission_leave(&admission, &entries[0]);
    assert_int_equal(admission.inside, 1);
}

/* Against chance: never more inside than there is room for, and who gives way waited, below the newcomer's
 * level, with nobody waiting at a lower level and nobody younger at its own. */
static void evictions_keep_the_rules(void **state) {
    (void)state;
    enum { COUNT = 64, SLOTS = 4, DEPTH = 12 };
    static struct admission_entry all[COUNT];
    static bool used[COUNT];
    struct rng rng;
    rng_seed(&rng, 5);
    admission_init(&admission, &(struct admission_config){
                                   .slots = SLOTS, .depth = DEPTH, .evict = true, .present_max = COUNT});
    int64_t clock = 0;
    for (int round = 0; round < 20000; round++) {
        size_t i = rng_below(&rng, COUNT);
        if (used[i]) {
            if (rng_below(&rng, 3) == 0) {
                used[i] = false;
                admission_leave(&admission, &all[i]);
            } else if (rng_below(&rng, 4) == 0) {
                (void)!admission_start(&all[i]);
            }
            continue;
        }
        int level = (int)rng_below(&rng, 3);
        struct admission_entry *evicted;
        if (!admission_make_room(&admission, level, &evicted))
            continue;
        for (size_t j = 0; evicted && j < COUNT; j++) {
            assert_true(evicted->level > level);
            if (used[j] && atomic_load(&all[j].hold) == ADMISSION_WAITS)
                assert_true(all[j].level < evicted->level ||
                            (all[j].level == evicted->level && all[j].since_ms < evicted->since_ms));
        }
        all[i] = (struct admission_entry){.level = level, .since_ms = clock++};
        used[i] = true;
        admission_enter(&admission, &all[i]);
        assert_in_range(admission.inside, 1, SLOTS + DEPTH);
    }
    assert_true(admission.evicted > 100);
    assert_true(admission.refused > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_model_refuses_whatever_the_level_until_one_leaves),
        cmocka_unit_test(the_youngest_of_the_lowest_level_gives_way),
        cmocka_unit_test(the_evicted_take_room_until_they_have_left),
        cmocka_unit_test(only_a_lower_level_gives_way),
        cmocka_unit_test(who_has_a_slot_keeps_it),
        cmocka_unit_test(the_oldest_is_the_first_that_still_waits),
        cmocka_unit_test(evictions_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
