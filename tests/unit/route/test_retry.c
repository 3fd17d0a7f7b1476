#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "route/retry.h"

static const struct retry_config config = {
    .enabled = true,
    .max_retries = 2,
    .delay_ms = 100,
    .max_delay_ms = 250,
    .on = {[STATUS_WORKER_TIMEOUT] = true,
           [STATUS_WORKER_UNAVAILABLE] = true,
           [STATUS_WORKER_OVERLOADED] = true,
           [STATUS_RESOURCE_LIMIT_EXCEEDED] = true,
           [STATUS_WORKER_OFFLINE] = true,
           [STATUS_CONTEXT_LENGTH_EXCEEDED] = true},
};

static const struct {
    const char *claim;
    struct retry_case failed;
    enum retry_verdict verdict;
} rows[] = {
    {"a timeout is retried after a delay",
     {.status = STATUS_WORKER_TIMEOUT, .remaining_ms = 10000},
     RETRY_LATER},
    {"nobody listening is retried at once",
     {.status = STATUS_WORKER_UNAVAILABLE, .remaining_ms = 10000},
     RETRY_NOW},
    {"a full queue is retried at once",
     {.status = STATUS_WORKER_OVERLOADED, .remaining_ms = 10000},
     RETRY_NOW},
    {"a worker that is short of memory is left for another one at once",
     {.status = STATUS_RESOURCE_LIMIT_EXCEEDED, .remaining_ms = 10000},
     RETRY_NOW},
    {"what is not on the list is not", {.status = STATUS_ENGINE_ERROR, .remaining_ms = 10000}, RETRY_NO},
    {"a client error is not, even if it were on the list",
     {.status = STATUS_CONTEXT_LENGTH_EXCEEDED, .remaining_ms = 10000},
     RETRY_NO},
    {"nothing is retried once text was shown",
     {.status = STATUS_WORKER_TIMEOUT, .text_shown = true, .remaining_ms = 10000},
     RETRY_NO},
    {"nothing is retried past the limit of retries",
     {.status = STATUS_WORKER_UNAVAILABLE, .retries = 2, .remaining_ms = 10000},
     RETRY_NO},
    {"nothing is retried past the deadline",
     {.status = STATUS_WORKER_UNAVAILABLE, .remaining_ms = 0},
     RETRY_NO},
    {"one death of a worker is retried",
     {.status = STATUS_WORKER_OFFLINE, .worker_deaths = 1, .remaining_ms = 10000},
     RETRY_LATER},
    {"the second death is not",
     {.status = STATUS_WORKER_OFFLINE, .worker_deaths = 2, .retries = 1, .remaining_ms = 10000},
     RETRY_NO},
};

static void verdict_follows_the_rules(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t delay_ms;
        enum retry_verdict verdict = retry_decide(&config, &rows[i].failed, &rng, &delay_ms);
        if (verdict != rows[i].verdict)
            fail_msg("%s", rows[i].claim);
    }
}

static void delay_is_jittered_below_a_growing_capped_ceiling(void **state) {
    (void)state;
    struct retry_config many = config;
    many.max_retries = 10;
    struct rng rng;
    rng_seed(&rng, 7);
    const int64_t ceilings[] = {100, 200, 250, 250};
    for (int64_t retries = 0; retries < 4; retries++) {
        struct retry_case failed = {
            .status = STATUS_WORKER_TIMEOUT, .retries = retries, .remaining_ms = 10000};
        int64_t largest = 0, smallest = INT64_MAX, delay_ms;
        for (int i = 0; i < 2000; i++) {
            assert_int_equal(retry_decide(&many, &failed, &rng, &delay_ms), RETRY_LATER);
            largest = delay_ms > largest ? delay_ms : largest;
            smallest = delay_ms < smallest ? delay_ms : smallest;
        }
        assert_in_range(largest, ceilings[retries] * 9 / 10, ceilings[retries]);
        assert_in_range(smallest, 0, ceilings[retries] / 10);
    }
}

static void a_delay_that_ends_after_the_deadline_is_no_retry(void **state) {
    (void)state;
    struct retry_config slow = config;
    slow.delay_ms = slow.max_delay_ms = 100000;
    struct rng rng;
    rng_seed(&rng, 7);
    struct retry_case failed = {.status = STATUS_WORKER_TIMEOUT, .remaining_ms = 5};
    int later = 0;
    int64_t delay_ms;
    for (int i = 0; i < 100; i++) {
        if (retry_decide(&slow, &failed, &rng, &delay_ms) == RETRY_LATER) {
            later++;
            assert_in_range(delay_ms, 0, 4);
        }
    }
    assert_in_range(later, 0, 5);
}

static void disabled_means_never(void **state) {
    (void)state;
    struct retry_config off = config;
    off.enabled = false;
    struct rng rng;
    rng_seed(&rng, 7);
    int64_t delay_ms;
    struct retry_case failed = {.status = STATUS_WORKER_UNAVAILABLE, .remaining_ms = 1000};
    assert_int_equal(retry_decide(&off, &failed, &rng, &delay_ms), RETRY_NO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdict_follows_the_rules),
        cmocka_unit_test(delay_is_jittered_below_a_growing_capped_ceiling),
        cmocka_unit_test(a_delay_that_ends_after_the_deadline_is_no_retry),
        cmocka_unit_test(disabled_means_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
