#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"

static struct fleet fleet;

static int setup(void **state) {
    (void)state;
    fleet_setup(&fleet, "least_requests", 42);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fleet_teardown(&fleet);
    return 0;
}

static struct registry_worker *add(const char *id, enum model_state state, bool on_demand, int64_t used,
                                   int64_t max) {
    struct worker_info info = fleet_info(id, 4);
    info.models[0].state = state;
    info.models[0].on_demand = on_demand;
    info.models_bytes = used;
    info.models_bytes_max = max;
    return fleet_add(&fleet, &info);
}

static struct registry_worker *pick(struct error *error) {
    static const struct route_exclusion none;
    struct route_request request = {.model = "m", .prompt = "[]", .prompt_len = 2};
    return router_pick(&fleet.router, &request, &none, fleet.now_ms, &fleet.decision, error);
}

static void check_all_go_to(const struct registry_worker *worker) {
    struct error error;
    for (int i = 0; i < 50; i++)
        assert_ptr_equal(pick(&error), worker);
}

static void a_ready_model_goes_before_a_loading_one_and_that_before_an_unloaded_one(void **state) {
    (void)state;
    struct registry_worker *unloaded = add("unloaded", MODEL_UNLOADED, true, 0, 0);
    check_all_go_to(unloaded);
    struct registry_worker *loading = add("loading", MODEL_LOADING, true, 50, 100);
    check_all_go_to(loading);
    struct registry_worker *ready = add("ready", MODEL_READY, false, 100, 100);
    check_all_go_to(ready);
    assert_int_equal(fleet.decision.census.cold, 2);
}

static void it_is_loaded_where_there_is_most_room(void **state) {
    (void)state;
    add("full", MODEL_UNLOADED, true, 100, 100);
    add("over", MODEL_UNLOADED, true, 150, 100);
    add("waiting", MODEL_WAITING, true, 70, 100);
    struct registry_worker *roomy = add("roomy", MODEL_UNLOADED, true, 120, 180);
    check_all_go_to(roomy);
    struct registry_worker *unbounded = add("unbounded", MODEL_UNLOADED, true, 1000, 0);
    check_all_go_to(unbounded);
}

static void a_second_request_follows_the_first_before_any_heartbeat_until_that_worker_is_full(void **state) {
    (void)state;
    struct error error;
    struct lease lease;
    add("w1", MODEL_UNLOADED, true, 0, 0);
    add("w2", MODEL_UNLOADED, true, 0, 0);
    struct registry_worker *first = pick(&error);
    lease_take(first, "m", &lease);
    while (first->models[0].leases < first->models[0].room) {
        assert_ptr_equal(pick(&error), first);
        lease_take(first, "m", &lease);
    }
    struct registry_worker *second = pick(&error);
    assert_non_null(second);
    assert_ptr_not_equal(second, first);
}

static void a_full_ready_worker_makes_another_one_load(void **state) {
    (void)state;
    struct lease lease;
    struct registry_worker *ready = add("ready", MODEL_READY, false, 0, 0);
    struct registry_worker *unloaded = add("unloaded", MODEL_UNLOADED, true, 0, 0);
    check_all_go_to(ready);
    while (ready->models[0].leases < ready->models[0].room)
        lease_take(ready, "m", &lease);
    check_all_go_to(unloaded);
}

static void nobody_who_does_not_load_on_demand_is_asked_to(void **state) {
    (void)state;
    struct error error;
    add("w1", MODEL_UNLOADED, false, 0, 0);
    add("w2", MODEL_UNLOADING, false, 0, 0);
    assert_null(pick(&error));
    assert_int_equal(error.status, STATUS_MODEL_NOT_LOADED);
    assert_non_null(strstr(error.message, "2 have it unloaded"));
    add("w3", MODEL_LOADING, false, 0, 0);
    assert_null(pick(&error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    add("w4", MODEL_FAILED, false, 0, 0);
    assert_null(pick(&error));
    struct registry_worker *failed = add("w5", MODEL_FAILED, true, 0, 0); /* its time to try again has come */
    check_all_go_to(failed);
}

static void unloaded_models_are_no_slots(void **state) {
    (void)state;
    struct worker_info info = fleet_info("w1", 4);
    info.model_count = 2;
    info.models[1] = info.models[0];
    memcpy(info.models[1].name, "n", 2);
    info.models[1].state = MODEL_UNLOADED;
    assert_int_equal(fleet_add(&fleet, &info)->gauge->slots, 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_ready_model_goes_before_a_loading_one_and_that_before_an_unloaded_one),
        TEST(it_is_loaded_where_there_is_most_room),
        TEST(a_second_request_follows_the_first_before_any_heartbeat_until_that_worker_is_full),
        TEST(a_full_ready_worker_makes_another_one_load),
        TEST(nobody_who_does_not_load_on_demand_is_asked_to),
        TEST(unloaded_models_are_no_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
