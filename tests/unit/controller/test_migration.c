#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "controller/migration.h"

static void note_many(struct migration *migration, int count) {
    for (int i = 0; i < count; i++)
        migration_note(migration, i * 3);
}

static void what_was_delivered_goes_along_in_order(void **state) {
    (void)state;
    struct migration migration;
    struct wire_job job = {.attempt = 2};
    migration_init(&migration, 1000);
    note_many(&migration, 500);
    assert_true(migration_is_possible(&migration));
    migration_fill(&migration, &job);
    assert_int_equal(job.generated_count, 500);
    for (int i = 0; i < 500; i++)
        assert_int_equal(job.generated[i], i * 3);
    migration_release(&migration);
}

static void a_reply_that_is_too_long_stays_where_it_is(void **state) {
    (void)state;
    struct migration migration;
    migration_init(&migration, 100);
    note_many(&migration, 100);
    assert_true(migration_is_possible(&migration));
    note_many(&migration, 1);
    assert_false(migration_is_possible(&migration));
    assert_null(migration.tokens);
    note_many(&migration, 10);
    assert_int_equal(migration.count, 0);
    migration_release(&migration);
}

static void a_reply_that_begins_anew_can_go_on_again(void **state) {
    (void)state;
    struct migration migration;
    migration_init(&migration, 10);
    note_many(&migration, 11);
    migration_restart(&migration);
    assert_true(migration_is_possible(&migration));
    note_many(&migration, 3);
    assert_int_equal(migration.count, 3);
    migration_release(&migration);
}

static void a_maximum_of_zero_is_never(void **state) {
    (void)state;
    struct migration migration;
    migration_init(&migration, 0);
    assert_false(migration_is_possible(&migration));
    migration_restart(&migration);
    note_many(&migration, 1);
    assert_false(migration_is_possible(&migration));
    migration_release(&migration);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_delivered_goes_along_in_order),
        cmocka_unit_test(a_reply_that_is_too_long_stays_where_it_is),
        cmocka_unit_test(a_reply_that_begins_anew_can_go_on_again),
        cmocka_unit_test(a_maximum_of_zero_is_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
