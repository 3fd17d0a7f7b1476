#include "engine/engine_try.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum status try_with(const char *fault, struct error *error) {
    const struct engine_options options = {.model_path = "fake.gguf", .fake_fault = fault};
    *error = (struct error){.status = STATUS_OK};
    return engine_try(&engine_fake_ops, &options, error);
}

static void an_engine_that_computes_passes(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(try_with("", &error), STATUS_OK);
    /* A reply may end at once. */
    assert_int_equal(try_with("reply 0", &error), STATUS_OK);
}

static void a_first_or_second_token_that_fails_is_a_failed_load(void **state) {
    (void)state;
    static const char *const faults[] = {"fail at 0", "fail at 1", "step error at 0", "step error at 1"};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct error error;
        if (try_with(faults[i], &error) != STATUS_MODEL_LOAD_FAILED)
            fail_msg("\"%s\" passes", faults[i]);
        assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
        assert_non_null(strstr(error.message, "it does not compute: "));
    }
}

static struct engine *open_nothing(const struct engine_options *options, struct error *error) {
    assert_int_equal(options->slots, 1);
    error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "no such thing");
    return NULL;
}

static void the_reason_of_a_failed_open_is_kept(void **state) {
    (void)state;
    const struct engine_ops ops = {.open = open_nothing};
    const struct engine_options options = {.model_path = "x", .slots = 8};
    struct error error = {.status = STATUS_OK};
    assert_int_equal(engine_try(&ops, &options, &error), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(error.message, "no such thing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_that_computes_passes),
        cmocka_unit_test(a_first_or_second_token_that_fails_is_a_failed_load),
        cmocka_unit_test(the_reason_of_a_failed_open_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
