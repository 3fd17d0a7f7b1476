/* weighted_random: a worker is chosen as often as its weight is part of the candidates' sum. One of weight 0
 * gets nothing as long as another one can take the request; when all have 0, all are as likely. */
#include <stdlib.h>

#include "route/strategy.h"

/* Patterns are compared once for each process that is seen, not with every request. */
struct known_weight {
    uint64_t generation;
    uint32_t thousandths;
};

static bool start(struct balancer *balancer) {
    balancer->state = calloc(REGISTRY_WORKERS_MAX, sizeof(struct known_weight)); /* by seat */
    return balancer->state != NULL;
}

static void stop(struct balancer *balancer) {
    free(balancer->state);
}

static uint32_t weight_of(struct balancer *balancer, const struct worker_gauge *gauge) {
    struct known_weight *known = (struct known_weight *)balancer->state + gauge->seat;
    if (known->generation != gauge->generation) {
        known->generation = gauge->generation;
        known->thousandths =
            weights_find(&balancer->weights, gauge->worker->info.id, gauge->worker->info.hostname);
    }
    return known->thousandths;
}

static size_t pick(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score) {
    (void)request;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += weight_of(balancer, candidates[i].gauge);
    if (sum == 0) {
        *score = 0;
        return (size_t)rng_below(&balancer->rng, count);
    }
    uint64_t point = rng_below(&balancer->rng, sum);
    size_t at = 0;
    for (uint64_t weight; point >= (weight = weight_of(balancer, candidates[at].gauge)); at++)
        point -= weight;
    *score = (double)weight_of(balancer, candidates[at].gauge) / WEIGHT_ONE;
    return at;
}

static void score(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores) {
    (void)request, (void)count;
    for (size_t i = 0; i < asked_count; i++)
        scores[i] = (double)weight_of(balancer, candidates[asked[i]].gauge) / WEIGHT_ONE;
}

const struct balancer_ops strategy_weighted_random = {
    .name = "weighted_random", .start = start, .stop = stop, .pick = pick, .score = score};
