#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "route/router.h"

struct fixture {
    struct registry registry;
    struct balancer balancer;
    struct router router;
    struct route_decision decision; /* of the last pick */
};

static void ignore_change(enum registry_change change, const struct registry_worker *worker,
                          uint64_t old_generation, void *arg) {
    (void)change, (void)worker, (void)old_generation, (void)arg;
}

static void setup(struct fixture *fixture) {
    const struct registry_config config = {
        .suspect_after_ms = 2500, .offline_after_ms = 15000, .forget_after_ms = 600000};
    registry_init(&fixture->registry, &config);
    assert_true(balancer_init(&fixture->balancer, "least_requests", 42));
    router_init(&fixture->router, &fixture->registry, &fixture->balancer);
}

static void teardown(struct fixture *fixture) {
    router_release(&fixture->router);
    balancer_release(&fixture->balancer);
    registry_release(&fixture->registry);
}

static struct registry_worker *add(struct fixture *fixture, const char *id, int32_t slots,
                                   enum model_state model, enum worker_phase phase) {
    struct worker_info info = {.phase = phase, .model_count = 1, .incarnation = "a"};
    snprintf(info.id, sizeof(info.id), "%s", id);
    snprintf(info.models[0].name, sizeof(info.models[0].name), "m");
    info.models[0].state = model;
    info.models[0].slots = slots;
    registry_update(&fixture->registry, &info, 0, ignore_change, NULL);
    return registry_find(&fixture->registry, id);
}

static struct registry_worker *pick(struct fixture *fixture, const char *model,
                                    struct route_exclusion *exclusion, struct error *error) {
    static struct route_exclusion none;
    struct route_request request = {.model = model, .prompt = "[]", .prompt_len = 2};
    return router_pick(&fixture->router, &request, exclusion ? exclusion : &none, 0, &fixture->decision,
                       error);
}

static void picks_the_worker_with_the_fewest_leases(void **state) {
    (void)state;
    struct fixture fixture;
    struct error error;
    setup(&fixture);
    struct lease leases[30] = {0};
    const char *ids[] = {"w1", "w2", "w3"};
    for (size_t i = 0; i < 3; i++)
        add(&fixture, ids[i], 4, MODEL_READY, WORKER_PHASE_READY);
    for (size_t i = 0; i < 30; i++)
        lease_take(pick(&fixture, "m", NULL, &error), &leases[i]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(registry_find(&fixture.registry, ids[i])->gauge->leases, 10);
    teardown(&fixture);
}

static void load_is_relative_to_the_number_of_slots(void **state) {
    (void)state;
    struct fixture fixture;
    struct error error;
    setup(&fixture);
    struct registry_worker *small = add(&fixture, "small", 2, MODEL_READY, WORKER_PHASE_READY);
    struct registry_worker *large = add(&fixture, "large", 8, MODEL_READY, WORKER_PHASE_READY);
    struct lease leases[20] = {0};
    for (size_t i = 0; i < 20; i++)
        lease_take(pick(&fixture, "m", NULL, &error), &leases[i]);
    assert_int_equal(small->gauge->leases, 4);
    assert_int_equal(large->gauge->leases, 16);
    teardown(&fixture);
}

static void equals_are_chosen_by_chance_but_evenly(void **state) {
    (void)state;
    struct fixture fixture;
    struct error error;
    setup(&fixture);
    int hits[4] = {0};
    char id[16];
    for (int i = 0; i < 4; i++) {
        snprintf(id, sizeof(id), "w%d", i);
        add(&fixture, id, 4, MODEL_READY, WORKER_PHASE_READY);
    }
    for (int i = 0; i < 4000; i++)
        hits[pick(&fixture, "m", NULL, &error)->index]++;
    for (int i = 0; i < 4; i++)
        assert_in_range(hits[i], 850, 1150);
    teardown(&fixture);
}

static void only_eligible_workers_are_picked(void **state) {
    (void)state;
    struct fixture fixture;
    struct error error;
    setup(&fixture);
    add(&fixture, "loading", 4, MODEL_LOADING, WORKER_PHASE_LOADING);
    add(&fixture, "broken", 4, MODEL_FAILED, WORKER_PHASE_READY);
    add(&fixture, "leaving", 4, MODEL_READY, WORKER_PHASE_DRAINING);
    struct registry_worker *silent = add(&fixture, "silent", 4, MODEL_READY, WORKER_PHASE_READY);
    registry_unreachable(&fixture.registry, silent, ignore_change, NULL);
    assert_null(pick(&fixture, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    assert_non_null(strstr(error.message, "1 still loading it, 1 failed to load it, 1 draining, 1 suspect"));
    struct registry_worker *good = add(&fixture, "good", 4, MODEL_READY, WORKER_PHASE_READY);
    for (int i = 0; i < 100; i++)
        assert_ptr_equal(pick(&fixture, "m", NULL, &error), good);
    teardown(&fixture);
}

static void tried_incarnations_are_left_out(void **state) {
    (void)state;
    struct fixture fixture;
    struct error error;
    setup(&fixture);
    struct route_exclusion exclusion = {0};
    struct registry_worker *first = add(&fixture, "w1", 4, MODEL_READY, WORKER_PHASE_READY);
    struct registry_worker *second = add(&fixture, "w2", 4, MODEL_READY, WORKER_PHASE_READY);
    route_exclude(&exclusion, first->serial, first->generation);
    for (int i = 0; i < 50; i++)
        assert_ptr_equal(pick(&fixture, "m", &exclusion, &error), second);
    route_exclude(&exclusion, second->serial, second->generation);
    assert_null(pick(&fixture, "m", &exclusion, &error));
    assert_non_null(strstr(error.message, "2 already tried"));
    teardown(&fixture);
}

static void unknown_model_is_told_from_no_workers(void **state) {
    (void)state;
    struct fixture fixture;
    struct error error;
    setup(&fixture);
    assert_null(pick(&fixture, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    add(&fixture, "w1", 4, MODEL_READY, WORKER_PHASE_READY);
    assert_null(pick(&fixture, "other", NULL, &error));
    assert_int_equal(error.status, STATUS_MODEL_NOT_FOUND);
    assert_string_equal(error.param, "model");
    teardown(&fixture);
}

static void unknown_strategy_is_refused(void **state) {
    (void)state;
    struct balancer balancer;
    assert_false(balancer_init(&balancer, "fastest", 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(picks_the_worker_with_the_fewest_leases),
        cmocka_unit_test(load_is_relative_to_the_number_of_slots),
        cmocka_unit_test(equals_are_chosen_by_chance_but_evenly),
        cmocka_unit_test(only_eligible_workers_are_picked),
        cmocka_unit_test(tried_incarnations_are_left_out),
        cmocka_unit_test(unknown_model_is_told_from_no_workers),
        cmocka_unit_test(unknown_strategy_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
