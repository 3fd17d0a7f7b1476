/* least_requests: the fewest leases for its number of slots. */
#include "route/least.h"
#include "route/strategy.h"

_Static_assert((int)LEAST_MAX >= (int)REGISTRY_WORKERS_MAX, "a number for each worker");

size_t load_pick_least(struct rng *rng, const struct route_candidate *candidates, size_t count) {
    const int32_t *loads = candidates[0].gauge->worker->registry->loads;
    size_t first = candidates[0].seat;
    if (candidates[count - 1].seat - first == count - 1) /* they are all that sit from there on */
        return least_pick(rng, loads + first, count);
    int32_t gathered[REGISTRY_WORKERS_MAX];
    for (size_t i = 0; i < count; i++)
        gathered[i] = loads[candidates[i].seat];
    return least_pick(rng, gathered, count);
}

static size_t pick(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score) {
    (void)request;
    size_t best = load_pick_least(&balancer->rng, candidates, count);
    *score = candidates[best].gauge->load;
    return best;
}

static void score(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores) {
    (void)balancer, (void)request, (void)count;
    for (size_t i = 0; i < asked_count; i++)
        scores[i] = candidates[asked[i]].gauge->load;
}

const struct balancer_ops strategy_least_requests = {.name = "least_requests", .pick = pick, .score = score};
