/* Who may come in when slots and queue of a model are full, as the loop thread sees it.
 *
 * The jobs inside are those that have a slot and those on their way to one (prompt being made, or in the
 * queue). When there are as many as `slots` and `depth` allow, a newcomer is refused; or, if `evict` is set,
 * the youngest of the lowest level below the newcomer's gives way to it, provided that it has no slot yet.
 *
 * All of it is the loop thread's, but for admission_start: the engine thread calls it when a job gets its
 * slot. A job is either started or evicted, never both, whichever comes first. No clock, no I/O. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "proto/chat.h"

struct admission_config {
    size_t slots;
    size_t depth; /* how many may wait behind them */
    bool evict;
    size_t present_max; /* jobs inside, and evicted ones that have not left yet */
};

enum admission_hold { ADMISSION_WAITS, ADMISSION_STARTED, ADMISSION_EVICTED };

struct admission_entry { /* zeroed at first */
    TAILQ_ENTRY(admission_entry) link;
    int level;        /* set by the caller before admission_enter; 0 is the highest */
    int64_t since_ms; /* likewise: when it came */
    bool listed;
    _Atomic enum admission_hold hold;
};
TAILQ_HEAD(admission_list, admission_entry);

struct admission {
    struct admission_config config;
    struct admission_list levels[CHAT_PRIORITY_COUNT]; /* in order of arrival; some may have started */
    size_t inside;                                     /* evicted ones not counted */
    size_t present;                                    /* with them */
    /* Since the start. */
    int64_t entered;
    int64_t refused; /* because all was full */
    int64_t evicted;
};

/* It must not move afterwards. */
void admission_init(struct admission *admission, const struct admission_config *config);

/* Is there no room, unless one gives way or leaves? */
bool admission_is_full(const struct admission *admission);
/* Is there room for one of this level, or can it be made? false counts as a refusal. `*evicted` becomes NULL
 * or the entry that has given way: it waits no more, and is still to be answered and to leave. */
MUST_USE bool admission_make_room(struct admission *admission, int level, struct admission_entry **evicted);
/* Right after admission_make_room. */
void admission_enter(struct admission *admission, struct admission_entry *entry);
/* The job is over. */
void admission_leave(struct admission *admission, struct admission_entry *entry);
/* When the one came that waits for longest at this level; -1 when nobody waits. */
int64_t admission_oldest_ms(struct admission *admission, int level);

/* Engine thread. false: it was evicted. */
MUST_USE bool admission_start(struct admission_entry *entry);
/* Any thread. */
bool admission_is_evicted(const struct admission_entry *entry);
