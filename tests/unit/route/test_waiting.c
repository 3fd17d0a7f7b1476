#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "route/waiting.h"

enum { AGING_MS = 1000, EVICTED_MAX = 64 };

struct evicted {
    struct waiter *waiters[EVICTED_MAX];
    size_t count;
};

static void note_evicted(struct waiter *waiter, void *arg) {
    struct evicted *evicted = arg;
    assert_true(evicted->count < EVICTED_MAX);
    evicted->waiters[evicted->count++] = waiter;
}

static void open_room(struct waiting_room *room, size_t requests, size_t bytes) {
    waiting_init(room, &(struct waiting_config){requests, bytes, AGING_MS});
}

static struct waiter at(int64_t since_ms, enum chat_priority priority) {
    return (struct waiter){.priority = priority, .bytes = 1, .since_ms = since_ms};
}

static void enter(struct waiting_room *room, struct waiter *waiter, const char *model) {
    struct evicted evicted = {0};
    assert_true(waiting_enter(room, waiter, model, note_evicted, &evicted));
    assert_int_equal(evicted.count, 0);
}

static struct waiter *first(const struct waiting_room *room, int64_t now_ms) {
    struct waiting_walk walk;
    waiting_walk_begin(&walk, room, TAILQ_FIRST(&room->lines), now_ms);
    return waiting_walk_next(&walk);
}

static void leave_all(struct waiting_room *room) {
    while (room->count > 0)
        waiting_leave(room, first(room, 0));
    assert_true(TAILQ_EMPTY(&room->lines));
    assert_int_equal(room->bytes, 0);
    waiting_release(room);
}

static void the_highest_priority_is_first_and_of_equals_the_oldest(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter low = at(0, CHAT_PRIORITY_LOW), medium = at(1, CHAT_PRIORITY_MEDIUM),
                  medium2 = at(2, CHAT_PRIORITY_MEDIUM), high = at(3, CHAT_PRIORITY_HIGH);
    struct waiter *const order[] = {&high, &medium, &medium2, &low};
    enter(&room, &low, "m");
    enter(&room, &medium, "m");
    enter(&room, &medium2, "m");
    enter(&room, &high, "m");
    struct waiting_walk walk;
    waiting_walk_begin(&walk, &room, TAILQ_FIRST(&room.lines), 4);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(waiting_walk_next(&walk), order[i]);
    assert_null(waiting_walk_next(&walk));
    leave_all(&room);
}

static void who_waits_long_enough_is_not_overtaken_by_higher_priorities(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter low = at(0, CHAT_PRIORITY_LOW), early = at(2 * AGING_MS - 1, CHAT_PRIORITY_HIGH);
    enter(&room, &low, "m");
    enter(&room, &early, "m");
    assert_ptr_equal(first(&room, 2 * AGING_MS - 1), &early);
    assert_ptr_equal(first(&room, 2 * AGING_MS), &low);
    leave_all(&room);
}

/* However much of high priority comes, only what comes within twice the aging of a low one overtakes it. */
static void a_low_request_is_overtaken_only_by_those_that_come_soon_after_it(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 100000, 1000000);
    struct waiter low = at(0, CHAT_PRIORITY_LOW);
    static struct waiter high[10000];
    size_t come = 0;
    bool served = false;
    enter(&room, &low, "m");
    /* Two of high priority come in each ms and one is served: without aging low would never be. */
    for (int64_t now_ms = 0; come < 10000 && !served; now_ms++) {
        for (int i = 0; i < 2; i++) {
            high[come] = at(now_ms, CHAT_PRIORITY_HIGH);
            enter(&room, &high[come++], "m");
        }
        struct waiter *next = first(&room, now_ms);
        served = next == &low;
        assert_true(next->since_ms <= 2 * AGING_MS);
        waiting_leave(&room, next);
    }
    assert_true(served);
    leave_all(&room);
}

static void serve(struct waiting_room *room, struct waiter *waiter) {
    waiting_leave(room, waiter);
    waiting_note_served(room, "m", waiter->since_ms);
}

static void one_in_eight_of_those_served_is_who_has_waited_for_longest(void **state) {
    (void)state;
    enum { ROUNDS = 80 };
    struct waiting_room room;
    static struct waiter low[ROUNDS], high[ROUNDS];
    size_t low_served = 0;
    open_room(&room, 1000, 1000);
    for (int i = 0; i < ROUNDS; i++) {
        low[i] = at(i, CHAT_PRIORITY_LOW);
        enter(&room, &low[i], "m");
    }
    for (int i = 0; i < ROUNDS; i++) {
        high[i] = at(ROUNDS + i, CHAT_PRIORITY_HIGH);
        enter(&room, &high[i], "m");
        struct waiter *next = first(&room, ROUNDS + i);
        if (next->priority == CHAT_PRIORITY_LOW)
            assert_ptr_equal(next, &low[low_served++]);
        serve(&room, next);
    }
    assert_int_equal(low_served, ROUNDS / 8);
    leave_all(&room);
}

static void when_it_is_the_turn_of_the_oldest_all_others_are_behind_it(void **state) {
    (void)state;
    struct waiting_room room;
    struct waiting_walk walk;
    struct waiter low = at(0, CHAT_PRIORITY_LOW), medium = at(1, CHAT_PRIORITY_MEDIUM),
                  high = at(2, CHAT_PRIORITY_HIGH);
    struct waiter *const order[] = {&low, &high, &medium};
    open_room(&room, 10, 100);
    enter(&room, &low, "m");
    for (int i = 0; i < WAITING_OVERTAKEN_MAX; i++) {
        assert_false(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, 3));
        waiting_note_served(&room, "m", 3); /* one that came and went without waiting */
    }
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, 3));
    enter(&room, &medium, "m");
    enter(&room, &high, "m");
    waiting_walk_begin(&walk, &room, TAILQ_FIRST(&room.lines), 3);
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        assert_ptr_equal(waiting_walk_next(&walk), order[i]);
    assert_null(waiting_walk_next(&walk));
    serve(&room, &low);
    assert_ptr_equal(first(&room, 3), &high);
    leave_all(&room);
}

static void it_is_the_turn_of_the_oldest_also_when_those_before_it_gave_up(void **state) {
    (void)state;
    struct waiting_room room;
    struct waiter low[2] = {at(0, CHAT_PRIORITY_LOW), at(1, CHAT_PRIORITY_LOW)};
    open_room(&room, 10, 100);
    for (size_t i = 0; i < 2; i++)
        enter(&room, &low[i], "m");
    for (int i = 0; i < WAITING_OVERTAKEN_MAX; i++)
        waiting_note_served(&room, "m", 3);
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, 3));
    waiting_leave(&room, &low[0]); /* its time is over, or its client has left */
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, 3));
    serve(&room, &low[1]);
    assert_int_equal(room.count, 0);
    leave_all(&room);
}

static void a_picky_one_whose_turn_it_is_holds_up_only_those_that_are_as_picky(void **state) {
    (void)state;
    struct waiting_room room;
    struct waiter low = at(0, CHAT_PRIORITY_LOW), other = at(1, CHAT_PRIORITY_LOW);
    low.picky = true;
    open_room(&room, 10, 100);
    enter(&room, &low, "m");
    enter(&room, &other, "m");
    for (int i = 0; i < WAITING_OVERTAKEN_MAX; i++)
        waiting_note_served(&room, "m", 2);
    assert_false(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, 2));
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, true, 2));
    leave_all(&room);
}

static void each_model_has_a_line_of_its_own(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter a = at(0, CHAT_PRIORITY_MEDIUM), b = at(1, CHAT_PRIORITY_MEDIUM);
    enter(&room, &a, "a");
    enter(&room, &b, "b");
    assert_int_equal(waiting_count(&room, "a"), 1);
    assert_int_equal(waiting_count(&room, "b"), 1);
    assert_int_equal(waiting_count(&room, "c"), 0);
    assert_true(waiting_has_before(&room, "a", CHAT_PRIORITY_MEDIUM, false, 2));
    assert_false(waiting_has_before(&room, "c", CHAT_PRIORITY_MEDIUM, false, 2));
    waiting_leave(&room, &a);
    assert_int_equal(waiting_count(&room, "a"), 0);
    assert_false(waiting_has_before(&room, "a", CHAT_PRIORITY_MEDIUM, false, 2));
    leave_all(&room);
}

static void a_newcomer_overtakes_only_lower_priorities(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter medium = at(0, CHAT_PRIORITY_MEDIUM);
    enter(&room, &medium, "m");
    assert_false(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, 1));
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_MEDIUM, false, 1));
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_LOW, false, 1));
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_HIGH, false, AGING_MS));
    leave_all(&room);
}

static void only_the_picky_wait_behind_the_picky(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter picky = at(0, CHAT_PRIORITY_MEDIUM), plain = at(1, CHAT_PRIORITY_MEDIUM);
    picky.picky = true;
    enter(&room, &picky, "m");
    assert_false(waiting_has_before(&room, "m", CHAT_PRIORITY_MEDIUM, false, 2));
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_MEDIUM, true, 2));
    enter(&room, &plain, "m");
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_MEDIUM, false, 2));
    leave_all(&room);
}

static void one_that_turns_out_to_be_picky_lets_others_pass(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter waiter = at(0, CHAT_PRIORITY_MEDIUM);
    enter(&room, &waiter, "m");
    assert_true(waiting_has_before(&room, "m", CHAT_PRIORITY_MEDIUM, false, 2));
    waiting_make_picky(&waiter);
    waiting_make_picky(&waiter);
    assert_int_equal(waiter.line->picky_count, 1);
    assert_false(waiting_has_before(&room, "m", CHAT_PRIORITY_MEDIUM, false, 2));
    leave_all(&room);
}

static void one_that_comes_back_takes_the_place_of_its_arrival(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter a = at(10, CHAT_PRIORITY_MEDIUM), b = at(20, CHAT_PRIORITY_MEDIUM),
                  early = at(5, CHAT_PRIORITY_MEDIUM), middle = at(15, CHAT_PRIORITY_MEDIUM);
    struct waiter *const order[] = {&early, &a, &middle, &b};
    enter(&room, &a, "m");
    enter(&room, &b, "m");
    enter(&room, &early, "m");
    enter(&room, &middle, "m");
    struct waiting_walk walk;
    waiting_walk_begin(&walk, &room, TAILQ_FIRST(&room.lines), 30);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(waiting_walk_next(&walk), order[i]);
    leave_all(&room);
}

static void a_full_room_refuses_equals_and_gives_way_to_higher_priority(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 2, 100);
    struct evicted evicted = {0};
    struct waiter old_low = at(0, CHAT_PRIORITY_LOW), young_low = at(1, CHAT_PRIORITY_LOW),
                  late_low = at(2, CHAT_PRIORITY_LOW), high = at(3, CHAT_PRIORITY_HIGH);
    enter(&room, &old_low, "m");
    enter(&room, &young_low, "other");
    assert_false(waiting_enter(&room, &late_low, "m", note_evicted, &evicted));
    assert_null(late_low.line);
    assert_int_equal(room.stats.refused, 1);
    assert_true(waiting_enter(&room, &high, "m", note_evicted, &evicted));
    assert_int_equal(evicted.count, 1);
    assert_ptr_equal(evicted.waiters[0], &young_low);
    assert_null(young_low.line);
    assert_int_equal(room.count, 2);
    assert_int_equal(room.stats.evicted, 1);
    leave_all(&room);
}

static void nobody_is_put_out_for_one_who_does_not_fit_all_the_same(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 7, 10);
    struct evicted evicted = {0};
    struct waiter medium = at(0, CHAT_PRIORITY_MEDIUM), low = at(1, CHAT_PRIORITY_LOW),
                  large = at(2, CHAT_PRIORITY_MEDIUM), fits = at(3, CHAT_PRIORITY_MEDIUM);
    medium.bytes = 4;
    low.bytes = 6;
    large.bytes = 7;
    fits.bytes = 5;
    enter(&room, &medium, "m");
    enter(&room, &low, "m");
    assert_false(waiting_enter(&room, &large, "m", note_evicted, &evicted));
    assert_int_equal(evicted.count, 0);
    assert_true(waiting_enter(&room, &fits, "m", note_evicted, &evicted));
    assert_int_equal(evicted.count, 1);
    assert_int_equal(room.bytes, 9);
    leave_all(&room);
}

/* The room is full of one priority, and then of a higher one; returns how many of the first are left. */
static size_t left_after(enum chat_priority first, enum chat_priority then, size_t requests, size_t bytes) {
    struct waiting_room room;
    struct waiter waiters[2][20];
    struct evicted evicted = {0};
    open_room(&room, requests, bytes);
    for (int i = 0; i < 40; i++) {
        struct waiter *waiter = &waiters[i / 20][i % 20];
        *waiter = at(i, i < 20 ? first : then);
        waiter->bytes = 10;
        (void)!waiting_enter(&room, waiter, "m", note_evicted, &evicted);
    }
    size_t left = room.class_count[first];
    assert_int_equal(room.count, 16);
    assert_int_equal(room.class_count[then], 16 - left);
    assert_int_equal(evicted.count, 16 - left);
    assert_int_equal(room.stats.refused, 4 + 20 - evicted.count);
    for (size_t i = 0; i < left; i++)
        assert_non_null(waiters[0][i].line); /* those that came first */
    leave_all(&room);
    return left;
}

static void each_priority_keeps_a_part_of_the_room(void **state) {
    (void)state;
    assert_int_equal(left_after(CHAT_PRIORITY_LOW, CHAT_PRIORITY_HIGH, 16, 10000), 2);
    assert_int_equal(left_after(CHAT_PRIORITY_LOW, CHAT_PRIORITY_MEDIUM, 16, 10000), 2);
    assert_int_equal(left_after(CHAT_PRIORITY_MEDIUM, CHAT_PRIORITY_HIGH, 16, 10000), 2);
    assert_int_equal(left_after(CHAT_PRIORITY_LOW, CHAT_PRIORITY_HIGH, 1000, 160), 2);
    assert_int_equal(left_after(CHAT_PRIORITY_HIGH, CHAT_PRIORITY_LOW, 16, 10000), 16);
}

static void a_room_without_places_takes_nobody(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 0, 100);
    struct evicted evicted = {0};
    struct waiter high = at(0, CHAT_PRIORITY_HIGH);
    assert_false(waiting_enter(&room, &high, "m", note_evicted, &evicted));
    leave_all(&room);
}

static void the_one_returned_last_may_leave_during_a_walk(void **state) {
    (void)state;
    struct waiting_room room;
    open_room(&room, 10, 100);
    struct waiter waiters[4];
    for (int i = 0; i < 4; i++) {
        waiters[i] = at(i, CHAT_PRIORITY_MEDIUM);
        enter(&room, &waiters[i], "m");
    }
    struct waiting_walk walk;
    waiting_walk_begin(&walk, &room, TAILQ_FIRST(&room.lines), 10);
    for (int i = 0; i < 4; i++) {
        struct waiter *next = waiting_walk_next(&walk);
        assert_ptr_equal(next, &waiters[i]);
        waiting_leave(&room, next);
    }
    assert_int_equal(room.count, 0);
    waiting_release(&room);
}

/* Random entries, leavings and evictions against the sums that must hold. */
static void counts_and_bytes_are_exact_and_within_their_limits(void **state) {
    (void)state;
    enum { WAITERS = 64, STEPS = 20000 };
    static struct waiter waiters[WAITERS];
    static const char *const models[] = {"a", "b", "c"};
    struct rng rng;
    rng_seed(&rng, 11);
    struct waiting_room room;
    open_room(&room, 16, 200);
    for (int step = 0; step < STEPS; step++) {
        struct waiter *waiter = &waiters[rng_below(&rng, WAITERS)];
        struct evicted evicted = {0};
        if (waiter->line) {
            waiting_leave(&room, waiter);
        } else {
            *waiter = at(step, (enum chat_priority)rng_below(&rng, CHAT_PRIORITY_COUNT));
            waiter->bytes = (size_t)rng_below(&rng, 40);
            bool entered = waiting_enter(&room, waiter, models[rng_below(&rng, 3)], note_evicted, &evicted);
            assert_int_equal(entered, waiter->line != NULL);
            for (size_t i = 0; i < evicted.count; i++)
                assert_true(evicted.waiters[i]->priority > waiter->priority);
        }
        size_t count = 0, bytes = 0;
        for (int i = 0; i < WAITERS; i++) {
            count += waiters[i].line != NULL;
            bytes += waiters[i].line ? waiters[i].bytes : 0;
        }
        assert_int_equal(room.count, count);
        assert_int_equal(room.bytes, bytes);
        assert_true(count <= 16 && bytes <= 200);
        assert_int_equal(waiting_count(&room, "a") + waiting_count(&room, "b") + waiting_count(&room, "c"),
                         count);
    }
    leave_all(&room);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_priority_is_first_and_of_equals_the_oldest),
        cmocka_unit_test(who_waits_long_enough_is_not_overtaken_by_higher_priorities),
        cmocka_unit_test(a_low_request_is_overtaken_only_by_those_that_come_soon_after_it),
        cmocka_unit_test(one_in_eight_of_those_served_is_who_has_waited_for_longest),
        cmocka_unit_test(when_it_is_the_turn_of_the_oldest_all_others_are_behind_it),
        cmocka_unit_test(it_is_the_turn_of_the_oldest_also_when_those_before_it_gave_up),
        cmocka_unit_test(a_picky_one_whose_turn_it_is_holds_up_only_those_that_are_as_picky),
        cmocka_unit_test(each_model_has_a_line_of_its_own),
        cmocka_unit_test(a_newcomer_overtakes_only_lower_priorities),
        cmocka_unit_test(only_the_picky_wait_behind_the_picky),
        cmocka_unit_test(one_that_turns_out_to_be_picky_lets_others_pass),
        cmocka_unit_test(one_that_comes_back_takes_the_place_of_its_arrival),
        cmocka_unit_test(a_full_room_refuses_equals_and_gives_way_to_higher_priority),
        cmocka_unit_test(each_priority_keeps_a_part_of_the_room),
        cmocka_unit_test(nobody_is_put_out_for_one_who_does_not_fit_all_the_same),
        cmocka_unit_test(a_room_without_places_takes_nobody),
        cmocka_unit_test(the_one_returned_last_may_leave_during_a_walk),
        cmocka_unit_test(counts_and_bytes_are_exact_and_within_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
