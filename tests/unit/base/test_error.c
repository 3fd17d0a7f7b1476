#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static void error_set_fills_all_and_returns_the_status(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(error_set(&error, STATUS_INVALID_JSON, "messages[0].role", "line %d is %s", 3, "wrong"),
                     STATUS_INVALID_JSON);
    assert_int_equal(error.status, STATUS_INVALID_JSON);
    assert_string_equal(error.param, "messages[0].role");
    assert_string_equal(error.message, "line 3 is wrong");
}

static void nobody_has_to_listen(void **state) {
    (void)state;
    assert_int_equal(error_set(NULL, STATUS_NATS_ERROR, "x", "%s", "lost"), STATUS_NATS_ERROR);
}

static void a_null_param_is_empty_and_nothing_old_stays(void **state) {
    (void)state;
    struct error error;
    error_set(&error, STATUS_INVALID_JSON, "a_long_parameter", "a long message");
    error_set(&error, STATUS_NATS_ERROR, NULL, "short");
    assert_string_equal(error.param, "");
    assert_string_equal(error.message, "short");
    for (size_t i = strlen(error.message); i < sizeof error.message; i++)
        assert_int_equal(error.message[i], 0);
}

static void an_error_may_be_told_again_with_its_own_message_and_param(void **state) {
    (void)state;
    struct error error;
    error_set(&error, STATUS_INVALID_JSON, "port", "is no number");
    error_set(&error, STATUS_CONFIG_INVALID, error.param, "controller.yaml: %s %s", error.param,
              error.message);
    assert_string_equal(error.param, "port");
    assert_string_equal(error.message, "controller.yaml: port is no number");
}

/* Characters of three bytes behind 0 to 2 letters: in two of three cases the limit falls into one. */
static void long_texts_are_cut_between_characters(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        char text[2000];
        memset(text, 'x', shift);
        size_t len = shift;
        for (; len + 3 < sizeof text; len += 3)
            memcpy(text + len, "\xE2\x82\xAC", 3);
        text[len] = '\0';
        struct error error;
        error_set(&error, STATUS_INVALID_JSON, text, "%s", text);
        assert_true(utf8_is_valid(error.message, strlen(error.message)));
        assert_true(utf8_is_valid(error.param, strlen(error.param)));
        assert_true(strlen(error.message) > ERROR_MESSAGE_MAX - 4);
        assert_true(strlen(error.param) > ERROR_PARAM_MAX - 4);
        assert_memory_equal(error.message, text, strlen(error.message));
    }
}

static void a_text_that_just_fits_is_whole(void **state) {
    (void)state;
    char text[ERROR_MESSAGE_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct error error;
    error_set(&error, STATUS_INVALID_JSON, NULL, "%s", text);
    assert_string_equal(error.message, text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_set_fills_all_and_returns_the_status),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(a_null_param_is_empty_and_nothing_old_stays),
        cmocka_unit_test(an_error_may_be_told_again_with_its_own_message_and_param),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(a_text_that_just_fits_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
