#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"

static void ignore_change(enum registry_change change, const struct registry_worker *worker,
                          uint64_t old_generation, void *arg) {
    (void)change, (void)worker, (void)old_generation, (void)arg;
}

static const struct roster *get(struct fleet *fleet) {
    const struct roster *roster = rosters_get(&fleet->router.rosters, &fleet->registry, "m");
    assert_non_null(roster);
    return roster;
}

static void whatever_changes_who_serves_is_seen(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "least_requests", 1);
    struct worker_info info = fleet_info("a", 4);
    assert_int_equal(get(&fleet)->count, 0);
    struct registry_worker *worker = fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->count, 1);
    info.phase = WORKER_PHASE_DRAINING;
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->count, 0);
    assert_int_equal(get(&fleet)->census.draining, 1);
    info.phase = WORKER_PHASE_READY;
    info.models[0].state = MODEL_LOADING;
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->census.loading, 1);
    info.models[0].state = MODEL_READY;
    info.models[0].context_tokens = 7;
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->candidates[0].context_tokens, 7);
    registry_unreachable(&fleet.registry, worker, ignore_change, NULL);
    assert_int_equal(get(&fleet)->census.suspect, 1);
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->count, 1);
    registry_leave(&fleet.registry, "a", "a", 1, ignore_change, NULL);
    assert_int_equal(get(&fleet)->census.offline, 1);
    registry_tick(&fleet.registry, 1000000, ignore_change, NULL);
    assert_int_equal(fleet.registry.count, 0);
    assert_int_equal(get(&fleet)->census.serving, 0);
    fleet_teardown(&fleet);
}

static void a_model_that_is_renamed_or_dropped_is_gone(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "least_requests", 1);
    struct worker_info info = fleet_info("a", 4);
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->count, 1);
    info.models[0].name[0] = 'x';
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->census.serving, 0);
    info.models[0].name[0] = 'm';
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->count, 1);
    info.model_count = 0;
    fleet_add(&fleet, &info);
    assert_int_equal(get(&fleet)->census.serving, 0);
    fleet_teardown(&fleet);
}

static void plain_heartbeats_keep_the_list(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "least_requests", 1);
    struct registry_worker *worker = fleet_add_plain(&fleet, "a", 4);
    uint64_t version = get(&fleet)->version;
    for (int i = 0; i < 10; i++)
        fleet_beat(&fleet, worker, &(struct worker_load){.running = i, .steps = (uint64_t)i});
    assert_int_equal(get(&fleet)->version, version);
    assert_int_equal(fleet.registry.version, version);
    fleet_teardown(&fleet);
}

static void more_models_than_lists_are_all_answered(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "least_requests", 1);
    for (int i = 0; i < 3 * ROSTERS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "w%d", i);
        struct worker_info info = fleet_info(name, 4);
        snprintf(info.models[0].name, sizeof info.models[0].name, "model-%d", i);
        fleet_add(&fleet, &info);
    }
    for (int i = 0; i < 9 * ROSTERS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "model-%d", i % (3 * ROSTERS_MAX));
        const struct roster *roster = rosters_get(&fleet.router.rosters, &fleet.registry, name);
        assert_int_equal(roster->count, 1);
        assert_int_equal(roster->candidates[0].gauge->worker->index, i % (3 * ROSTERS_MAX));
    }
    fleet_teardown(&fleet);
}

/* Workers come and go; each seat belongs to one worker, and gauges point back at theirs. */
static void seats_are_unique_and_used_again(void **state) {
    (void)state;
    struct fleet fleet;
    struct rng rng;
    rng_seed(&rng, 5);
    fleet_setup(&fleet, "least_requests", 1);
    for (int i = 0; i < 500; i++) {
        char id[32];
        snprintf(id, sizeof id, "w%d", i);
        fleet.now_ms += 100;
        fleet_add_plain(&fleet, id, 4);
        if (fleet.registry.count > 70) {
            const struct registry_worker *gone =
                fleet.registry.workers[rng_below(&rng, fleet.registry.count - 1)];
            registry_leave(&fleet.registry, gone->info.id, "a", fleet.now_ms, ignore_change, NULL);
        }
        fleet.registry.config.forget_after_ms = 1;
        fleet.registry.config.offline_after_ms = fleet.registry.config.suspect_after_ms = INT64_MAX;
        registry_tick(&fleet.registry, fleet.now_ms, ignore_change, NULL);
        bool taken[128] = {false};
        for (size_t j = 0; j < fleet.registry.count; j++) {
            const struct worker_gauge *gauge = fleet.registry.workers[j]->gauge;
            assert_in_range(gauge->seat, 0, 127);
            assert_false(taken[gauge->seat]);
            taken[gauge->seat] = true;
            assert_ptr_equal(gauge->worker, fleet.registry.workers[j]);
            assert_int_equal(gauge->generation, fleet.registry.workers[j]->generation);
        }
    }
    fleet_teardown(&fleet);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_changes_who_serves_is_seen),
        cmocka_unit_test(a_model_that_is_renamed_or_dropped_is_gone),
        cmocka_unit_test(plain_heartbeats_keep_the_list),
        cmocka_unit_test(more_models_than_lists_are_all_answered),
        cmocka_unit_test(seats_are_unique_and_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
