/* A latency in two forms: percentiles of this controller, and counts in fixed buckets, which Prometheus can
 * add over controllers and subtract over time. Not thread-safe.
 *
 * One list of bounds serves every latency, so that the parts of a request can be laid over each other. It
 * starts at half a millisecond, about the fastest token of a small model and a queue that is empty, and ends
 * at five minutes, past every default limit. The steps are 1 - 2.5 - 5, so that a quantile read from them is
 * at most 2.5 times off, and closer from ten seconds on, where the limits lie that people alarm on (stall
 * 10 s, first token 20 s, total 30 s and 60 s): how many requests came near one is then an exact count. */
#pragma once

#include <stdint.h>

#include "base/hist.h"

enum { LATENCY_BOUNDS = 19 };

extern const uint64_t latency_bounds_us[LATENCY_BOUNDS]; /* ascending; a bound belongs to its bucket */

struct latency {
    struct hist us;                  /* count, sum, percentiles */
    uint64_t counts[LATENCY_BOUNDS]; /* of each bucket alone; what is over the last bound is in `us` only */
};

/* What is negative, because the time was never taken, is left out. */
void latency_add(struct latency *latency, int64_t us);
