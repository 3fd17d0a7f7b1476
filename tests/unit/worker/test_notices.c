#include "worker/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/job.h"

static void as_many_notices_as_jobs_and_no_more(void **state) {
    (void)state;
    struct notices notices;
    assert_true(notices_init(&notices, 2));
    struct notice *a = notices_take(&notices), *b = notices_take(&notices);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(notices_take(&notices));
    notices_give_back(&notices, a);
    assert_ptr_equal(notices_take(&notices), a);
    notices_release(&notices);
}

static void a_notice_is_told_from_a_job(void **state) {
    (void)state;
    struct notices notices;
    struct job job;
    assert_true(notices_init(&notices, 3));
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(notices_find(&notices, &notices.all[i]), &notices.all[i]);
    assert_null(notices_find(&notices, &notices.all[3]));
    assert_null(notices_find(&notices, &job));
    notices_release(&notices);
}

static void it_is_sent_once_until_it_is_read(void **state) {
    (void)state;
    struct notices notices;
    struct job job;
    assert_true(notices_init(&notices, 1));
    struct notice *notice = notices_take(&notices);
    assert_true(notice_must_be_sent(notice));
    assert_false(notice_must_be_sent(notice));
    assert_null(notice_read(notice)); /* the job has not come */
    notice->job = &job;
    assert_true(notice_must_be_sent(notice));
    assert_ptr_equal(notice_read(notice), &job);
    notices_release(&notices);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_notices_as_jobs_and_no_more),
        cmocka_unit_test(a_notice_is_told_from_a_job),
        cmocka_unit_test(it_is_sent_once_until_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
