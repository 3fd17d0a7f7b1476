/* A breaker with its clock and dice, and what happens to it. After <cmocka.h>. */
#pragma once

#include "route/breaker.h"

static const struct breaker_config config = {.enabled = true,
                                             .failure_threshold = 5,
                                             .success_threshold = 2,
                                             .timeout_ms = 30000,
                                             .probe_lease_ms = 7000};

struct bench {
    struct breaker breaker;
    struct breaker_config config;
    struct rng rng;
    int64_t now_ms;
};

static inline struct bench new_bench(void) {
    struct bench bench = {.config = config, .now_ms = 1000000};
    rng_seed(&bench.rng, 11);
    breaker_init(&bench.breaker, bench.now_ms);
    return bench;
}

static inline struct breaker_ticket acquire(struct bench *bench) {
    struct breaker_ticket ticket;
    assert_true(breaker_acquire(&bench->breaker, &bench->config, false, bench->now_ms, &bench->rng, &ticket));
    return ticket;
}

static inline bool can_acquire(const struct bench *bench, bool panic) {
    struct bench copy = *bench;
    struct breaker_ticket ticket;
    return breaker_acquire(&copy.breaker, &copy.config, panic, copy.now_ms, &copy.rng, &ticket);
}

static inline struct breaker_ticket acquire_in_panic(struct bench *bench) {
    struct breaker_ticket ticket;
    assert_true(breaker_acquire(&bench->breaker, &bench->config, true, bench->now_ms, &bench->rng, &ticket));
    return ticket;
}

static inline bool first_token(struct bench *bench, struct breaker_ticket *ticket) {
    return breaker_first_token(&bench->breaker, &bench->config, ticket, bench->now_ms, &bench->rng);
}

static inline bool report(struct bench *bench, struct breaker_ticket *ticket, enum status status) {
    return breaker_report(&bench->breaker, &bench->config, ticket, status, bench->now_ms, &bench->rng);
}

/* A whole job. */
static inline void run(struct bench *bench, enum status status) {
    struct breaker_ticket ticket = acquire(bench);
    report(bench, &ticket, status);
}

static inline void run_broken_stream(struct bench *bench) {
    struct breaker_ticket ticket = acquire(bench);
    first_token(bench, &ticket);
    report(bench, &ticket, STATUS_WORKER_TIMEOUT);
}

static inline bool tick(struct bench *bench) {
    return breaker_tick(&bench->breaker, &bench->config, bench->now_ms, &bench->rng);
}

static inline void open(struct bench *bench) {
    for (int64_t i = 0; i < config.failure_threshold; i++)
        run(bench, STATUS_ENGINE_ERROR);
    assert_int_equal(bench->breaker.state, BREAKER_OPEN);
}

static inline void wait_out(struct bench *bench) {
    bench->now_ms += breaker_remaining_ms(&bench->breaker, bench->now_ms);
}

static inline void half_open(struct bench *bench) {
    open(bench);
    wait_out(bench);
    assert_true(tick(bench));
    assert_int_equal(bench->breaker.state, BREAKER_HALF_OPEN);
}

static inline enum breaker_answer peek(const struct bench *bench) {
    return breaker_peek(&bench->breaker, bench->now_ms);
}
