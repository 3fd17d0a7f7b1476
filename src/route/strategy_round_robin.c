/* round_robin: the worker whose last turn is longest ago. That is going around in a circle when the
 * candidates stay the same, and stays fair when they change from request to request because models are served
 * by different workers: a position in a list would not. */
#include <stdlib.h>

#include "route/strategy.h"

struct turn {
    uint64_t generation; /* a new process has had none */
    uint64_t number;
};

struct round_robin {
    uint64_t turns;
    struct turn last[REGISTRY_WORKERS_MAX]; /* by seat */
};

static bool start(struct balancer *balancer) {
    balancer->state = calloc(1, sizeof(struct round_robin));
    return balancer->state != NULL;
}

static void stop(struct balancer *balancer) {
    free(balancer->state);
}

/* 0: never. */
static uint64_t last_turn(const struct round_robin *state, const struct worker_gauge *worker) {
    const struct turn *turn = &state->last[worker->seat];
    return turn->generation == worker->generation ? turn->number : 0;
}

static double turns_ago(const struct round_robin *state, uint64_t turn) {
    return turn ? (double)(state->turns - turn) : 0;
}

static size_t pick(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score) {
    (void)request;
    const struct round_robin *state = balancer->state;
    size_t best = 0;
    uint64_t oldest = last_turn(state, candidates[0].gauge);
    for (size_t i = 1; i < count && oldest > 0; i++) {
        uint64_t turn = last_turn(state, candidates[i].gauge);
        if (turn < oldest) {
            oldest = turn;
            best = i;
        }
    }
    *score = turns_ago(state, oldest);
    return best;
}

static void score(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores) {
    (void)request, (void)count;
    const struct round_robin *state = balancer->state;
    for (size_t i = 0; i < asked_count; i++)
        scores[i] = turns_ago(state, last_turn(state, candidates[asked[i]].gauge));
}

static void sent(struct balancer *balancer, const struct route_request *request,
                 const struct registry_worker *worker) {
    (void)request;
    struct round_robin *state = balancer->state;
    state->last[worker->gauge->seat] = (struct turn){worker->generation, ++state->turns};
}

const struct balancer_ops strategy_round_robin = {
    .name = "round_robin", .start = start, .stop = stop, .pick = pick, .score = score, .sent = sent};
