#include "worker/resources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MIB (INT64_C(1) << 20)

static struct {
    struct config config;
    struct resources resources;
    int64_t now_ms;
} t;

static int setup(void **state) {
    (void)state;
    memset(&t, 0, sizeof t);
    config_init(&t.config);
    resources_init(&t.resources, &t.config);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    config_release(&t.config);
    return 0;
}

static void limit_process(int64_t max_mb, int64_t critical_mb) {
    t.config.worker.limits.max_memory_mb = max_mb;
    t.config.worker.limits.critical_memory_mb = critical_mb;
    resources_init(&t.resources, &t.config);
}

static const struct memory_signals nothing = {
    .process_bytes = MEMORY_UNKNOWN, .pressure_some = MEMORY_UNKNOWN, .pressure_full = MEMORY_UNKNOWN};

static struct memory_signals group_of_1000(int64_t used_mb) {
    struct memory_signals signals = nothing;
    signals.cgroup = (struct cgroup_memory){.used = used_mb * MIB, .limit = 1000 * MIB};
    return signals;
}
static struct memory_signals process_of(int64_t mb) {
    struct memory_signals signals = nothing;
    signals.process_bytes = mb * MIB;
    return signals;
}
static struct memory_signals pressure_of(int32_t some, int32_t full) {
    struct memory_signals signals = nothing;
    signals.pressure_some = some;
    signals.pressure_full = full;
    return signals;
}

/* One second later. */
static enum resource_level level_with(struct memory_signals signals) {
    enum resource_level before = t.resources.now.level;
    t.now_ms += 1000;
    bool changed = resources_update(&t.resources, &signals, t.now_ms);
    assert_int_equal(changed, t.resources.now.level != before);
    return t.resources.now.level;
}

static void a_worker_that_knows_nothing_takes_all_jobs(void **state) {
    (void)state;
    limit_process(1, 1);
    assert_int_equal(level_with(nothing), RESOURCE_OK);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_NONE);
    assert_int_equal(t.resources.now.hard_limit, 0);
    assert_int_equal(t.resources.now.pressure_some, 0);
}

static void room_is_told_apart_for_what_is_mapped_and_what_is_not(void **state) {
    (void)state;
    int64_t own;
    limit_process(100, 200);
    struct memory_signals signals = group_of_1000(500);
    signals.process_bytes = 150 * MIB;
    assert_int_equal(resources_room(&t.resources, &signals, &own), (930 - 500) * MIB);
    assert_int_equal(own, 50 * MIB);
    signals.process_bytes = 250 * MIB;
    assert_int_equal(resources_room(&t.resources, &signals, &own), (930 - 500) * MIB);
    assert_int_equal(own, 0);
    assert_int_equal(resources_limit(&t.resources, &signals), 200 * MIB);
}

static void shares_of_the_groups_limit_make_the_levels(void **state) {
    (void)state;
    assert_int_equal(level_with(group_of_1000(849)), RESOURCE_OK);
    assert_int_equal(level_with(group_of_1000(850)), RESOURCE_SOFT);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_CGROUP);
    assert_int_equal(t.resources.now.memory_used, 850 * MIB);
    assert_int_equal(t.resources.now.soft_limit, 850 * MIB);
    assert_int_equal(t.resources.now.hard_limit, 930 * MIB);
    assert_int_equal(level_with(group_of_1000(929)), RESOURCE_SOFT);
    assert_int_equal(level_with(group_of_1000(930)), RESOURCE_HARD);
}

static void a_group_without_a_limit_says_nothing(void **state) {
    (void)state;
    struct memory_signals signals = nothing;
    signals.cgroup.used = 5000 * MIB;
    assert_int_equal(level_with(signals), RESOURCE_OK);
}

static void the_machine_counts_when_the_group_is_well(void **state) {
    (void)state;
    struct memory_signals signals = group_of_1000(100);
    signals.machine_bytes = 4000 * MIB;
    signals.machine_used = 3000 * MIB;
    assert_int_equal(level_with(signals), RESOURCE_OK);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_MACHINE); /* nearest to its limit */
    signals.machine_used = 3800 * MIB;
    assert_int_equal(level_with(signals), RESOURCE_HARD);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_MACHINE);
    assert_int_equal(t.resources.now.hard_limit, 3720 * MIB);
}

static void the_workers_own_memory_counts_only_with_limits_of_its_own(void **state) {
    (void)state;
    assert_int_equal(level_with(process_of(1 << 20)), RESOURCE_OK);
    limit_process(400, 500);
    assert_int_equal(level_with(process_of(399)), RESOURCE_OK);
    assert_int_equal(level_with(process_of(400)), RESOURCE_SOFT);
    assert_int_equal(level_with(process_of(500)), RESOURCE_HARD);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_PROCESS);
}

static void limits_of_its_own_do_not_hide_the_groups(void **state) {
    (void)state;
    limit_process(4000, 5000);
    struct memory_signals signals = group_of_1000(940);
    signals.process_bytes = 10 * MIB;
    assert_int_equal(level_with(signals), RESOURCE_HARD);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_CGROUP);
}

static void of_two_limits_the_one_that_is_not_set_follows(void **state) {
    (void)state;
    limit_process(850, 0);
    assert_int_equal(level_with(process_of(929)), RESOURCE_SOFT);
    assert_int_equal(level_with(process_of(930)), RESOURCE_HARD);
    limit_process(0, 930);
    assert_int_equal(level_with(process_of(849)), RESOURCE_OK);
    assert_int_equal(level_with(process_of(850)), RESOURCE_SOFT);
    limit_process(0, 1);
    assert_int_equal(level_with(process_of(1)), RESOURCE_HARD);
}

static void equal_limits_leave_no_room_for_soft(void **state) {
    (void)state;
    limit_process(500, 500);
    assert_int_equal(level_with(process_of(499)), RESOURCE_OK);
    assert_int_equal(level_with(process_of(500)), RESOURCE_HARD);
}

static void waiting_for_memory_makes_levels_too(void **state) {
    (void)state;
    assert_int_equal(level_with(pressure_of(999, 499)), RESOURCE_OK);
    assert_int_equal(level_with(pressure_of(1000, 499)), RESOURCE_SOFT);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_PRESSURE);
    assert_int_equal(level_with(pressure_of(1000, 500)), RESOURCE_HARD);
    assert_int_equal(t.resources.now.pressure_some, 1000);
    assert_int_equal(t.resources.now.pressure_full, 500);
}

static void pressure_that_is_not_looked_at_says_nothing(void **state) {
    (void)state;
    t.config.worker.limits.pressure_some_percent = t.config.worker.limits.pressure_full_percent = 0;
    resources_init(&t.resources, &t.config);
    assert_int_equal(level_with(pressure_of(10000, 10000)), RESOURCE_OK);
}

/* A level for each second. */
static void check_history(const int64_t *used_mb, const char *levels) {
    for (size_t i = 0; levels[i]; i++)
        if (resource_level_name(level_with(group_of_1000(used_mb[i])))[0] != levels[i])
            fail_msg("after %zu s with %lld MiB: %s instead of %c", i + 1, (long long)used_mb[i],
                     resource_level_name(t.resources.now.level), levels[i]);
}

static void a_level_falls_when_use_is_below_by_the_margin_for_five_seconds(void **state) {
    (void)state;
    check_history((const int64_t[]){860, 800, 800, 800, 800, 800, 800}, "sssssso");
}

static void a_level_is_kept_while_use_is_just_below(void **state) {
    (void)state;
    check_history((const int64_t[]){860, 820, 820, 820, 820, 820, 820, 820, 820}, "sssssssss");
}

static void use_that_comes_back_begins_the_wait_anew(void **state) {
    (void)state;
    check_history((const int64_t[]){860, 800, 800, 800, 820, 800, 800, 800, 800, 800, 800}, "sssssssssso");
}

static void use_that_swings_about_a_limit_does_not_make_the_level_swing(void **state) {
    (void)state;
    check_history((const int64_t[]){860, 840, 860, 840, 860, 840, 860, 840, 860, 840}, "ssssssssss");
}

static void a_level_falls_to_the_worst_of_the_time_it_was_below(void **state) {
    (void)state;
    check_history((const int64_t[]){940, 700, 700, 860, 700, 700, 700, 700, 700, 700, 700, 700, 700},
                  "hhhhhhsssssso");
}

static void a_level_rises_at_once_while_it_is_about_to_fall(void **state) {
    (void)state;
    check_history((const int64_t[]){860, 800, 800, 940, 860, 860, 860, 860, 860, 860}, "ssshhhhhhs");
}

static void pressure_falls_when_it_is_half_of_what_it_rose_at(void **state) {
    (void)state;
    assert_int_equal(level_with(pressure_of(1000, 0)), RESOURCE_SOFT);
    for (int s = 0; s < 10; s++)
        assert_int_equal(level_with(pressure_of(500, 0)), RESOURCE_SOFT);
    for (int s = 0; s < 5; s++)
        assert_int_equal(level_with(pressure_of(499, 0)), RESOURCE_SOFT);
    assert_int_equal(level_with(pressure_of(499, 0)), RESOURCE_OK);
}

static void the_reason_of_a_level_is_told_until_it_falls(void **state) {
    (void)state;
    struct memory_signals signals = group_of_1000(860);
    assert_int_equal(level_with(signals), RESOURCE_SOFT);
    signals.machine_bytes = 1000 * MIB;
    signals.machine_used = 840 * MIB;
    signals.cgroup.used = 100 * MIB;
    assert_int_equal(level_with(signals), RESOURCE_SOFT);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_CGROUP);
    assert_int_equal(t.resources.now.memory_used, 100 * MIB);
    signals.machine_used = 700 * MIB;
    for (int s = 0; s < 6; s++)
        (void)level_with(signals);
    assert_int_equal(t.resources.now.level, RESOURCE_OK);
    assert_int_equal(t.resources.now.signal, RESOURCE_BY_MACHINE);
}

static void the_sentence_has_the_numbers(void **state) {
    (void)state;
    char text[RESOURCES_TEXT_MAX];
    assert_int_equal(level_with(group_of_1000(900)), RESOURCE_SOFT);
    resources_describe(&t.resources, text);
    assert_string_equal(text, "cgroup: 900 MiB used, limits 850 MiB (soft) and 930 MiB (hard)");
    assert_int_equal(level_with(pressure_of(10000, 10000)), RESOURCE_HARD);
    resources_describe(&t.resources, text);
    assert_string_equal(text, "pressure: of the last 10 s some tasks waited for memory 100.00%, all of them "
                              "100.00%, limits 10% (soft) and 5% (hard)");
}

static void levels_admit_by_priority(void **state) {
    (void)state;
    for (int p = 0; p < CHAT_PRIORITY_COUNT; p++) {
        assert_true(resource_level_admits(RESOURCE_OK, (enum chat_priority)p));
        assert_int_equal(resource_level_admits(RESOURCE_SOFT, (enum chat_priority)p), p != CHAT_PRIORITY_LOW);
        assert_false(resource_level_admits(RESOURCE_HARD, (enum chat_priority)p));
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_worker_that_knows_nothing_takes_all_jobs),
        TEST(room_is_told_apart_for_what_is_mapped_and_what_is_not),
        TEST(shares_of_the_groups_limit_make_the_levels),
        TEST(a_group_without_a_limit_says_nothing),
        TEST(the_machine_counts_when_the_group_is_well),
        TEST(the_workers_own_memory_counts_only_with_limits_of_its_own),
        TEST(limits_of_its_own_do_not_hide_the_groups),
        TEST(of_two_limits_the_one_that_is_not_set_follows),
        TEST(equal_limits_leave_no_room_for_soft),
        TEST(waiting_for_memory_makes_levels_too),
        TEST(pressure_that_is_not_looked_at_says_nothing),
        TEST(a_level_falls_when_use_is_below_by_the_margin_for_five_seconds),
        TEST(a_level_is_kept_while_use_is_just_below),
        TEST(use_that_comes_back_begins_the_wait_anew),
        TEST(use_that_swings_about_a_limit_does_not_make_the_level_swing),
        TEST(a_level_falls_to_the_worst_of_the_time_it_was_below),
        TEST(a_level_rises_at_once_while_it_is_about_to_fall),
        TEST(pressure_falls_when_it_is_half_of_what_it_rose_at),
        TEST(the_reason_of_a_level_is_told_until_it_falls),
        TEST(the_sentence_has_the_numbers),
        TEST(levels_admit_by_priority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
