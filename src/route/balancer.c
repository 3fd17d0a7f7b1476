#include "route/balancer.h"

#include <string.h>

static int64_t slots_of(const struct registry_worker *worker) {
    int64_t slots = 0;
    for (size_t i = 0; i < worker->info.model_count; i++)
        slots += worker->info.models[i].slots;
    return slots > 0 ? slots : 1;
}

/* Compares leases/slots as fractions, without dividing. A worker that runs nothing beats any that does. */
static int compare_load(const struct registry_worker *a, const struct registry_worker *b) {
    int64_t left = a->leases * slots_of(b);
    int64_t right = b->leases * slots_of(a);
    return (left > right) - (left < right);
}

static size_t pick_least_requests(struct balancer *balancer, struct registry_worker *const *candidates,
                                  size_t count) {
    size_t best = 0;
    uint64_t equals = 1;
    for (size_t i = 1; i < count; i++) {
        int order = compare_load(candidates[i], candidates[best]);
        if (order < 0) {
            best = i;
            equals = 1;
        } else if (order == 0 && rng_below(&balancer->rng, ++equals) == 0) {
            best = i; /* reservoir of one: each of the equals is as likely */
        }
    }
    return best;
}

const struct balancer_ops balancer_least_requests = {"least_requests", pick_least_requests};

static const struct balancer_ops *const strategies[] = {&balancer_least_requests};

bool balancer_init(struct balancer *balancer, const char *strategy, uint64_t seed) {
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++) {
        if (strcmp(strategies[i]->name, strategy) != 0)
            continue;
        balancer->ops = strategies[i];
        rng_seed(&balancer->rng, seed);
        return true;
    }
    return false;
}
