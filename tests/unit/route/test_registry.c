#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "route/registry.h"

static const struct registry_config config = {
    .suspect_after_ms = 2500, .offline_after_ms = 15000, .forget_after_ms = 600000};

struct seen {
    enum registry_change change;
    uint64_t old_generation;
    int calls;
};

static void note(enum registry_change change, const struct registry_worker *worker, uint64_t old_generation,
                 void *arg) {
    (void)worker;
    struct seen *seen = arg;
    seen->change = change;
    seen->old_generation = old_generation;
    seen->calls++;
}

static struct worker_info info_of(const char *id, const char *incarnation) {
    struct worker_info info = {.phase = WORKER_PHASE_READY, .model_count = 1};
    strncpy(info.id, id, sizeof(info.id) - 1);
    strncpy(info.incarnation, incarnation, sizeof(info.incarnation) - 1);
    strncpy(info.models[0].name, "m", sizeof(info.models[0].name) - 1);
    info.models[0].state = MODEL_READY;
    info.models[0].slots = 4;
    return info;
}

static struct seen update(struct registry *registry, const char *id, const char *incarnation,
                          int64_t now_ms) {
    struct seen seen = {0};
    struct worker_info info = info_of(id, incarnation);
    registry_update(registry, &info, now_ms, note, &seen);
    return seen;
}

static struct seen tick(struct registry *registry, int64_t now_ms) {
    struct seen seen = {0};
    registry_tick(registry, now_ms, note, &seen);
    return seen;
}

static void first_heartbeat_registers_and_later_ones_change_nothing(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    struct seen first = update(&registry, "w1", "a", 1000);
    assert_int_equal(first.change, REGISTRY_ADDED);
    assert_int_equal(update(&registry, "w1", "a", 2000).calls, 0);
    assert_int_equal(registry.count, 1);
    assert_int_equal(registry_find(&registry, "w1")->heartbeat_ms, 2000);
    registry_release(&registry);
}

static void silence_makes_suspect_then_offline_then_forgotten(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    assert_int_equal(tick(&registry, 2499).calls, 0);
    assert_int_equal(tick(&registry, 2500).change, REGISTRY_SUSPECTED);
    assert_int_equal(tick(&registry, 2600).calls, 0);
    uint64_t generation = registry_find(&registry, "w1")->generation;
    struct seen lost = tick(&registry, 15000);
    assert_int_equal(lost.change, REGISTRY_LOST);
    assert_int_equal(lost.old_generation, generation);
    assert_non_null(registry_find(&registry, "w1"));
    tick(&registry, 600000);
    assert_null(registry_find(&registry, "w1"));
    registry_release(&registry);
}

static void heartbeat_brings_a_suspect_worker_back_with_its_leases(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    struct lease lease = {0};
    lease_take(registry_find(&registry, "w1"), &lease);
    tick(&registry, 3000);
    assert_int_equal(update(&registry, "w1", "a", 3100).change, REGISTRY_RETURNED);
    assert_int_equal(registry_find(&registry, "w1")->gauge->leases, 1);
    lease_give_back(&registry, &lease);
    assert_int_equal(registry_find(&registry, "w1")->gauge->leases, 0);
    registry_release(&registry);
}

static void new_incarnation_voids_the_leases_of_the_old_one(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    struct registry_worker *worker = registry_find(&registry, "w1");
    uint64_t old_generation = worker->generation;
    struct lease old = {0}, fresh = {0};
    lease_take(worker, &old);
    struct seen seen = update(&registry, "w1", "b", 100);
    assert_int_equal(seen.change, REGISTRY_RESTARTED);
    assert_int_equal(seen.old_generation, old_generation);
    assert_int_equal(worker->gauge->leases, 0);
    lease_take(worker, &fresh);
    lease_give_back(&registry, &old);
    assert_int_equal(worker->gauge->leases, 1);
    lease_give_back(&registry, &fresh);
    lease_give_back(&registry, &fresh); /* cleared: nothing happens */
    assert_int_equal(worker->gauge->leases, 0);
    registry_release(&registry);
}

static void good_bye_counts_only_for_the_current_incarnation(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    struct seen seen = {0};
    update(&registry, "w1", "a", 0);
    update(&registry, "w1", "b", 10);
    registry_leave(&registry, "w1", "a", 20, note, &seen);
    assert_int_equal(seen.calls, 0);
    registry_leave(&registry, "w1", "b", 20, note, &seen);
    assert_int_equal(seen.change, REGISTRY_LOST);
    assert_int_equal(registry_find(&registry, "w1")->state, WORKER_OFFLINE);
    registry_release(&registry);
}

static void unreachable_worker_is_suspect_until_its_next_heartbeat(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    struct seen seen = {0};
    update(&registry, "w1", "a", 0);
    registry_unreachable(&registry, registry_find(&registry, "w1"), note, &seen);
    assert_int_equal(seen.change, REGISTRY_SUSPECTED);
    registry_unreachable(&registry, registry_find(&registry, "w1"), note, &seen);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(update(&registry, "w1", "a", 50).change, REGISTRY_RETURNED);
    registry_release(&registry);
}

static void forgetting_keeps_the_others_in_place(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    update(&registry, "w2", "a", 590000);
    update(&registry, "w3", "a", 590000);
    tick(&registry, 590001);
    update(&registry, "w2", "a", 600000);
    update(&registry, "w3", "a", 600000);
    tick(&registry, 600001);
    assert_int_equal(registry.count, 2);
    for (size_t i = 0; i < registry.count; i++)
        assert_int_equal(registry.workers[i]->index, i);
    assert_ptr_equal(registry_find(&registry, "w3"), registry.workers[1]);
    registry_release(&registry);
}

static void registry_is_bounded(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    char id[32];
    for (int i = 0; i < REGISTRY_WORKERS_MAX; i++) {
        snprintf(id, sizeof(id), "w%d", i);
        assert_int_equal(update(&registry, id, "a", 0).change, REGISTRY_ADDED);
    }
    assert_int_equal(update(&registry, "one-more", "a", 0).change, REGISTRY_FULL);
    assert_int_equal(registry.count, REGISTRY_WORKERS_MAX);
    registry_release(&registry);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_heartbeat_registers_and_later_ones_change_nothing),
        cmocka_unit_test(silence_makes_suspect_then_offline_then_forgotten),
        cmocka_unit_test(heartbeat_brings_a_suspect_worker_back_with_its_leases),
        cmocka_unit_test(new_incarnation_voids_the_leases_of_the_old_one),
        cmocka_unit_test(good_bye_counts_only_for_the_current_incarnation),
        cmocka_unit_test(unreachable_worker_is_suspect_until_its_next_heartbeat),
        cmocka_unit_test(forgetting_keeps_the_others_in_place),
        cmocka_unit_test(registry_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
