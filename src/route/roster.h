/* Which workers can serve a model now, remembered until the registry changes: between two changes, most often
 * thousands of requests, a pick starts from a list that is ready. Pure. */
#pragma once

#include "route/balancer.h"

/* Why a worker that serves the model cannot get the request; the first that applies, in this order.
 * X(NAME, field of the census, name in the API) */
#define ROUTE_REASON_MAP(X)                                                                               \
    X(OFFLINE, offline, "offline")                                                                        \
    X(SUSPECT, suspect, "suspect")                                                                        \
    X(HUNG, hung, "hung")                                                                                 \
    X(DRAINING, draining, "draining")                                                                     \
    X(LOADING, loading, "loading")                                                                        \
    X(UNLOADED, unloaded, "unloaded") /* and it is not loaded on demand */                                \
    X(LOAD_FAILED, load_failed, "loadFailed")                                                             \
    X(UNSKILLED, unskilled, "unskilled") /* from here on 0 in a roster */                                 \
    X(TRIED, excluded, "tried")          /* by an earlier try, or another one is not */                   \
    X(MEMORY, short_of_memory, "memory") /* and takes none of that priority */                            \
    X(BREAKER, broken, "breaker")                                                                         \
    X(FULL, full, "full")                                                                                 \
    X(BUSY, busy, "busy")                  /* it has refused a job for being full lately */               \
    X(COLD, cold, "cold")                  /* it would have to load the model, or has less room for it */ \
    X(SLOW_START, slow_start, "slowStart") /* its share is used up, and that of others is not */

enum route_reason {
#define X(name, field, text) ROUTE_##name,
    ROUTE_REASON_MAP(X)
#undef X
        ROUTE_REASON_COUNT
};
const char *route_reason_name(enum route_reason reason);

/* How many of the workers that serve the model are kept out, by reason. */
struct route_census {
    size_t serving; /* all of them */
#define X(name, field, text) size_t field;
    ROUTE_REASON_MAP(X)
#undef X
};

/* Some of those that are kept out, for people. */
enum { ROUTE_SHOWN_MAX = 8 };
struct route_kept_out {
    const struct registry_worker *worker;
    enum route_reason reason;
};
struct route_kept_outs {
    struct route_kept_out list[ROUTE_SHOWN_MAX]; /* the first ones found */
    size_t count;
};
/* Counts it, and remembers it if there is room. */
void route_keep_out(struct route_census *census, struct route_kept_outs *shown,
                    const struct registry_worker *worker, enum route_reason reason);

struct roster {
    char model[CHAT_MODEL_NAME_MAX + 1];
    uint64_t version;                   /* of the registry; 0: not filled */
    uint64_t used;                      /* grows: when it was asked for last */
    struct route_candidate *candidates; /* owned */
    size_t count;
    size_t cold; /* of them, those where the model is not ready and is loaded for whoever asks */
    size_t cap;
    struct route_census census;
    struct route_kept_outs kept_out;
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
