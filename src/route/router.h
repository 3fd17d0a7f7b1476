/* Which worker gets the next job of a request: filters the registry down to the eligible workers, then asks
 * the strategy. Has no side effect on workers; the caller takes the lease. Pure. */
#pragma once

#include "base/error.h"
#include "route/balancer.h"
#include "route/registry.h"
#include "route/roster.h"

enum { ROUTE_TRIES_MAX = 16 };

/* The workers that an earlier try of the request failed on. */
struct route_exclusion {
    struct {
        uint64_t serial;
        uint64_t generation;
    } tried[ROUTE_TRIES_MAX];
    size_t count;
};
void route_exclude(struct route_exclusion *exclusion, uint64_t serial, uint64_t generation);

/* How a request was routed, for logs and monitoring. */
struct route_decision {
    char worker_id[WORKER_ID_MAX + 1]; /* empty when there was none */
    const char *strategy;              /* or "session" */
    bool panic;                        /* so many breakers are open that they are not respected */
    int64_t retry_after_ms;            /* when the first breaker will let a probe through, or the first busy
                                          worker may take jobs again; 0: unknown */
    double score;      /* what made the worker win: the strategy's own measure, see its file */
    size_t candidates; /* eligible ones */
    struct route_census census;
};

struct router {
    struct registry *registry;
    struct balancer *balancer;
    bool own_probes; /* the caller probes workers with jobs of its own, requests need not */
    struct rosters rosters;
    struct route_candidate *candidates; /* owned scratch */
    size_t cap;
    /* Of the newest pick, for router_explain. */
    const struct route_candidate *eligible; /* in `candidates` or a roster */
    size_t eligible_count;
    size_t chosen; /* below eligible_count */
    struct route_kept_outs kept_out;
    const struct registry_worker *short_of_memory; /* one that was kept out for that; NULL: none was */
};
void router_init(struct router *router, struct registry *registry, struct balancer *balancer);
void router_release(struct router *router);

/* The worker, or NULL and why in `error`: MODEL_NOT_FOUND when no worker that is known serves the model,
 * MODEL_NOT_LOADED when it is unloaded everywhere and not loaded on demand, WORKER_OVERLOADED when there are
 * workers that could take it but they are full or busy, RESOURCE_LIMIT_EXCEEDED when they are short of
 * memory, CIRCUIT_BREAKER_OPEN when only breakers keep them out, NO_HEALTHY_WORKERS when all are silent,
 * hung, offline, tried or broken, else NO_WORKERS_AVAILABLE; with what keeps each of them out, and of
 * one that is short of memory its numbers. `decision` is filled in either case.
 *
 * A worker without the skills that the request requires never gets it, whatever the strategy. When that
 * leaves nobody, the error is one of those above and its message names the skills. It is never a 400, even if
 * no worker that is known has them: what a controller knows is soft, and a worker that has them may register
 * (or come back) the next moment.
 *
 * In this order: live workers with the model; with the skills; not tried before; enough memory for its
 * priority; breaker; neither full nor busy; never tried at all (another incarnation of one that was tried
 * only when there is nobody else); with own_probes none that would have to prove itself, unless all do or it
 * is panic; where the model is ready, else where it is being loaded, else where there is most room to load
 * it; not above the share of a worker in slow start, unless all are; the session's worker if it is still
 * among them; the strategy.
 *
 * Tell the balancer when the request was sent there (balancer_note_sent), and take lease and breaker ticket.
 */
struct registry_worker *router_pick(struct router *router, const struct route_request *request,
                                    const struct route_exclusion *exclusion, int64_t now_ms,
                                    struct route_decision *decision, struct error *error);

/* Why the newest pick came out as it did, for people: some of the workers, few of many. */
struct route_explanation {
    struct {
        char worker_id[WORKER_ID_MAX + 1];
        double score;              /* the strategy's measure for it, see struct route_decision */
    } candidates[ROUTE_SHOWN_MAX]; /* the chosen one first */
    size_t candidate_count;
    struct {
        char worker_id[WORKER_ID_MAX + 1];
        enum route_reason reason;
    } kept_out[ROUTE_SHOWN_MAX];
    size_t kept_out_count;
};
/* To be called right after router_pick with the same request, before anything else changes: a lease taken in
 * between would show in the scores. Looks at a few workers, not at all of them. After a pick that found
 * nobody there are no candidates. */
void router_explain(const struct router *router, const struct route_request *request,
                    struct route_explanation *out);
