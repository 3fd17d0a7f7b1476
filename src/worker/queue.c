#include "worker/queue.h"

#include <assert.h>

static const struct queue_entry *by_turn(const struct heap_node *node) {
    return (const void *)((const char *)node - offsetof(struct queue_entry, by_turn));
}
static const struct queue_entry *by_rise(const struct heap_node *node) {
    return (const void *)((const char *)node - offsetof(struct queue_entry, by_rise));
}
static const struct queue_entry *by_deadline(const struct heap_node *node) {
    return (const void *)((const char *)node - offsetof(struct queue_entry, by_deadline));
}

static bool is_served_before(const struct heap_node *a, const struct heap_node *b) {
    const struct queue_entry *x = by_turn(a), *y = by_turn(b);
    if (x->rank != y->rank)
        return x->rank < y->rank;
    return x->turn_ms != y->turn_ms ? x->turn_ms < y->turn_ms : x->arrival < y->arrival;
}
static bool rises_before(const struct heap_node *a, const struct heap_node *b) {
    return by_rise(a)->rise_ms < by_rise(b)->rise_ms;
}
static bool expires_before(const struct heap_node *a, const struct heap_node *b) {
    return by_deadline(a)->deadline_ms < by_deadline(b)->deadline_ms;
}

int queue_level(enum chat_priority priority, int levels) {
    return (int)priority < levels ? (int)priority : levels - 1;
}

void queue_init(struct queue *queue, int64_t aging_ms) {
    assert(aging_ms > 0);
    *queue = (struct queue){.aging_ms = aging_ms};
    TAILQ_INIT(&queue->order);
    heap_init(&queue->turns, is_served_before);
    heap_init(&queue->rises, rises_before);
    heap_init(&queue->deadlines, expires_before);
}

void queue_release(struct queue *queue) {
    heap_release(&queue->turns);
    heap_release(&queue->rises);
    heap_release(&queue->deadlines);
    *queue = (struct queue){0};
}

bool queue_push(struct queue *queue, struct queue_entry *entry) {
    entry->rank = entry->level;
    entry->turn_ms = entry->deadline_ms;
    entry->rise_ms = entry->since_ms + queue->aging_ms;
    entry->arrival = queue->arrivals++;
    if (!heap_push(&queue->turns, &entry->by_turn))
        return false;
    if (heap_push(&queue->rises, &entry->by_rise)) {
        if (heap_push(&queue->deadlines, &entry->by_deadline)) {
            TAILQ_INSERT_TAIL(&queue->order, entry, in_order);
            return true;
        }
        heap_remove(&queue->rises, &entry->by_rise);
    }
    heap_remove(&queue->turns, &entry->by_turn);
    return false;
}

/* What was just taken out of a heap always fits in again. */
static void push_back(struct heap *heap, struct heap_node *node) {
    bool pushed = heap_push(heap, node);
    assert(pushed);
    (void)pushed;
}

/* `entry` has just been taken out of `rises`. */
static void rise(struct queue *queue, struct queue_entry *entry) {
    heap_remove(&queue->turns, &entry->by_turn);
    entry->rank--;
    if (entry->rank == QUEUE_OVERDUE) {
        entry->turn_ms = entry->rise_ms;
    } else {
        entry->rise_ms += queue->aging_ms;
        push_back(&queue->rises, &entry->by_rise);
    }
    push_back(&queue->turns, &entry->by_turn);
}

static void rise_all(struct queue *queue, int64_t now_ms) {
    struct heap_node *first;
    while ((first = heap_peek(&queue->rises)) && by_rise(first)->rise_ms <= now_ms) {
        heap_remove(&queue->rises, first);
        rise(queue, container_of(first, struct queue_entry, by_rise));
    }
}

struct queue_entry *queue_first(struct queue *queue, int64_t now_ms) {
    rise_all(queue, now_ms);
    if (queue->overtaken >= QUEUE_OVERTAKEN_MAX && !TAILQ_EMPTY(&queue->order))
        return TAILQ_FIRST(&queue->order);
    struct heap_node *first = heap_peek(&queue->turns);
    return first ? container_of(first, struct queue_entry, by_turn) : NULL;
}

void queue_take(struct queue *queue, struct queue_entry *entry) {
    queue->overtaken = entry == TAILQ_FIRST(&queue->order) ? 0 : queue->overtaken + 1;
    queue_remove(queue, entry);
}

struct queue_entry *queue_pop(struct queue *queue, int64_t now_ms) {
    struct queue_entry *entry = queue_first(queue, now_ms);
    if (entry)
        queue_take(queue, entry);
    return entry;
}

int64_t queue_deadline_ms(const struct queue *queue) {
    const struct heap_node *first = heap_peek(&queue->deadlines);
    return first ? by_deadline(first)->deadline_ms : INT64_MAX;
}

struct queue_entry *queue_pop_expired(struct queue *queue, int64_t now_ms) {
    struct heap_node *first = heap_peek(&queue->deadlines);
    if (!first || by_deadline(first)->deadline_ms > now_ms)
        return NULL;
    struct queue_entry *entry = container_of(first, struct queue_entry, by_deadline);
    queue_remove(queue, entry);
    return entry;
}

void queue_remove(struct queue *queue, struct queue_entry *entry) {
    TAILQ_REMOVE(&queue->order, entry, in_order);
    heap_remove(&queue->turns, &entry->by_turn);
    heap_remove(&queue->deadlines, &entry->by_deadline);
    if (heap_has(&entry->by_rise))
        heap_remove(&queue->rises, &entry->by_rise);
}

bool queue_has(const struct queue_entry *entry) {
    return heap_has(&entry->by_turn);
}

size_t queue_count(const struct queue *queue) {
    return queue->turns.count;
}
