/* How the loop thread points the engine thread at a job that should end: by a handle that travels through the
 * same channel as the jobs, so that nobody has to search.
 *
 * Each job inside holds a notice. When a flag of the job is set the notice is sent, unless it is under way
 * already: so there are never more notices in the channel than jobs may be inside. A notice outlives its job
 * and may come when the job is over, or not there yet, or when it has a new holder: it says only "look at the
 * job that holds this, if any". A job that is not there yet finds its own flags when it comes. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct job;

struct notice {
    atomic_bool sent;    /* and not read yet */
    struct job *job;     /* the engine thread's: from the job's coming to its end */
    struct notice *next; /* the loop thread's: while nobody holds it */
};

struct notices {
    struct notice *all; /* owned */
    size_t max;
    struct notice *free;
};

/* false when memory is out. */
MUST_USE bool notices_init(struct notices *notices, size_t max);
void notices_release(struct notices *notices); /* takes zeroed structs */
/* The notice that an item of the channel is; NULL when it is something else. Any thread. */
struct notice *notices_find(const struct notices *notices, const void *item);

/* Loop thread. */
struct notice *notices_take(struct notices *notices); /* NULL: all are held */
void notices_give_back(struct notices *notices, struct notice *notice);
/* After the flag is set. true: send it; false: it is under way. */
MUST_USE bool notice_must_be_sent(struct notice *notice);

/* Engine thread: the job to look at, or NULL. */
struct job *notice_read(struct notice *notice);
