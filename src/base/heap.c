#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

void heap_init(struct heap *heap, heap_before_fn *before) {
    *heap = (struct heap){.before = before};
}

void heap_release(struct heap *heap) {
    if (!heap)
        return;
    free(heap->nodes);
    *heap = (struct heap){0};
}

static void put_at(struct heap *heap, size_t place, struct heap_node *node) {
    heap->nodes[place - 1] = node;
    node->place = place;
}

/* Moves the hole at `place` up to where `node` belongs, and fills it. */
static void sift_up(struct heap *heap, size_t place, struct heap_node *node) {
    while (place > 1 && heap->before(node, heap->nodes[place / 2 - 1])) {
        put_at(heap, place, heap->nodes[place / 2 - 1]);
        place /= 2;
    }
    put_at(heap, place, node);
}

static void sift_down(struct heap *heap, size_t place, struct heap_node *node) {
    for (;;) {
        size_t child = place * 2;
        if (child > heap->count)
            break;
        if (child < heap->count && heap->before(heap->nodes[child], heap->nodes[child - 1]))
            child++;
        if (!heap->before(heap->nodes[child - 1], node))
            break;
        put_at(heap, place, heap->nodes[child - 1]);
        place = child;
    }
    put_at(heap, place, node);
}

static bool grow(struct heap *heap) {
    size_t cap = heap->cap ? heap->cap * 2 : 16;
    struct heap_node **nodes = reallocarray(heap->nodes, cap, sizeof *nodes);
    if (!nodes)
        return false;
    heap->nodes = nodes;
    heap->cap = cap;
    return true;
}

bool heap_push(struct heap *heap, struct heap_node *node) {
    assert(!heap_has(node));
    if (heap->count == heap->cap && !grow(heap))
        return false;
    heap->count++;
    sift_up(heap, heap->count, node);
    return true;
}

struct heap_node *heap_peek(const struct heap *heap) {
    return heap->count > 0 ? heap->nodes[0] : NULL;
}

struct heap_node *heap_pop(struct heap *heap) {
    struct heap_node *node = heap_peek(heap);
    if (node)
        heap_remove(heap, node);
    return node;
}

void heap_remove(struct heap *heap, struct heap_node *node) {
    size_t place = node->place;
    assert(place > 0 && place <= heap->count && heap->nodes[place - 1] == node);
    struct heap_node *last = heap->nodes[--heap->count];
    node->place = 0;
    if (last == node)
        return;
    /* The last node may come from another branch and belong above the hole. */
    if (place > 1 && heap->before(last, heap->nodes[place / 2 - 1]))
        sift_up(heap, place, last);
    else
        sift_down(heap, place, last);
}
