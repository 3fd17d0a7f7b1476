#include "worker/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

static struct queue_entry entry_of(enum chat_priority priority) {
    return (struct queue_entry){.priority = priority};
}

static void queue_gives_higher_priorities_first(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, 3);
    struct queue_entry low = entry_of(CHAT_PRIORITY_LOW);
    struct queue_entry medium = entry_of(CHAT_PRIORITY_MEDIUM);
    struct queue_entry high = entry_of(CHAT_PRIORITY_HIGH);
    assert_true(queue_push(&queue, &low));
    assert_true(queue_push(&queue, &medium));
    assert_true(queue_push(&queue, &high));
    assert_ptr_equal(queue_pop(&queue), &high);
    assert_ptr_equal(queue_pop(&queue), &medium);
    assert_ptr_equal(queue_pop(&queue), &low);
    assert_null(queue_pop(&queue));
    queue_release(&queue);
}

static void queue_keeps_the_order_of_arrival_inside_a_priority(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, 100);
    struct queue_entry entries[100];
    for (size_t i = 0; i < 100; i++) {
        entries[i] = entry_of(i % 2 ? CHAT_PRIORITY_MEDIUM : CHAT_PRIORITY_HIGH);
        assert_true(queue_push(&queue, &entries[i]));
    }
    for (size_t i = 0; i < 100; i += 2)
        assert_ptr_equal(queue_pop(&queue), &entries[i]);
    for (size_t i = 1; i < 100; i += 2)
        assert_ptr_equal(queue_pop(&queue), &entries[i]);
    queue_release(&queue);
}

static void queue_refuses_more_than_its_maximum(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, 2);
    struct queue_entry entries[3] = {0};
    assert_true(queue_push(&queue, &entries[0]));
    assert_true(queue_push(&queue, &entries[1]));
    assert_false(queue_push(&queue, &entries[2]));
    assert_int_equal(queue_count(&queue), 2);
    assert_ptr_equal(queue_pop(&queue), &entries[0]);
    assert_true(queue_push(&queue, &entries[2]));
    queue_release(&queue);
}

static void queue_forgets_a_removed_entry(void **state) {
    (void)state;
    struct queue queue;
    queue_init(&queue, 3);
    struct queue_entry entries[3] = {0};
    for (size_t i = 0; i < 3; i++)
        assert_true(queue_push(&queue, &entries[i]));
    queue_remove(&queue, &entries[1]);
    assert_int_equal(queue_count(&queue), 2);
    assert_ptr_equal(queue_pop(&queue), &entries[0]);
    assert_ptr_equal(queue_pop(&queue), &entries[2]);
    queue_release(&queue);
}

/* Against a model: the entry with the least (priority, arrival) of those inside. */
static void queue_agrees_with_a_linear_search(void **state) {
    (void)state;
    enum { ENTRIES = 64 };
    struct queue_entry entries[ENTRIES];
    bool inside[ENTRIES] = {false};
    struct queue queue;
    queue_init(&queue, ENTRIES);
    struct rng rng;
    rng_seed(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        size_t i = rng_below(&rng, ENTRIES);
        if (!inside[i]) {
            entries[i] = entry_of((enum chat_priority)rng_below(&rng, CHAT_PRIORITY_COUNT));
            assert_true(queue_push(&queue, &entries[i]));
            inside[i] = true;
        } else if (rng_below(&rng, 2)) {
            queue_remove(&queue, &entries[i]);
            inside[i] = false;
        } else {
            size_t best = i;
            for (size_t j = 0; j < ENTRIES; j++) {
                bool lower = entries[j].priority < entries[best].priority;
                bool older = entries[j].priority == entries[best].priority &&
                             entries[j].arrival < entries[best].arrival;
                if (inside[j] && (lower || older))
                    best = j;
            }
            assert_ptr_equal(queue_pop(&queue), &entries[best]);
            inside[best] = false;
        }
    }
    queue_release(&queue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_gives_higher_priorities_first),
        cmocka_unit_test(queue_keeps_the_order_of_arrival_inside_a_priority),
        cmocka_unit_test(queue_refuses_more_than_its_maximum),
        cmocka_unit_test(queue_forgets_a_removed_entry),
        cmocka_unit_test(queue_agrees_with_a_linear_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
