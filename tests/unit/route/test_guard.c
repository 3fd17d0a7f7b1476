#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "route/guard.h"

static const struct breaker_config config = {.enabled = true,
                                             .failure_threshold = 5,
                                             .success_threshold = 2,
                                             .timeout_ms = 30000,
                                             .probe_lease_ms = 1000};

struct bench {
    struct breaker worker, model;
    struct guard guard;
    struct rng rng;
    int64_t now_ms;
};

static void setup(struct bench *bench) {
    *bench = (struct bench){.now_ms = 1000};
    rng_seed(&bench->rng, 1);
    breaker_init(&bench->worker, bench->now_ms);
    breaker_init(&bench->model, bench->now_ms);
    bench->guard = (struct guard){&bench->worker, &bench->model};
}

static bool acquire(struct bench *bench, struct guard_ticket *ticket) {
    return guard_acquire(&bench->guard, &config, false, bench->now_ms, &bench->rng, ticket);
}

static void run(struct bench *bench, enum status status) {
    struct guard_ticket ticket;
    assert_true(acquire(bench, &ticket));
    if (status == STATUS_OK)
        guard_first_token(&bench->guard, &config, &ticket, bench->now_ms, &bench->rng);
    guard_report(&bench->guard, &config, &ticket, status, bench->now_ms, &bench->rng);
    assert_int_equal(ticket.worker.generation, 0);
    assert_int_equal(ticket.model.generation, 0);
}

static void open_both(struct bench *bench) {
    for (int i = 0; i < 5; i++) {
        struct guard_ticket ticket;
        assert_true(acquire(bench, &ticket));
        breaker_report(&bench->worker, &config, &ticket.worker, STATUS_WORKER_TIMEOUT, bench->now_ms,
                       &bench->rng);
        breaker_report(&bench->model, &config, &ticket.model, STATUS_ENGINE_ERROR, bench->now_ms,
                       &bench->rng);
    }
    assert_int_equal(bench->worker.state, BREAKER_OPEN);
    assert_int_equal(bench->model.state, BREAKER_OPEN);
}

static void a_failure_opens_the_breaker_that_it_concerns_and_no_other(void **state) {
    (void)state;
    for (int s = 0; s < STATUS_COUNT; s++) {
        enum status status = (enum status)s;
        struct bench bench;
        setup(&bench);
        for (int i = 0; i < 5; i++)
            run(&bench, status);
        bool worker = status_outcome(status) == OUTCOME_WORKER_FAILURE;
        bool model = status_outcome(status) == OUTCOME_MODEL_FAILURE;
        assert_int_equal(bench.worker.state, worker ? BREAKER_OPEN : BREAKER_CLOSED);
        assert_int_equal(bench.model.state, model ? BREAKER_OPEN : BREAKER_CLOSED);
        assert_int_equal(breaker_failures_in_row(&bench.worker), 0);
        assert_int_equal(breaker_failures_in_row(&bench.model), 0);
        assert_int_equal(bench.worker.last_failure, worker ? status : STATUS_OK);
        assert_int_equal(bench.model.last_failure, model ? status : STATUS_OK);
    }
}

static void success_counts_for_both(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    open_both(&bench);
    bench.now_ms += guard_remaining_ms(&bench.guard, bench.now_ms);
    run(&bench, STATUS_OK);
    run(&bench, STATUS_OK);
    assert_int_equal(bench.worker.state, BREAKER_CLOSED);
    assert_int_equal(bench.model.state, BREAKER_CLOSED);
}

static void the_stricter_answer_counts(void **state) {
    (void)state;
    static const enum breaker_answer by_strictness[] = {BREAKER_ALLOWED, BREAKER_PROBE,   BREAKER_UNPROVEN,
                                                        BREAKER_WAIT,    BREAKER_PROBING, BREAKER_FORBIDDEN};
    struct breaker breakers[ARRAY_LEN(by_strictness)];
    struct bench bench;
    setup(&bench);
    struct breaker_ticket ticket;
    for (size_t i = 0; i < ARRAY_LEN(breakers); i++)
        breaker_init(&breakers[i], bench.now_ms);
    breaker_restart(&breakers[1], &config, bench.now_ms);
    breaker_restart(&breakers[2], &config, bench.now_ms);
    assert_true(breaker_acquire(&breakers[2], &config, false, bench.now_ms, &bench.rng, &ticket));
    open_both(&bench);
    breakers[3] = breakers[4] = bench.worker;
    assert_true(breaker_acquire(&breakers[4], &config, true, bench.now_ms, &bench.rng, &ticket));
    breaker_force(&breakers[5], BREAKER_FORCED_OPEN);
    for (size_t i = 0; i < ARRAY_LEN(breakers); i++) {
        assert_int_equal(breaker_peek(&breakers[i], bench.now_ms), by_strictness[i]);
        struct guard alone = {&breakers[i], NULL};
        assert_int_equal(guard_peek(&alone, bench.now_ms), by_strictness[i]);
        for (size_t k = 0; k < ARRAY_LEN(breakers); k++) {
            struct guard guard = {&breakers[i], &breakers[k]};
            assert_int_equal(guard_peek(&guard, bench.now_ms), by_strictness[i > k ? i : k]);
        }
    }
}

static void a_job_gets_both_tickets_or_none(void **state) {
    (void)state;
    struct bench bench;
    struct guard_ticket ticket, second;
    setup(&bench);
    for (int i = 0; i < 5; i++)
        run(&bench, STATUS_ENGINE_ERROR);
    breaker_restart(&bench.worker, &config, bench.now_ms);
    assert_false(acquire(&bench, &ticket));
    assert_int_equal(ticket.worker.generation, 0);
    assert_int_equal(bench.worker.probe, 0); /* its probe is still to be had */
    bench.now_ms += guard_remaining_ms(&bench.guard, bench.now_ms);
    assert_true(acquire(&bench, &ticket));
    assert_true(ticket.worker.probe && ticket.model.probe);
    assert_false(acquire(&bench, &second));
}

/* The process answered, so its probe has not failed; nor is it proved well. */
static void an_engine_error_gives_the_workers_probe_back_without_judgement(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    breaker_restart(&bench.worker, &config, bench.now_ms);
    run(&bench, STATUS_ENGINE_ERROR);
    assert_int_equal(bench.worker.state, BREAKER_HALF_OPEN);
    assert_int_equal(bench.worker.probe, 0);
    assert_int_equal(bench.worker.probes_passed, 0);
    assert_int_equal(bench.worker.outcomes[OUTCOME_NEUTRAL], 1);
    assert_int_equal(breaker_failures_in_row(&bench.model), 1);
}

static void a_probes_lease_is_renewed_in_both(void **state) {
    (void)state;
    struct bench bench;
    struct guard_ticket ticket;
    setup(&bench);
    open_both(&bench);
    bench.now_ms += guard_remaining_ms(&bench.guard, bench.now_ms);
    assert_true(acquire(&bench, &ticket));
    guard_renew(&bench.guard, &ticket, 50000, bench.now_ms);
    bench.now_ms += 40000;
    guard_first_token(&bench.guard, &config, &ticket, bench.now_ms, &bench.rng);
    assert_int_equal(bench.worker.probes_passed, 1);
    assert_int_equal(bench.model.probes_passed, 1);
}

/* The worker has dropped the model while a job ran. */
static void without_the_model_the_workers_ticket_still_ends(void **state) {
    (void)state;
    struct bench bench;
    struct guard_ticket ticket;
    setup(&bench);
    assert_true(acquire(&bench, &ticket));
    bench.guard.model = NULL;
    guard_first_token(&bench.guard, &config, &ticket, bench.now_ms, &bench.rng);
    guard_renew(&bench.guard, &ticket, 1000, bench.now_ms);
    guard_report(&bench.guard, &config, &ticket, STATUS_WORKER_OFFLINE, bench.now_ms, &bench.rng);
    assert_int_equal(breaker_failures_in_row(&bench.worker), 1);
    assert_false(guard_is_ejected(&bench.guard));
    assert_int_equal(guard_remaining_ms(&bench.guard, bench.now_ms), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_opens_the_breaker_that_it_concerns_and_no_other),
        cmocka_unit_test(success_counts_for_both),
        cmocka_unit_test(the_stricter_answer_counts),
        cmocka_unit_test(a_job_gets_both_tickets_or_none),
        cmocka_unit_test(an_engine_error_gives_the_workers_probe_back_without_judgement),
        cmocka_unit_test(a_probes_lease_is_renewed_in_both),
        cmocka_unit_test(without_the_model_the_workers_ticket_still_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
