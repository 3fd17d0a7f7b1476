/* The jobs of one model that wait for a slot: by priority, then in order of arrival; bounded. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/heap.h"
#include "proto/chat.h"

struct queue_entry {
    struct heap_node node;
    enum chat_priority priority;
    uint64_t arrival; /* set by queue_push */
};

struct queue {
    struct heap heap;
    size_t max;
    uint64_t arrivals;
};

void queue_init(struct queue *queue, size_t max);
void queue_release(struct queue *queue);
/* false when full or memory is out. The entry stays the caller's. */
MUST_USE bool queue_push(struct queue *queue, struct queue_entry *entry);
struct queue_entry *queue_pop(struct queue *queue); /* NULL when empty */
void queue_remove(struct queue *queue, struct queue_entry *entry);
size_t queue_count(const struct queue *queue);
