/* A registry with made-up workers and a router above it, for tests of strategies. */
#pragma once

#include "route/router.h"

enum {
    FLEET_HEARTBEAT_MS = 1000,
    FLEET_QUEUE_MAX = 100000, /* no worker is ever full, unless a test says so */
};

struct fleet {
    struct registry registry;
    struct balancer balancer;
    struct router router;
    struct route_decision decision; /* of the last pick */
    int64_t now_ms;
};

void fleet_setup(struct fleet *fleet, const char *strategy, uint64_t seed);
void fleet_teardown(struct fleet *fleet);

/* A worker that is ready, with the model "m" of 4096 tokens. */
struct worker_info fleet_info(const char *id, int32_t slots);
struct registry_worker *fleet_add(struct fleet *fleet, const struct worker_info *info);
struct registry_worker *fleet_add_plain(struct fleet *fleet, const char *id, int32_t slots);
/* A heartbeat later, with what `load` says. */
void fleet_beat(struct fleet *fleet, struct registry_worker *worker, const struct worker_load *load);

/* Picks for the model "m", takes a lease if `lease` is given, tells the balancer. Never NULL. */
struct registry_worker *fleet_send(struct fleet *fleet, const char *prompt, size_t len, struct lease *lease);
