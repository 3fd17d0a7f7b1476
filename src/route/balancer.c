#include "route/balancer.h"

#include <string.h>

#include "route/strategy.h"

enum { BYTES_PER_TOKEN = 3 }; /* of JSON; more tokens than most prompts have */

int64_t route_tokens_estimate(const struct route_request *request) {
    return (int64_t)(request->prompt_len / BYTES_PER_TOKEN) + request->max_tokens;
}

static const struct balancer_ops *const strategies[] = {
    &strategy_round_robin,  &strategy_least_requests, &strategy_weighted_random,
    &strategy_skills_based, &strategy_smart,          &strategy_prefix_aware,
};

bool balancer_init(struct balancer *balancer, const char *strategy, uint64_t seed) {
    *balancer = (struct balancer){0};
    rng_seed(&balancer->rng, seed);
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
        if (strcmp(strategies[i]->name, strategy) == 0)
            balancer->ops = strategies[i];
    if (balancer->ops && (!balancer->ops->start || balancer->ops->start(balancer)))
        return true;
    *balancer = (struct balancer){0};
    return false;
}

void balancer_release(struct balancer *balancer) {
    if (!balancer)
        return;
    if (balancer->ops && balancer->ops->stop)
        balancer->ops->stop(balancer);
    weights_release(&balancer->weights);
    *balancer = (struct balancer){0};
}

bool balancer_add_weight(struct balancer *balancer, const char *pattern, uint32_t thousandths) {
    return weights_add(&balancer->weights, pattern, thousandths);
}

void balancer_note_sent(struct balancer *balancer, const struct route_request *request,
                        const struct registry_worker *worker) {
    if (balancer->ops->sent)
        balancer->ops->sent(balancer, request, worker);
}

void balancer_note_told(struct balancer *balancer, const struct prefix_news *news,
                        const struct registry_worker *worker) {
    if (balancer->ops->told)
        balancer->ops->told(balancer, news, worker);
}
