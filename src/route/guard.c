#include "route/guard.h"

static int strictness(enum breaker_answer answer) {
    switch (answer) {
    case BREAKER_ALLOWED:
        return 0;
    case BREAKER_PROBE:
        return 1;
    case BREAKER_UNPROVEN:
        return 2;
    case BREAKER_WAIT:
        return 3;
    case BREAKER_PROBING:
        return 4;
    case BREAKER_FORBIDDEN:
        break;
    }
    return 5;
}

enum breaker_answer guard_peek(const struct guard *guard, int64_t now_ms) {
    enum breaker_answer of_worker = breaker_peek(guard->worker, now_ms);
    enum breaker_answer of_model = guard->model ? breaker_peek(guard->model, now_ms) : BREAKER_ALLOWED;
    return strictness(of_worker) >= strictness(of_model) ? of_worker : of_model;
}

bool guard_is_ejected(const struct guard *guard) {
    return breaker_is_ejected(guard->worker) || (guard->model && breaker_is_ejected(guard->model));
}

int64_t guard_remaining_ms(const struct guard *guard, int64_t now_ms) {
    int64_t of_worker = breaker_remaining_ms(guard->worker, now_ms);
    int64_t of_model = guard->model ? breaker_remaining_ms(guard->model, now_ms) : 0;
    return of_worker > of_model ? of_worker : of_model;
}

/* Both settle before either is asked, so that what they answer then still holds when they are acquired. */
bool guard_acquire(const struct guard *guard, const struct breaker_config *config, bool panic, int64_t now_ms,
                   struct rng *rng, struct guard_ticket *ticket) {
    *ticket = (struct guard_ticket){0};
    breaker_tick(guard->worker, config, now_ms, rng);
    if (guard->model)
        breaker_tick(guard->model, config, now_ms, rng);
    return breaker_may_use(guard_peek(guard, now_ms), panic) &&
           breaker_acquire(guard->worker, config, panic, now_ms, rng, &ticket->worker) &&
           (!guard->model || breaker_acquire(guard->model, config, panic, now_ms, rng, &ticket->model));
}

void guard_renew(const struct guard *guard, const struct guard_ticket *ticket, int64_t lease_ms,
                 int64_t now_ms) {
    breaker_renew(guard->worker, &ticket->worker, lease_ms, now_ms);
    if (guard->model)
        breaker_renew(guard->model, &ticket->model, lease_ms, now_ms);
}

void guard_first_token(const struct guard *guard, const struct breaker_config *config,
                       struct guard_ticket *ticket, int64_t now_ms, struct rng *rng) {
    breaker_first_token(guard->worker, config, &ticket->worker, now_ms, rng);
    if (guard->model)
        breaker_first_token(guard->model, config, &ticket->model, now_ms, rng);
}

static void end(struct breaker *breaker, const struct breaker_config *config, struct breaker_ticket *ticket,
                enum status status, bool concerned, int64_t now_ms, struct rng *rng) {
    if (concerned)
        breaker_report(breaker, config, ticket, status, now_ms, rng);
    else
        breaker_give_back(breaker, config, ticket, now_ms, rng);
}

void guard_report(const struct guard *guard, const struct breaker_config *config, struct guard_ticket *ticket,
                  enum status status, int64_t now_ms, struct rng *rng) {
    enum outcome outcome = status_outcome(status);
    end(guard->worker, config, &ticket->worker, status, outcome != OUTCOME_MODEL_FAILURE, now_ms, rng);
    if (guard->model)
        end(guard->model, config, &ticket->model, status, outcome != OUTCOME_WORKER_FAILURE, now_ms, rng);
    *ticket = (struct guard_ticket){0};
}
