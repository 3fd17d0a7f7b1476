/* A reply that was cut off at one worker goes on at another: wherever the cut is, both parts together are the
 * reply of an undisturbed run, and so are usage and finish reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runner_rig.h"

enum { WHOLE = 0 }; /* the number of the undisturbed job */

static struct seen *whole(void) {
    return &t.harness.seen[WHOLE];
}

typedef void shape_fn(struct wire_job *wire);

static void plain(struct wire_job *wire) {
    (void)wire;
}
static void warm(struct wire_job *wire) {
    wire->chat.sampling.temperature = 1;
    wire->chat.sampling.seed = 77;
}
static void limited(struct wire_job *wire) {
    wire->chat.max_tokens = 21;
}

static void run_whole(const char *text, shape_fn *shape, const char *stop) {
    struct wire_job wire = harness_job(WHOLE, text);
    shape(&wire);
    if (stop)
        harness_set_stop(&wire, stop);
    submit(&wire);
    wait_done(1);
    assert_int_equal(whole()->status, STATUS_OK);
}

/* Job number `cut + 1` knows the first `cut` tokens. */
static void run_rest(int cut, const char *text, shape_fn *shape, const char *stop) {
    int index = cut + 1;
    struct wire_job wire = harness_job(index, text);
    shape(&wire);
    if (stop)
        harness_set_stop(&wire, stop);
    wire.generated_count = (size_t)cut;
    wire.generated = cut > 0 ? malloc((size_t)cut * sizeof(int32_t)) : NULL;
    if (cut > 0)
        memcpy(wire.generated, whole()->ids, (size_t)cut * sizeof(int32_t));
    t.harness.seen[index].first_index = cut;
    submit(&wire);
    wait_done(index + 1);
}

static void assert_joins(int cut) {
    const struct seen *rest = &t.harness.seen[cut + 1];
    size_t shown = cut > 0 ? whole()->shown_at[cut - 1] : 0;
    assert_int_equal(rest->status, STATUS_OK);
    assert_int_equal(rest->tokens, whole()->tokens - cut);
    assert_int_equal(rest->prompt_tokens, whole()->prompt_tokens);
    assert_int_equal(rest->finish, whole()->finish);
    assert_int_equal(rest->usage.prompt_tokens, whole()->usage.prompt_tokens);
    assert_int_equal(rest->usage.completion_tokens, whole()->usage.completion_tokens);
    assert_int_equal(rest->text.len, whole()->text.len - shown);
    if (rest->text.len > 0)
        assert_memory_equal(rest->text.data, whole()->text.data + shown, rest->text.len);
}

static void cut_everywhere(const char *text, shape_fn *shape, const char *stop) {
    start();
    run_whole(text, shape, stop);
    assert_in_range(whole()->tokens, 10, JOBS_MAX - 2);
    for (int cut = 0; cut <= whole()->tokens; cut++) {
        run_rest(cut, text, shape, stop);
        assert_joins(cut);
    }
}

static void a_reply_cut_anywhere_goes_on_as_if_nothing_had_happened(void **state) {
    (void)state;
    cut_everywhere("story [reply 60]", plain, NULL);
}

static void so_does_one_that_is_drawn_by_chance(void **state) {
    (void)state;
    cut_everywhere("story [reply 40]", warm, NULL);
}

static void a_limit_of_tokens_counts_those_that_were_given_elsewhere(void **state) {
    (void)state;
    cut_everywhere("story [reply 60]", limited, NULL);
    assert_int_equal(whole()->finish, FINISH_LENGTH);
    assert_int_equal(whole()->tokens, 21);
}

/* The stop string begins in one token and ends in a later one: its first half was held back when it was cut.
 */
static void a_stop_string_is_found_across_the_cut(void **state) {
    (void)state;
    char stop[8];
    start();
    run_whole("story [reply 60]", plain, NULL);
    snprintf(stop, sizeof stop, "%.6s", whole()->text.data + whole()->shown_at[19] - 3);
    assert_int_equal(rig_teardown(NULL), 0);
    assert_int_equal(rig_setup(NULL), 0);
    cut_everywhere("story [reply 60]", plain, stop);
    assert_int_equal(whole()->finish, FINISH_STOP);
    assert_true(whole()->tokens <= 21);
}

static void more_than_the_context_holds_is_refused(void **state) {
    (void)state;
    start();
    struct wire_job wire = harness_job(1, "story");
    wire.generated_count = 600;
    wire.generated = calloc(600, sizeof(int32_t));
    t.harness.seen[1].first_index = 600;
    submit(&wire);
    wait_done(1);
    assert_int_equal(t.harness.seen[1].status, STATUS_CONTEXT_LENGTH_EXCEEDED);
    assert_int_equal(t.harness.seen[1].tokens, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_reply_cut_anywhere_goes_on_as_if_nothing_had_happened),
        TEST(so_does_one_that_is_drawn_by_chance),
        TEST(a_limit_of_tokens_counts_those_that_were_given_elsewhere),
        TEST(a_stop_string_is_found_across_the_cut),
        TEST(more_than_the_context_holds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
