/* The waiting room: requests that no worker can take now. Each model has a line of its own, so that nobody
 * waits behind requests for another model; the room as a whole is bounded in requests and bytes.
 *
 * In a line the highest priority is first, and of equals the one that came first. Who has waited for
 * `aging_ms` counts one priority higher, for twice that two, and so on without end: so a request of low
 * priority is overtaken only by those that come within twice `aging_ms` of it (for the three priorities that
 * there are), however many of high priority there are. But few clients can wait for
 * so long; so when others have overtaken the oldest of a line WAITING_OVERTAKEN_MAX times, it is the oldest's
 * turn. Thus one in eight of those that are served is who has waited for longest.
 *
 * When the room is full, a newcomer takes the place of the youngest of the lowest priority below its own. One
 * in WAITING_OWN_PART of the places, and of the bytes, of a lower priority are not to be had: however many of
 * high priority come, some of the others wait and are served. Who finds no place is refused. Whoever is put
 * out is answered by the caller: nothing is dropped.
 *
 * A waiter is a member of the caller's request; the room owns only the lines. Every call is O(1), but for
 * the entry of one that came earlier than those at the end of its line. Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "base/map.h"
#include "proto/chat.h"

enum { WAITING_OVERTAKEN_MAX = 7, WAITING_OWN_PART = 8 };

struct waiter {
    TAILQ_ENTRY(waiter) in_line;
    TAILQ_ENTRY(waiter) in_class; /* of the whole room */
    struct waiting_line *line;    /* NULL: does not wait */
    enum chat_priority priority;
    size_t bytes;
    int64_t since_ms; /* when the request came */
    bool picky;       /* not every worker of the model will do: others of the line may be served before it */
};
TAILQ_HEAD(waiter_queue, waiter);

struct waiting_line {
    TAILQ_ENTRY(waiting_line) link;
    char model[CHAT_MODEL_NAME_MAX + 1];
    struct waiter_queue classes[CHAT_PRIORITY_COUNT]; /* each in order of arrival */
    size_t count;
    size_t overtaken; /* how often in a row one was served that came after the oldest, whoever that was: when
                         the oldest give up one after the other, it is still the turn of one in time */
    size_t picky_count;
    size_t picky_turn; /* for the caller, who cannot ask about all of them each time; 0 at first */
};
TAILQ_HEAD(waiting_line_list, waiting_line);

struct waiting_config {
    size_t requests_max; /* 0: nobody waits */
    size_t bytes_max;
    int64_t aging_ms; /* > 0 */
};

struct waiting_stats {
    uint64_t entered;
    uint64_t refused; /* because the room was full */
    uint64_t evicted; /* for one of higher priority */
};

struct waiting_room {
    struct waiting_config config;
    struct map by_model;
    struct waiting_line_list lines; /* owned; those with waiters */
    struct waiter_queue classes[CHAT_PRIORITY_COUNT];
    size_t class_count[CHAT_PRIORITY_COUNT];
    size_t class_bytes[CHAT_PRIORITY_COUNT];
    size_t count;
    size_t bytes;
    struct waiting_stats stats;
};

/* It must not move afterwards. */
void waiting_init(struct waiting_room *room, const struct waiting_config *config);
/* Nobody may wait any more. Leaves it zeroed; takes NULL. */
void waiting_release(struct waiting_room *room);

/* Puts `waiter` (priority, bytes, since_ms and picky set by the caller) in the model's line; one that comes
 * back after a failed try takes the place that its first arrival earns. Those that must give way are taken
 * out and handed to `evict` one by one, after `waiter` has its place; `evict` must not enter anybody. false:
 * the room is full, or memory is out; nothing has changed. */
typedef void waiting_evict_fn(struct waiter *evicted, void *arg);
MUST_USE bool waiting_enter(struct waiting_room *room, struct waiter *waiter, const char *model,
                            waiting_evict_fn *evict, void *arg);
/* One that waits turns out to be picky. */
void waiting_make_picky(struct waiter *waiter);
/* Takes it out; does nothing for one that does not wait. The line goes with its last waiter. */
void waiting_leave(struct waiting_room *room, struct waiter *waiter);

/* How many wait for the model. */
size_t waiting_count(const struct waiting_room *room, const char *model);
/* One for the model that came at `since_ms`, and does not wait any more, is served. */
void waiting_note_served(struct waiting_room *room, const char *model, int64_t since_ms);
/* Does somebody wait for the model whom a newcomer of this priority must not overtake? One who is not
 * picky need not wait behind those that are: there may be workers that only the newcomer can use. */
bool waiting_has_before(const struct waiting_room *room, const char *model, enum chat_priority priority,
                        bool picky, int64_t now_ms);

/* Walks a line from its first to its last. The waiter that was returned last may leave during the walk; when
 * it was the line's only one, the walk must end. */
struct waiting_walk {
    const struct waiting_room *room;
    struct waiter *next[CHAT_PRIORITY_COUNT];
    bool oldest_first;
    int64_t now_ms;
};
void waiting_walk_begin(struct waiting_walk *walk, const struct waiting_room *room,
                        const struct waiting_line *line, int64_t now_ms);
struct waiter *waiting_walk_next(struct waiting_walk *walk); /* NULL at the end */
