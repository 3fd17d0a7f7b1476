/* Strategies: which of the eligible workers gets a job. A strategy is one function in a table; state it needs
 * lives in `struct balancer`. Pure: chance is an argument. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "route/registry.h"

struct balancer {
    const struct balancer_ops *ops;
    struct rng rng;
};

struct balancer_ops {
    const char *name; /* as configured */
    /* An index below `count`, which is >= 1. */
    size_t (*pick)(struct balancer *balancer, struct registry_worker *const *candidates, size_t count);
};

/* least_requests: the fewest leases for its number of slots; among equals by chance, so that controllers that
 * know nothing of each other do not all choose the same one. */
extern const struct balancer_ops balancer_least_requests;

/* false when there is no strategy of that name; `balancer` is then unchanged. */
MUST_USE bool balancer_init(struct balancer *balancer, const char *strategy, uint64_t seed);
