/* smart: the shortest expected time.
 *
 *     work     = reply tokens + prompt tokens / 8          a prompt token costs about an eighth of a new one
 *     load     = our leases + jobs of other controllers at the last heartbeat
 *     decode   = work / pace * slowdown(load + 1, slots)   the pace is measured, see route/pace.h
 *     rounds   = 1 + max(0, load + 1 - slots) / slots      jobs that must end before a slot is free
 *     memory   = 1 + max(0, 1 - 4 * free share of the KV cells)
 *     expected = decode * rounds * memory                  seconds
 *
 * Memory counts from three quarters full on, up to twice the time. A worker whose pace is unknown is taken to
 * be as fast as the fastest candidate, so that new ones get tried. Equals are chosen from by chance. */
#include "route/strategy.h"

enum { PROMPT_TOKENS_PER_WORK = 8, REPLY_TOKENS_GUESS = 256, FREE_SHARES = 4 };

static double work_of(const struct route_request *request) {
    int32_t reply = request->max_tokens > 0 ? request->max_tokens : REPLY_TOKENS_GUESS;
    double prompt = (double)(route_tokens_estimate(request) - request->max_tokens);
    return reply + prompt / PROMPT_TOKENS_PER_WORK;
}

static double fastest_pace(const struct route_candidate *candidates, size_t count) {
    double fastest = 0;
    for (size_t i = 0; i < count; i++) {
        double pace = candidates[i].gauge->pace;
        fastest = pace > fastest ? pace : fastest;
    }
    return fastest > 0 ? fastest : 1;
}

static double memory_factor(double used) {
    double short_of = 1 - FREE_SHARES * (1 - used);
    return short_of > 0 ? 1 + short_of : 1;
}

static double expected_s(const struct worker_gauge *worker, double work, double unknown_pace) {
    double pace = worker->pace > 0 ? worker->pace : unknown_pace;
    double slots = worker->slots;
    double jobs = (double)worker->leases + worker->others + 1;
    double rounds = jobs > slots ? 1 + (jobs - slots) / slots : 1;
    return work / pace * pace_slowdown(jobs, slots) * rounds * memory_factor(worker->kv_used);
}

static size_t pick(struct balancer *balancer, const struct route_request *request,
                   const struct route_candidate *candidates, size_t count, double *score) {
    double unknown_pace = fastest_pace(candidates, count);
    double work = work_of(request);
    size_t best = 0;
    uint64_t equals = 0;
    for (size_t i = 0; i < count; i++) {
        double expected = expected_s(candidates[i].gauge, work, unknown_pace);
        if (equals > 0 && expected > *score)
            continue;
        equals = equals > 0 && expected >= *score ? equals + 1 : 1;
        *score = expected;
        if (equals == 1 || rng_below(&balancer->rng, equals) == 0)
            best = i;
    }
    return best;
}

static void score(struct balancer *balancer, const struct route_request *request,
                  const struct route_candidate *candidates, size_t count, const size_t *asked,
                  size_t asked_count, double *scores) {
    (void)balancer;
    double unknown_pace = fastest_pace(candidates, count);
    double work = work_of(request);
    for (size_t i = 0; i < asked_count; i++)
        scores[i] = expected_s(candidates[asked[i]].gauge, work, unknown_pace);
}

const struct balancer_ops strategy_smart = {.name = "smart", .pick = pick, .score = score};
