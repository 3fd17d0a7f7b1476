/* Strategies: which of the eligible workers gets a job. A strategy is a small table of functions; what it has
 * to remember is its own `state`. Pure: chance is in `rng`.
 *
 *     round_robin      the one whose turn is longest ago
 *     least_requests   the fewest leases for its number of slots
 *     weighted_random  by chance, as often as its weight says
 *     skills_based     least_requests among those whose context holds the request; of equals the one that
 *                      can do the least else
 *     smart            the shortest expected time, from measured speed, queue and memory
 *     prefix_aware     the one that has computed the longest beginning of this prompt before
 *
 * Equals are chosen from by chance, so that controllers that know nothing of each other do not all choose the
 * same one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "proto/chat.h"
#include "route/registry.h"
#include "route/weights.h"

/* What of a request matters for where it goes. Nothing is owned. */
struct route_request {
    const char *model;
    const char *prompt; /* messages as JSON; need not end in NUL */
    size_t prompt_len;
    int32_t max_tokens; /* 0: as many as the context holds */
    enum chat_priority priority;
    uint64_t session_generation;        /* the incarnation that its session belongs to; 0: none */
    const char *const *required_skills; /* words, see route/skills.h */
    size_t required_skill_count;
};

/* Tokens that the request takes up at most, as far as that can be told without a tokenizer. */
int64_t route_tokens_estimate(const struct route_request *request);

/* A worker that may get it. */
struct route_candidate {
    const struct worker_gauge *gauge;
    struct worker_model *model;
    enum model_state state; /* of the model there; if it is not ready, it is loaded for the request */
    int32_t context_tokens; /* of the model there, for each slot; 0: not known yet */
    uint16_t seat;          /* the gauge's; lists of candidates are in ascending order of seats */
};

struct balancer_ops;

struct balancer {
    const struct balancer_ops *ops;
    struct rng rng;
    struct weights weights;
    void *state; /* owned by the strategy */
};

struct balancer_ops {
    const char *name; /* as configured */
    /* Makes `state`; false when memory is out. NULL: the strategy has none. */
    bool (*start)(struct balancer *balancer);
    void (*stop)(struct balancer *balancer);
    /* An index below `count`, which is from 1 to REGISTRY_WORKERS_MAX. `score` is what made it win, each
     * strategy's own measure. */
    size_t (*pick)(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score);
    /* The same measure for some of the candidates, by index: what each would have won with. Changes nothing.
     */
    void (*score)(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores);
    /* The request has been sent to this worker, picked here or not (an affinity may have chosen). NULL: the
     * strategy need not know. */
    void (*sent)(struct balancer *balancer, const struct route_request *request,
                 const struct registry_worker *worker);
    /* The worker tells which beginnings of prompts it holds. NULL: likewise. */
    void (*told)(struct balancer *balancer, const struct prefix_news *news,
                 const struct registry_worker *worker);
};

/* false when there is no strategy of that name, or memory is out; `balancer` is then empty. */
MUST_USE bool balancer_init(struct balancer *balancer, const char *strategy, uint64_t seed);
void balancer_release(struct balancer *balancer); /* takes NULL and zeroed ones; leaves it zeroed */

/* For weighted_random, before the first pick; see weights_add. */
MUST_USE bool balancer_add_weight(struct balancer *balancer, const char *pattern, uint32_t thousandths);

/* Tells the strategy what a worker says of the prompts that it holds. */
void balancer_note_told(struct balancer *balancer, const struct prefix_news *news,
                        const struct registry_worker *worker);

/* Tells the strategy where a request went. */
void balancer_note_sent(struct balancer *balancer, const struct route_request *request,
                        const struct registry_worker *worker);
