#include "route/breaker.h"

#include <assert.h>
#include <string.h>

/* Wide enough for any two times. */
static uint64_t elapsed_ms(int64_t now_ms, int64_t since_ms) {
    return now_ms > since_ms ? (uint64_t)now_ms - (uint64_t)since_ms : 0;
}

static bool open_time_is_over(const struct breaker *breaker, int64_t now_ms) {
    return elapsed_ms(now_ms, breaker->opened_ms) >= (uint64_t)breaker->open_ms;
}

/* The only place where the state changes, so that nothing of the old one is left over. */
static void become(struct breaker *breaker, enum breaker_state state) {
    breaker->state = state;
    breaker->generation++;
    breaker->unproven = false;
    breaker->probe = 0;
    breaker->probes_passed = 0;
    memset(breaker->failures_in_row, 0, sizeof(breaker->failures_in_row));
}

static void become_closed(struct breaker *breaker, bool slow_start, int64_t now_ms) {
    become(breaker, BREAKER_CLOSED);
    breaker->closed_ms = now_ms;
    breaker->slow_start = slow_start;
    memset(breaker->window, 0, sizeof(breaker->window));
    breaker->newest = 0;
    breaker->newest_begin_ms = now_ms;
}

static int64_t open_limit_ms(const struct breaker_config *config) {
    return config->timeout_ms > BREAKER_OPEN_MAX_MS ? config->timeout_ms : BREAKER_OPEN_MAX_MS;
}

/* T of the header, for k >= 1. */
static int64_t open_ceiling_ms(const struct breaker_config *config, int64_t k) {
    int64_t ceiling = config->timeout_ms;
    for (int64_t i = 1; i < k && ceiling < open_limit_ms(config); i++)
        ceiling *= 2;
    return ceiling < open_limit_ms(config) ? ceiling : open_limit_ms(config);
}

static void become_open(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms,
                        struct rng *rng) {
    if (breaker->state == BREAKER_CLOSED) {
        uint64_t decay = elapsed_ms(now_ms, breaker->closed_ms) / BREAKER_DECAY_MS;
        breaker->openings = (uint64_t)breaker->openings > decay ? breaker->openings - (int64_t)decay : 0;
    }
    /* Counting on at the limit would change no time, only put off the decay. */
    if (breaker->openings == 0 || open_ceiling_ms(config, breaker->openings) < open_limit_ms(config))
        breaker->openings++;
    int64_t ceiling = open_ceiling_ms(config, breaker->openings);
    become(breaker, BREAKER_OPEN);
    breaker->opened++;
    breaker->opened_ms = now_ms;
    breaker->open_ms = ceiling - (int64_t)rng_below(rng, (uint64_t)(ceiling / 2) + 1);
}

void breaker_init(struct breaker *breaker, int64_t now_ms) {
    *breaker = (struct breaker){0};
    become_closed(breaker, false, now_ms);
}

void breaker_restart(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms) {
    struct breaker old = *breaker;
    breaker_init(breaker, now_ms);
    breaker->generation = old.generation;
    breaker->probes = old.probes;
    breaker_keep_stamps(breaker, &old);
    if (old.state == BREAKER_FORCED_OPEN || old.state == BREAKER_FORCED_CLOSED) {
        become(breaker, old.state);
    } else if (!config->enabled) {
        become_closed(breaker, false, now_ms);
    } else {
        become(breaker, BREAKER_HALF_OPEN);
        breaker->unproven = true;
    }
}

enum breaker_answer breaker_peek(const struct breaker *breaker, int64_t now_ms) {
    switch (breaker->state) {
    case BREAKER_CLOSED:
    case BREAKER_FORCED_CLOSED:
        return BREAKER_ALLOWED;
    case BREAKER_OPEN:
        return open_time_is_over(breaker, now_ms) ? BREAKER_PROBE : BREAKER_WAIT;
    case BREAKER_HALF_OPEN:
        if (!breaker->probe)
            return BREAKER_PROBE;
        return breaker->unproven ? BREAKER_UNPROVEN : BREAKER_PROBING;
    case BREAKER_FORCED_OPEN:
        break;
    }
    return BREAKER_FORBIDDEN;
}

bool breaker_may_use(enum breaker_answer answer, bool panic) {
    switch (answer) {
    case BREAKER_ALLOWED:
    case BREAKER_PROBE:
        return true;
    case BREAKER_WAIT:
    case BREAKER_UNPROVEN:
        return panic;
    case BREAKER_PROBING:
    case BREAKER_FORBIDDEN:
        break;
    }
    return false;
}

bool breaker_is_ejected(const struct breaker *breaker) {
    return breaker->state == BREAKER_OPEN || breaker->state == BREAKER_HALF_OPEN;
}

bool breaker_panic(size_t ejected, size_t live) {
    return ejected > live / 2;
}

static bool fail_probe(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms,
                       struct rng *rng) {
    if (open_time_is_over(breaker, now_ms))
        become_open(breaker, config, now_ms, rng);
    else
        become(breaker, BREAKER_OPEN);
    return true;
}

/* What time alone does. Every call that may change something begins with it, so that what happens does not
 * depend on how often breaker_tick is called. */
static bool settle(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms,
                   struct rng *rng) {
    if (breaker->state == BREAKER_OPEN && open_time_is_over(breaker, now_ms)) {
        become(breaker, BREAKER_HALF_OPEN);
        return true;
    }
    if (!breaker->probe || elapsed_ms(now_ms, breaker->lease_begin_ms) < (uint64_t)breaker->lease_ms)
        return false;
    breaker->leases_expired++;
    breaker->last_failure = STATUS_WORKER_TIMEOUT;
    breaker->last_failure_ms = now_ms;
    return fail_probe(breaker, config, now_ms, rng);
}

bool breaker_acquire(struct breaker *breaker, const struct breaker_config *config, bool panic, int64_t now_ms,
                     struct rng *rng, struct breaker_ticket *ticket) {
    *ticket = (struct breaker_ticket){0};
    settle(breaker, config, now_ms, rng);
    enum breaker_answer answer = breaker_peek(breaker, now_ms);
    if (!breaker_may_use(answer, panic))
        return false;
    if (answer == BREAKER_WAIT)
        become(breaker, BREAKER_HALF_OPEN);
    if (answer == BREAKER_WAIT || answer == BREAKER_PROBE) {
        breaker->probe = ++breaker->probes;
        breaker->lease_begin_ms = now_ms;
        breaker->lease_ms = config->probe_lease_ms;
        ticket->probe = breaker->probe;
    }
    ticket->generation = breaker->generation;
    return true;
}

static bool is_current_probe(const struct breaker *breaker, const struct breaker_ticket *ticket) {
    return ticket->probe && ticket->probe == breaker->probe && ticket->generation == breaker->generation;
}

void breaker_renew(struct breaker *breaker, const struct breaker_ticket *ticket, int64_t lease_ms,
                   int64_t now_ms) {
    if (!is_current_probe(breaker, ticket) ||
        elapsed_ms(now_ms, breaker->lease_begin_ms) >= (uint64_t)breaker->lease_ms)
        return;
    breaker->lease_begin_ms = now_ms;
    breaker->lease_ms = lease_ms;
}

static void turn_window(struct breaker *breaker, int64_t now_ms) {
    uint64_t elapsed = elapsed_ms(now_ms, breaker->newest_begin_ms);
    uint64_t turns = elapsed / BREAKER_BUCKET_MS;
    if (turns == 0)
        return;
    for (uint64_t i = 0; i < turns && i < BREAKER_BUCKETS; i++) {
        breaker->newest = (breaker->newest + 1) % BREAKER_BUCKETS;
        memset(breaker->window[breaker->newest], 0, sizeof(breaker->window[breaker->newest]));
    }
    breaker->newest_begin_ms = now_ms - (int64_t)(elapsed % BREAKER_BUCKET_MS);
}

static void count_good(struct breaker *breaker, enum breaker_phase phase, int64_t now_ms) {
    turn_window(breaker, now_ms);
    breaker->window[breaker->newest][phase].good++;
    breaker->failures_in_row[BREAKER_START] = 0;
    if (phase == BREAKER_STREAM)
        breaker->failures_in_row[BREAKER_STREAM] = 0;
}

static void count_bad(struct breaker *breaker, enum breaker_phase phase, int64_t now_ms) {
    turn_window(breaker, now_ms);
    breaker->window[breaker->newest][phase].bad++;
    breaker->failures_in_row[phase]++;
}

static bool window_is_bad(const struct breaker *breaker, enum breaker_phase phase) {
    uint64_t good = 0, bad = 0;
    for (size_t i = 0; i < BREAKER_BUCKETS; i++) {
        good += breaker->window[i][phase].good;
        bad += breaker->window[i][phase].bad;
    }
    return good + bad >= BREAKER_WINDOW_MIN && bad * 100 >= (good + bad) * BREAKER_WINDOW_PERCENT;
}

int64_t breaker_failures_in_row(const struct breaker *breaker) {
    return breaker->failures_in_row[BREAKER_START] + breaker->failures_in_row[BREAKER_STREAM];
}

/* The ticket is of this generation in these four. */

static bool start_succeeded(struct breaker *breaker, const struct breaker_config *config,
                            const struct breaker_ticket *ticket, int64_t now_ms) {
    if (breaker->state == BREAKER_CLOSED)
        count_good(breaker, BREAKER_START, now_ms);
    if (breaker->state != BREAKER_HALF_OPEN)
        return false;
    if (is_current_probe(breaker, ticket))
        breaker->probe = 0;
    if (++breaker->probes_passed < config->success_threshold)
        return false;
    become_closed(breaker, true, now_ms);
    return true;
}

static bool job_succeeded(struct breaker *breaker, const struct breaker_config *config,
                          const struct breaker_ticket *ticket, int64_t now_ms) {
    if (!ticket->started && start_succeeded(breaker, config, ticket, now_ms))
        return true;
    if (breaker->state == BREAKER_CLOSED)
        count_good(breaker, BREAKER_STREAM, now_ms);
    return false;
}

static bool job_failed(struct breaker *breaker, const struct breaker_config *config,
                       const struct breaker_ticket *ticket, int64_t now_ms, struct rng *rng) {
    if (breaker->state == BREAKER_HALF_OPEN)
        return fail_probe(breaker, config, now_ms, rng);
    if (breaker->state != BREAKER_CLOSED)
        return false;
    enum breaker_phase phase = ticket->started ? BREAKER_STREAM : BREAKER_START;
    count_bad(breaker, phase, now_ms);
    if (!config->enabled ||
        (breaker_failures_in_row(breaker) < config->failure_threshold && !window_is_bad(breaker, phase)))
        return false;
    become_open(breaker, config, now_ms, rng);
    return true;
}

static bool job_told_nothing(struct breaker *breaker, const struct breaker_ticket *ticket, int64_t now_ms) {
    if (!is_current_probe(breaker, ticket))
        return false;
    breaker->probe = 0;
    /* A probe before its time, which panic allowed, has not earned the worker the next one. */
    if (breaker->probes_passed > 0 || open_time_is_over(breaker, now_ms))
        return false;
    become(breaker, BREAKER_OPEN);
    return true;
}

bool breaker_first_token(struct breaker *breaker, const struct breaker_config *config,
                         struct breaker_ticket *ticket, int64_t now_ms, struct rng *rng) {
    bool changed = settle(breaker, config, now_ms, rng);
    if (!ticket->generation || ticket->started)
        return changed;
    ticket->started = true;
    if (ticket->generation != breaker->generation)
        return changed;
    return start_succeeded(breaker, config, ticket, now_ms);
}

static bool end_ticket(struct breaker *breaker, const struct breaker_config *config,
                       struct breaker_ticket *ticket, enum outcome outcome, int64_t now_ms, struct rng *rng) {
    bool changed = settle(breaker, config, now_ms, rng);
    struct breaker_ticket ended = *ticket;
    *ticket = (struct breaker_ticket){0};
    if (!ended.generation)
        return changed;
    breaker->outcomes[outcome]++;
    if (ended.generation != breaker->generation) {
        breaker->late++;
        return changed;
    }
    switch (outcome) {
    case OUTCOME_SUCCESS:
        return job_succeeded(breaker, config, &ended, now_ms);
    case OUTCOME_WORKER_FAILURE:
    case OUTCOME_MODEL_FAILURE:
        return job_failed(breaker, config, &ended, now_ms, rng);
    case OUTCOME_NEUTRAL:
        break;
    }
    return job_told_nothing(breaker, &ended, now_ms);
}

bool breaker_report(struct breaker *breaker, const struct breaker_config *config,
                    struct breaker_ticket *ticket, enum status status, int64_t now_ms, struct rng *rng) {
    bool counts = ticket->generation && status_is_failure(status);
    bool changed = end_ticket(breaker, config, ticket, status_outcome(status), now_ms, rng);
    if (counts) {
        breaker->last_failure = status;
        breaker->last_failure_ms = now_ms;
    }
    return changed;
}

bool breaker_give_back(struct breaker *breaker, const struct breaker_config *config,
                       struct breaker_ticket *ticket, int64_t now_ms, struct rng *rng) {
    return end_ticket(breaker, config, ticket, OUTCOME_NEUTRAL, now_ms, rng);
}

bool breaker_tick(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms,
                  struct rng *rng) {
    return settle(breaker, config, now_ms, rng);
}

void breaker_force(struct breaker *breaker, enum breaker_state state) {
    assert(state == BREAKER_FORCED_OPEN || state == BREAKER_FORCED_CLOSED);
    become(breaker, state);
}

void breaker_reset(struct breaker *breaker, int64_t now_ms) {
    become_closed(breaker, false, now_ms);
    breaker->openings = 0;
}

void breaker_keep_stamps(struct breaker *breaker, const struct breaker *old) {
    breaker->operator_stamp = old->operator_stamp;
    breaker->stamp = old->stamp;
}

void breaker_open_until(struct breaker *breaker, int64_t remaining_ms, int64_t now_ms) {
    if (breaker->state != BREAKER_OPEN) {
        become(breaker, BREAKER_OPEN);
        breaker->opened++;
    }
    breaker->opened_ms = now_ms;
    breaker->open_ms = remaining_ms;
}

void breaker_become(struct breaker *breaker, enum breaker_state state, bool slow_start, int64_t now_ms) {
    if (state == BREAKER_CLOSED)
        become_closed(breaker, slow_start, now_ms);
    else
        become(breaker, state);
}

int64_t breaker_share(const struct breaker *breaker, int64_t now_ms) {
    if (breaker->state == BREAKER_FORCED_CLOSED)
        return 100;
    if (breaker->state != BREAKER_CLOSED)
        return BREAKER_SHARE_MIN;
    uint64_t closed_ms = elapsed_ms(now_ms, breaker->closed_ms);
    if (!breaker->slow_start || closed_ms >= BREAKER_SLOW_START_MS)
        return 100;
    return BREAKER_SHARE_MIN + (100 - BREAKER_SHARE_MIN) * (int64_t)closed_ms / BREAKER_SLOW_START_MS;
}

int64_t breaker_remaining_ms(const struct breaker *breaker, int64_t now_ms) {
    if (breaker->state != BREAKER_OPEN || open_time_is_over(breaker, now_ms))
        return 0;
    return breaker->open_ms - (int64_t)elapsed_ms(now_ms, breaker->opened_ms);
}

const char *breaker_state_name(enum breaker_state state) {
    switch (state) {
    case BREAKER_CLOSED:
        return "CLOSED";
    case BREAKER_OPEN:
        return "OPEN";
    case BREAKER_HALF_OPEN:
        return "HALF_OPEN";
    case BREAKER_FORCED_OPEN:
        return "FORCED_OPEN";
    case BREAKER_FORCED_CLOSED:
        break;
    }
    return "FORCED_CLOSED";
}

bool breaker_state_from_name(const char *name, enum breaker_state *state) {
    for (int i = BREAKER_CLOSED; i <= BREAKER_FORCED_CLOSED; i++) {
        if (strcmp(breaker_state_name((enum breaker_state)i), name) != 0)
            continue;
        *state = (enum breaker_state)i;
        return true;
    }
    return false;
}
