/* skills_based: least_requests among the workers whose context holds the prompt and the reply that was asked
 * for. Of equally loaded ones the one with the fewest skills wins, and of these the one with the smallest
 * context that is enough: special machines stay free for those who need them. All candidates have what the
 * request requires, so the fewest skills are the fewest beyond those. When none is large enough the estimate
 * may be wrong, and the largest ones are asked. */
#include <assert.h>

#include "route/strategy.h"

/* The context that makes a worker fit: what is needed, or the largest there is. */
static int64_t context_wanted(const struct route_request *request, const struct route_candidate *candidates,
                              size_t count) {
    int64_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t context = candidates[i].context_tokens;
        largest = context > largest ? context : largest;
    }
    int64_t needed = route_tokens_estimate(request);
    return needed < largest ? needed : largest;
}

/* Below 0 when a is to be preferred. */
static int compare(const struct route_candidate *a, const struct route_candidate *b) {
    if (a->gauge->load < b->gauge->load || a->gauge->load > b->gauge->load)
        return a->gauge->load < b->gauge->load ? -1 : 1;
    int a_skills = __builtin_popcountll(a->gauge->skills), b_skills = __builtin_popcountll(b->gauge->skills);
    if (a_skills != b_skills)
        return a_skills < b_skills ? -1 : 1;
    return (a->context_tokens > b->context_tokens) - (a->context_tokens < b->context_tokens);
}

static size_t pick(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score) {
    int64_t wanted = context_wanted(request, candidates, count);
    const struct route_candidate *best = NULL;
    uint64_t equals = 0;
    for (size_t i = 0; i < count; i++) {
        if (candidates[i].context_tokens < wanted)
            continue;
        int order = best ? compare(&candidates[i], best) : -1;
        if (order < 0)
            best = &candidates[i];
        equals = order < 0 ? 1 : equals + (order == 0);
    }
    assert(best); /* the largest context is enough */
    /* Equals have the context of the best, which is enough. */
    int64_t skip = (int64_t)rng_below(&balancer->rng, equals);
    size_t picked = (size_t)(best - candidates);
    while (skip > 0)
        skip -= compare(&candidates[++picked], best) == 0;
    *score = best->context_tokens;
    return picked;
}

static void score(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores) {
    (void)balancer, (void)request, (void)count;
    for (size_t i = 0; i < asked_count; i++)
        scores[i] = candidates[asked[i]].context_tokens;
}

const struct balancer_ops strategy_skills_based = {.name = "skills_based", .pick = pick, .score = score};
