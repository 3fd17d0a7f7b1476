#include "worker/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

enum { AGING_MS = 1000, FAR_MS = 1000000 };

static struct queue_entry entry_of(int level, int64_t since_ms, int64_t deadline_ms) {
    return (struct queue_entry){.level = level, .since_ms = since_ms, .deadline_ms = deadline_ms};
}

static void push(struct queue *queue, struct queue_entry *entry) {
    assert_true(queue_push(queue, entry));
}

static void the_higher_level_is_first_whatever_the_deadlines(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, AGING_MS);
    struct queue_entry low = entry_of(2, 0, 10), medium = entry_of(1, 0, 20), high = entry_of(0, 0, FAR_MS);
    push(&queue, &low);
    push(&queue, &medium);
    push(&queue, &high);
    assert_int_equal(queue_count(&queue), 3);
    assert_ptr_equal(queue_pop(&queue, 0), &high);
    assert_ptr_equal(queue_pop(&queue, 0), &medium);
    assert_ptr_equal(queue_pop(&queue, 0), &low);
    assert_null(queue_pop(&queue, 0));
    queue_release(&queue);
}

static void inside_a_level_the_nearest_deadline_is_first_then_who_came_first(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, AGING_MS);
    struct queue_entry entries[] = {entry_of(1, 0, 500), entry_of(1, 1, 300), entry_of(1, 2, 300),
                                    entry_of(1, 3, 400)};
    static const size_t order[] = {1, 2, 3, 0};
    for (size_t i = 0; i < 4; i++)
        push(&queue, &entries[i]);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(queue_pop(&queue, 3), &entries[order[i]]);
    queue_release(&queue);
}

static void who_has_waited_counts_one_level_higher_to_the_millisecond(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, AGING_MS);
    struct queue_entry low = entry_of(2, 0, FAR_MS), medium = entry_of(1, 500, FAR_MS + 1);
    push(&queue, &low);
    push(&queue, &medium);
    assert_ptr_equal(queue_pop(&queue, AGING_MS - 1), &medium);
    push(&queue, &medium);
    /* Both count as medium: the deadline decides. */
    assert_ptr_equal(queue_pop(&queue, AGING_MS), &low);
    queue_release(&queue);
}

static void the_overdue_are_first_in_the_order_in_which_they_became_so(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, AGING_MS);
    struct queue_entry low = entry_of(2, 0, FAR_MS), high = entry_of(0, 2001, FAR_MS - 1);
    struct queue_entry urgent = entry_of(0, 3001, 3002);
    push(&queue, &urgent);
    push(&queue, &high);
    push(&queue, &low);
    assert_ptr_equal(queue_pop(&queue, 3001), &low);
    assert_ptr_equal(queue_pop(&queue, 3001), &high);
    assert_ptr_equal(queue_pop(&queue, 3001), &urgent);
    queue_release(&queue);
}

static void the_expired_are_found_wherever_they_stand(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, AGING_MS);
    struct queue_entry entries[] = {entry_of(0, 0, 300), entry_of(1, 0, 100), entry_of(2, 0, 200)};
    for (size_t i = 0; i < 3; i++)
        push(&queue, &entries[i]);
    assert_int_equal(queue_deadline_ms(&queue), 100);
    assert_null(queue_pop_expired(&queue, 99));
    assert_ptr_equal(queue_pop_expired(&queue, 250), &entries[1]);
    assert_ptr_equal(queue_pop_expired(&queue, 250), &entries[2]);
    assert_null(queue_pop_expired(&queue, 250));
    assert_false(queue_has(&entries[1]));
    assert_true(queue_has(&entries[0]));
    queue_release(&queue);
}

static void fewer_levels_fold_the_lower_ones_together(void **state) {
    (void)state;
    static const int expected[][CHAT_PRIORITY_COUNT] = {{0, 0, 0}, {0, 1, 1}, {0, 1, 2}};
    for (int levels = 1; levels <= 3; levels++)
        for (int priority = 0; priority < CHAT_PRIORITY_COUNT; priority++)
            assert_int_equal(queue_level((enum chat_priority)priority, levels),
                             expected[levels - 1][priority]);
}

/* The rule, by hand: true when a is served before b. */
static bool comes_before(const struct queue_entry *a, const struct queue_entry *b, int64_t now_ms) {
    const struct queue_entry *both[] = {a, b};
    int64_t rank[2], at_ms[2];
    for (int i = 0; i < 2; i++) {
        int64_t overdue_ms = both[i]->since_ms + (both[i]->level + 1) * AGING_MS;
        bool overdue = overdue_ms <= now_ms;
        rank[i] = overdue ? -1 : both[i]->level - (now_ms - both[i]->since_ms) / AGING_MS;
        at_ms[i] = overdue ? overdue_ms : both[i]->deadline_ms;
    }
    if (rank[0] != rank[1])
        return rank[0] < rank[1];
    return at_ms[0] != at_ms[1] ? at_ms[0] < at_ms[1] : a->arrival < b->arrival;
}

/* What comes out after the overdue time of one that is inside must have come before that time. */
static void nobody_passes_the_overdue(const struct queue_entry *out, const struct queue_entry *inside) {
    assert_true(out->since_ms < inside->since_ms + (inside->level + 1) * AGING_MS);
}

/* The one that came first of those inside. */
static size_t find_first(const struct queue_entry *entries, const bool *inside, size_t count) {
    size_t first = count;
    for (size_t i = 0; i < count; i++) {
        if (inside[i] && (first == count || entries[i].arrival < entries[first].arrival))
            first = i;
    }
    return first;
}

static void the_queue_agrees_with_a_linear_search(void **state) {
    (void)state;
    enum { ENTRIES = 64 };
    struct queue_entry entries[ENTRIES];
    bool inside[ENTRIES] = {false};
    struct queue queue;
    struct rng rng;
    int64_t now_ms = 0;
    size_t overtaken = 0;
    queue_init(&queue, AGING_MS);
    rng_seed(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        size_t i = rng_below(&rng, ENTRIES);
        now_ms += (int64_t)rng_below(&rng, 80);
        if (!inside[i]) {
            entries[i] = entry_of((int)rng_below(&rng, 3), now_ms - (int64_t)rng_below(&rng, 300),
                                  now_ms + (int64_t)rng_below(&rng, 5000));
            push(&queue, &entries[i]);
            inside[i] = true;
        } else if (rng_below(&rng, 2)) {
            queue_remove(&queue, &entries[i]);
            inside[i] = false;
        } else {
            size_t best = i, first = find_first(entries, inside, ENTRIES);
            for (size_t j = 0; j < ENTRIES; j++) {
                if (inside[j] && comes_before(&entries[j], &entries[best], now_ms))
                    best = j;
            }
            best = overtaken >= QUEUE_OVERTAKEN_MAX ? first : best;
            overtaken = best == first ? 0 : overtaken + 1;
            assert_ptr_equal(queue_pop(&queue, now_ms), &entries[best]);
            inside[best] = false;
            for (size_t j = 0; j < ENTRIES; j++)
                if (inside[j])
                    nobody_passes_the_overdue(&entries[best], &entries[j]);
        }
    }
    queue_release(&queue);
}

static void one_in_eight_is_the_oldest_however_many_of_a_higher_level_come(void **state) {
    (void)state;
    enum { ROUNDS = 80 };
    static struct queue_entry high[ROUNDS + 1], low[ROUNDS];
    size_t highs = 0, lows = 0, low_taken = 0;
    struct queue queue;
    queue_init(&queue, AGING_MS);
    for (; lows < ROUNDS; lows++) {
        low[lows] = entry_of(2, 0, 100);
        push(&queue, &low[lows]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        high[highs] = entry_of(0, 1, 50);
        push(&queue, &high[highs++]);
        struct queue_entry *next = queue_first(&queue, 1);
        assert_ptr_equal(queue_first(&queue, 1), next); /* to look is not to take */
        if (next->level == 2)
            assert_ptr_equal(next, &low[low_taken++]);
        queue_take(&queue, next);
    }
    assert_int_equal(low_taken, ROUNDS / 8);
    queue_release(&queue);
}

static void one_that_leaves_without_being_served_has_overtaken_nobody(void **state) {
    (void)state;
    struct queue_entry low = entry_of(2, 0, 100), high[QUEUE_OVERTAKEN_MAX + 2];
    struct queue queue;
    queue_init(&queue, AGING_MS);
    push(&queue, &low);
    for (size_t i = 0; i < QUEUE_OVERTAKEN_MAX + 2; i++) {
        high[i] = entry_of(0, 1, 50);
        push(&queue, &high[i]);
        if (i < QUEUE_OVERTAKEN_MAX + 1)
            queue_remove(&queue, &high[i]);
    }
    assert_ptr_equal(queue_pop(&queue, 1), &high[QUEUE_OVERTAKEN_MAX + 1]);
    assert_ptr_equal(queue_pop(&queue, 1), &low);
    queue_release(&queue);
}

static void it_is_the_turn_of_the_oldest_also_when_those_before_it_gave_up(void **state) {
    (void)state;
    struct queue_entry low[2] = {entry_of(2, 0, 100), entry_of(2, 0, 100)}, high[QUEUE_OVERTAKEN_MAX + 1];
    struct queue queue;
    queue_init(&queue, AGING_MS);
    for (size_t i = 0; i < 2; i++)
        push(&queue, &low[i]);
    for (size_t i = 0; i < QUEUE_OVERTAKEN_MAX + 1; i++) {
        high[i] = entry_of(0, 1, 50);
        push(&queue, &high[i]);
    }
    for (size_t i = 0; i < QUEUE_OVERTAKEN_MAX; i++)
        assert_ptr_equal(queue_pop(&queue, 1), &high[i]);
    queue_remove(&queue, &low[0]);
    assert_ptr_equal(queue_pop(&queue, 1), &low[1]);
    assert_ptr_equal(queue_pop(&queue, 1), &high[QUEUE_OVERTAKEN_MAX]);
    queue_release(&queue);
}

/* One server that needs 100 ms for each job, twice as much work as it can do, for an hour, and a queue of at
 * most 100. Every 50 ms comes a job of `crowd_level` that is in a hurry; every second one of `level` that is
 * not. Returns the longest wait of the latter. */
static int64_t longest_wait_ms(int crowd_level, int level, bool crowd_expires) {
    enum { HOUR_MS = 3600000, SERVICE_MS = 100, MAX = 100 };
    static struct queue_entry pool[MAX];
    struct queue queue;
    struct rng rng;
    int64_t longest_ms = 0, served = 0, crowd_served = 0;
    size_t free_count = 0;
    struct queue_entry *free_entries[MAX], *entry;
    for (size_t i = 0; i < MAX; i++)
        free_entries[free_count++] = &pool[i];
    queue_init(&queue, AGING_MS);
    rng_seed(&rng, 3);
    for (int64_t now_ms = 0; now_ms < HOUR_MS; now_ms += 50) {
        while ((entry = queue_pop_expired(&queue, now_ms)))
            free_entries[free_count++] = entry;
        if (now_ms % SERVICE_MS == 0 && (entry = queue_pop(&queue, now_ms))) {
            bool crowd = entry->deadline_ms - entry->since_ms < FAR_MS;
            if (!crowd && now_ms - entry->since_ms > longest_ms)
                longest_ms = now_ms - entry->since_ms;
            crowd_served += crowd;
            served += !crowd;
            free_entries[free_count++] = entry;
        }
        if (now_ms % 1000 == 0 && free_count > 0) {
            entry = free_entries[--free_count];
            *entry = entry_of(level, now_ms, now_ms + 10 * HOUR_MS);
            push(&queue, entry);
        }
        if (free_count > 0) {
            entry = free_entries[--free_count];
            int64_t patience_ms = crowd_expires ? 200 + (int64_t)rng_below(&rng, 5000) : FAR_MS - 1;
            *entry = entry_of(crowd_level, now_ms, now_ms + patience_ms);
            push(&queue, entry);
        }
    }
    queue_release(&queue);
    /* The crowd still gets nearly all there is, and the others get on. */
    assert_true(crowd_served > HOUR_MS / SERVICE_MS * 6 / 10);
    assert_true(served > 100);
    return longest_ms;
}

static void under_twice_the_load_of_high_ones_a_low_one_waits_for_a_bounded_time(void **state) {
    (void)state;
    /* Three times the aging, and what else is overdue then: at most a full queue. */
    assert_in_range(longest_wait_ms(0, 2, true), 2 * AGING_MS, 3 * AGING_MS + 100 * 100);
    assert_in_range(longest_wait_ms(0, 2, false), 2 * AGING_MS, 3 * AGING_MS + 100 * 100);
}

static void nearer_deadlines_do_not_starve_a_far_one_of_their_level(void **state) {
    (void)state;
    for (int level = 0; level < 3; level++)
        assert_in_range(longest_wait_ms(level, level, true), AGING_MS / 2,
                        (level + 1) * AGING_MS + 100 * 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_higher_level_is_first_whatever_the_deadlines),
        cmocka_unit_test(inside_a_level_the_nearest_deadline_is_first_then_who_came_first),
        cmocka_unit_test(who_has_waited_counts_one_level_higher_to_the_millisecond),
        cmocka_unit_test(the_overdue_are_first_in_the_order_in_which_they_became_so),
        cmocka_unit_test(the_expired_are_found_wherever_they_stand),
        cmocka_unit_test(fewer_levels_fold_the_lower_ones_together),
        cmocka_unit_test(the_queue_agrees_with_a_linear_search),
        cmocka_unit_test(one_in_eight_is_the_oldest_however_many_of_a_higher_level_come),
        cmocka_unit_test(one_that_leaves_without_being_served_has_overtaken_nobody),
        cmocka_unit_test(it_is_the_turn_of_the_oldest_also_when_those_before_it_gave_up),
        cmocka_unit_test(under_twice_the_load_of_high_ones_a_low_one_waits_for_a_bounded_time),
        cmocka_unit_test(nearer_deadlines_do_not_starve_a_far_one_of_their_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
