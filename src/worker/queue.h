/* The jobs of one model that wait for a slot.
 *
 * Who is next: the highest level first; inside a level the earliest deadline, and of equal ones the first
 * that came. Who has waited for `aging_ms` counts one level higher, for twice that two, and so on. Who has
 * aged past the highest level is overdue: the overdue come before all others, in the order in which they got
 * there, so that neither a higher level nor nearer deadlines can pass by them any more. So a job of level n
 * is overtaken only by jobs that come within (n + 1) * aging_ms of it, and waits for at most that time and as
 * long as the others that are inside then take.
 *
 * And when others have overtaken the job that came first QUEUE_OVERTAKEN_MAX times, it is its turn: one in
 * eight of the jobs that are taken is the oldest, so that those of a low level go on, however little time
 * there is for aging.
 *
 * Every call is O(log n): a job is moved up at most once for each level. Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "base/heap.h"
#include "proto/chat.h"

struct queue_entry {
    /* The caller's, set before queue_push: */
    int level;           /* 0 is the highest; see queue_level */
    int64_t since_ms;    /* when the job came; may be long ago */
    int64_t deadline_ms; /* when its time is over */
    /* The queue's: */
    TAILQ_ENTRY(queue_entry) in_order;
    struct heap_node by_turn;
    struct heap_node by_rise; /* while it is not overdue */
    struct heap_node by_deadline;
    int rank; /* the level it counts as now, or QUEUE_OVERDUE */
    int64_t turn_ms;
    int64_t rise_ms;
    uint64_t arrival;
};

TAILQ_HEAD(queue_order, queue_entry);

enum { QUEUE_OVERDUE = -1, QUEUE_OVERTAKEN_MAX = 7 };

struct queue {
    struct heap turns;
    struct heap rises;
    struct heap deadlines;
    struct queue_order order; /* of arrival */
    size_t overtaken; /* how often in a row one was taken that came after the first, whoever that was */
    int64_t aging_ms;
    uint64_t arrivals;
};

/* With fewer levels than priorities the lower ones are one. `levels` is from 1 to CHAT_PRIORITY_COUNT. */
int queue_level(enum chat_priority priority, int levels);

/* `aging_ms` > 0. */
void queue_init(struct queue *queue, int64_t aging_ms);
void queue_release(struct queue *queue);
/* false when memory is out. The entry stays the caller's. */
MUST_USE bool queue_push(struct queue *queue, struct queue_entry *entry);
/* Who is next; NULL when empty. It stays inside. */
struct queue_entry *queue_first(struct queue *queue, int64_t now_ms);
/* Takes out the one that queue_first gave, to be served. */
void queue_take(struct queue *queue, struct queue_entry *entry);
struct queue_entry *queue_pop(struct queue *queue, int64_t now_ms); /* NULL when empty */
/* One whose deadline is reached, taken out; NULL when there is none. */
struct queue_entry *queue_pop_expired(struct queue *queue, int64_t now_ms);
/* The earliest deadline; INT64_MAX when empty. */
int64_t queue_deadline_ms(const struct queue *queue);
/* It is not to be served. */
void queue_remove(struct queue *queue, struct queue_entry *entry);
bool queue_has(const struct queue_entry *entry); /* is it in a queue? */
size_t queue_count(const struct queue *queue);
