#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"

enum { PROMPT = 2048 };

static char prompt[PROMPT];

static struct registry_worker *send_plain(struct fleet *fleet) {
    return fleet_send(fleet, "[]", 2, NULL);
}

static void add_fleet(struct fleet *fleet, size_t count, int32_t slots) {
    for (size_t i = 0; i < count; i++) {
        char id[32];
        snprintf(id, sizeof id, "w%zu", i);
        fleet_add_plain(fleet, id, slots);
    }
}

/* round_robin */

static void round_robin_goes_around_in_a_circle(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "round_robin", 1);
    add_fleet(&fleet, 3, 4);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(send_plain(&fleet)->index, i % 3);
    assert_string_equal(fleet.decision.strategy, "round_robin");
    assert_int_equal(fleet.decision.candidates, 3);
    fleet_teardown(&fleet);
}

static void round_robin_is_fair_when_two_models_take_turns(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "round_robin", 1);
    int sent[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        char id[32];
        snprintf(id, sizeof id, "w%zu", i);
        struct worker_info info = fleet_info(id, 4);
        info.models[0].name[0] = i < 2 ? 'm' : 'n';
        fleet_add(&fleet, &info);
    }
    for (int i = 0; i < 40; i++) {
        static const struct route_exclusion none;
        struct route_request request = {.model = i % 2 ? "m" : "n", .prompt = "[]", .prompt_len = 2};
        struct error error;
        struct registry_worker *worker =
            router_pick(&fleet.router, &request, &none, fleet.now_ms, &fleet.decision, &error);
        balancer_note_sent(&fleet.balancer, &request, worker);
        sent[worker->index]++;
    }
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(sent[i], 10);
    fleet_teardown(&fleet);
}

static void round_robin_takes_a_new_process_first(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "round_robin", 1);
    add_fleet(&fleet, 3, 4);
    for (size_t i = 0; i < 4; i++)
        send_plain(&fleet);
    struct registry_worker *late = fleet_add_plain(&fleet, "late", 4);
    assert_ptr_equal(send_plain(&fleet), late);
    assert_int_equal(send_plain(&fleet)->index, 1);
    struct worker_info restarted = fleet_info("w1", 4);
    restarted.incarnation[0] = 'b';
    struct registry_worker *again = fleet_add(&fleet, &restarted);
    breaker_reset(&again->breaker, fleet.now_ms); /* it may take jobs like the others */
    assert_ptr_equal(send_plain(&fleet), again);
    fleet_teardown(&fleet);
}

/* weighted_random */

static void weights_decide_how_often(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "weighted_random", 7);
    assert_true(balancer_add_weight(&fleet.balancer, "w1", 2500));
    assert_true(balancer_add_weight(&fleet.balancer, "w2", 0));
    assert_true(balancer_add_weight(&fleet.balancer, "big*", 4500));
    add_fleet(&fleet, 3, 4);
    struct worker_info info = fleet_info("x", 4);
    snprintf(info.hostname, sizeof info.hostname, "bigbox");
    fleet_add(&fleet, &info);
    int sent[4] = {0};
    for (int i = 0; i < 8000; i++)
        sent[send_plain(&fleet)->index]++;
    assert_in_range(sent[0], 850, 1150);
    assert_in_range(sent[1], 2300, 2700);
    assert_int_equal(sent[2], 0);
    assert_in_range(sent[3], 4300, 4700);
    fleet_teardown(&fleet);
}

static void a_worker_of_weight_zero_is_the_last_resort(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "weighted_random", 7);
    assert_true(balancer_add_weight(&fleet.balancer, "*", 0));
    add_fleet(&fleet, 2, 4);
    int sent[2] = {0};
    for (int i = 0; i < 1000; i++)
        sent[send_plain(&fleet)->index]++;
    assert_in_range(sent[0], 400, 600);
    fleet_teardown(&fleet);
}

/* skills_based */

static struct registry_worker *add_context(struct fleet *fleet, const char *id, int32_t context) {
    struct worker_info info = fleet_info(id, 4);
    info.models[0].context_tokens = context;
    return fleet_add(fleet, &info);
}

static void only_contexts_that_are_large_enough_are_taken(void **state) {
    (void)state;
    struct fleet fleet;
    struct lease leases[12] = {0};
    fleet_setup(&fleet, "skills_based", 3);
    struct registry_worker *small = add_context(&fleet, "small", 512);
    struct registry_worker *middle = add_context(&fleet, "middle", 1024);
    struct registry_worker *large = add_context(&fleet, "large", 8192);
    for (size_t i = 0; i < 12; i++) /* 2048 / 3 + 64 = 746 tokens */
        fleet_send(&fleet, prompt, PROMPT, &leases[i]);
    assert_int_equal(small->gauge->leases, 0);
    assert_int_equal(middle->gauge->leases, 6);
    assert_int_equal(large->gauge->leases, 6);
    fleet_teardown(&fleet);
}

static void of_equally_loaded_ones_the_smallest_context_is_taken(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "skills_based", 3);
    add_context(&fleet, "large", 8192);
    struct registry_worker *middle = add_context(&fleet, "middle", 1024);
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(fleet_send(&fleet, prompt, PROMPT, NULL), middle);
    fleet_teardown(&fleet);
}

static void when_none_is_large_enough_the_largest_is_asked(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "skills_based", 3);
    add_context(&fleet, "tiny", 128);
    struct registry_worker *small = add_context(&fleet, "small", 512);
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(fleet_send(&fleet, prompt, PROMPT, NULL), small);
    fleet_teardown(&fleet);
}

static void of_equally_loaded_ones_the_one_with_the_fewest_skills_is_taken(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "skills_based", 3);
    struct worker_info special = fleet_info("special", 4), plain = fleet_info("plain", 4);
    special.models[0].context_tokens = 1024; /* which would be preferred otherwise */
    snprintf(special.skills[special.skill_count++], sizeof(special.skills[0]), "legal");
    special.hardware.gpu_count = 1;
    snprintf(plain.skills[plain.skill_count++], sizeof(plain.skills[0]), "legal");
    fleet_add(&fleet, &special);
    struct registry_worker *expected = fleet_add(&fleet, &plain);
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(fleet_send(&fleet, prompt, PROMPT, NULL), expected);
    fleet_teardown(&fleet);
}

static void equal_skills_are_chosen_from_evenly(void **state) {
    (void)state;
    struct fleet fleet;
    int sent[4] = {0};
    fleet_setup(&fleet, "skills_based", 3);
    add_context(&fleet, "tiny", 128);
    for (size_t i = 0; i < 3; i++)
        add_context(&fleet, (const char *const[]){"a", "b", "c"}[i], 4096);
    for (int i = 0; i < 3000; i++)
        sent[fleet_send(&fleet, prompt, PROMPT, NULL)->index]++;
    assert_int_equal(sent[0], 0);
    for (size_t i = 1; i < 4; i++)
        assert_in_range(sent[i], 850, 1150);
    fleet_teardown(&fleet);
}

/* smart */

/* A second in which one running sequence got so many tokens. */
static void run_at(struct fleet *fleet, struct registry_worker *worker, uint64_t tokens_per_s) {
    struct worker_load load = worker->info.load;
    load.running = 1;
    fleet_beat(fleet, worker, &load);
    load.steps += tokens_per_s;
    load.batch_sequences += tokens_per_s;
    load.generated_tokens += tokens_per_s;
    fleet_beat(fleet, worker, &load);
    load.running = 0;
    fleet_beat(fleet, worker, &load);
}

static void the_faster_worker_gets_more(void **state) {
    (void)state;
    struct fleet fleet;
    struct lease leases[30] = {0};
    fleet_setup(&fleet, "smart", 5);
    struct registry_worker *slow = fleet_add_plain(&fleet, "slow", 16);
    struct registry_worker *fast = fleet_add_plain(&fleet, "fast", 16);
    run_at(&fleet, slow, 50);
    run_at(&fleet, fast, 100);
    assert_ptr_equal(fleet_send(&fleet, "[]", 2, &leases[0]), fast);
    assert_float_equal(fleet.decision.score, 0.64, 0.001); /* 64 tokens at 100 a second */
    for (size_t i = 1; i < 30; i++)
        fleet_send(&fleet, "[]", 2, &leases[i]);
    assert_in_range(fast->gauge->leases, 20, 28);
    assert_in_range(slow->gauge->leases, 2, 10);
    fleet_teardown(&fleet);
}

static void a_worker_of_unknown_speed_is_tried(void **state) {
    (void)state;
    struct fleet fleet;
    struct lease leases[4] = {0};
    fleet_setup(&fleet, "smart", 5);
    struct registry_worker *known = fleet_add_plain(&fleet, "known", 4);
    struct registry_worker *new = fleet_add_plain(&fleet, "new", 4);
    run_at(&fleet, known, 1000);
    for (size_t i = 0; i < 4; i++)
        fleet_send(&fleet, "[]", 2, &leases[i]);
    assert_int_equal(known->gauge->leases, 2);
    assert_int_equal(new->gauge->leases, 2);
    fleet_teardown(&fleet);
}

static void jobs_of_other_controllers_count(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "smart", 5);
    struct registry_worker *taken = fleet_add_plain(&fleet, "taken", 4);
    struct registry_worker *free_one = fleet_add_plain(&fleet, "free", 4);
    struct worker_info info = taken->info;
    info.client_count = 1;
    info.clients[0] = (struct worker_client){"another", 10};
    fleet_add(&fleet, &info);
    struct lease lease = {0};
    for (int i = 0; i < 8; i++)
        assert_ptr_equal(fleet_send(&fleet, "[]", 2, &lease), free_one);
    fleet_teardown(&fleet);
}

static void full_memory_is_avoided(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "smart", 5);
    struct registry_worker *full = fleet_add_plain(&fleet, "full", 4);
    struct registry_worker *roomy = fleet_add_plain(&fleet, "roomy", 4);
    fleet_beat(&fleet, full, &(struct worker_load){.kv_cells_total = 1000, .kv_cells_used = 900});
    fleet_beat(&fleet, roomy, &(struct worker_load){.kv_cells_total = 1000, .kv_cells_used = 700});
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(send_plain(&fleet), roomy);
    fleet_teardown(&fleet);
}

static void absurd_heartbeats_do_no_harm(void **state) {
    (void)state;
    struct fleet fleet;
    struct lease lease = {0};
    fleet_setup(&fleet, "smart", 5);
    struct worker_info info = fleet_info("mad", INT32_MAX);
    info.model_count = 2;
    info.models[1] = info.models[0];
    info.load = (struct worker_load){
        .running = INT32_MIN, .queued = INT32_MAX, .kv_cells_used = INT64_MAX, .kv_cells_total = 1};
    struct registry_worker *mad = fleet_add(&fleet, &info);
    assert_ptr_equal(fleet_send(&fleet, "[]", 2, &lease), mad);
    assert_true(fleet.decision.score > 0);
    struct worker_info full = fleet_info("full", INT32_MAX);
    full.load = (struct worker_load){.running = INT32_MAX, .queued = INT32_MAX, .queue_max = INT32_MIN};
    full.client_count = 2;
    full.clients[0] = (struct worker_client){"a", INT32_MAX};
    full.clients[1] = (struct worker_client){"a", INT32_MAX};
    fleet_add(&fleet, &full);
    assert_ptr_equal(fleet_send(&fleet, "[]", 2, &lease), mad);
    assert_int_equal(fleet.decision.census.full, 1);
    fleet_teardown(&fleet);
}

/* least_requests */

static void the_least_load_is_found_among_workers_that_do_not_sit_together(void **state) {
    (void)state;
    struct fleet fleet;
    struct rng rng;
    static struct lease leases[200];
    memset(leases, 0, sizeof leases);
    rng_seed(&rng, 4);
    fleet_setup(&fleet, "least_requests", 4);
    for (size_t i = 0; i < 60; i++) {
        char id[32];
        snprintf(id, sizeof id, "w%zu", i);
        struct worker_info info = fleet_info(id, 1 + (int32_t)rng_below(&rng, 9));
        info.models[0].name[0] = i % 3 ? 'm' : 'n'; /* those are in between */
        fleet_add(&fleet, &info);
    }
    for (int i = 0; i < 2000; i++) {
        struct lease *lease = &leases[rng_below(&rng, ARRAY_LEN(leases))];
        lease_give_back(&fleet.registry, lease);
        double least = 1e9;
        for (size_t w = 0; w < 60; w++)
            if (w % 3 && fleet.registry.workers[w]->gauge->load < least)
                least = fleet.registry.workers[w]->gauge->load;
        fleet_send(&fleet, "[]", 2, lease);
        assert_float_equal(fleet.decision.score, least, 0);
    }
    fleet_teardown(&fleet);
}

/* prefix_aware */

static void write_prompt(char *out, size_t len, size_t shared, uint64_t kind) {
    struct rng rng;
    rng_seed(&rng, 99);
    for (size_t i = 0; i < len; i++) {
        if (i == shared)
            rng_seed(&rng, kind);
        out[i] = (char)('a' + rng_below(&rng, 26));
    }
}

static void a_conversation_stays_where_its_beginning_is(void **state) {
    (void)state;
    struct fleet fleet;
    char text[4096];
    fleet_setup(&fleet, "prefix_aware", 11);
    add_fleet(&fleet, 8, 4);
    for (uint64_t talk = 1; talk < 20; talk++) {
        write_prompt(text, sizeof text, 0, talk);
        struct registry_worker *first = fleet_send(&fleet, text, 1024, NULL);
        assert_float_equal(fleet.decision.score, 0, 0);
        for (size_t len = 1500; len <= sizeof text; len += 500)
            assert_ptr_equal(fleet_send(&fleet, text, len, NULL), first);
        assert_true(fleet.decision.score >= 3072);
    }
    fleet_teardown(&fleet);
}

static void the_longest_prefix_wins_over_a_shorter_one(void **state) {
    (void)state;
    struct fleet fleet;
    char a[2048], b[2048];
    struct lease held = {0};
    fleet_setup(&fleet, "prefix_aware", 11);
    write_prompt(a, sizeof a, 512, 1);
    write_prompt(b, sizeof b, 512, 2);
    struct registry_worker *first = fleet_add_plain(&fleet, "w1", 4);
    fleet_send(&fleet, a, sizeof a, &held);
    struct registry_worker *second = fleet_add_plain(&fleet, "w2", 4);
    struct route_request request = {.model = "m", .prompt = b, .prompt_len = sizeof b};
    balancer_note_sent(&fleet.balancer, &request, second);
    assert_ptr_equal(fleet_send(&fleet, a, sizeof a, NULL), first); /* though it has more to do */
    assert_ptr_equal(fleet_send(&fleet, b, sizeof b, NULL), second);
    fleet_teardown(&fleet);
}

static void a_restarted_worker_is_not_counted_on(void **state) {
    (void)state;
    struct fleet fleet;
    fleet_setup(&fleet, "prefix_aware", 11);
    write_prompt(prompt, PROMPT, 0, 3);
    struct worker_info info = fleet_info("w", 4);
    fleet_add(&fleet, &info);
    fleet_send(&fleet, prompt, PROMPT, NULL);
    fleet_send(&fleet, prompt, PROMPT, NULL);
    assert_float_equal(fleet.decision.score, PROMPT, 0);
    info.incarnation[0] = 'b';
    fleet_add(&fleet, &info);
    fleet_send(&fleet, prompt, PROMPT, NULL);
    assert_float_equal(fleet.decision.score, 0, 0);
    fleet_teardown(&fleet);
}

/* What the strategy allows: see the top of its file. */
static double allowed_leases(const struct fleet *fleet, const struct registry_worker *worker) {
    double leases = 0, slots = 0;
    for (size_t i = 0; i < fleet->registry.count; i++) {
        leases += fleet->registry.workers[i]->gauge->leases;
        slots += fleet->registry.workers[i]->gauge->slots;
    }
    double fair = leases / slots * worker->gauge->slots;
    double extra = worker->gauge->slots > 2 ? worker->gauge->slots / 2.0 : 1;
    return fair + (extra > fair / 4 ? extra : fair / 4);
}

/* Most prompts share one beginning; jobs begin and end by chance, at a level that also goes by chance. */
static void run_skewed(uint64_t seed) {
    enum { WORKERS = 20, LEASES = 400 };
    struct fleet fleet;
    struct rng rng;
    static struct lease leases[LEASES];
    memset(leases, 0, sizeof leases);
    rng_seed(&rng, seed);
    fleet_setup(&fleet, "prefix_aware", seed);
    for (size_t i = 0; i < WORKERS; i++) {
        char id[32];
        snprintf(id, sizeof id, "w%zu", i);
        fleet_add_plain(&fleet, id, 1 + (int32_t)rng_below(&rng, 16));
    }
    uint64_t hits = 0;
    for (int i = 0; i < 3000; i++) {
        char text[1024];
        write_prompt(text, sizeof text, rng_below(&rng, 10) ? 768 : 0, rng_below(&rng, 50));
        struct lease *lease = &leases[rng_below(&rng, 40 + (uint64_t)i % (LEASES - 40))];
        lease_give_back(&fleet.registry, lease);
        const struct registry_worker *worker = fleet_send(&fleet, text, sizeof text, lease);
        hits += fleet.decision.score > 0;
        if (worker->gauge->leases > allowed_leases(&fleet, worker) + 1e-9)
            fail_msg("seed %llu, request %d: %d leases", (unsigned long long)seed, i, worker->gauge->leases);
    }
    assert_true(hits > 2000); /* the gate is not kept by giving up on prefixes */
    fleet_teardown(&fleet);
}

static void a_popular_prefix_never_floods_a_worker(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_skewed(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_goes_around_in_a_circle),
        cmocka_unit_test(round_robin_is_fair_when_two_models_take_turns),
        cmocka_unit_test(round_robin_takes_a_new_process_first),
        cmocka_unit_test(weights_decide_how_often),
        cmocka_unit_test(a_worker_of_weight_zero_is_the_last_resort),
        cmocka_unit_test(only_contexts_that_are_large_enough_are_taken),
        cmocka_unit_test(of_equally_loaded_ones_the_smallest_context_is_taken),
        cmocka_unit_test(when_none_is_large_enough_the_largest_is_asked),
        cmocka_unit_test(of_equally_loaded_ones_the_one_with_the_fewest_skills_is_taken),
        cmocka_unit_test(equal_skills_are_chosen_from_evenly),
        cmocka_unit_test(the_faster_worker_gets_more),
        cmocka_unit_test(a_worker_of_unknown_speed_is_tried),
        cmocka_unit_test(jobs_of_other_controllers_count),
        cmocka_unit_test(full_memory_is_avoided),
        cmocka_unit_test(absurd_heartbeats_do_no_harm),
        cmocka_unit_test(the_least_load_is_found_among_workers_that_do_not_sit_together),
        cmocka_unit_test(a_conversation_stays_where_its_beginning_is),
        cmocka_unit_test(the_longest_prefix_wins_over_a_shorter_one),
        cmocka_unit_test(a_restarted_worker_is_not_counted_on),
        cmocka_unit_test(a_popular_prefix_never_floods_a_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
