/* Which worker gets the next job of a request: filters the registry down to the eligible workers, then asks
 * the strategy. Has no side effect on workers; the caller takes the lease. Pure. */
#pragma once

#include "base/error.h"
#include "route/balancer.h"
#include "route/registry.h"

enum { ROUTE_TRIES_MAX = 16 };

/* The incarnations that an earlier try of the request failed on. */
struct route_exclusion {
    uint64_t generations[ROUTE_TRIES_MAX];
    size_t count;
};
void route_exclude(struct route_exclusion *exclusion, uint64_t generation);

struct router {
    struct registry *registry;
    struct balancer *balancer;
    struct registry_worker **candidates; /* owned scratch */
    size_t cap;
};
void router_init(struct router *router, struct registry *registry, struct balancer *balancer);
void router_release(struct router *router);

/* The worker, or NULL and why in `error`: MODEL_NOT_FOUND when no worker that is known serves the model, else
 * NO_WORKERS_AVAILABLE with what keeps each of them out. */
struct registry_worker *router_pick(struct router *router, const char *model,
                                    const struct route_exclusion *exclusion, struct error *error);
