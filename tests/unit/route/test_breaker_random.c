/* Properties of a breaker over random lives: jobs that overlap, restarts, the operator, a clock that leaps
 * and falls back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_bench.h"

enum { JOBS = 12, STEPS = 400, SEEDS = 500 };

static const int64_t leaps_ms[] = {0, 1, 50, 700, 3000, 7000, 20000, 65000, INT64_C(1) << 41, -5000};
static const enum status ends[] = {STATUS_OK, STATUS_OK, STATUS_WORKER_TIMEOUT, STATUS_ENGINE_ERROR,
                                   STATUS_CANCELLED};

struct life {
    struct bench bench;
    struct rng dice;
    struct breaker_ticket jobs[JOBS];
};

static size_t probes_under_way(const struct life *life) {
    size_t count = 0;
    for (size_t i = 0; i < JOBS; i++)
        if (life->jobs[i].probe && !life->jobs[i].started &&
            life->jobs[i].generation == life->bench.breaker.generation)
            count++;
    return count;
}

static void acquire_as_peeked(struct life *life, struct breaker_ticket *job) {
    struct bench *bench = &life->bench;
    bool panic = rng_below(&life->dice, 4) == 0;
    struct breaker before = bench->breaker;
    enum breaker_answer answer = peek(bench);
    (void)breaker_share(&bench->breaker, bench->now_ms);
    (void)breaker_remaining_ms(&bench->breaker, bench->now_ms);
    assert_memory_equal(&before, &bench->breaker, sizeof(before));
    bool granted = breaker_acquire(&bench->breaker, &bench->config, panic, bench->now_ms, &bench->rng, job);
    if (breaker_may_use(answer, panic))
        assert_true(granted);
    assert_int_equal(granted, job->generation != 0);
}

/* What is late changes statistics only; `changed` tells of every change there is. */
static void end_job(struct life *life, struct breaker_ticket *job, enum status status) {
    struct bench *bench = &life->bench;
    tick(bench);
    struct breaker before = bench->breaker;
    bool late = job->generation != before.generation;
    bool changed = report(bench, job, status);
    assert_int_equal(changed, before.generation != bench->breaker.generation);
    if (!late)
        return;
    memcpy(bench->breaker.outcomes, before.outcomes, sizeof(before.outcomes));
    bench->breaker.late = before.late;
    bench->breaker.last_failure = before.last_failure;
    bench->breaker.last_failure_ms = before.last_failure_ms;
    assert_memory_equal(&before, &bench->breaker, sizeof(before));
}

static void live_a_step(struct life *life) {
    struct bench *bench = &life->bench;
    struct breaker_ticket *job = &life->jobs[rng_below(&life->dice, JOBS)];
    switch (rng_below(&life->dice, 40)) {
    case 0:
        breaker_restart(&bench->breaker, &bench->config, bench->now_ms);
        break;
    case 1:
        breaker_force(&bench->breaker,
                      rng_below(&life->dice, 2) ? BREAKER_FORCED_OPEN : BREAKER_FORCED_CLOSED);
        break;
    case 2:
    case 3:
        breaker_reset(&bench->breaker, bench->now_ms);
        break;
    case 4:
        tick(bench);
        break;
    case 5:
        breaker_renew(&bench->breaker, job, 1 + (int64_t)rng_below(&life->dice, 30000), bench->now_ms);
        break;
    default:
        if (!job->generation)
            acquire_as_peeked(life, job);
        else if (rng_below(&life->dice, 2))
            first_token(bench, job);
        else
            end_job(life, job, ends[rng_below(&life->dice, sizeof(ends) / sizeof(ends[0]))]);
    }
    if (rng_below(&life->dice, 3) == 0)
        bench->now_ms += leaps_ms[rng_below(&life->dice, sizeof(leaps_ms) / sizeof(leaps_ms[0]))];
}

static void whatever_happens_one_probe_at_most_and_late_results_change_nothing(void **state) {
    (void)state;
    size_t visits[BREAKER_FORCED_CLOSED + 1] = {0}, probes = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct life life = {.bench = new_bench()};
        rng_seed(&life.dice, seed);
        for (int step = 0; step < STEPS; step++) {
            live_a_step(&life);
            const struct breaker *breaker = &life.bench.breaker;
            visits[breaker->state]++;
            size_t under_way = probes_under_way(&life);
            probes += under_way;
            assert_true(under_way <= 1);
            assert_int_equal(under_way, breaker->probe != 0);
            assert_true(!breaker->probe || breaker->state == BREAKER_HALF_OPEN);
            assert_in_range(breaker->openings, 0, 5);
            assert_in_range(breaker->open_ms, 0, BREAKER_OPEN_MAX_MS);
            assert_in_range(breaker_share(breaker, life.bench.now_ms), BREAKER_SHARE_MIN, 100);
        }
    }
    assert_true(probes > 0);
    for (size_t i = 0; i < sizeof(visits) / sizeof(visits[0]); i++)
        assert_true(visits[i] > 1000);
}

static void a_well_worker_is_always_closed_again_in_the_end(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct life life = {.bench = new_bench()};
        rng_seed(&life.dice, seed);
        for (int step = 0; step < STEPS; step++)
            live_a_step(&life);
        struct bench *bench = &life.bench;
        if (peek(bench) == BREAKER_FORBIDDEN || bench->breaker.state == BREAKER_FORCED_CLOSED)
            continue;
        memset(life.jobs, 0, sizeof(life.jobs)); /* whatever was under way is never heard of again */
        for (int i = 0; i < 4 && bench->breaker.state != BREAKER_CLOSED; i++) {
            bench->now_ms += BREAKER_OPEN_MAX_MS;
            tick(bench);
            struct breaker_ticket ticket;
            if (breaker_acquire(&bench->breaker, &bench->config, false, bench->now_ms, &bench->rng, &ticket))
                report(bench, &ticket, STATUS_OK);
        }
        assert_int_equal(bench->breaker.state, BREAKER_CLOSED);
    }
}

static void extreme_times_do_no_harm(void **state) {
    (void)state;
    static const int64_t times[] = {INT64_MIN, INT64_MAX, 0, -1, INT64_MIN, INT64_MAX};
    struct bench bench = new_bench();
    for (size_t i = 0; i < 600; i++) {
        bench.now_ms = times[i / 3 % 6];
        struct breaker_ticket ticket;
        if (breaker_acquire(&bench.breaker, &bench.config, true, bench.now_ms, &bench.rng, &ticket))
            report(&bench, &ticket, i % 7 ? STATUS_ENGINE_ERROR : STATUS_OK);
        assert_in_range(breaker_share(&bench.breaker, bench.now_ms), BREAKER_SHARE_MIN, 100);
        assert_in_range(breaker_remaining_ms(&bench.breaker, bench.now_ms), 0, BREAKER_OPEN_MAX_MS);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_one_probe_at_most_and_late_results_change_nothing),
        cmocka_unit_test(a_well_worker_is_always_closed_again_in_the_end),
        cmocka_unit_test(extreme_times_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
