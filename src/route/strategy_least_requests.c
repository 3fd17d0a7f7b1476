/* least_requests: the fewest leases for its number of slots. Two walks, so that chance is asked once and not
 * for every equal, of which an idle cluster is full; and equals are counted without a branch, which could not
 * be predicted. */
#include "route/strategy.h"

size_t load_pick_least(struct rng *rng, const struct route_candidate *candidates, size_t count) {
    double least = candidates[0].gauge->load;
    uint64_t equals = 0;
    for (size_t i = 0; i < count; i++) {
        double load = candidates[i].gauge->load;
        if (load < least) {
            least = load;
            equals = 0;
        }
        equals += load <= least;
    }
    int64_t skip = (int64_t)rng_below(rng, equals);
    for (size_t i = 0;; i++) {
        skip -= candidates[i].gauge->load <= least;
        if (skip < 0)
            return i;
    }
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
