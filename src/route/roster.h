/* Which workers can serve a model now, remembered until the registry changes: between two changes, most often
 * thousands of requests, a pick starts from a list that is ready. Pure. */
#pragma once

#include "route/balancer.h"

/* How many of the workers that serve the model are kept out, by reason. */
struct route_census {
    size_t serving; /* all of them */
    size_t offline, suspect, draining, loading, load_failed;
    size_t excluded; /* by an earlier try; 0 in a roster */
    size_t broken;   /* by their breaker; 0 in a roster */
};

struct roster {
    char model[CHAT_MODEL_NAME_MAX + 1];
    uint64_t version;                   /* of the registry; 0: not filled */
    uint64_t used;                      /* grows: when it was asked for last */
    struct route_candidate *candidates; /* owned */
    size_t count;
    size_t cap;
    struct route_census census;
};

/* More models than that are served at once by few clusters; then some lists are made anew. */
enum { ROSTERS_MAX = 16 };

struct rosters { /* zeroed: empty */
    struct roster rosters[ROSTERS_MAX];
    uint64_t uses;
};

void rosters_release(struct rosters *rosters); /* leaves it zeroed */
/* NULL only when memory is out. Valid until the next call. */
const struct roster *rosters_get(struct rosters *rosters, const struct registry *registry, const char *model);
