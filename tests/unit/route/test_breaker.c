#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "breaker_bench.h"

/* Tripping. */

static void opens_after_five_failures_in_a_row(void **state) {
    (void)state;
    struct bench bench = new_bench();
    for (int i = 0; i < 4; i++)
        run(&bench, STATUS_ENGINE_ERROR);
    assert_int_equal(peek(&bench), BREAKER_ALLOWED);
    struct breaker_ticket fifth = acquire(&bench);
    assert_true(report(&bench, &fifth, STATUS_ENGINE_ERROR));
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
    assert_int_equal(peek(&bench), BREAKER_WAIT);
    assert_false(can_acquire(&bench, false));
}

static void a_success_ends_the_row(void **state) {
    (void)state;
    struct bench bench = new_bench();
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 4; j++)
            run(&bench, STATUS_WORKER_TIMEOUT);
        run(&bench, STATUS_OK);
    }
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker_failures_in_row(&bench.breaker), 0);
}

static void what_is_neutral_neither_lengthens_nor_ends_the_row(void **state) {
    (void)state;
    struct bench bench = new_bench();
    for (int i = 0; i < 4; i++) {
        run(&bench, STATUS_WORKER_TIMEOUT);
        for (int j = 0; j < 50; j++)
            run(&bench, STATUS_WORKER_OVERLOADED);
        assert_int_equal(breaker_failures_in_row(&bench.breaker), i + 1);
    }
    run(&bench, STATUS_WORKER_TIMEOUT);
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
}

static void only_what_the_status_table_calls_a_failure_opens(void **state) {
    (void)state;
    for (int status = 0; status < STATUS_COUNT; status++) {
        struct bench bench = new_bench();
        for (int i = 0; i < 100 && bench.breaker.state == BREAKER_CLOSED; i++)
            run(&bench, (enum status)status);
        bool failure = status_is_failure((enum status)status);
        if ((bench.breaker.state == BREAKER_OPEN) != failure)
            fail_msg("%s", status_name((enum status)status));
    }
}

static void these_ends_say_nothing_about_the_worker(void **state) {
    (void)state;
    static const enum status neutral[] = {
        STATUS_CANCELLED,       STATUS_DEADLINE_EXCEEDED,  STATUS_CONTEXT_LENGTH_EXCEEDED,
        STATUS_WORKER_DRAINING, STATUS_MODEL_NOT_LOADED,   STATUS_WORKER_OVERLOADED,
        STATUS_NATS_ERROR,      STATUS_PAYLOAD_TOO_LARGE,  STATUS_REQUEST_VALIDATION_FAILED,
        STATUS_INTERNAL_ERROR,  STATUS_CONTROLLER_DRAINING};
    static const enum status failures[] = {STATUS_WORKER_TIMEOUT, STATUS_WORKER_OFFLINE, STATUS_ENGINE_ERROR,
                                           STATUS_PROTOCOL_ERROR};
    for (size_t i = 0; i < sizeof(neutral) / sizeof(neutral[0]); i++)
        assert_int_equal(status_outcome(neutral[i]), OUTCOME_NEUTRAL);
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
        assert_true(status_is_failure(failures[i]));
}

/* `good` successes, then failures with a success after each fourth, so that there is never a row of five. */
static size_t failures_until_open(struct bench *bench, size_t good, size_t failures_max, int64_t step_ms) {
    for (size_t i = 0; i < good; i++)
        run(bench, STATUS_OK);
    for (size_t failures = 1; failures <= failures_max; failures++) {
        bench->now_ms += step_ms;
        run(bench, STATUS_ENGINE_ERROR);
        if (bench->breaker.state == BREAKER_OPEN)
            return failures;
        if (failures % 4 == 0)
            run(bench, STATUS_OK);
    }
    return 0;
}

static void opens_at_half_of_twenty_outcomes(void **state) {
    (void)state;
    static const struct {
        const char *claim;
        size_t good;
        int64_t step_ms;
        size_t opens_at; /* failures; 0: never */
    } rows[] = {
        {"the first failure with 20 outcomes decides: the 16th is the 19th of them", 0, 0, 17},
        {"10 good ones are weighed up by 12 failures, with 2 more good ones between them", 10, 0, 12},
        {"40 good ones by 52, with 12 more", 40, 0, 52},
        {"one failure in 2 s: there are never 20 in the window", 0, 2000, 0},
        {"two failures in 3 s fill the window", 0, 1400, 17},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench bench = new_bench();
        size_t opened_at = failures_until_open(&bench, rows[i].good, 100, rows[i].step_ms);
        if (opened_at != rows[i].opens_at)
            fail_msg("%s: opened at %zu", rows[i].claim, opened_at);
    }
}

static void stays_closed_below_half(void **state) {
    (void)state;
    struct bench bench = new_bench();
    run(&bench, STATUS_OK);
    for (int i = 0; i < 1000; i++) {
        bench.now_ms += 50;
        run(&bench, i % 2 ? STATUS_ENGINE_ERROR : STATUS_OK);
        if (i % 20 == 0)
            run(&bench, STATUS_OK);
        assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
    }
}

static void nothing_older_than_the_window_counts(void **state) {
    (void)state;
    static const struct {
        int64_t age_ms;
        bool opens;
    } rows[] = {{0, true}, {26999, true}, {30000, false}, {INT64_C(1) << 40, false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench bench = new_bench();
        assert_int_equal(failures_until_open(&bench, 0, 15, 0), 0);
        run(&bench, STATUS_OK);
        bench.now_ms += rows[i].age_ms;
        run(&bench, STATUS_ENGINE_ERROR);
        assert_int_equal(bench.breaker.state == BREAKER_OPEN, rows[i].opens);
    }
}

static void closing_begins_a_new_window(void **state) {
    (void)state;
    struct bench bench = new_bench();
    bench.config.timeout_ms = 100;
    assert_int_equal(failures_until_open(&bench, 0, 17, 0), 17);
    bench.now_ms += 100;
    run(&bench, STATUS_OK);
    run(&bench, STATUS_OK);
    run(&bench, STATUS_ENGINE_ERROR);
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
}

static void good_first_tokens_do_not_excuse_streams_that_break(void **state) {
    (void)state;
    struct bench bench = new_bench();
    for (int i = 0; i < 4; i++)
        run_broken_stream(&bench);
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
    run_broken_stream(&bench);
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
}

static void a_first_token_ends_a_row_of_failed_starts(void **state) {
    (void)state;
    struct bench bench = new_bench();
    for (int i = 0; i < 4; i++)
        run(&bench, STATUS_WORKER_TIMEOUT);
    struct breaker_ticket ticket = acquire(&bench);
    assert_false(first_token(&bench, &ticket));
    assert_int_equal(breaker_failures_in_row(&bench.breaker), 0);
    run(&bench, STATUS_WORKER_TIMEOUT);
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
}

static void long_streams_do_not_hide_good_starts(void **state) {
    (void)state;
    struct bench bench = new_bench();
    for (int i = 0; i < 100; i++) {
        struct breaker_ticket endless = acquire(&bench);
        first_token(&bench, &endless);
        if (i % 3 == 0)
            run(&bench, STATUS_WORKER_TIMEOUT);
    }
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
}

static void a_breaker_that_is_off_never_opens(void **state) {
    (void)state;
    struct bench bench = new_bench();
    bench.config.enabled = false;
    for (int i = 0; i < 200; i++)
        run(&bench, STATUS_ENGINE_ERROR);
    breaker_restart(&bench.breaker, &bench.config, bench.now_ms);
    assert_int_equal(peek(&bench), BREAKER_ALLOWED);
    assert_int_equal(breaker_share(&bench.breaker, bench.now_ms), 100);
}

/* OPEN. */

static void open_time_is_between_half_and_all_of_its_ceiling(void **state) {
    (void)state;
    int64_t least = INT64_MAX, most = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct bench bench = new_bench();
        rng_seed(&bench.rng, seed);
        open(&bench);
        int64_t open_ms = breaker_remaining_ms(&bench.breaker, bench.now_ms);
        least = open_ms < least ? open_ms : least;
        most = open_ms > most ? open_ms : most;
    }
    assert_in_range(least, 15000, 15100);
    assert_in_range(most, 29900, 30000);
}

static void every_reopening_doubles_the_ceiling_up_to_five_minutes(void **state) {
    (void)state;
    const int64_t ceilings[] = {30000, 60000, 120000, 240000, 300000, 300000, 300000};
    struct bench bench = new_bench();
    open(&bench);
    for (size_t i = 0; i < sizeof(ceilings) / sizeof(ceilings[0]); i++) {
        assert_in_range(bench.breaker.open_ms, ceilings[i] / 2, ceilings[i]);
        wait_out(&bench);
        run(&bench, STATUS_WORKER_TIMEOUT);
        assert_int_equal(bench.breaker.state, BREAKER_OPEN);
    }
}

static void a_first_time_above_the_maximum_is_kept(void **state) {
    (void)state;
    struct bench bench = new_bench();
    bench.config.timeout_ms = 3600000;
    for (int i = 0; i < 5; i++) {
        if (i == 0)
            open(&bench);
        else
            run(&bench, STATUS_ENGINE_ERROR);
        assert_in_range(bench.breaker.open_ms, 1800000, 3600000);
        wait_out(&bench);
    }
}

static void close_again(struct bench *bench) {
    wait_out(bench);
    run(bench, STATUS_OK);
    run(bench, STATUS_OK);
    assert_int_equal(bench->breaker.state, BREAKER_CLOSED);
}

static void each_minute_closed_takes_one_opening_back(void **state) {
    (void)state;
    static const struct {
        int64_t closed_ms;
        int64_t ceiling_ms; /* of the opening after it */
    } rows[] = {{0, 240000},     {59999, 240000}, {60000, 120000},
                {120000, 60000}, {180000, 30000}, {INT64_C(1) << 50, 30000}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench bench = new_bench();
        open(&bench);
        for (int j = 0; j < 2; j++) {
            wait_out(&bench);
            run(&bench, STATUS_ENGINE_ERROR);
        }
        assert_int_equal(bench.breaker.openings, 3);
        close_again(&bench);
        bench.now_ms += rows[i].closed_ms;
        open(&bench);
        assert_in_range(bench.breaker.open_ms, rows[i].ceiling_ms / 2, rows[i].ceiling_ms);
    }
}

static void the_count_of_openings_stops_where_the_time_does(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    for (int i = 0; i < 100; i++) {
        wait_out(&bench);
        run(&bench, STATUS_ENGINE_ERROR);
    }
    assert_int_equal(bench.breaker.openings, 5);
    assert_int_equal(bench.breaker.opened, 101);
}

static void an_open_breaker_tells_how_long_it_stays_so(void **state) {
    (void)state;
    struct bench bench = new_bench();
    assert_int_equal(breaker_remaining_ms(&bench.breaker, bench.now_ms), 0);
    open(&bench);
    int64_t open_ms = breaker_remaining_ms(&bench.breaker, bench.now_ms);
    bench.now_ms += open_ms - 1;
    assert_int_equal(breaker_remaining_ms(&bench.breaker, bench.now_ms), 1);
    assert_int_equal(peek(&bench), BREAKER_WAIT);
    bench.now_ms++;
    assert_int_equal(breaker_remaining_ms(&bench.breaker, bench.now_ms), 0);
    assert_int_equal(peek(&bench), BREAKER_PROBE);
}

/* HALF_OPEN. */

static void acquiring_after_the_open_time_makes_a_probe(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    wait_out(&bench);
    struct breaker_ticket ticket = acquire(&bench);
    assert_true(ticket.probe);
    assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
    assert_int_equal(peek(&bench), BREAKER_PROBING);
    assert_false(can_acquire(&bench, false));
    assert_false(can_acquire(&bench, true));
}

static void two_probes_with_a_first_token_close(void **state) {
    (void)state;
    struct bench bench = new_bench();
    half_open(&bench);
    struct breaker_ticket one = acquire(&bench);
    assert_false(first_token(&bench, &one));
    struct breaker_ticket two = acquire(&bench);
    assert_true(first_token(&bench, &two));
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker_failures_in_row(&bench.breaker), 0);
}

static void one_job_passes_only_once(void **state) {
    (void)state;
    struct bench bench = new_bench();
    half_open(&bench);
    struct breaker_ticket ticket = acquire(&bench);
    first_token(&bench, &ticket);
    first_token(&bench, &ticket);
    assert_false(report(&bench, &ticket, STATUS_OK));
    assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
    assert_int_equal(bench.breaker.probes_passed, 1);
}

static void any_failure_of_a_probe_reopens(void **state) {
    (void)state;
    for (int phase = 0; phase < 2; phase++) {
        struct bench bench = new_bench();
        half_open(&bench);
        run(&bench, STATUS_OK);
        struct breaker_ticket ticket = acquire(&bench);
        if (phase == 1) {
            bench.config.success_threshold = 3;
            first_token(&bench, &ticket);
        }
        assert_true(report(&bench, &ticket, STATUS_PROTOCOL_ERROR));
        assert_int_equal(bench.breaker.state, BREAKER_OPEN);
        assert_int_equal(bench.breaker.openings, 2);
        assert_int_equal(bench.breaker.probes_passed, 0);
    }
}

static void a_neutral_end_returns_the_permit_without_judgement(void **state) {
    (void)state;
    struct bench bench = new_bench();
    half_open(&bench);
    for (int i = 0; i < 20; i++) {
        struct breaker_ticket ticket = acquire(&bench);
        assert_false(report(&bench, &ticket, i % 2 ? STATUS_CANCELLED : STATUS_WORKER_OVERLOADED));
        assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
        assert_int_equal(bench.breaker.probes_passed, 0);
        assert_int_equal(peek(&bench), BREAKER_PROBE);
    }
}

static void the_end_of_an_older_probe_leaves_the_permit_of_the_next(void **state) {
    (void)state;
    struct bench bench = new_bench();
    half_open(&bench);
    struct breaker_ticket one = acquire(&bench);
    first_token(&bench, &one);
    struct breaker_ticket two = acquire(&bench);
    report(&bench, &one, STATUS_CANCELLED);
    assert_int_equal(bench.breaker.probe, two.probe);
    assert_int_equal(peek(&bench), BREAKER_PROBING);
}

static void a_lease_that_runs_out_is_a_failure(void **state) {
    (void)state;
    struct bench bench = new_bench();
    half_open(&bench);
    struct breaker_ticket lost = acquire(&bench);
    bench.now_ms += 6999;
    assert_false(tick(&bench));
    bench.now_ms++;
    assert_int_equal(peek(&bench), BREAKER_PROBING);
    assert_true(tick(&bench));
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
    assert_int_equal(bench.breaker.openings, 2);
    assert_int_equal(bench.breaker.last_failure, STATUS_WORKER_TIMEOUT);
    assert_int_equal(bench.breaker.leases_expired, 1);
    uint64_t generation = bench.breaker.generation;
    report(&bench, &lost, STATUS_OK);
    assert_int_equal(bench.breaker.generation, generation);
    assert_int_equal(bench.breaker.late, 1);
}

static void a_first_token_after_the_lease_comes_too_late_without_any_tick(void **state) {
    (void)state;
    struct bench bench = new_bench();
    bench.config.success_threshold = 1;
    half_open(&bench);
    struct breaker_ticket ticket = acquire(&bench);
    bench.now_ms += 7000;
    assert_true(first_token(&bench, &ticket));
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
}

static void a_report_after_the_lease_is_late_without_any_tick(void **state) {
    (void)state;
    struct bench bench = new_bench();
    bench.config.success_threshold = 1;
    half_open(&bench);
    struct breaker_ticket ticket = acquire(&bench);
    bench.now_ms += 7000;
    assert_true(report(&bench, &ticket, STATUS_OK));
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
    assert_int_equal(bench.breaker.late, 1);
}

static void news_of_a_probe_renews_its_lease(void **state) {
    (void)state;
    struct bench bench = new_bench();
    half_open(&bench);
    struct breaker_ticket ticket = acquire(&bench);
    bench.now_ms += 5000;
    breaker_renew(&bench.breaker, &ticket, 60000, bench.now_ms);
    bench.now_ms += 59999;
    assert_false(tick(&bench));
    breaker_renew(&bench.breaker, &ticket, 2000, bench.now_ms);
    bench.now_ms += 2000;
    breaker_renew(&bench.breaker, &ticket, 60000, bench.now_ms); /* too late */
    assert_true(tick(&bench));
}

static void news_of_other_jobs_leaves_the_lease(void **state) {
    (void)state;
    struct bench bench = new_bench();
    struct breaker_ticket old = acquire(&bench), none = {0};
    half_open(&bench);
    struct breaker_ticket first = acquire(&bench);
    first_token(&bench, &first);
    (void)acquire(&bench);
    struct breaker before = bench.breaker;
    bench.now_ms += 10;
    breaker_renew(&bench.breaker, &old, 60000, bench.now_ms);
    breaker_renew(&bench.breaker, &none, 60000, bench.now_ms);
    breaker_renew(&bench.breaker, &first, 60000, bench.now_ms);
    assert_memory_equal(&before, &bench.breaker, sizeof(before));
}

/* Generations. */

static void jobs_begun_before_it_opened_do_not_close_it(void **state) {
    (void)state;
    struct bench bench = new_bench();
    struct breaker_ticket old[4];
    for (size_t i = 0; i < 4; i++)
        old[i] = acquire(&bench);
    half_open(&bench);
    for (size_t i = 0; i < 4; i++) {
        assert_false(first_token(&bench, &old[i]));
        assert_false(report(&bench, &old[i], STATUS_OK));
    }
    assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
    assert_int_equal(bench.breaker.probes_passed, 0);
    assert_int_equal(bench.breaker.late, 4);
}

static void jobs_begun_before_it_opened_do_not_keep_it_open(void **state) {
    (void)state;
    struct bench bench = new_bench();
    struct breaker_ticket old[20];
    for (size_t i = 0; i < 20; i++)
        old[i] = acquire(&bench);
    open(&bench);
    int64_t open_ms = bench.breaker.open_ms;
    for (size_t i = 0; i < 10; i++)
        report(&bench, &old[i], STATUS_WORKER_OFFLINE);
    assert_int_equal(bench.breaker.open_ms, open_ms);
    close_again(&bench);
    for (size_t i = 10; i < 20; i++)
        report(&bench, &old[i], STATUS_WORKER_OFFLINE);
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker_failures_in_row(&bench.breaker), 0);
    assert_int_equal(bench.breaker.outcomes[OUTCOME_WORKER_FAILURE], 20);
    assert_int_equal(bench.breaker.late, 20);
}

static void a_ticket_is_reported_once(void **state) {
    (void)state;
    struct bench bench = new_bench();
    struct breaker_ticket ticket = acquire(&bench);
    report(&bench, &ticket, STATUS_ENGINE_ERROR);
    struct breaker before = bench.breaker;
    report(&bench, &ticket, STATUS_ENGINE_ERROR);
    first_token(&bench, &ticket);
    assert_memory_equal(&before, &bench.breaker, sizeof(before));
}

static void a_new_incarnation_starts_half_open_and_knows_no_old_jobs(void **state) {
    (void)state;
    struct bench bench = new_bench();
    struct breaker_ticket old = acquire(&bench);
    open(&bench);
    breaker_restart(&bench.breaker, &bench.config, bench.now_ms);
    assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
    assert_int_equal(bench.breaker.openings, 0);
    assert_int_equal(peek(&bench), BREAKER_PROBE);
    report(&bench, &old, STATUS_WORKER_OFFLINE);
    assert_int_equal(bench.breaker.state, BREAKER_HALF_OPEN);
    run(&bench, STATUS_OK);
    run(&bench, STATUS_OK);
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker_share(&bench.breaker, bench.now_ms), 10);
}

static void a_restarted_worker_takes_more_than_its_probe_only_in_panic_and_until_it_fails(void **state) {
    (void)state;
    struct bench bench = new_bench();
    breaker_restart(&bench.breaker, &bench.config, bench.now_ms);
    (void)acquire(&bench);
    assert_int_equal(peek(&bench), BREAKER_UNPROVEN);
    assert_false(can_acquire(&bench, false));
    struct breaker_ticket beside = acquire_in_panic(&bench);
    assert_int_equal(beside.probe, 0);
    assert_true(report(&bench, &beside, STATUS_ENGINE_ERROR));
    assert_int_equal(bench.breaker.state, BREAKER_OPEN);
    (void)acquire_in_panic(&bench);
    assert_int_equal(peek(&bench), BREAKER_PROBING);
    assert_false(can_acquire(&bench, true));
}

static void jobs_beside_the_probe_of_a_restarted_worker_prove_it_too(void **state) {
    (void)state;
    struct bench bench = new_bench();
    breaker_restart(&bench.breaker, &bench.config, bench.now_ms);
    struct breaker_ticket probe = acquire(&bench);
    struct breaker_ticket beside = acquire_in_panic(&bench);
    assert_false(first_token(&bench, &beside));
    assert_int_equal(bench.breaker.probe, probe.probe);
    assert_true(first_token(&bench, &probe));
    assert_int_equal(bench.breaker.state, BREAKER_CLOSED);
}

/* The operator. */

static void forced_open_refuses_even_in_panic(void **state) {
    (void)state;
    struct bench bench = new_bench();
    breaker_force(&bench.breaker, BREAKER_FORCED_OPEN);
    bench.now_ms += INT64_C(1) << 40;
    assert_int_equal(peek(&bench), BREAKER_FORBIDDEN);
    assert_false(can_acquire(&bench, true));
}

static void forced_closed_lets_everything_through(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    breaker_force(&bench.breaker, BREAKER_FORCED_CLOSED);
    for (int i = 0; i < 100; i++)
        run(&bench, STATUS_ENGINE_ERROR);
    assert_int_equal(peek(&bench), BREAKER_ALLOWED);
    assert_int_equal(breaker_share(&bench.breaker, bench.now_ms), 100);
    assert_int_equal(bench.breaker.outcomes[OUTCOME_MODEL_FAILURE], 105);
}

static void a_forced_state_outlives_the_process_but_not_a_reset(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    breaker_force(&bench.breaker, BREAKER_FORCED_OPEN);
    breaker_restart(&bench.breaker, &bench.config, bench.now_ms);
    assert_int_equal(peek(&bench), BREAKER_FORBIDDEN);
    breaker_reset(&bench.breaker, bench.now_ms);
    assert_int_equal(peek(&bench), BREAKER_ALLOWED);
    assert_int_equal(breaker_share(&bench.breaker, bench.now_ms), 100);
}

static void a_reset_forgets_the_openings(void **state) {
    (void)state;
    struct bench bench = new_bench();
    open(&bench);
    wait_out(&bench);
    run(&bench, STATUS_ENGINE_ERROR);
    breaker_reset(&bench.breaker, bench.now_ms);
    open(&bench);
    assert_int_equal(bench.breaker.openings, 1);
}

/* Slow start. */

static void share_grows_from_a_tenth_to_all_in_ten_seconds(void **state) {
    (void)state;
    struct bench bench = new_bench();
    assert_int_equal(breaker_share(&bench.breaker, bench.now_ms), 100);
    open(&bench);
    assert_int_equal(breaker_share(&bench.breaker, bench.now_ms), 10);
    close_again(&bench);
    static const struct {
        int64_t after_ms, share;
    } rows[] = {{0, 10}, {1000, 19}, {5000, 55}, {9999, 99}, {10000, 100}, {INT64_C(1) << 50, 100}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(breaker_share(&bench.breaker, bench.now_ms + rows[i].after_ms), rows[i].share);
}

/* Statistics. */

static void outcomes_and_the_last_failure_are_kept(void **state) {
    (void)state;
    struct bench bench = new_bench();
    run(&bench, STATUS_OK);
    run(&bench, STATUS_CANCELLED);
    assert_int_equal(bench.breaker.last_failure, STATUS_OK);
    bench.now_ms = 2000000;
    run(&bench, STATUS_PROTOCOL_ERROR);
    bench.now_ms = 3000000;
    run(&bench, STATUS_OK);
    assert_int_equal(bench.breaker.outcomes[OUTCOME_SUCCESS], 2);
    assert_int_equal(bench.breaker.outcomes[OUTCOME_NEUTRAL], 1);
    assert_int_equal(bench.breaker.outcomes[OUTCOME_WORKER_FAILURE], 1);
    assert_int_equal(bench.breaker.last_failure, STATUS_PROTOCOL_ERROR);
    assert_int_equal(bench.breaker.last_failure_ms, 2000000);
}

static void states_have_their_known_names(void **state) {
    (void)state;
    static const char *const names[] = {"CLOSED", "OPEN", "HALF_OPEN", "FORCED_OPEN", "FORCED_CLOSED"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(breaker_state_name((enum breaker_state)i), names[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_after_five_failures_in_a_row),
        cmocka_unit_test(a_success_ends_the_row),
        cmocka_unit_test(what_is_neutral_neither_lengthens_nor_ends_the_row),
        cmocka_unit_test(only_what_the_status_table_calls_a_failure_opens),
        cmocka_unit_test(these_ends_say_nothing_about_the_worker),
        cmocka_unit_test(opens_at_half_of_twenty_outcomes),
        cmocka_unit_test(stays_closed_below_half),
        cmocka_unit_test(nothing_older_than_the_window_counts),
        cmocka_unit_test(closing_begins_a_new_window),
        cmocka_unit_test(good_first_tokens_do_not_excuse_streams_that_break),
        cmocka_unit_test(a_first_token_ends_a_row_of_failed_starts),
        cmocka_unit_test(long_streams_do_not_hide_good_starts),
        cmocka_unit_test(a_breaker_that_is_off_never_opens),
        cmocka_unit_test(open_time_is_between_half_and_all_of_its_ceiling),
        cmocka_unit_test(every_reopening_doubles_the_ceiling_up_to_five_minutes),
        cmocka_unit_test(a_first_time_above_the_maximum_is_kept),
        cmocka_unit_test(each_minute_closed_takes_one_opening_back),
        cmocka_unit_test(the_count_of_openings_stops_where_the_time_does),
        cmocka_unit_test(an_open_breaker_tells_how_long_it_stays_so),
        cmocka_unit_test(acquiring_after_the_open_time_makes_a_probe),
        cmocka_unit_test(two_probes_with_a_first_token_close),
        cmocka_unit_test(one_job_passes_only_once),
        cmocka_unit_test(any_failure_of_a_probe_reopens),
        cmocka_unit_test(a_neutral_end_returns_the_permit_without_judgement),
        cmocka_unit_test(the_end_of_an_older_probe_leaves_the_permit_of_the_next),
        cmocka_unit_test(a_lease_that_runs_out_is_a_failure),
        cmocka_unit_test(a_first_token_after_the_lease_comes_too_late_without_any_tick),
        cmocka_unit_test(a_report_after_the_lease_is_late_without_any_tick),
        cmocka_unit_test(news_of_a_probe_renews_its_lease),
        cmocka_unit_test(news_of_other_jobs_leaves_the_lease),
        cmocka_unit_test(jobs_begun_before_it_opened_do_not_close_it),
        cmocka_unit_test(jobs_begun_before_it_opened_do_not_keep_it_open),
        cmocka_unit_test(a_ticket_is_reported_once),
        cmocka_unit_test(a_new_incarnation_starts_half_open_and_knows_no_old_jobs),
        cmocka_unit_test(a_restarted_worker_takes_more_than_its_probe_only_in_panic_and_until_it_fails),
        cmocka_unit_test(jobs_beside_the_probe_of_a_restarted_worker_prove_it_too),
        cmocka_unit_test(forced_open_refuses_even_in_panic),
        cmocka_unit_test(forced_closed_lets_everything_through),
        cmocka_unit_test(a_forced_state_outlives_the_process_but_not_a_reset),
        cmocka_unit_test(a_reset_forgets_the_openings),
        cmocka_unit_test(share_grows_from_a_tenth_to_all_in_ten_seconds),
        cmocka_unit_test(outcomes_and_the_last_failure_are_kept),
        cmocka_unit_test(states_have_their_known_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
