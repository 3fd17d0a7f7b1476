#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

struct item {
    uint64_t before_node; /* so that the node is not at offset 0 */
    struct heap_node node;
    uint64_t key;
};

static uint64_t key_of(const struct heap_node *node) {
    return ((const struct item *)(const void *)((const char *)node - offsetof(struct item, node)))->key;
}

static bool is_before(const struct heap_node *a, const struct heap_node *b) {
    return key_of(a) < key_of(b);
}

static void check_places(const struct heap *heap) {
    for (size_t i = 0; i < heap->count; i++) {
        assert_int_equal(heap->nodes[i]->place, i + 1);
        if (i > 0)
            assert_false(is_before(heap->nodes[i], heap->nodes[(i + 1) / 2 - 1]));
    }
}

static void an_empty_heap_gives_nothing(void **state) {
    (void)state;
    struct heap heap;
    heap_init(&heap, is_before);
    assert_null(heap_peek(&heap));
    assert_null(heap_pop(&heap));
    heap_release(&heap);
    heap_release(NULL);
}

static void pop_gives_the_callers_struct_and_the_node_is_in_no_heap(void **state) {
    (void)state;
    struct heap heap;
    heap_init(&heap, is_before);
    struct item item = {.key = 5};
    assert_true(heap_push(&heap, &item.node));
    assert_true(heap_has(&item.node));
    assert_ptr_equal(heap_peek(&heap), &item.node);
    assert_ptr_equal(container_of(heap_pop(&heap), struct item, node), &item);
    assert_false(heap_has(&item.node));
    assert_true(heap_push(&heap, &item.node)); /* it may come back */
    heap_release(&heap);
}

static int compare_keys(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void heap_sorts_with_equal_keys_too(void **state) {
    (void)state;
    struct rng rng;
    for (uint64_t seed = 0; seed < 200; seed++) {
        rng_seed(&rng, seed);
        size_t count = rng_below(&rng, 200);
        struct item items[200] = {0};
        uint64_t keys[200];
        struct heap heap;
        heap_init(&heap, is_before);
        for (size_t i = 0; i < count; i++) {
            keys[i] = items[i].key = rng_below(&rng, seed % 2 ? 10 : UINT64_MAX);
            assert_true(heap_push(&heap, &items[i].node));
        }
        check_places(&heap);
        qsort(keys, count, sizeof keys[0], compare_keys);
        for (size_t i = 0; i < count; i++)
            assert_true(key_of(heap_pop(&heap)) == keys[i]);
        assert_null(heap_pop(&heap));
        heap_release(&heap);
    }
}

static void heap_removes_from_the_middle(void **state) {
    (void)state;
    /* The last node, 5, comes from the other branch and belongs above the place of the removed 20. */
    struct item items[] = {{.key = 1}, {.key = 10}, {.key = 2},  {.key = 20}, {.key = 11}, {.key = 3},
                           {.key = 4}, {.key = 21}, {.key = 22}, {.key = 12}, {.key = 13}, {.key = 5}};
    struct heap heap;
    heap_init(&heap, is_before);
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        assert_true(heap_push(&heap, &items[i].node));
    assert_int_equal(items[3].node.place, 4);
    heap_remove(&heap, &items[3].node);
    assert_false(heap_has(&items[3].node));
    assert_int_equal(items[11].node.place, 2);
    check_places(&heap);
    heap_release(&heap);
}

/* The smallest key of those in the heap, found the slow way. */
static uint64_t smallest(const struct item *items, size_t count) {
    uint64_t key = UINT64_MAX;
    for (size_t i = 0; i < count; i++)
        key = heap_has(&items[i].node) && items[i].key < key ? items[i].key : key;
    return key;
}

static void any_sequence_of_pushes_pops_and_removals_keeps_the_order(void **state) {
    (void)state;
    enum { ITEMS = 100 };
    struct rng rng;
    rng_seed(&rng, 5);
    struct item items[ITEMS] = {0};
    struct heap heap;
    heap_init(&heap, is_before);
    size_t inside = 0;
    for (int step = 0; step < 20000; step++) {
        struct item *item = &items[rng_below(&rng, ITEMS)];
        if (!heap_has(&item->node)) {
            item->key = rng_below(&rng, 1000);
            assert_true(heap_push(&heap, &item->node));
            inside++;
        } else if (rng_below(&rng, 3)) {
            heap_remove(&heap, &item->node);
            inside--;
        } else {
            uint64_t expected = smallest(items, ITEMS);
            assert_int_equal(key_of(heap_peek(&heap)), expected);
            struct heap_node *node = heap_pop(&heap);
            assert_int_equal(key_of(node), expected);
            assert_false(heap_has(node));
            inside--;
        }
        assert_int_equal(heap.count, inside);
        check_places(&heap);
    }
    heap_release(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_gives_nothing),
        cmocka_unit_test(pop_gives_the_callers_struct_and_the_node_is_in_no_heap),
        cmocka_unit_test(heap_sorts_with_equal_keys_too),
        cmocka_unit_test(heap_removes_from_the_middle),
        cmocka_unit_test(any_sequence_of_pushes_pops_and_removals_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
