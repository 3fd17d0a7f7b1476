/* How short of memory a worker is, decided from what the kernel tells (worker/memory_signals.h).
 *
 *     level   what the worker does                                     reached
 *     OK      takes all jobs
 *     SOFT    takes no jobs of low priority, gives back what it can    soft limits, or some tasks wait
 *     HARD    takes no new jobs; those it has go on                    hard limits, or all tasks wait
 *
 * Three sizes are compared, and the worst of all counts: the worker's own memory with limits that are set for
 * it in bytes; what its control group uses with a share of the group's limit; and what the machine uses with
 * the same share of its memory. The last two are looked at even when the first is set: the kernel kills for
 * them, whatever the configuration says.
 *
 * A level goes up at once. It goes down only when everything has been below by a margin for `hold_ms`, then
 * to the worst of that time: use that swings about a limit does not make the level swing.
 *
 * Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "config/config.h"
#include "proto/worker_info.h"
#include "worker/memory_signals.h"

enum {
    /* A level is left at so much of what it is reached at: 85% of a limit are left at about 80%. */
    RESOURCES_LEAVE_PERCENT = 95,
    /* Pressure is a mean of 10 s: it falls by half in 7 s, and is then rather over than not. */
    RESOURCES_LEAVE_PRESSURE_PERCENT = 50,
};

struct resources {
    struct {
        int64_t soft_bytes; /* of the process; 0: no limit */
        int64_t hard_bytes;
        int64_t soft_percent; /* of the group and of the machine */
        int64_t hard_percent;
        int64_t some_limit; /* pressure in hundredths of a percent; 0: not looked at */
        int64_t full_limit;
        int64_t hold_ms;
    } config;
    struct worker_resources now; /* without `refused` */
    bool is_falling;             /* all is below the level by the margin, */
    int64_t falling_since_ms;    /* since then, */
    enum resource_level highest; /* and was at most here */
};

/* At OK, knowing nothing. Of max_memory_mb and critical_memory_mb one that is 0 follows from the other. */
void resources_init(struct resources *resources, const struct config *config);
/* true: the level is another one now. */
MUST_USE bool resources_update(struct resources *resources, const struct memory_signals *signals,
                               int64_t now_ms);
/* Bytes until the nearest hard limit of group and machine, and, in `own`, of the process, for which what is
 * mapped from files does not count. And the lowest of all these limits. INT64_MAX: none is known. */
int64_t resources_room(const struct resources *resources, const struct memory_signals *signals, int64_t *own);
int64_t resources_limit(const struct resources *resources, const struct memory_signals *signals);
/* A sentence with the numbers behind the level, for people: "cgroup: 450 MiB used, limits 435 MiB (soft) and
 * 476 MiB (hard)". */
enum { RESOURCES_TEXT_MAX = 160 };
void resources_describe(const struct resources *resources, char out[RESOURCES_TEXT_MAX]);
