/* Each power of two is divided into 32 equal buckets, so a bucket is at most 1/32 of its values wide. Below
 * 32 each value has its own. */
#include "base/hist.h"

#include <math.h>
#include <stddef.h>

enum { SUB_BITS = 5, SUBS = 1 << SUB_BITS };

_Static_assert(HIST_BUCKETS == (64 - SUB_BITS + 1) * SUBS, "all 64-bit values have a bucket");

static size_t bucket_of(uint64_t value) {
    if (value < SUBS)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return shift * SUBS + (size_t)(value >> shift);
}

static uint64_t upper_bound(size_t bucket) {
    if (bucket < SUBS)
        return bucket;
    size_t shift = bucket / SUBS - 1;
    /* The last one: 2^64 wraps to 0, minus 1 is the largest value. */
    return ((uint64_t)(SUBS + bucket % SUBS + 1) << shift) - 1;
}

void hist_clear(struct hist *hist) {
    *hist = (struct hist){0};
}

static void add_sum(struct hist *hist, uint64_t value) {
    if (__builtin_add_overflow(hist->sum, value, &hist->sum))
        hist->sum = UINT64_MAX;
}

void hist_add(struct hist *hist, uint64_t value) {
    hist->counts[bucket_of(value)]++;
    hist->total++;
    add_sum(hist, value);
    if (value > hist->max)
        hist->max = value;
}

void hist_merge(struct hist *into, const struct hist *from) {
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    add_sum(into, from->sum);
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t hist_percentile(const struct hist *hist, double percent) {
    if (hist->total == 0)
        return 0;
    if (percent >= 100)
        return hist->max;
    double wanted = percent > 0 ? ceil(percent * (double)hist->total / 100) : 1;
    uint64_t seen = 0;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += hist->counts[i];
        if (seen > 0 && (double)seen >= wanted)
            return upper_bound(i) < hist->max ? upper_bound(i) : hist->max;
    }
    return hist->max;
}

double hist_mean(const struct hist *hist) {
    return hist->total ? (double)hist->sum / (double)hist->total : 0;
}
