#include "worker/queue.h"

static const struct queue_entry *entry_of(const struct heap_node *node) {
    return (const struct queue_entry *)(const void *)((const char *)node -
                                                      offsetof(struct queue_entry, node));
}

static bool comes_before(const struct heap_node *a, const struct heap_node *b) {
    const struct queue_entry *x = entry_of(a);
    const struct queue_entry *y = entry_of(b);
    return x->priority != y->priority ? x->priority < y->priority : x->arrival < y->arrival;
}

void queue_init(struct queue *queue, size_t max) {
    *queue = (struct queue){.max = max};
    heap_init(&queue->heap, comes_before);
}

void queue_release(struct queue *queue) {
    heap_release(&queue->heap);
    *queue = (struct queue){0};
}

bool queue_push(struct queue *queue, struct queue_entry *entry) {
    if (queue->heap.count >= queue->max)
        return false;
    entry->arrival = queue->arrivals;
    if (!heap_push(&queue->heap, &entry->node))
        return false;
    queue->arrivals++;
    return true;
}

struct queue_entry *queue_pop(struct queue *queue) {
    struct heap_node *node = heap_pop(&queue->heap);
    return node ? container_of(node, struct queue_entry, node) : NULL;
}

void queue_remove(struct queue *queue, struct queue_entry *entry) {
    heap_remove(&queue->heap, &entry->node);
}

size_t queue_count(const struct queue *queue) {
    return queue->heap.count;
}
