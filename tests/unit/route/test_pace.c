#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "route/pace.h"

static struct worker_load load_at(int32_t running, uint64_t steps, uint64_t batch) {
    return (struct worker_load){.running = running,
                                .steps = steps,
                                .batch_sequences = steps * batch,
                                .generated_tokens = steps * batch};
}

static void one_sequence_alone_gives_its_own_speed(void **state) {
    (void)state;
    struct pace pace = {0};
    struct worker_load before = load_at(1, 100, 1), now = load_at(1, 150, 1);
    pace_update(&pace, &before, &now, 8, 1000, 1000);
    assert_float_equal(pace.tokens_per_s, 50, 0.01);
    assert_int_equal(pace.measured_ms, 1000);
}

static void a_full_batch_counts_as_half_speed_for_each(void **state) {
    (void)state;
    struct pace pace = {0};
    struct worker_load before = load_at(8, 0, 8), now = load_at(8, 25, 8);
    pace_update(&pace, &before, &now, 8, 1000, 1000);
    assert_float_equal(pace.tokens_per_s, 50, 0.01); /* each got 25 */
}

static void samples_move_it_slowly(void **state) {
    (void)state;
    struct pace pace = {.tokens_per_s = 50, .measured_ms = 0};
    struct worker_load before = load_at(1, 0, 1), now = load_at(1, 100, 1);
    pace_update(&pace, &before, &now, 8, 1000, 1000);
    assert_float_equal(pace.tokens_per_s, 60, 0.01);
    for (int64_t at = 2000; at < 40000; at += 1000)
        pace_update(&pace, &before, &now, 8, 1000, at);
    assert_float_equal(pace.tokens_per_s, 100, 0.1);
}

static void idle_or_strange_intervals_say_nothing(void **state) {
    (void)state;
    const struct worker_load idle = load_at(0, 100, 1), busy = load_at(1, 150, 1), stuck = load_at(1, 100, 1);
    const struct worker_load silent = {.running = 1, .steps = 200, .batch_sequences = 200};
    const struct {
        const struct worker_load *before, *now;
        int64_t elapsed_ms;
    } rows[] = {{&idle, &busy, 1000}, {&stuck, &idle, 1000}, {&stuck, &stuck, 1000}, {&stuck, &busy, 0},
                {&stuck, &busy, -5},  {&busy, &stuck, 1000}, {&stuck, &silent, 1000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pace pace = {0};
        pace_update(&pace, rows[i].before, rows[i].now, 8, rows[i].elapsed_ms, 1000);
        assert_float_equal(pace.tokens_per_s, 0, 0);
    }
}

static void an_old_pace_is_unknown_again(void **state) {
    (void)state;
    struct pace pace = {.tokens_per_s = 1, .measured_ms = 1000};
    const struct worker_load idle = load_at(0, 0, 1);
    pace_update(&pace, &idle, &idle, 8, 1000, 1000 + PACE_MAX_AGE_MS);
    assert_float_equal(pace.tokens_per_s, 1, 0);
    pace_update(&pace, &idle, &idle, 8, 1000, 1001 + PACE_MAX_AGE_MS);
    assert_float_equal(pace.tokens_per_s, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_sequence_alone_gives_its_own_speed),
        cmocka_unit_test(a_full_batch_counts_as_half_speed_for_each),
        cmocka_unit_test(samples_move_it_slowly),
        cmocka_unit_test(idle_or_strange_intervals_say_nothing),
        cmocka_unit_test(an_old_pace_is_unknown_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
