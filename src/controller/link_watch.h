/* Whether this controller could hear its workers: while its own link to NATS is down, or up but silent,
 * silence says nothing about them.
 *
 * NATS that is stopped, or far away behind a cut line, shows only after many seconds. So the controller sends
 * itself an echo over NATS with every tick, which carries the time; the newest that came back tells until
 * when the link was well for certain. Nothing has to be kept of those that are lost.
 *
 * A try during which the link was not well may have lost messages either way, whatever it seems to have died
 * of. Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct link_watch {
    int64_t silent_after_ms; /* without an echo */
    int64_t well_ms;         /* until then it was well */
    int64_t silent_since_ms; /* of the silence that was noticed; 0: none */
    int64_t troubled_ms;     /* when it was last known not to be well; 0: never */
    bool down;
    uint64_t silences; /* noticed in all, those with the link down not counted */
};

/* Up and well. `silent_after_ms` is longer than the time between two ticks. */
void link_watch_init(struct link_watch *watch, int64_t silent_after_ms, int64_t now_ms);

void link_watch_lost(struct link_watch *watch, int64_t now_ms);
/* The next two return for how long nobody was heard, when that has ended just now, else 0: what the workers
 * are to be forgiven. */
int64_t link_watch_returned(struct link_watch *watch, int64_t now_ms);
/* The echo that was sent at `sent_ms` has come; one that cannot be ours is ignored. */
int64_t link_watch_heard(struct link_watch *watch, int64_t sent_ms, int64_t now_ms);
/* Time has passed: call it several times in silent_after_ms, then send an echo. true when a silence began. */
bool link_watch_tick(struct link_watch *watch, int64_t now_ms);
/* This process did not run for so long; to be called before the next tick. */
void link_watch_paused(struct link_watch *watch, int64_t lag_ms);

bool link_watch_is_well(const struct link_watch *watch, int64_t now_ms);
/* At every moment from `since_ms` on, as far as is known. */
bool link_watch_was_well(const struct link_watch *watch, int64_t since_ms, int64_t now_ms);
