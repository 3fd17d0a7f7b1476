#include "worker/early_cancels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_cancel_is_applied_once_and_to_its_job_only(void **state) {
    (void)state;
    struct early_cancels cancels = {.next = 0};
    early_cancels_add(&cancels, "r1/1", 1000);
    assert_false(early_cancels_take(&cancels, "r1/2", 1001));
    assert_false(early_cancels_take(&cancels, "r2/1", 1001));
    assert_true(early_cancels_take(&cancels, "r1/1", 1001));
    assert_false(early_cancels_take(&cancels, "r1/1", 1001));
}

static void a_cancel_is_forgotten_after_its_time(void **state) {
    (void)state;
    struct early_cancels cancels = {.next = 0};
    early_cancels_add(&cancels, "r1/1", 1000);
    early_cancels_add(&cancels, "r2/1", 1000);
    assert_true(early_cancels_take(&cancels, "r1/1", 1000 + EARLY_CANCEL_MS - 1));
    assert_false(early_cancels_take(&cancels, "r2/1", 1000 + EARLY_CANCEL_MS));
}

static void the_oldest_is_forgotten_when_there_are_too_many(void **state) {
    (void)state;
    struct early_cancels cancels = {.next = 0};
    for (uint32_t i = 0; i <= EARLY_CANCELS_MAX; i++) {
        char key[JOB_KEY_MAX];
        job_key(key, "r", i);
        early_cancels_add(&cancels, key, 1000);
    }
    assert_false(early_cancels_take(&cancels, "r/0", 1001));
    assert_true(early_cancels_take(&cancels, "r/1", 1001));
    assert_true(early_cancels_take(&cancels, "r/64", 1001));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_is_applied_once_and_to_its_job_only),
        cmocka_unit_test(a_cancel_is_forgotten_after_its_time),
        cmocka_unit_test(the_oldest_is_forgotten_when_there_are_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
