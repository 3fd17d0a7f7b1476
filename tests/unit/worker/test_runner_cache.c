/* What jobs leave behind in the KV cache, and what happens when a shared one is too small for all of them.
 * The text of a reply is a function of all its tokens in their places, so a wrong prefix shows in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runner_rig.h"

enum { LONG = 200, SHORTER = 10, LONGER = 4 };

static const char *long_text(int index, char *out, size_t cap) {
    int len = snprintf(out, cap, "number %d: ", index);
    memset(out + len, 'a' + index % 26, LONG);
    out[len + LONG] = '\0';
    return out;
}

struct expected {
    struct buf text;
    int32_t tokens;
};

static struct expected expect(const struct wire_job *wire) {
    struct expected expected;
    expected.text = harness_expected(&t.harness, wire, &expected.tokens);
    return expected;
}

static void assert_seen(int index, struct expected *expected) {
    const struct seen *seen = &t.harness.seen[index];
    assert_int_equal(seen->status, STATUS_OK);
    assert_int_equal(seen->tokens, expected->tokens);
    assert_int_equal(seen->text.len, expected->text.len);
    assert_memory_equal(seen->text.data, expected->text.data, expected->text.len);
    buf_release(&expected->text);
}

static int64_t run(int index, const char *text) {
    struct wire_job wire = harness_job(index, text);
    struct expected expected = expect(&wire);
    submit(&wire);
    wait_done(t.done + 1);
    assert_seen(index, &expected);
    return t.harness.seen[index].usage.cached_tokens;
}

static void the_same_prompt_is_computed_once(void **state) {
    (void)state;
    char text[300];
    start();
    assert_int_equal(run(0, long_text(0, text, sizeof text)), 0);
    uint64_t computed = load_now().prompt_tokens;
    int64_t cached = run(1, text);
    assert_int_equal(cached, t.harness.seen[1].prompt_tokens - 1);
    assert_int_equal(load_now().prompt_tokens, computed + 1);
    assert_int_equal(load_now().cached_tokens, cached);
    assert_int_equal(load_now().cache_hits, 1);
}

static void without_reuse_every_prompt_is_computed(void **state) {
    (void)state;
    char text[300];
    t.harness.config.worker.prefix_cache = false;
    start();
    for (int i = 0; i < 3; i++)
        assert_int_equal(run(i, long_text(0, text, sizeof text)), 0);
    assert_int_equal(load_now().kv_cells_cached, 0);
    assert_int_equal(load_now().cache_bytes, 0);
}

static void more_conversations_than_slots_are_found_again_in_memory(void **state) {
    (void)state;
    char text[300];
    start();
    for (int i = 0; i < 12; i++)
        run(i, long_text(i, text, sizeof text));
    assert_true(load_now().cache_bytes > 0);
    for (int i = 0; i < 12; i++) {
        int64_t cached = run(12 + i, long_text(i, text, sizeof text));
        assert_int_equal(cached, t.harness.seen[12 + i].prompt_tokens - 1);
    }
}

static bool something_is_in_memory(void *arg) {
    (void)arg;
    return load_now().cache_bytes > 0;
}

static void what_a_slot_holds_is_saved_before_another_prompt_needs_it(void **state) {
    (void)state;
    char text[300];
    start();
    run(0, long_text(0, text, sizeof text));
    assert_int_equal(load_now().cache_bytes, 0);
    harness_wait(&t.harness, something_is_in_memory, NULL);
    /* It is still in its slot as well, and what goes on there needs no copy. */
    uint64_t computed = load_now().prompt_tokens;
    int64_t cached = run(1, text);
    assert_int_equal(cached, t.harness.seen[1].prompt_tokens - 1);
    assert_int_equal(load_now().prompt_tokens, computed + 1);
}

static void while_memory_is_short_only_slots_remember(void **state) {
    (void)state;
    char text[300];
    start();
    for (int i = 0; i < 8; i++)
        run(i, long_text(i, text, sizeof text));
    assert_true(load_now().cache_bytes > 0);
    runner_set_short_of_memory(t.runner, true);
    for (int i = 8; i < 16; i++)
        run(i, long_text(i, text, sizeof text));
    assert_int_equal(load_now().cache_bytes, 0);
    runner_set_short_of_memory(t.runner, false);
    for (int i = 16; i < 24; i++)
        run(i, long_text(i, text, sizeof text));
    assert_true(load_now().cache_bytes > 0);
}

static void without_memory_only_slots_remember(void **state) {
    (void)state;
    char text[300];
    t.harness.config.worker.prefix_cache_memory_mb = 0;
    start();
    for (int i = 0; i < 12; i++)
        run(i, long_text(i, text, sizeof text));
    assert_int_equal(load_now().cache_bytes, 0);
    assert_true(run(12, long_text(11, text, sizeof text)) > LONG / 4);
    assert_true(run(13, long_text(0, text, sizeof text)) < LONG / 8);
}

/* Cancels a job during the second pass of its prompt; returns what the next one with it finds computed. */
static int64_t abort_and_run_again(void) {
    char text[300];
    t.harness.config.worker.batch_tokens = 40; /* less than the prompt */
    t.harness.config.worker.fake_step_us = 1000;
    start();
    gate_close();
    struct job *job = submit_text(0, long_text(0, text, sizeof text));
    gate_wait_arrival();
    gate_permit(1);
    gate_wait_arrival();
    runner_cancel(t.runner, job);
    gate_open();
    wait_done(1);
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    return run(1, text);
}

static void what_was_computed_before_an_abort_is_used_again(void **state) {
    (void)state;
    assert_int_equal(abort_and_run_again(), 40);
}

static void but_not_where_the_engine_cannot_go_back(void **state) {
    (void)state;
    gate_cannot_rewind = true;
    assert_int_equal(abort_and_run_again(), 0);
}

static void a_failed_job_leaves_nothing_behind(void **state) {
    (void)state;
    char text[300], failing[320];
    start();
    snprintf(failing, sizeof failing, "%s [fail at 2]", long_text(0, text, sizeof text));
    submit_text(0, failing);
    wait_done(1);
    assert_int_equal(t.harness.seen[0].status, STATUS_ENGINE_ERROR);
    assert_int_equal(load_now().kv_cells_cached, 0);
    assert_int_equal(load_now().kv_cells_used, 0);
}

static void shared_cache(int32_t tokens) {
    t.harness.config.worker.kv_cache_tokens = tokens;
    t.harness.config.worker.max_depth = 60;
    start();
    assert_int_equal(load_now().kv_cells_total, tokens);
}

static void copies_of_a_long_beginning_are_held_once(void **state) {
    (void)state;
    char text[300];
    shared_cache(200);
    run(0, long_text(0, text, sizeof text));
    gate_close();
    for (int i = 1; i <= 4; i++) {
        struct wire_job wire = harness_job(i, text);
        wire.chat.max_tokens = 10;
        submit(&wire);
    }
    step_until_starts(5);
    struct worker_load load = load_now();
    assert_int_equal(load.running, 4);
    assert_true(4 * (int64_t)t.harness.seen[1].prompt_tokens > load.kv_cells_total);
    gate_open();
    wait_done(5);
    for (int i = 1; i <= 4; i++)
        assert_memory_equal(t.harness.seen[i].ids, t.harness.seen[0].ids, 8 * sizeof(int32_t));
    assert_int_equal(load_now().parks, 0);
}

/* Four jobs that get their slots at once, whose prompts are alike but for their end. */
static void compute_a_common_beginning_once(void) {
    struct expected expected[4];
    gate_pass_tokens = 4;
    t.harness.config.worker.min_batch_size = 4;
    t.harness.config.worker.batch_timeout_ms = 30000; /* before the jobs are too late */
    t.harness.config.worker.adaptive_timeout = false;
    start();
    for (int i = 0; i < 4; i++) {
        char text[LONG + 32];
        memset(text, 'a', LONG);
        snprintf(text + LONG, sizeof text - LONG, " number %d", i);
        struct wire_job wire = harness_job(i, text);
        wire.chat.max_tokens = 10;
        expected[i] = expect(&wire);
        submit(&wire);
    }
    wait_done(4);
    int64_t prompt_tokens = 0, cached_tokens = 0;
    for (int i = 0; i < 4; i++) {
        prompt_tokens += t.harness.seen[i].usage.prompt_tokens;
        cached_tokens += t.harness.seen[i].usage.cached_tokens;
        assert_seen(i, &expected[i]);
    }
    struct worker_load load = load_now();
    assert_int_equal(load.batch_max, 4);
    assert_int_equal(load.cache_hits, 3);
    assert_int_equal(load.cached_tokens, cached_tokens);
    assert_int_equal(load.prompt_tokens, prompt_tokens - cached_tokens);
    assert_true(cached_tokens >= 3 * LONG / 5); /* about four bytes a token */
}

static void prompts_that_come_together_compute_a_common_beginning_once(void **state) {
    (void)state;
    compute_a_common_beginning_once();
}

static void also_in_a_shared_cache_with_room_for_little_more(void **state) {
    (void)state;
    t.harness.config.worker.kv_cache_tokens = 160;
    compute_a_common_beginning_once();
}

/* Jobs whose cells together are many times those there are. */
static void run_too_many(int32_t tokens, int count) {
    struct expected expected[JOBS_MAX];
    shared_cache(tokens);
    for (int i = 0; i < count; i++) {
        char text[300];
        struct wire_job wire = harness_job(i, long_text(i, text, sizeof text));
        wire.chat.max_tokens = i % 3 == 0 ? 0 : 100;
        wire.chat.priority = (enum chat_priority)(i % 3);
        expected[i] = expect(&wire);
        submit(&wire);
    }
    wait_done(count);
    for (int i = 0; i < count; i++)
        assert_seen(i, &expected[i]);
    assert_int_equal(load_now().kv_cells_used, 0);
    assert_int_equal(load_now().parked, 0);
    assert_int_equal(load_now().handed_back, 0);
}

static void a_cache_far_too_small_slows_jobs_and_harms_none(void **state) {
    (void)state;
    run_too_many(150, 60);
}

/* Replies were short so far, and now four long ones begin at once in a cache that holds two. */
static void run_longer_than_forecast(struct expected expected[LONGER]) {
    char text[32];
    shared_cache(220);
    for (int i = 0; i < SHORTER; i++) {
        snprintf(text, sizeof text, "short %d [reply 2]", i);
        submit_text(i, text);
        wait_done(i + 1);
    }
    gate_close();
    for (int i = 0; i < LONGER; i++) {
        snprintf(text, sizeof text, "long %d [reply 100]", i);
        struct wire_job wire = harness_job(SHORTER + i, text);
        expected[i] = expect(&wire);
        submit(&wire);
    }
    step_until_starts(SHORTER + LONGER);
    gate_open();
    wait_done(SHORTER + LONGER);
}

/* Each has its right text, or was handed back with a reason; returns how many were. */
static int64_t count_handed_back(struct expected expected[LONGER]) {
    int64_t handed_back = 0;
    for (int i = 0; i < LONGER; i++) {
        const struct seen *seen = &t.harness.seen[SHORTER + i];
        if (seen->status == STATUS_OK) {
            assert_seen(SHORTER + i, &expected[i]);
            continue;
        }
        assert_int_equal(seen->status, STATUS_WORKER_OVERLOADED);
        assert_non_null(strstr(seen->message, "220 tokens is full"));
        buf_release(&expected[i].text);
        handed_back++;
    }
    /* The oldest is never the one that makes way. */
    assert_int_equal(t.harness.seen[SHORTER].status, STATUS_OK);
    assert_int_equal(load_now().handed_back, handed_back);
    assert_int_equal(load_now().parked, 0);
    return handed_back;
}

static void jobs_that_are_longer_than_forecast_are_parked_and_go_on(void **state) {
    (void)state;
    struct expected expected[LONGER];
    run_longer_than_forecast(expected);
    assert_int_equal(count_handed_back(expected), 0);
    assert_true(load_now().parks > 0);
}

static void without_memory_to_park_in_jobs_are_handed_back(void **state) {
    (void)state;
    struct expected expected[LONGER];
    t.harness.config.worker.prefix_cache_memory_mb = 0;
    run_longer_than_forecast(expected);
    assert_true(count_handed_back(expected) > 0);
    assert_int_equal(load_now().parks, 0);
}

static void who_is_parked_for_too_long_is_handed_back(void **state) {
    (void)state;
    struct expected expected[LONGER];
    t.harness.config.worker.park_max_ms = 0;
    run_longer_than_forecast(expected);
    assert_true(count_handed_back(expected) > 0);
    assert_true(load_now().parks > 0);
}

static void a_cancel_stops_the_prefill_in_the_middle_of_its_step(void **state) {
    (void)state;
    char text[300];
    t.harness.config.worker.fake_prompt_token_us =
        200000; /* a step of 10 s, in which nothing else can help */
    start();
    struct job *job = submit_text(0, long_text(0, text, sizeof text));
    harness_wait_starts(&t.harness, 1);
    runner_cancel(t.runner, job);
    wait_done(1);
    assert_int_equal(t.ends[JOB_CANCELLED], 1);
    assert_int_equal(load_now().steps, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_same_prompt_is_computed_once),
        TEST(without_reuse_every_prompt_is_computed),
        TEST(more_conversations_than_slots_are_found_again_in_memory),
        TEST(what_a_slot_holds_is_saved_before_another_prompt_needs_it),
        TEST(while_memory_is_short_only_slots_remember),
        TEST(without_memory_only_slots_remember),
        TEST(what_was_computed_before_an_abort_is_used_again),
        TEST(but_not_where_the_engine_cannot_go_back),
        TEST(a_failed_job_leaves_nothing_behind),
        TEST(copies_of_a_long_beginning_are_held_once),
        TEST(prompts_that_come_together_compute_a_common_beginning_once),
        TEST(also_in_a_shared_cache_with_room_for_little_more),
        TEST(a_cache_far_too_small_slows_jobs_and_harms_none),
        TEST(jobs_that_are_longer_than_forecast_are_parked_and_go_on),
        TEST(without_memory_to_park_in_jobs_are_handed_back),
        TEST(who_is_parked_for_too_long_is_handed_back),
        TEST(a_cancel_stops_the_prefill_in_the_middle_of_its_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
