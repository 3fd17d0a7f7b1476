/* A histogram of non-negative integers with about 3% relative precision and fixed memory, for percentiles of
 * latencies and sizes. Not thread-safe: one writer, which also reads. */
#pragma once

#include <stdint.h>

enum { HIST_BUCKETS = 1920 };

struct hist {
    uint64_t counts[HIST_BUCKETS];
    uint64_t total;
    uint64_t sum;
    uint64_t max;
};

void hist_clear(struct hist *hist);
void hist_add(struct hist *hist, uint64_t value);
/* As if all values of `from` were added to `into`. */
void hist_merge(struct hist *into, const struct hist *from);
/* The value at `percent` (0..100): an upper bound of its bucket, never above the maximum seen; 0 when empty.
 */
uint64_t hist_percentile(const struct hist *hist, double percent);
double hist_mean(const struct hist *hist);
