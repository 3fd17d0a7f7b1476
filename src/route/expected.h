/* Which workers should be there and are not. A name is a worker's id or a pattern with `*` as in weights.h,
 * which one worker is enough for. A worker that is suspect still counts as there; one that is offline, or was
 * never heard of, is away, and after the grace time missing. Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "route/registry.h"

enum { EXPECTED_MAX = 256 };

struct expected_worker {
    const char *pattern; /* not owned */
    bool present;
    bool missing;
    int64_t away_ms; /* since when, while it is not present */
};

struct expected {
    struct expected_worker workers[EXPECTED_MAX];
    size_t count;
    size_t missing;
    int64_t grace_ms;
    uint64_t version; /* of the registry when presence was looked at; 0: never */
};

/* The patterns must outlive it; at most EXPECTED_MAX of them. All are away since `now_ms`. */
void expected_init(struct expected *expected, const char *const *patterns, size_t count, int64_t grace_ms,
                   int64_t now_ms);

typedef void expected_change_fn(const char *pattern, bool missing, void *arg);
/* Time has passed, or the registry has changed. Calls `fn` for each that has become missing or is back. */
void expected_tick(struct expected *expected, const struct registry *registry, int64_t now_ms,
                   expected_change_fn *fn, void *arg);
