/* The strategies' tables, for balancer.c, and what they share. Not for other folders. */
#pragma once

#include "route/balancer.h"

extern const struct balancer_ops strategy_round_robin;
extern const struct balancer_ops strategy_least_requests;
extern const struct balancer_ops strategy_weighted_random;
extern const struct balancer_ops strategy_skills_based;
extern const struct balancer_ops strategy_smart;
extern const struct balancer_ops strategy_prefix_aware;

/* The index of the one with the least load; of equals one by chance. `count` > 0. */
size_t load_pick_least(struct rng *rng, const struct route_candidate *candidates, size_t count);
