#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "route/registry.h"

static const struct registry_config config = {.suspect_after_ms = 2500,
                                              .offline_after_ms = 15000,
                                              .forget_after_ms = 600000,
                                              .hung_after_ms = 20000,
                                              .queued_per_worker_max = 3};

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
    lease_take(registry_find(&registry, "w1"), "m", &lease);
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
    lease_take(worker, "m", &old);
    struct seen seen = update(&registry, "w1", "b", 100);
    assert_int_equal(seen.change, REGISTRY_RESTARTED);
    assert_int_equal(seen.old_generation, old_generation);
    assert_int_equal(worker->gauge->leases, 0);
    lease_take(worker, "m", &fresh);
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

static void set_load(struct worker_info *info, int32_t running, uint64_t progress) {
    info->load.running = running;
    info->load.progress = progress;
}

static struct seen beat(struct registry *registry, const struct worker_info *info, int64_t now_ms) {
    struct seen seen = {0};
    registry_update(registry, info, now_ms, note, &seen);
    return seen;
}

static void worker_that_does_not_go_on_is_hung_until_it_does(void **state) {
    (void)state;
    static const struct {
        int32_t running;
        uint64_t progress;
    } cures[] = {{2, 8}, {0, 7}};
    for (size_t i = 0; i < ARRAY_LEN(cures); i++) {
        struct registry registry;
        registry_init(&registry, &config);
        struct worker_info info = info_of("w1", "a");
        set_load(&info, 2, 7);
        beat(&registry, &info, 0);
        const struct registry_worker *worker = registry_find(&registry, "w1");
        for (int64_t now_ms = 1000; now_ms < config.hung_after_ms; now_ms += 1000)
            assert_int_equal(beat(&registry, &info, now_ms).calls, 0);
        struct seen seen = beat(&registry, &info, config.hung_after_ms);
        assert_int_equal(seen.change, REGISTRY_SUSPECTED);
        assert_int_equal(seen.old_generation, worker->generation);
        assert_true(worker->hung);
        assert_string_equal(worker_state_name(worker), "suspect");
        uint64_t version = registry.version;
        assert_int_equal(beat(&registry, &info, config.hung_after_ms + 1000).calls, 0);
        assert_int_equal(worker->state, WORKER_SUSPECT);
        assert_int_equal(registry.version, version);
        set_load(&info, cures[i].running, cures[i].progress);
        assert_int_equal(beat(&registry, &info, config.hung_after_ms + 2000).change, REGISTRY_RETURNED);
        assert_false(worker->hung);
        registry_release(&registry);
    }
}

static void who_idles_goes_on_or_was_not_heard_of_does_not_hang(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    struct worker_info idle = info_of("idle", "a"), slow = info_of("slow", "a"), away = info_of("away", "a");
    set_load(&away, 1, 1);
    set_load(&slow, 1, 1);
    beat(&registry, &away, 0);
    for (int64_t now_ms = 0; now_ms <= 5 * config.hung_after_ms; now_ms += 1000) {
        set_load(&slow, 1, (uint64_t)(now_ms / (config.hung_after_ms - 1000)));
        assert_true(beat(&registry, &idle, now_ms).change <= REGISTRY_ADDED);
        assert_true(beat(&registry, &slow, now_ms).change <= REGISTRY_ADDED);
    }
    assert_int_equal(beat(&registry, &away, 5 * config.hung_after_ms).calls, 0);
    registry_release(&registry);
}

static void nobody_hangs_when_that_is_off(void **state) {
    (void)state;
    struct registry_config off = config;
    off.hung_after_ms = 0;
    struct registry registry;
    registry_init(&registry, &off);
    struct worker_info info = info_of("w1", "a");
    set_load(&info, 1, 1);
    beat(&registry, &info, 0);
    for (int64_t now_ms = 1000; now_ms < 1000000; now_ms += 1000)
        assert_int_equal(beat(&registry, &info, now_ms).calls, 0);
    registry_release(&registry);
}

static void our_own_sleep_is_not_held_against_workers(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    registry_forgive(&registry, 60000);
    assert_int_equal(tick(&registry, 60000 + 2499).calls, 0);
    assert_int_equal(tick(&registry, 60000 + 2500).change, REGISTRY_SUSPECTED);
    update(&registry, "w1", "a", 70000);
    assert_int_equal(tick(&registry, 72500).change, REGISTRY_SUSPECTED);
    registry_release(&registry);
}

static void leases_are_counted_for_each_model(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    struct worker_info info = info_of("w1", "a");
    info.model_count = 2;
    info.models[1] = info.models[0];
    info.models[1].name[0] = 'n';
    beat(&registry, &info, 0);
    struct registry_worker *worker = registry_find(&registry, "w1");
    struct lease one = {0}, two = {0}, other = {0}, unknown = {0};
    lease_take(worker, "m", &one);
    lease_take(worker, "m", &two);
    lease_take(worker, "n", &other);
    lease_take(worker, "x", &unknown);
    assert_int_equal(worker->gauge->leases, 4);
    assert_int_equal(worker_model_find(worker, "m")->leases, 2);
    assert_int_equal(worker_model_find(worker, "n")->leases, 1);
    /* The worker drops one model and names the other one first. */
    info.models[0].name[0] = 'n';
    info.models[1].name[0] = 'o';
    beat(&registry, &info, 1000);
    assert_null(worker_model_find(worker, "m"));
    assert_int_equal(worker_model_find(worker, "n")->leases, 1);
    assert_int_equal(worker_model_find(worker, "o")->leases, 0);
    lease_give_back(&registry, &one);
    lease_give_back(&registry, &unknown);
    lease_give_back(&registry, &other);
    assert_int_equal(worker_model_find(worker, "n")->leases, 0);
    assert_int_equal(worker->gauge->leases, 1);
    lease_give_back(&registry, &two);
    registry_release(&registry);
}

static void a_model_is_full_when_slots_and_queue_are(void **state) {
    (void)state;
    static const struct {
        int32_t queue_max, ours, others; /* jobs, as the worker counts them for this controller and another */
        int32_t leases;                  /* that make it full: it has 4 slots, and 3 may wait */
    } rows[] = {{100, 0, 0, 7}, {2, 0, 0, 6},   {0, 0, 0, 4},   {-5, 0, 0, 4},
                {100, 5, 0, 7}, {100, 0, 5, 2}, {100, 4, 5, 2}, {100, 0, 13, 0}};
    struct registry_config ours = config;
    ours.controller_id = "ours";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct registry registry;
        registry_init(&registry, &ours);
        struct worker_info info = info_of("w1", "a");
        info.load.queue_max = rows[i].queue_max;
        info.load.running = rows[i].ours + rows[i].others;
        info.client_count = 2;
        info.clients[0] = (struct worker_client){"ours", rows[i].ours};
        info.clients[1] = (struct worker_client){"theirs", rows[i].others};
        beat(&registry, &info, 0);
        struct registry_worker *worker = registry_find(&registry, "w1");
        struct lease leases[8] = {0};
        int32_t taken = 0;
        for (; !worker->models[0].full; taken++) {
            assert_int_equal(registry.uneasy, 0);
            lease_take(worker, "m", &leases[taken]);
        }
        assert_int_equal(taken, rows[i].leases);
        assert_int_equal(registry.uneasy, 1);
        if (taken > 0) {
            lease_give_back(&registry, &leases[0]);
            assert_int_equal(registry.uneasy, 0);
        }
        registry_release(&registry);
    }
}

static void a_busy_worker_is_so_until_its_time_or_its_process_ends(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    struct registry_worker *worker = registry_find(&registry, "w1");
    registry_note_busy(worker, 800);
    registry_note_busy(worker, 500); /* earlier: changes nothing */
    assert_int_equal(registry_busy_ms(worker, 300), 500);
    assert_int_equal(registry.uneasy, 1);
    update(&registry, "w1", "a", 700); /* a heartbeat does not clear it */
    assert_int_equal(registry.uneasy, 1);
    tick(&registry, 800);
    assert_int_equal(registry_busy_ms(worker, 800), 0);
    assert_int_equal(registry.uneasy, 0);
    registry_note_busy(worker, 5000);
    update(&registry, "w1", "b", 1000);
    assert_int_equal(registry_busy_ms(worker, 1000), 0);
    registry_release(&registry);
}

/* Whatever happens, the count that spares the router a walk is that of a walk. */
static void uneasy_is_what_a_walk_would_count(void **state) {
    (void)state;
    struct registry registry;
    struct seen seen = {0};
    struct rng rng;
    struct lease leases[16] = {0};
    rng_seed(&rng, 3);
    registry_init(&registry, &config);
    int64_t now_ms = 0;
    for (int i = 0; i < 20000; i++, now_ms += (int64_t)rng_below(&rng, 300)) {
        char id[2] = {(char)('a' + rng_below(&rng, 6)), '\0'};
        struct registry_worker *worker = registry_find(&registry, id);
        struct lease *lease = &leases[rng_below(&rng, ARRAY_LEN(leases))];
        struct worker_info info = info_of(id, rng_below(&rng, 50) ? "x" : "y");
        info.model_count = 1 + (size_t)rng_below(&rng, 2);
        info.resources.level = (enum resource_level)(rng_below(&rng, 8) % RESOURCE_LEVEL_COUNT);
        info.models[1] = info.models[0];
        info.models[1].name[0] = 'n';
        set_load(&info, (int32_t)rng_below(&rng, 3), rng_below(&rng, 2));
        switch (rng_below(&rng, 8)) {
        case 0:
            registry_note_busy(worker ? worker
                                      : (beat(&registry, &info, now_ms), registry_find(&registry, id)),
                               now_ms + 500);
            break;
        case 1:
            registry_leave(&registry, id, "x", now_ms, note, &seen);
            break;
        case 2:
            registry_tick(&registry, now_ms, note, &seen);
            break;
        case 3:
            if (worker)
                registry_note_short_of_memory(worker, (enum chat_priority)rng_below(&rng, 3));
            break;
        case 4:
            beat(&registry, &info, now_ms);
            break;
        case 5:
            lease_give_back(&registry, lease);
            break;
        default:
            lease_give_back(&registry, lease);
            if (worker)
                lease_take(worker, "m", lease);
        }
        size_t uneasy = 0;
        for (size_t w = 0; w < registry.count; w++) {
            const struct registry_worker *known = registry.workers[w];
            size_t before = uneasy;
            for (size_t m = 0; known->state == WORKER_ONLINE && m < known->info.model_count; m++)
                uneasy += known->gauge->resources != RESOURCE_OK || !known->gauge->calm ||
                          !known->models[m].calm ||
                          known->models[m].leases + known->gauge->others >= known->models[m].room;
            assert_int_equal(known->gauge->easy, known->state == WORKER_ONLINE && uneasy == before);
        }
        assert_int_equal(registry.uneasy, uneasy);
    }
    registry_release(&registry);
}

static void a_worker_that_is_held_back_is_degraded(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    update(&registry, "w1", "a", 0);
    struct registry_worker *worker = registry_find(&registry, "w1");
    assert_string_equal(worker_state_name(worker), "online");
    breaker_force(&worker->breaker, BREAKER_FORCED_OPEN);
    registry_note_breakers(worker, 0);
    assert_string_equal(worker_state_name(worker), "degraded");
    breaker_reset(&worker->breaker, 0);
    registry_note_breakers(worker, 0);
    registry_note_busy(worker, 1000);
    assert_string_equal(worker_state_name(worker), "online");
    struct worker_info info = info_of("w1", "a");
    info.models[0].state = MODEL_FAILED;
    beat(&registry, &info, 100);
    assert_string_equal(worker_state_name(worker), "degraded");
    info.phase = WORKER_PHASE_DRAINING;
    beat(&registry, &info, 200);
    assert_string_equal(worker_state_name(worker), "draining");
    registry_release(&registry);
}

static void a_new_process_has_models_that_are_trusted_unless_the_operator_spoke(void **state) {
    (void)state;
    struct registry registry;
    registry_init(&registry, &config);
    struct worker_info info = info_of("w1", "a");
    info.model_count = 3;
    info.models[1] = info.models[2] = info.models[0];
    info.models[1].name[0] = 'n';
    info.models[2].name[0] = 'o';
    beat(&registry, &info, 0);
    struct registry_worker *worker = registry_find(&registry, "w1");
    worker->models[0].breaker.state = BREAKER_OPEN;
    breaker_force(&worker->models[1].breaker, BREAKER_FORCED_OPEN);
    breaker_force(&worker->models[2].breaker, BREAKER_FORCED_CLOSED);
    struct lease lease = {0};
    lease_take(worker, "m", &lease);
    beat(&registry, &info, 10); /* the same process: nothing changes */
    assert_int_equal(worker->models[0].breaker.state, BREAKER_OPEN);
    assert_ptr_equal(lease_model(&registry, &lease), &worker->models[0]);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            registry_leave(&registry, "w1", "a", 20, note, &(struct seen){0});
        memcpy(info.incarnation, "b", 2);
        beat(&registry, &info, 30);
        assert_int_equal(worker->models[0].breaker.state, BREAKER_CLOSED);
        assert_int_equal(worker->models[1].breaker.state, BREAKER_FORCED_OPEN);
        assert_int_equal(worker->models[2].breaker.state, BREAKER_FORCED_CLOSED);
        assert_int_equal(worker->breaker.state, BREAKER_CLOSED); /* breakers are off in this test */
        assert_null(lease_model(&registry, &lease));
    }
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
        cmocka_unit_test(worker_that_does_not_go_on_is_hung_until_it_does),
        cmocka_unit_test(who_idles_goes_on_or_was_not_heard_of_does_not_hang),
        cmocka_unit_test(nobody_hangs_when_that_is_off),
        cmocka_unit_test(our_own_sleep_is_not_held_against_workers),
        cmocka_unit_test(leases_are_counted_for_each_model),
        cmocka_unit_test(a_model_is_full_when_slots_and_queue_are),
        cmocka_unit_test(a_busy_worker_is_so_until_its_time_or_its_process_ends),
        cmocka_unit_test(uneasy_is_what_a_walk_would_count),
        cmocka_unit_test(a_worker_that_is_held_back_is_degraded),
        cmocka_unit_test(a_new_process_has_models_that_are_trusted_unless_the_operator_spoke),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
