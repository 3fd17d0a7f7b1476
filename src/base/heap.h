/* A binary min-heap of intrusive nodes: O(log n) push, pop and removal from the middle. Nodes belong to the
 * caller, who embeds `struct heap_node` and gets its own struct back with `container_of`. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct heap_node {
    size_t place; /* 1-based; 0 when in no heap */
};

/* true when a comes out before b; must be a strict order. */
typedef bool heap_before_fn(const struct heap_node *a, const struct heap_node *b);

struct heap {
    struct heap_node **nodes; /* owned array; the nodes are not */
    size_t count;
    size_t cap;
    heap_before_fn *before;
};

void heap_init(struct heap *heap, heap_before_fn *before);
/* Does not touch nodes that are still inside (they may be freed already). Takes NULL. */
void heap_release(struct heap *heap);
/* false only when memory is out. The node must be in no heap. */
MUST_USE bool heap_push(struct heap *heap, struct heap_node *node);
struct heap_node *heap_peek(const struct heap *heap); /* NULL when empty */
struct heap_node *heap_pop(struct heap *heap);        /* NULL when empty */
void heap_remove(struct heap *heap, struct heap_node *node);
static inline bool heap_has(const struct heap_node *node) {
    return node->place != 0;
}
