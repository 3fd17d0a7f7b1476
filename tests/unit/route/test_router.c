#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"

static struct registry_worker *add(struct fleet *fleet, const char *id, int32_t slots, enum model_state model,
                                   enum worker_phase phase) {
    struct worker_info info = fleet_info(id, slots);
    info.phase = phase;
    info.models[0].state = model;
    return fleet_add(fleet, &info);
}

static void ignore_change(enum registry_change change, const struct registry_worker *worker,
                          uint64_t old_generation, void *arg) {
    (void)change, (void)worker, (void)old_generation, (void)arg;
}

static struct registry_worker *pick(struct fleet *fleet, const char *model, struct route_exclusion *exclusion,
                                    struct error *error) {
    static struct route_exclusion none;
    struct route_request request = {.model = model, .prompt = "[]", .prompt_len = 2};
    return router_pick(&fleet->router, &request, exclusion ? exclusion : &none, fleet->now_ms,
                       &fleet->decision, error);
}

static void picks_the_worker_with_the_fewest_leases(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct lease leases[30] = {0};
    const char *ids[] = {"w1", "w2", "w3"};
    for (size_t i = 0; i < 3; i++)
        add(&fleet, ids[i], 4, MODEL_READY, WORKER_PHASE_READY);
    for (size_t i = 0; i < 30; i++)
        lease_take(pick(&fleet, "m", NULL, &error), "m", &leases[i]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(registry_find(&fleet.registry, ids[i])->gauge->leases, 10);
    fleet_teardown(&fleet);
}

static void load_is_relative_to_the_number_of_slots(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *small = add(&fleet, "small", 2, MODEL_READY, WORKER_PHASE_READY);
    struct registry_worker *large = add(&fleet, "large", 8, MODEL_READY, WORKER_PHASE_READY);
    struct lease leases[20] = {0};
    for (size_t i = 0; i < 20; i++)
        lease_take(pick(&fleet, "m", NULL, &error), "m", &leases[i]);
    assert_int_equal(small->gauge->leases, 4);
    assert_int_equal(large->gauge->leases, 16);
    fleet_teardown(&fleet);
}

static void equals_are_chosen_by_chance_but_evenly(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    int hits[4] = {0};
    char id[16];
    for (int i = 0; i < 4; i++) {
        snprintf(id, sizeof(id), "w%d", i);
        add(&fleet, id, 4, MODEL_READY, WORKER_PHASE_READY);
    }
    for (int i = 0; i < 4000; i++)
        hits[pick(&fleet, "m", NULL, &error)->index]++;
    for (int i = 0; i < 4; i++)
        assert_in_range(hits[i], 850, 1150);
    fleet_teardown(&fleet);
}

static void only_eligible_workers_are_picked(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    add(&fleet, "loading", 4, MODEL_LOADING, WORKER_PHASE_LOADING);
    add(&fleet, "broken", 4, MODEL_FAILED, WORKER_PHASE_READY);
    add(&fleet, "leaving", 4, MODEL_READY, WORKER_PHASE_DRAINING);
    struct registry_worker *silent = add(&fleet, "silent", 4, MODEL_READY, WORKER_PHASE_READY);
    registry_unreachable(&fleet.registry, silent, ignore_change, NULL);
    assert_null(pick(&fleet, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    assert_non_null(strstr(
        error.message, "1 still loading it, 0 have it unloaded and do not load it now, 1 failed to load it"));
    struct registry_worker *good = add(&fleet, "good", 4, MODEL_READY, WORKER_PHASE_READY);
    for (int i = 0; i < 100; i++)
        assert_ptr_equal(pick(&fleet, "m", NULL, &error), good);
    fleet_teardown(&fleet);
}

static void tried_incarnations_are_left_out(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct route_exclusion exclusion = {0};
    struct registry_worker *first = add(&fleet, "w1", 4, MODEL_READY, WORKER_PHASE_READY);
    struct registry_worker *second = add(&fleet, "w2", 4, MODEL_READY, WORKER_PHASE_READY);
    route_exclude(&exclusion, first->serial, first->generation);
    for (int i = 0; i < 50; i++)
        assert_ptr_equal(pick(&fleet, "m", &exclusion, &error), second);
    route_exclude(&exclusion, second->serial, second->generation);
    assert_null(pick(&fleet, "m", &exclusion, &error));
    assert_non_null(strstr(error.message, "2 already tried"));
    fleet_teardown(&fleet);
}

static void unknown_model_is_told_from_no_workers(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    assert_null(pick(&fleet, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    add(&fleet, "w1", 4, MODEL_READY, WORKER_PHASE_READY);
    assert_null(pick(&fleet, "other", NULL, &error));
    assert_int_equal(error.status, STATUS_MODEL_NOT_FOUND);
    assert_string_equal(error.param, "model");
    fleet_teardown(&fleet);
}

/* The worker has `room` jobs left for "m". */
static void fill_up(struct registry_worker *worker, struct lease *leases, int32_t but) {
    while (worker->models[0].leases + but < worker->models[0].room)
        lease_take(worker, "m", leases++);
}

static struct registry_worker *add_small(struct fleet *fleet, const char *id) {
    struct worker_info info = fleet_info(id, 2);
    info.load.queue_max = 2;
    return fleet_add(fleet, &info);
}

static void full_workers_get_nothing(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "round_robin", 42);
    struct lease first_leases[4] = {0}, second_leases[4] = {0};
    struct registry_worker *first = add_small(&fleet, "first");
    struct registry_worker *second = add_small(&fleet, "second");
    add(&fleet, "leaving", 4, MODEL_READY, WORKER_PHASE_DRAINING);
    fill_up(first, first_leases, 0);
    fill_up(second, second_leases, 1);
    for (int i = 0; i < 10; i++)
        assert_ptr_equal(pick(&fleet, "m", NULL, &error), second);
    assert_int_equal(fleet.decision.census.full, 1);
    lease_take(second, "m", &second_leases[3]);
    assert_null(pick(&fleet, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_WORKER_OVERLOADED);
    assert_non_null(
        strstr(error.message, "every worker that could take the request is full: of the 3 workers"));
    assert_non_null(strstr(error.message, "2 full, 0 busy"));
    assert_non_null(strstr(error.message, "1 draining"));
    lease_give_back(&fleet.registry, &first_leases[2]);
    assert_ptr_equal(pick(&fleet, "m", NULL, &error), first);
    fleet_teardown(&fleet);
}

static void fullness_is_of_a_model_and_not_of_its_worker(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct worker_info info = fleet_info("both", 2);
    info.load.queue_max = 0;
    info.model_count = 2;
    info.models[1] = info.models[0];
    info.models[1].name[0] = 'n';
    struct registry_worker *both = fleet_add(&fleet, &info);
    struct lease leases[2] = {0};
    fill_up(both, leases, 0);
    assert_null(pick(&fleet, "m", NULL, &error));
    assert_ptr_equal(pick(&fleet, "n", NULL, &error), both);
    fleet_teardown(&fleet);
}

static void busy_workers_get_nothing_and_tell_when_they_may(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *first = fleet_add_plain(&fleet, "first", 4);
    struct registry_worker *second = fleet_add_plain(&fleet, "second", 4);
    registry_note_busy(first, fleet.now_ms + 900);
    for (int i = 0; i < 10; i++)
        assert_ptr_equal(pick(&fleet, "m", NULL, &error), second);
    registry_note_busy(second, fleet.now_ms + 400);
    assert_null(pick(&fleet, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_WORKER_OVERLOADED);
    assert_int_equal(fleet.decision.census.busy, 2);
    assert_int_equal(fleet.decision.retry_after_ms, 400);
    fleet.now_ms += 400;
    assert_ptr_equal(pick(&fleet, "m", NULL, &error), second);
    fleet_teardown(&fleet);
}

static struct registry_worker *pick_for(struct fleet *fleet, enum chat_priority priority,
                                        struct error *error) {
    static const struct route_exclusion none;
    const struct route_request request = {
        .model = "m", .prompt = "[]", .prompt_len = 2, .priority = priority};
    return router_pick(&fleet->router, &request, &none, fleet->now_ms, &fleet->decision, error);
}

static struct registry_worker *add_short(struct fleet *fleet, const char *id, enum resource_level level) {
    struct worker_info info = fleet_info(id, 4);
    info.resources.level = level;
    return fleet_add(fleet, &info);
}

static void a_worker_short_of_memory_gets_what_it_would_take(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *soft = add_short(&fleet, "soft", RESOURCE_SOFT);
    add_short(&fleet, "hard", RESOURCE_HARD);
    for (int i = 0; i < 10; i++) {
        assert_ptr_equal(pick_for(&fleet, CHAT_PRIORITY_HIGH, &error), soft);
        assert_ptr_equal(pick_for(&fleet, CHAT_PRIORITY_MEDIUM, &error), soft);
    }
    assert_int_equal(fleet.decision.census.short_of_memory, 1);
    assert_null(pick_for(&fleet, CHAT_PRIORITY_LOW, &error));
    assert_int_equal(error.status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_non_null(strstr(error.message, "every worker that could take the request is short of memory: of "
                                          "the 2 workers with the model \"m\" 0 full, 0 busy, 2 short of"));
    struct registry_worker *well = fleet_add_plain(&fleet, "well", 4);
    assert_ptr_equal(pick_for(&fleet, CHAT_PRIORITY_LOW, &error), well);
    fleet_teardown(&fleet);
}

static void who_is_refused_for_want_of_memory_gets_the_numbers_of_a_worker(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct worker_info info = fleet_info("w1", 4);
    info.resources = (struct worker_resources){.level = RESOURCE_SOFT,
                                               .signal = RESOURCE_BY_CGROUP,
                                               .memory_used = INT64_C(900) << 20,
                                               .soft_limit = INT64_C(870) << 20,
                                               .hard_limit = INT64_C(952) << 20};
    struct registry_worker *worker = fleet_add(&fleet, &info);
    assert_null(pick_for(&fleet, CHAT_PRIORITY_LOW, &error));
    assert_int_equal(error.status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_non_null(strstr(error.message, "is short of memory (w1: 900 MiB used, soft limit 870, hard limit "
                                          "952, by cgroup): of the 1 workers"));
    struct lease leases[4] = {0};
    fill_up(add_small(&fleet, "full"), leases, 0);
    assert_null(pick_for(&fleet, CHAT_PRIORITY_LOW, &error));
    assert_int_equal(error.status, STATUS_WORKER_OVERLOADED);
    assert_null(strstr(error.message, "MiB"));
    assert_ptr_equal(pick_for(&fleet, CHAT_PRIORITY_HIGH, &error), worker);
    fleet_teardown(&fleet);
}

static void a_refusal_for_want_of_memory_counts_until_the_worker_speaks(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *worker = fleet_add_plain(&fleet, "w1", 4);
    registry_note_short_of_memory(worker, CHAT_PRIORITY_LOW);
    assert_null(pick_for(&fleet, CHAT_PRIORITY_LOW, &error));
    assert_ptr_equal(pick_for(&fleet, CHAT_PRIORITY_MEDIUM, &error), worker);
    registry_note_short_of_memory(worker, CHAT_PRIORITY_HIGH);
    assert_null(pick_for(&fleet, CHAT_PRIORITY_HIGH, &error));
    registry_note_short_of_memory(worker, CHAT_PRIORITY_LOW); /* tells nothing new */
    assert_null(pick_for(&fleet, CHAT_PRIORITY_HIGH, &error));
    fleet_beat(&fleet, worker, &(struct worker_load){0});
    assert_ptr_equal(pick_for(&fleet, CHAT_PRIORITY_LOW, &error), worker);
    fleet_teardown(&fleet);
}

static void of_full_workers_and_those_short_of_memory_the_full_ones_are_waited_for(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    struct lease leases[4] = {0};
    fleet_setup(&fleet, "least_requests", 42);
    add_short(&fleet, "hard", RESOURCE_HARD);
    fill_up(add_small(&fleet, "full"), leases, 0);
    assert_null(pick_for(&fleet, CHAT_PRIORITY_HIGH, &error));
    assert_int_equal(error.status, STATUS_WORKER_OVERLOADED);
    assert_non_null(strstr(error.message, "1 full, 0 busy, 1 short of memory"));
    fleet_teardown(&fleet);
}

static void the_sessions_worker_is_left_when_it_is_full(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    static const struct route_exclusion none;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *home = add_small(&fleet, "home");
    struct registry_worker *other = fleet_add_plain(&fleet, "other", 4);
    struct route_request request = {
        .model = "m", .prompt = "[]", .prompt_len = 2, .session_generation = home->generation};
    struct lease leases[4] = {0};
    fill_up(home, leases, 1);
    assert_ptr_equal(router_pick(&fleet.router, &request, &none, 0, &fleet.decision, &error), home);
    assert_string_equal(fleet.decision.strategy, "session");
    lease_take(home, "m", &leases[3]);
    assert_ptr_equal(router_pick(&fleet.router, &request, &none, 0, &fleet.decision, &error), other);
    fleet_teardown(&fleet);
}

static struct registry_worker *add_with_two_models(struct fleet *fleet, const char *id) {
    struct worker_info info = fleet_info(id, 10);
    info.model_count = 2;
    info.models[1] = info.models[0];
    info.models[1].name[0] = 'n';
    return fleet_add(fleet, &info);
}

static void a_broken_model_keeps_its_worker_out_for_that_model_alone(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *half = add_with_two_models(&fleet, "half");
    breaker_force(&worker_model_find(half, "m")->breaker, BREAKER_FORCED_OPEN);
    registry_note_breakers(half, fleet.now_ms);
    assert_string_equal(worker_state_name(half), "degraded");
    assert_null(pick(&fleet, "m", NULL, &error));
    assert_int_equal(error.status, STATUS_CIRCUIT_BREAKER_OPEN);
    assert_ptr_equal(pick(&fleet, "n", NULL, &error), half);
    struct registry_worker *good = add_with_two_models(&fleet, "good");
    for (int i = 0; i < 10; i++)
        assert_ptr_equal(pick(&fleet, "m", NULL, &error), good);
    fleet_teardown(&fleet);
}

/* Opens the breaker as failures would. */
static void eject(struct fleet *fleet, struct registry_worker *worker, struct breaker *breaker) {
    const struct breaker_config config = {.enabled = true,
                                          .failure_threshold = 1,
                                          .success_threshold = 1,
                                          .timeout_ms = 30000,
                                          .probe_lease_ms = 1000};
    struct breaker_ticket ticket;
    struct rng rng;
    rng_seed(&rng, 1);
    assert_true(breaker_acquire(breaker, &config, false, fleet->now_ms, &rng, &ticket));
    breaker_report(breaker, &config, &ticket, STATUS_ENGINE_ERROR, fleet->now_ms, &rng);
    registry_note_breakers(worker, fleet->now_ms);
}

static void panic_counts_workers_and_models_together(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *workers[4];
    for (size_t i = 0; i < 4; i++)
        workers[i] = add_with_two_models(&fleet, (const char *[]){"a", "b", "c", "d"}[i]);
    eject(&fleet, workers[0], &workers[0]->breaker);
    eject(&fleet, workers[1], &worker_model_find(workers[1], "m")->breaker);
    assert_non_null(pick(&fleet, "m", NULL, &error));
    assert_int_equal(fleet.decision.census.broken, 2);
    assert_false(fleet.decision.panic);
    eject(&fleet, workers[2], &worker_model_find(workers[2], "m")->breaker);
    assert_non_null(pick(&fleet, "m", NULL, &error));
    assert_true(fleet.decision.panic);
    assert_int_equal(fleet.decision.candidates, 4);
    assert_non_null(pick(&fleet, "n", NULL, &error));
    assert_false(fleet.decision.panic);
    assert_int_equal(fleet.decision.candidates, 3);
    fleet_teardown(&fleet);
}

/* HALF_OPEN: only a probe would pass. */
static void suspend(struct fleet *fleet, struct registry_worker *worker) {
    const struct breaker_config config = {.enabled = true};
    breaker_restart(&worker->breaker, &config, fleet->now_ms);
    registry_note_breakers(worker, fleet->now_ms);
}

static void with_own_probes_a_request_is_a_probe_only_when_nobody_else_can_take_it(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    struct lease leases[4] = {0};
    fleet_setup(&fleet, "round_robin", 42);
    struct registry_worker *back = fleet_add_plain(&fleet, "back", 4);
    struct registry_worker *well = add_small(&fleet, "well");
    suspend(&fleet, back);
    assert_ptr_equal(fleet_send(&fleet, "[]", 2, NULL), back); /* its turn */
    fleet.router.own_probes = true;
    for (int i = 0; i < 10; i++)
        assert_ptr_equal(fleet_send(&fleet, "[]", 2, NULL), well);
    assert_int_equal(fleet.decision.census.broken, 1);
    fill_up(well, leases, 0);
    assert_ptr_equal(pick(&fleet, "m", NULL, &error), back);
    fleet_teardown(&fleet);
}

static void in_panic_requests_are_probes_all_the_same(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    int hits[3] = {0};
    fleet_setup(&fleet, "least_requests", 42);
    fleet.router.own_probes = true;
    fleet_add_plain(&fleet, "well", 4);
    suspend(&fleet, fleet_add_plain(&fleet, "one", 4));
    suspend(&fleet, fleet_add_plain(&fleet, "two", 4));
    for (int i = 0; i < 100; i++)
        hits[pick(&fleet, "m", NULL, &error)->index]++;
    assert_true(fleet.decision.panic);
    for (int i = 0; i < 3; i++)
        assert_true(hits[i] > 0);
    fleet_teardown(&fleet);
}

static void a_model_that_has_just_come_back_takes_few_jobs_at_first(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 42);
    struct registry_worker *back = add_with_two_models(&fleet, "back");
    struct registry_worker *other = add_with_two_models(&fleet, "other");
    struct lease leases[21] = {0};
    for (size_t i = 0; i < 20; i++) /* so that `back` would be chosen by load */
        lease_take(other, "m", &leases[i]);
    struct breaker *breaker = &worker_model_find(back, "m")->breaker;
    breaker->slow_start = true;
    breaker->closed_ms = fleet.now_ms;
    registry_note_breakers(back, fleet.now_ms);
    assert_ptr_equal(pick(&fleet, "m", NULL, &error), back);
    lease_take(back, "m", &leases[20]);
    assert_ptr_equal(pick(&fleet, "m", NULL, &error), other);
    assert_int_equal(fleet.decision.census.slow_start, 1);
    assert_ptr_equal(pick(&fleet, "n", NULL, &error), back);
    fleet_teardown(&fleet);
}

/* One test for each reason: what the explanation says of the worker that is kept out. */
static void an_explanation_names_who_is_kept_out_and_why(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    struct route_explanation told;
    struct route_exclusion exclusion = {0};
    struct lease leases[4] = {0};
    fleet_setup(&fleet, "least_requests", 42);
    struct route_request request = {.model = "m", .prompt = "[]", .prompt_len = 2};
    add(&fleet, "loading", 4, MODEL_LOADING, WORKER_PHASE_LOADING);
    add(&fleet, "failed", 4, MODEL_FAILED, WORKER_PHASE_READY);
    struct registry_worker *draining = add(&fleet, "draining", 4, MODEL_READY, WORKER_PHASE_DRAINING);
    registry_unreachable(&fleet.registry, fleet_add_plain(&fleet, "suspect", 4), ignore_change, NULL);
    struct registry_worker *broken = fleet_add_plain(&fleet, "broken", 4);
    struct registry_worker *tried = fleet_add_plain(&fleet, "tried", 4);
    struct registry_worker *busy = fleet_add_plain(&fleet, "busy", 4);
    struct registry_worker *good = fleet_add_plain(&fleet, "good", 4);
    fill_up(add_small(&fleet, "full"), leases, 0);
    registry_note_short_of_memory(draining, CHAT_PRIORITY_HIGH); /* an earlier reason */
    breaker_force(&broken->breaker, BREAKER_FORCED_OPEN);
    registry_note_breakers(broken, fleet.now_ms);
    route_exclude(&exclusion, tried->serial, tried->generation);
    registry_note_busy(busy, fleet.now_ms + 1000);
    assert_ptr_equal(router_pick(&fleet.router, &request, &exclusion, fleet.now_ms, &fleet.decision, &error),
                     good);
    router_explain(&fleet.router, &request, &told);
    assert_int_equal(told.candidate_count, 1);
    assert_string_equal(told.candidates[0].worker_id, "good");
    static const struct {
        const char *id, *reason;
    } expected[] = {{"loading", "loading"}, {"failed", "loadFailed"}, {"draining", "draining"},
                    {"suspect", "suspect"}, {"broken", "breaker"},    {"tried", "tried"},
                    {"busy", "busy"},       {"full", "full"}};
    assert_int_equal(told.kept_out_count, ARRAY_LEN(expected));
    for (size_t i = 0; i < told.kept_out_count; i++) {
        assert_string_equal(told.kept_out[i].worker_id, expected[i].id);
        assert_string_equal(route_reason_name(told.kept_out[i].reason), expected[i].reason);
    }
    fleet_teardown(&fleet);
}

static void an_explanation_is_bounded_and_begins_with_the_chosen_one(void **state) {
    (void)state;
    static const char *const strategies[] = {"round_robin",  "least_requests", "weighted_random",
                                             "skills_based", "smart",          "prefix_aware"};
    for (size_t s = 0; s < ARRAY_LEN(strategies); s++) {
        struct fleet fleet;
        struct error error;
        struct route_explanation told;
        static const struct route_exclusion none;
        char prompt[1024];
        memset(prompt, 'x', sizeof(prompt));
        struct route_request request = {.model = "m", .prompt = prompt, .prompt_len = sizeof(prompt)};
        fleet_setup(&fleet, strategies[s], 42);
        for (int i = 0; i < 40; i++) {
            char id[16];
            snprintf(id, sizeof(id), "w%d", i);
            add(&fleet, id, 1 + i, MODEL_READY, i % 2 ? WORKER_PHASE_READY : WORKER_PHASE_DRAINING);
        }
        struct lease leases[60] = {0};
        for (size_t i = 0; i < ARRAY_LEN(leases); i++) {
            const struct registry_worker *chosen =
                router_pick(&fleet.router, &request, &none, fleet.now_ms, &fleet.decision, &error);
            router_explain(&fleet.router, &request, &told);
            assert_int_equal(told.candidate_count, ROUTE_SHOWN_MAX);
            assert_int_equal(told.kept_out_count, ROUTE_SHOWN_MAX);
            assert_string_equal(told.candidates[0].worker_id, chosen->info.id);
            assert_float_equal(told.candidates[0].score, fleet.decision.score, 1e-9);
            for (size_t k = 1; k < ROUTE_SHOWN_MAX; k++)
                assert_string_not_equal(told.candidates[k].worker_id, chosen->info.id);
            lease_take(registry_find(&fleet.registry, chosen->info.id), "m", &leases[i]);
            balancer_note_sent(&fleet.balancer, &request, chosen);
        }
        fleet_teardown(&fleet);
    }
}

static void after_a_pick_of_nobody_there_are_no_candidates(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error;
    struct route_explanation told;
    fleet_setup(&fleet, "least_requests", 42);
    struct route_request request = {.model = "m"};
    add(&fleet, "w1", 4, MODEL_READY, WORKER_PHASE_READY);
    assert_non_null(pick(&fleet, "m", NULL, &error));
    add(&fleet, "w1", 4, MODEL_LOADING, WORKER_PHASE_LOADING);
    assert_null(pick(&fleet, "m", NULL, &error));
    router_explain(&fleet.router, &request, &told);
    assert_int_equal(told.candidate_count, 0);
    assert_int_equal(told.kept_out_count, 1);
    assert_null(pick(&fleet, "other", NULL, &error));
    router_explain(&fleet.router, &request, &told);
    assert_int_equal(told.kept_out_count, 0);
    fleet_teardown(&fleet);
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
        cmocka_unit_test(full_workers_get_nothing),
        cmocka_unit_test(fullness_is_of_a_model_and_not_of_its_worker),
        cmocka_unit_test(busy_workers_get_nothing_and_tell_when_they_may),
        cmocka_unit_test(a_worker_short_of_memory_gets_what_it_would_take),
        cmocka_unit_test(who_is_refused_for_want_of_memory_gets_the_numbers_of_a_worker),
        cmocka_unit_test(a_refusal_for_want_of_memory_counts_until_the_worker_speaks),
        cmocka_unit_test(of_full_workers_and_those_short_of_memory_the_full_ones_are_waited_for),
        cmocka_unit_test(the_sessions_worker_is_left_when_it_is_full),
        cmocka_unit_test(a_broken_model_keeps_its_worker_out_for_that_model_alone),
        cmocka_unit_test(panic_counts_workers_and_models_together),
        cmocka_unit_test(with_own_probes_a_request_is_a_probe_only_when_nobody_else_can_take_it),
        cmocka_unit_test(in_panic_requests_are_probes_all_the_same),
        cmocka_unit_test(a_model_that_has_just_come_back_takes_few_jobs_at_first),
        cmocka_unit_test(an_explanation_names_who_is_kept_out_and_why),
        cmocka_unit_test(an_explanation_is_bounded_and_begins_with_the_chosen_one),
        cmocka_unit_test(after_a_pick_of_nobody_there_are_no_candidates),
        cmocka_unit_test(unknown_strategy_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
