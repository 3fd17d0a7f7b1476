#include "base/status.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void every_status_is_found_by_its_name(void **state) {
    (void)state;
    for (int i = 0; i < STATUS_COUNT; i++)
        assert_int_equal(status_from_name(status_name((enum status)i), STATUS_COUNT), i);
}

static void unknown_names_become_the_fallback(void **state) {
    (void)state;
    const char *const names[] = {"", "ok", "OK ", "STATUS_OK", "NO_SUCH_STATUS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(status_from_name(names[i], STATUS_ENGINE_ERROR), STATUS_ENGINE_ERROR);
    assert_int_equal(status_from_name(NULL, STATUS_NATS_ERROR), STATUS_NATS_ERROR);
}

static void every_status_but_ok_is_an_http_error_with_type_and_text(void **state) {
    (void)state;
    assert_int_equal(status_http(STATUS_OK), 200);
    for (int i = 0; i < STATUS_COUNT; i++) {
        enum status status = (enum status)i;
        assert_true(status_text(status)[0] != '\0');
        if (status == STATUS_OK)
            continue;
        int http = status_http(status);
        assert_in_range(http, 400, 599);
        assert_string_equal(status_api_type(status), http < 500 ? "invalid_request_error" : "server_error");
    }
}

/* What the client did wrong is wrong everywhere; so is a deadline that is spent. */
static void no_client_error_is_retried_or_held_against_a_worker(void **state) {
    (void)state;
    for (int i = 1; i < STATUS_COUNT; i++) {
        enum status status = (enum status)i;
        if (status_http(status) >= 500)
            continue;
        assert_false(status_is_retryable(status));
        assert_int_equal(status_outcome(status), OUTCOME_NEUTRAL);
    }
    assert_false(status_is_retryable(STATUS_DEADLINE_EXCEEDED));
}

static void only_faults_of_a_worker_count_against_it(void **state) {
    (void)state;
    static const struct {
        enum status status;
        enum outcome outcome;
    } faults[] = {
        {STATUS_ENGINE_ERROR, OUTCOME_MODEL_FAILURE},
        {STATUS_WORKER_TIMEOUT, OUTCOME_MODEL_FAILURE},
        {STATUS_PROTOCOL_ERROR, OUTCOME_WORKER_FAILURE},
        {STATUS_WORKER_OFFLINE, OUTCOME_WORKER_FAILURE},
    };
    size_t found = 0;
    for (int i = 0; i < STATUS_COUNT; i++)
        found += status_is_failure((enum status)i);
    assert_int_equal(found, sizeof faults / sizeof faults[0]);
    for (size_t i = 0; i < found; i++) {
        assert_int_equal(status_outcome(faults[i].status), faults[i].outcome);
        assert_true(status_is_retryable(faults[i].status));
    }
    assert_int_equal(status_outcome(STATUS_OK), OUTCOME_SUCCESS);
}

static void a_value_outside_the_enum_aborts(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        status_http(STATUS_COUNT);
        _exit(0);
    }
    int ended = 0;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGABRT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_is_found_by_its_name),
        cmocka_unit_test(unknown_names_become_the_fallback),
        cmocka_unit_test(every_status_but_ok_is_an_http_error_with_type_and_text),
        cmocka_unit_test(no_client_error_is_retried_or_held_against_a_worker),
        cmocka_unit_test(only_faults_of_a_worker_count_against_it),
        cmocka_unit_test(a_value_outside_the_enum_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
