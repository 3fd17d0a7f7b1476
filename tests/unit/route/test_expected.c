#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "route/expected.h"

enum { GRACE_MS = 1000 };

struct bench {
    struct registry registry;
    struct expected expected;
    char told[256]; /* "+id" for missing, "-id" for back */
};

static void note(const char *pattern, bool missing, void *arg) {
    struct bench *bench = arg;
    size_t len = strlen(bench->told);
    snprintf(bench->told + len, sizeof bench->told - len, "%s%s ", missing ? "+" : "-", pattern);
}

static void ignore_change(enum registry_change change, const struct registry_worker *worker,
                          uint64_t old_generation, void *arg) {
    (void)change, (void)worker, (void)old_generation, (void)arg;
}

static void setup(struct bench *bench, const char *const *patterns, size_t count) {
    const struct registry_config config = {
        .suspect_after_ms = 100, .offline_after_ms = 500, .forget_after_ms = 100000};
    registry_init(&bench->registry, &config);
    expected_init(&bench->expected, patterns, count, GRACE_MS, 0);
    bench->told[0] = '\0';
}

static void beat(struct bench *bench, const char *id, int64_t now_ms) {
    struct worker_info info = {.incarnation = "a", .phase = WORKER_PHASE_READY};
    snprintf(info.id, sizeof info.id, "%s", id);
    registry_update(&bench->registry, &info, now_ms, ignore_change, NULL);
}

static void assert_told(struct bench *bench, int64_t now_ms, const char *told) {
    bench->told[0] = '\0';
    registry_tick(&bench->registry, now_ms, ignore_change, NULL);
    expected_tick(&bench->expected, &bench->registry, now_ms, note, bench);
    assert_string_equal(bench->told, told);
}

static void a_worker_never_heard_of_is_missing_after_the_grace_time_and_told_once(void **state) {
    (void)state;
    static const char *const patterns[] = {"w1", "w2"};
    struct bench bench;
    setup(&bench, patterns, 2);
    beat(&bench, "w1", 0);
    assert_told(&bench, 0, "");
    for (int64_t now_ms = 100; now_ms < GRACE_MS; now_ms += 50) {
        beat(&bench, "w1", now_ms);
        assert_told(&bench, now_ms, "");
    }
    beat(&bench, "w1", GRACE_MS);
    assert_told(&bench, GRACE_MS, "+w2 ");
    assert_told(&bench, GRACE_MS + 1, "");
    assert_int_equal(bench.expected.missing, 1);
    beat(&bench, "w2", GRACE_MS + 10);
    assert_told(&bench, GRACE_MS + 10, "-w2 ");
    assert_int_equal(bench.expected.missing, 0);
    registry_release(&bench.registry);
}

static void a_worker_that_goes_offline_has_the_grace_time_to_come_back(void **state) {
    (void)state;
    static const char *const patterns[] = {"w1"};
    struct bench bench;
    setup(&bench, patterns, 1);
    beat(&bench, "w1", 0);
    assert_told(&bench, 0, "");
    assert_told(&bench, 400, ""); /* suspect */
    assert_told(&bench, 500, ""); /* offline */
    assert_told(&bench, 500 + GRACE_MS - 1, "");
    beat(&bench, "w1", 500 + GRACE_MS - 1);
    assert_told(&bench, 500 + GRACE_MS, "");
    assert_told(&bench, 1000 + GRACE_MS, ""); /* offline again since then */
    assert_told(&bench, 1000 + 2 * GRACE_MS, "+w1 ");
    registry_release(&bench.registry);
}

static void a_pattern_needs_one_worker(void **state) {
    (void)state;
    static const char *const patterns[] = {"gpu-*"};
    struct bench bench;
    setup(&bench, patterns, 1);
    beat(&bench, "cpu-1", 2000);
    assert_told(&bench, 2000, "+gpu-* ");
    beat(&bench, "gpu-7", 2100);
    assert_told(&bench, 2100, "-gpu-* ");
    registry_release(&bench.registry);
}

static void without_a_list_nobody_is_missed(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench, NULL, 0);
    assert_told(&bench, 100000, "");
    assert_int_equal(bench.expected.missing, 0);
    registry_release(&bench.registry);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_never_heard_of_is_missing_after_the_grace_time_and_told_once),
        cmocka_unit_test(a_worker_that_goes_offline_has_the_grace_time_to_come_back),
        cmocka_unit_test(a_pattern_needs_one_worker),
        cmocka_unit_test(without_a_list_nobody_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
