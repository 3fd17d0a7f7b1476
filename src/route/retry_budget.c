#include "route/retry_budget.h"

#include <assert.h>

enum { CENTS = 100 }; /* in one retry: a request deposits `percent` of them */

const struct retry_budget_config retry_budget_default = {.percent = 20, .floor_per_s = 2, .ttl_ms = 10000};

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void deposit(struct retry_budget *budget, int64_t cents) {
    int64_t room = (int64_t)RETRY_BUDGET_HELD_MAX * CENTS - budget->held_cents;
    int64_t taken = smaller(cents, room);
    budget->cents[budget->newest] += taken;
    budget->held_cents += taken;
}

/* The oldest slice lapses and becomes the newest, which begins with its share of the floor. */
static void turn(struct retry_budget *budget) {
    budget->newest = (budget->newest + 1) % RETRY_BUDGET_SLICES;
    budget->held_cents -= budget->cents[budget->newest];
    budget->cents[budget->newest] = 0;
    deposit(budget, budget->config.floor_per_s * CENTS * budget->slice_ms / 1000);
}

static void advance(struct retry_budget *budget, int64_t now_ms) {
    if (now_ms <= budget->slice_begin_ms)
        return;
    uint64_t elapsed_ms = (uint64_t)now_ms - (uint64_t)budget->slice_begin_ms;
    uint64_t turns = elapsed_ms / (uint64_t)budget->slice_ms;
    for (uint64_t i = 0; i < turns && i < RETRY_BUDGET_SLICES; i++)
        turn(budget);
    budget->slice_begin_ms = now_ms - (int64_t)(elapsed_ms % (uint64_t)budget->slice_ms);
}

void retry_budget_init(struct retry_budget *budget, const struct retry_budget_config *config,
                       int64_t now_ms) {
    assert(config->percent >= 0 && config->percent <= 100);
    assert(config->floor_per_s >= 0 && config->floor_per_s <= 100);
    assert(config->ttl_ms >= 1000 && config->ttl_ms <= 600000);
    *budget = (struct retry_budget){
        .config = *config, .slice_ms = config->ttl_ms / RETRY_BUDGET_SLICES, .slice_begin_ms = now_ms};
    turn(budget);
}

void retry_budget_request(struct retry_budget *budget, int64_t now_ms) {
    advance(budget, now_ms);
    budget->requests++;
    deposit(budget, budget->config.percent);
}

/* What lapses first is spent first. */
static void spend(struct retry_budget *budget, int64_t cents) {
    budget->held_cents -= cents;
    for (size_t i = 1; cents > 0; i++) {
        int64_t *slice = &budget->cents[(budget->newest + i) % RETRY_BUDGET_SLICES];
        int64_t part = smaller(*slice, cents);
        *slice -= part;
        cents -= part;
    }
}

bool retry_budget_withdraw(struct retry_budget *budget, int64_t now_ms) {
    advance(budget, now_ms);
    if (budget->held_cents < CENTS) {
        budget->suppressed++;
        return false;
    }
    spend(budget, CENTS);
    budget->granted++;
    return true;
}

int64_t retry_budget_held(struct retry_budget *budget, int64_t now_ms) {
    advance(budget, now_ms);
    return budget->held_cents / CENTS;
}
