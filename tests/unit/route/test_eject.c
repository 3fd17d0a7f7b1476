#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"
#include "route/eject.h"

enum { WORKERS = 4 };

static struct fleet fleet;
static struct registry_worker *workers[WORKERS];

static int setup(void **state) {
    (void)state;
    fleet_setup(&fleet, "round_robin", 1);
    for (int i = 0; i < WORKERS; i++) {
        char id[16];
        snprintf(id, sizeof(id), "w-%d", i);
        workers[i] = fleet_add_plain(&fleet, id, 4);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fleet_teardown(&fleet);
    return 0;
}

static void open_breaker(struct breaker *breaker) {
    breaker_become(breaker, BREAKER_HALF_OPEN, false, 0);
}

static void half_of_the_workers_may_be_ejected_and_no_more(void **state) {
    (void)state;
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(eject_is_allowed(&fleet.registry, workers[i], NULL), i < WORKERS / 2);
        open_breaker(&workers[i]->breaker);
    }
}

static void the_breakers_of_the_model_count_like_those_of_the_workers(void **state) {
    (void)state;
    open_breaker(&workers[0]->breaker);
    assert_true(eject_is_allowed(&fleet.registry, workers[2], "m"));
    open_breaker(&worker_model_find(workers[1], "m")->breaker);
    assert_false(eject_is_allowed(&fleet.registry, workers[2], "m"));
    assert_false(eject_is_allowed(&fleet.registry, workers[2], NULL));
    assert_true(eject_is_allowed(&fleet.registry, workers[2], "another model"));
}

static void the_only_worker_of_a_model_is_never_ejected(void **state) {
    (void)state;
    struct worker_info info = fleet_info("w-9", 4);
    snprintf(info.models[0].name, sizeof(info.models[0].name), "rare");
    assert_false(eject_is_allowed(&fleet.registry, fleet_add(&fleet, &info), NULL));
    /* Of several models of a worker the one with the fewest workers decides. */
    info = fleet_info("w-10", 4);
    info.models[1] = info.models[0];
    snprintf(info.models[1].name, sizeof(info.models[1].name), "rarer");
    info.model_count = 2;
    struct registry_worker *both = fleet_add(&fleet, &info);
    assert_true(eject_is_allowed(&fleet.registry, both, "m"));
    assert_false(eject_is_allowed(&fleet.registry, both, NULL));
}

static void workers_that_take_nothing_anyway_do_not_make_up_the_half(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_true(eject_is_allowed(&fleet.registry, workers[3], NULL));
        breaker_force(&workers[i]->breaker, BREAKER_FORCED_OPEN);
    }
    open_breaker(&workers[2]->breaker);
    assert_false(eject_is_allowed(&fleet.registry, workers[3], NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(half_of_the_workers_may_be_ejected_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(the_breakers_of_the_model_count_like_those_of_the_workers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_only_worker_of_a_model_is_never_ejected, setup, teardown),
        cmocka_unit_test_setup_teardown(workers_that_take_nothing_anyway_do_not_make_up_the_half, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
