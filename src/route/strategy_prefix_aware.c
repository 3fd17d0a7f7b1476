/* prefix_aware: the worker with the longest known beginning of the prompt, unless it has too much to do
 * already; then the one with the next longest, in the end the one with the least load.
 *
 *     fair    = (all leases + 1) / all slots * its slots       what it would have if all had the same load
 *     allowed = fair + max(1, slots / 2, fair / 4)
 *
 * A worker is chosen for its prefix only if the new job does not take its leases over `allowed`: a popular
 * prefix spreads to as many workers as it needs. Equals in prefix are told apart by load, then by chance. */
#include <stdlib.h>

#include "route/prefix_index.h"
#include "route/strategy.h"

enum { INDEX_BYTES_MAX = 64 << 20 }; /* for 800,000 blocks, about 200 MB of different prompts */

struct prefix_aware {
    struct prefix_index index;
    const struct worker_gauge *candidates[REGISTRY_WORKERS_MAX]; /* by seat; NULL between picks */
    uint16_t places[REGISTRY_WORKERS_MAX]; /* by seat: index in the list of candidates */
    const struct prefix_block *known[PREFIX_BLOCKS_MAX];
};

static bool start(struct balancer *balancer) {
    struct prefix_aware *state = calloc(1, sizeof(*state));
    if (state && !prefix_index_init(&state->index, INDEX_BYTES_MAX, rng_next(&balancer->rng))) {
        free(state);
        state = NULL;
    }
    balancer->state = state;
    return state != NULL;
}

static void stop(struct balancer *balancer) {
    struct prefix_aware *state = balancer->state;
    prefix_index_release(&state->index);
    free(state);
}

static struct prefix_text text_of(const struct route_request *request) {
    return (struct prefix_text){
        .model = request->model, .bytes = request->prompt, .len = request->prompt_len};
}

/* Fills the tables by seat and returns the mean number of jobs for a slot, the new one included. */
static double seat_candidates(struct prefix_aware *state, const struct route_candidate *candidates,
                              size_t count) {
    int64_t leases = 1;
    int64_t slots = 0;
    for (size_t i = 0; i < count; i++) {
        leases += candidates[i].gauge->leases;
        slots += candidates[i].gauge->slots;
        state->candidates[candidates[i].gauge->seat] = candidates[i].gauge;
        state->places[candidates[i].gauge->seat] = (uint16_t)i;
    }
    return (double)leases / (double)slots;
}

static bool is_allowed(const struct worker_gauge *worker, double mean) {
    double fair = mean * worker->slots;
    double extra = worker->slots > 2 ? worker->slots / 2.0 : 1;
    return worker->leases + 1 <= fair + (extra > fair / 4 ? extra : fair / 4);
}

/* Of the block's holders that may take the job the one with the least load, NULL when there is none. The walk
 * begins anywhere, so that the first of equals is one by chance. */
static const struct worker_gauge *pick_holder(struct balancer *balancer, const struct prefix_block *block,
                                              double mean) {
    const struct prefix_aware *state = balancer->state;
    const struct worker_gauge *best = NULL;
    size_t at = (size_t)rng_below(&balancer->rng, block->count);
    for (size_t i = 0; i < block->count; i++, at = at + 1 < block->count ? at + 1 : 0) {
        const struct prefix_holder *holder = &block->holders[at];
        const struct worker_gauge *worker = state->candidates[holder->seat];
        if (worker && (!best || worker->load < best->load) &&
            prefix_holder_is_fresh(&state->index, holder, worker) && is_allowed(worker, mean))
            best = worker;
    }
    return best;
}

/* From the longest known prefix to the shortest. Whoever holds a block holds those before it, so as many
 * holders are the same holders, who have been asked already. */
static const struct worker_gauge *
pick_by_prefix(struct balancer *balancer, const struct route_request *request, double mean, double *score) {
    struct prefix_aware *state = balancer->state;
    struct prefix_text text = text_of(request);
    size_t asked = 0;
    for (size_t depth = prefix_index_match(&state->index, &text, state->known); depth > 0; depth--) {
        const struct prefix_block *block = state->known[depth - 1];
        if (block->count == asked || block->count == 0) /* a block outlives its holders */
            continue;
        asked = block->count;
        const struct worker_gauge *worker = pick_holder(balancer, block, mean);
        if (worker) {
            *score = (double)depth * PREFIX_BLOCK_BYTES;
            return worker;
        }
    }
    return NULL;
}

/* The score is the known prefix in bytes. */
static size_t pick(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score) {
    struct prefix_aware *state = balancer->state;
    double mean = seat_candidates(state, candidates, count);
    *score = 0;
    const struct worker_gauge *worker = pick_by_prefix(balancer, request, mean, score);
    size_t picked = worker ? state->places[worker->seat] : load_pick_least(&balancer->rng, candidates, count);
    for (size_t i = 0; i < count; i++)
        state->candidates[candidates[i].gauge->seat] = NULL;
    return picked;
}

static bool holds(const struct prefix_index *index, const struct prefix_block *block,
                  const struct worker_gauge *worker) {
    for (size_t i = 0; i < block->count; i++)
        if (block->holders[i].seat == worker->seat)
            return prefix_holder_is_fresh(index, &block->holders[i], worker);
    return false;
}

/* How many of the known blocks it holds: by halving, since whoever holds a block holds those before it. */
static size_t depth_at(const struct prefix_aware *state, size_t known, const struct worker_gauge *worker) {
    size_t depth = 0;
    while (depth < known) {
        size_t middle = depth + (known - depth + 1) / 2;
        if (holds(&state->index, state->known[middle - 1], worker))
            depth = middle;
        else
            known = middle - 1;
    }
    return depth;
}

static void score(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores) {
    (void)count;
    struct prefix_aware *state = balancer->state;
    struct prefix_text text = text_of(request);
    size_t known = prefix_index_match(&state->index, &text, state->known);
    for (size_t i = 0; i < asked_count; i++)
        scores[i] = (double)depth_at(state, known, candidates[asked[i]].gauge) * PREFIX_BLOCK_BYTES;
}

static void sent(struct balancer *balancer, const struct route_request *request,
                 const struct registry_worker *worker) {
    struct prefix_aware *state = balancer->state;
    struct prefix_text text = text_of(request);
    prefix_index_add(&state->index, &text, worker->gauge);
}

static void told(struct balancer *balancer, const struct prefix_news *news,
                 const struct registry_worker *worker) {
    struct prefix_aware *state = balancer->state;
    prefix_index_told(&state->index, news, worker->gauge);
}

const struct balancer_ops strategy_prefix_aware = {.name = "prefix_aware",
                                                   .start = start,
                                                   .stop = stop,
                                                   .pick = pick,
                                                   .score = score,
                                                   .sent = sent,
                                                   .told = told};
