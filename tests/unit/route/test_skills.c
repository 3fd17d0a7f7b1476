#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fleet.h"
#include "route/skills.h"

static void add_word(struct worker_info *info, const char *word) {
    snprintf(info->skills[info->skill_count++], sizeof(info->skills[0]), "%s", word);
}

static void words_gpus_and_capabilities_are_skills(void **state) {
    (void)state;
    struct skill_table table = {0};
    struct worker_info info = fleet_info("w", 4);
    uint64_t bits;
    add_word(&info, "legal");
    info.hardware.gpu_count = 2;
    info.models[0].capabilities =
        model_capability_bit(CAPABILITY_CHAT) | model_capability_bit(CAPABILITY_TOOLS);
    skill_learn(&table, &info, 0);
    static const char *const words[] = {"legal", "gpu", "chat", "tools"};
    assert_true(skill_bits(&table, words, 4, &bits));
    assert_int_equal(__builtin_popcountll(bits), 4);
    assert_true(skill_bits_of_worker(&table, &info) ==
                (skill_bit(&table, "legal") | skill_bit(&table, "gpu")));
    assert_true(skill_bits_of_model(&table, &info.models[0]) ==
                (skill_bit(&table, "chat") | skill_bit(&table, "tools")));
    assert_false(skill_bits(&table, (const char *const[]){"legal", "vision"}, 2, &bits));
}

/* Four workers with 16 words each: "<i>-<n>". */
static void fill(struct skill_table *table) {
    uint64_t in_use = 0;
    for (int i = 0; i < 4; i++) {
        struct worker_info info = fleet_info("w", 4);
        for (int n = 0; n < WORKER_SKILLS_MAX; n++) {
            char word[SKILL_MAX + 1];
            snprintf(word, sizeof(word), "%d-%d", i, n);
            add_word(&info, word);
        }
        skill_learn(table, &info, in_use);
        in_use |= skill_bits_of_worker(table, &info);
    }
    assert_true(in_use == UINT64_MAX);
}

static void a_word_beyond_the_64th_is_refused_and_counted(void **state) {
    (void)state;
    struct skill_table table = {0};
    struct worker_info info = fleet_info("w", 4);
    fill(&table);
    assert_int_equal(table.refused, 0);
    add_word(&info, "one-too-many");
    add_word(&info, "3-15");
    skill_learn(&table, &info, UINT64_MAX);
    assert_int_equal(table.refused, 1);
    assert_true(skill_bit(&table, "one-too-many") == 0);
    assert_true(skill_bits_of_worker(&table, &info) == skill_bit(&table, "3-15"));
}

static void words_that_nobody_has_any_more_give_way(void **state) {
    (void)state;
    struct skill_table table = {0};
    struct worker_info info = fleet_info("w", 4);
    fill(&table);
    uint64_t kept = skill_bit(&table, "2-7");
    add_word(&info, "new-1");
    add_word(&info, "new-2");
    skill_learn(&table, &info, ~(skill_bit(&table, "0-0") | skill_bit(&table, "1-1")));
    assert_int_equal(table.refused, 0);
    assert_int_equal(__builtin_popcountll(skill_bits_of_worker(&table, &info)), 2);
    assert_true(skill_bit(&table, "0-0") == 0 && skill_bit(&table, "1-1") == 0);
    assert_true(skill_bit(&table, "2-7") == kept);
}

/* Through registry and router. */

static struct registry_worker *ask(struct fleet *fleet, const char *const *words, size_t count,
                                   struct error *error) {
    static const struct route_exclusion none;
    struct route_request request = {.model = "m",
                                    .prompt = "[]",
                                    .prompt_len = 2,
                                    .required_skills = words,
                                    .required_skill_count = count};
    return router_pick(&fleet->router, &request, &none, fleet->now_ms, &fleet->decision, error);
}

static void every_strategy_keeps_to_the_required_skills(void **state) {
    (void)state;
    static const char *const strategies[] = {"round_robin",  "least_requests", "weighted_random",
                                             "skills_based", "smart",          "prefix_aware"};
    static const char *const wanted[] = {"legal", "gpu"};
    for (size_t s = 0; s < ARRAY_LEN(strategies); s++) {
        struct fleet fleet;
        struct error error;
        fleet_setup(&fleet, strategies[s], 7);
        struct worker_info half = fleet_info("half", 64), whole = fleet_info("whole", 1);
        add_word(&half, "legal");
        add_word(&whole, "legal");
        whole.hardware.gpu_count = 1;
        fleet_add_plain(&fleet, "none", 64);
        fleet_add(&fleet, &half);
        struct registry_worker *expected = fleet_add(&fleet, &whole);
        for (int i = 0; i < 20; i++)
            assert_ptr_equal(ask(&fleet, wanted, 2, &error), expected);
        assert_int_equal(fleet.decision.census.unskilled, 2);
        assert_int_equal(fleet.decision.candidates, 1);
        fleet_teardown(&fleet);
    }
}

static void a_capability_of_another_model_does_not_count(void **state) {
    (void)state;
    struct fleet fleet;
    struct error error = {0};
    fleet_setup(&fleet, "least_requests", 7);
    struct worker_info info = fleet_info("w", 4);
    info.models[1] = info.models[0];
    snprintf(info.models[1].name, sizeof(info.models[1].name), "other");
    info.models[1].capabilities = model_capability_bit(CAPABILITY_TOOLS);
    info.model_count = 2;
    fleet_add(&fleet, &info);
    assert_null(ask(&fleet, (const char *const[]){"tools"}, 1, &error));
    fleet_teardown(&fleet);
}

static void without_a_skilled_worker_the_error_names_the_skills_and_is_worth_a_retry(void **state) {
    (void)state;
    static const char *const wanted[] = {"legal", "gpu"};
    struct fleet fleet;
    struct error error = {0};
    fleet_setup(&fleet, "least_requests", 7);
    fleet_add_plain(&fleet, "plain", 4);
    assert_null(ask(&fleet, wanted, 2, &error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    assert_non_null(strstr(error.message, "legal,gpu"));
    assert_non_null(strstr(error.message, "none of the 1 workers"));
    struct worker_info draining = fleet_info("draining", 4);
    add_word(&draining, "legal");
    draining.hardware.gpu_count = 1;
    draining.phase = WORKER_PHASE_DRAINING;
    fleet_add(&fleet, &draining);
    assert_null(ask(&fleet, wanted, 2, &error));
    assert_int_equal(error.status, STATUS_NO_WORKERS_AVAILABLE);
    assert_non_null(strstr(error.message, "1 of the 2 with the model \"m\" have them"));
    fleet_teardown(&fleet);
}

static void skills_follow_what_the_worker_says(void **state) {
    (void)state;
    static const char *const wanted[] = {"legal"};
    struct fleet fleet;
    struct error error;
    fleet_setup(&fleet, "least_requests", 7);
    struct worker_info info = fleet_info("w", 4);
    struct registry_worker *worker = fleet_add(&fleet, &info);
    assert_null(ask(&fleet, wanted, 1, &error));
    add_word(&info, "legal");
    fleet_add(&fleet, &info);
    assert_ptr_equal(ask(&fleet, wanted, 1, &error), worker);
    fleet_beat(&fleet, worker, &worker->info.load); /* a heartbeat that changes nothing */
    assert_ptr_equal(ask(&fleet, wanted, 1, &error), worker);
    snprintf(info.incarnation, sizeof(info.incarnation), "new");
    info.skill_count = 0;
    fleet_add(&fleet, &info);
    assert_null(ask(&fleet, wanted, 1, &error));
    fleet_teardown(&fleet);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_gpus_and_capabilities_are_skills),
        cmocka_unit_test(a_word_beyond_the_64th_is_refused_and_counted),
        cmocka_unit_test(words_that_nobody_has_any_more_give_way),
        cmocka_unit_test(every_strategy_keeps_to_the_required_skills),
        cmocka_unit_test(a_capability_of_another_model_does_not_count),
        cmocka_unit_test(without_a_skilled_worker_the_error_names_the_skills_and_is_worth_a_retry),
        cmocka_unit_test(skills_follow_what_the_worker_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
