/* A bounded queue of pointers between threads: many producers, one consumer.
 *
 * The consumer either waits in chan_take (a worker's engine thread) or watches chan_fd with its event loop.
 * A producer never blocks: a full queue refuses. Ownership of an item moves with it: what chan_push refuses
 * stays the producer's, what it accepts is the consumer's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct chan;

/* `max_items` > 0. `with_fd`: also make an eventfd that is readable while items are waiting, and
 * now and then once without. NULL when memory or descriptors are out. */
struct chan *chan_new(size_t max_items, bool with_fd);
/* Items still inside are handed to `drop` (may be NULL). Takes NULL. No other thread may use it any more. */
void chan_free(struct chan *chan, void (*drop)(void *item));

/* Any thread. false when full. */
MUST_USE bool chan_push(struct chan *chan, void *item);
/* Consumer. Moves up to `max` items in order to `out`, returns how many. Waits up to `wait_us` for the first
 * one: 0 does not wait, -1 waits until chan_wake. Clears the fd. */
size_t chan_take(struct chan *chan, void **out, size_t max, int64_t wait_us);
/* Any thread: makes a waiting or the next chan_take return, even with nothing in it. */
void chan_wake(struct chan *chan);
int chan_fd(const struct chan *chan);
size_t chan_count(struct chan *chan);     /* any thread; a snapshot */
uint64_t chan_refused(struct chan *chan); /* pushes refused since the start */
