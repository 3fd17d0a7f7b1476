/* How fast a worker is, measured from what its heartbeats count: the pace is the tokens a second that one
 * sequence gets while it shares the engine with nobody. Pure: time is an argument.
 *
 * Between two heartbeats of a busy worker, generated tokens / seconds / mean batch is what each sequence got.
 * A sequence in a full batch is taken to be half as fast as one alone (pace_slowdown), so that samples taken
 * under different load can be compared; each sample moves the pace by a fifth of the difference. An interval
 * that begins or ends without running jobs says nothing: most of it may have been idle. */
#pragma once

#include <stdint.h>

#include "proto/worker_info.h"

/* An older pace is unknown again, so that a worker that was slow once is tried once more. */
enum { PACE_MAX_AGE_MS = 60 * 1000 };

struct pace {
    double tokens_per_s; /* 0: unknown */
    int64_t measured_ms;
};

/* How many times longer a step takes when `batch` of `slots` are in use: 1 when alone, 2 when full. */
double pace_slowdown(double batch, double slots);

/* `before` and `now` are of the same incarnation, `elapsed_ms` apart. */
void pace_update(struct pace *pace, const struct worker_load *before, const struct worker_load *now,
                 int32_t slots, int64_t elapsed_ms, int64_t now_ms);
