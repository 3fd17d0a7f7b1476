#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "route/retry_budget.h"

static struct retry_budget budget_at(int64_t now_ms) {
    struct retry_budget budget;
    retry_budget_init(&budget, &retry_budget_default, now_ms);
    return budget;
}

static int64_t withdraw_all(struct retry_budget *budget, int64_t now_ms) {
    int64_t taken = 0;
    while (retry_budget_withdraw(budget, now_ms))
        taken++;
    return taken;
}

static void request_many(struct retry_budget *budget, int count, int64_t now_ms) {
    for (int i = 0; i < count; i++)
        retry_budget_request(budget, now_ms);
}

static void a_new_budget_holds_one_second_of_the_floor(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(1000);
    assert_int_equal(withdraw_all(&budget, 1000), 2);
}

static void five_requests_pay_one_retry(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    withdraw_all(&budget, 0);
    request_many(&budget, 4, 0);
    assert_false(retry_budget_withdraw(&budget, 0));
    request_many(&budget, 1, 0);
    assert_true(retry_budget_withdraw(&budget, 0));
    assert_false(retry_budget_withdraw(&budget, 0));
}

static void every_second_brings_two_without_any_request(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    for (int64_t s = 0; s < 1000; s++) {
        assert_int_equal(withdraw_all(&budget, s * 1000), 2);
        assert_int_equal(withdraw_all(&budget, s * 1000 + 999), 0);
    }
}

static void deposits_lapse_after_ten_seconds(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    request_many(&budget, 500, 0);
    assert_int_equal(retry_budget_held(&budget, 0), 102);
    assert_int_equal(retry_budget_held(&budget, 9999), 100 + 20);
    assert_int_equal(retry_budget_held(&budget, 10000), 20); /* the floor of ten seconds */
}

static void a_calm_day_holds_no_more_than_ten_seconds_of_the_floor(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    assert_int_equal(withdraw_all(&budget, 86400000), 20);
}

static void what_lapses_first_is_spent_first(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    request_many(&budget, 50, 0);    /* slice 0 holds 12 */
    request_many(&budget, 50, 9000); /* slice 9 holds 12; between them 8 slices of 2 */
    for (int i = 0; i < 12; i++)
        assert_true(retry_budget_withdraw(&budget, 9000));
    assert_int_equal(retry_budget_held(&budget, 9000), 28);
    assert_int_equal(retry_budget_held(&budget, 10000), 28 + 2); /* nothing was left to lapse */
}

static void it_never_holds_more_than_its_maximum(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    request_many(&budget, 1000000, 500);
    assert_int_equal(retry_budget_held(&budget, 500), RETRY_BUDGET_HELD_MAX);
    assert_int_equal(withdraw_all(&budget, 500), RETRY_BUDGET_HELD_MAX);
}

static void what_is_refused_is_counted(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    request_many(&budget, 3, 0);
    assert_int_equal(withdraw_all(&budget, 0), 2);
    assert_false(retry_budget_withdraw(&budget, 0));
    assert_int_equal(budget.requests, 3);
    assert_int_equal(budget.granted, 2);
    assert_int_equal(budget.suppressed, 2);
}

static void time_that_goes_back_or_leaps_makes_no_retries(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(5000);
    withdraw_all(&budget, 5000);
    assert_int_equal(withdraw_all(&budget, 0), 0);
    assert_int_equal(withdraw_all(&budget, INT64_MIN), 0);
    assert_int_equal(withdraw_all(&budget, INT64_MAX), 20);
    assert_int_equal(withdraw_all(&budget, 6000), 0);
    budget = budget_at(INT64_MIN);
    assert_int_equal(withdraw_all(&budget, INT64_MAX), 20);
}

static void a_budget_of_nothing_grants_nothing(void **state) {
    (void)state;
    const struct retry_budget_config none = {.percent = 0, .floor_per_s = 0, .ttl_ms = 10000};
    struct retry_budget budget;
    retry_budget_init(&budget, &none, 0);
    request_many(&budget, 1000, 0);
    assert_int_equal(withdraw_all(&budget, 50000), 0);
}

static void a_cluster_that_fails_a_fifth_of_its_tries_is_never_refused(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    for (int64_t i = 0; i < 100000; i++) {
        retry_budget_request(&budget, i * 7);
        if (i % 5 == 4)
            assert_true(retry_budget_withdraw(&budget, i * 7));
    }
    assert_int_equal(budget.suppressed, 0);
}

/* The load of the property test: phases of one second to half a minute, each with its own rates. */
enum { STEP_MS = 50, STEPS = 4000, SLICE_STEPS = 1000 / STEP_MS, TTL_STEPS = 10000 / STEP_MS };

struct history {
    int64_t requests[STEPS + 1]; /* before the step */
    int64_t retries[STEPS + 1];
    int64_t held[STEPS + 1];
};

static void run_random_load(struct history *history, struct retry_budget *budget, struct rng *rng) {
    uint64_t requests_below = 1, retries_below = 1;
    int phase_left = 0;
    for (int i = 0; i < STEPS; i++) {
        if (phase_left-- == 0) {
            requests_below = 1 + rng_below(rng, rng_below(rng, 4) ? 6 : 400);
            retries_below = 1 + rng_below(rng, rng_below(rng, 2) ? 3 : 100);
            phase_left = 20 + (int)rng_below(rng, 600);
        }
        int64_t now_ms = (int64_t)i * STEP_MS;
        history->held[i] = retry_budget_held(budget, now_ms);
        int64_t requests = (int64_t)rng_below(rng, requests_below), granted = 0;
        request_many(budget, (int)requests, now_ms);
        for (uint64_t wanted = rng_below(rng, retries_below); wanted > 0; wanted--)
            granted += retry_budget_withdraw(budget, now_ms);
        history->requests[i + 1] = history->requests[i] + requests;
        history->retries[i + 1] = history->retries[i] + granted;
    }
}

/* Of the steps from..to-1, in hundredths of a retry so that nothing is rounded. */
static void check_window(const struct history *history, int from, int to) {
    int64_t retries = 100 * (history->retries[to] - history->retries[from]);
    int64_t floor = 200 * ((to - from + SLICE_STEPS - 1) / SLICE_STEPS);
    int64_t paid = 20 * (history->requests[to] - history->requests[from]) + floor;
    assert_true(retries < paid + 100 * (history->held[from] + 1));
    /* What was held is bounded by the requests before, so no insight into the budget is needed. */
    int before = from > TTL_STEPS ? from - TTL_STEPS : 0;
    int64_t held_max = 20 * (history->requests[from] - history->requests[before]) + 2000;
    assert_true(retries <= paid + held_max);
    assert_true(retries <= paid + 100 * RETRY_BUDGET_HELD_MAX);
}

static void in_any_window_retries_are_a_fifth_of_requests_two_a_second_and_what_was_held(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        static struct history history;
        history = (struct history){0};
        struct retry_budget budget = budget_at(0);
        struct rng rng;
        rng_seed(&rng, seed);
        run_random_load(&history, &budget, &rng);
        for (int from = 0; from < STEPS; from += 3)
            for (int to = from + 1; to <= STEPS; to += 1 + (to - from) / 8)
                check_window(&history, from, to);
        assert_true(budget.suppressed > 0 && budget.granted > 100);
        assert_int_equal(budget.granted, history.retries[STEPS]);
    }
}

static void in_any_window_at_least_the_floor_is_granted_to_who_keeps_asking(void **state) {
    (void)state;
    struct retry_budget budget = budget_at(0);
    struct rng rng;
    rng_seed(&rng, 3);
    int64_t now_ms = 0, granted = 0;
    while (now_ms < 600000) {
        now_ms += (int64_t)rng_below(&rng, 300);
        granted += withdraw_all(&budget, now_ms);
        assert_true(granted >= 2 * (now_ms / 1000));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_budget_holds_one_second_of_the_floor),
        cmocka_unit_test(five_requests_pay_one_retry),
        cmocka_unit_test(every_second_brings_two_without_any_request),
        cmocka_unit_test(deposits_lapse_after_ten_seconds),
        cmocka_unit_test(a_calm_day_holds_no_more_than_ten_seconds_of_the_floor),
        cmocka_unit_test(what_lapses_first_is_spent_first),
        cmocka_unit_test(it_never_holds_more_than_its_maximum),
        cmocka_unit_test(what_is_refused_is_counted),
        cmocka_unit_test(time_that_goes_back_or_leaps_makes_no_retries),
        cmocka_unit_test(a_budget_of_nothing_grants_nothing),
        cmocka_unit_test(a_cluster_that_fails_a_fifth_of_its_tries_is_never_refused),
        cmocka_unit_test(in_any_window_retries_are_a_fifth_of_requests_two_a_second_and_what_was_held),
        cmocka_unit_test(in_any_window_at_least_the_floor_is_granted_to_who_keeps_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
