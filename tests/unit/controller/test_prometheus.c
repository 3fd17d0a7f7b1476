#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/prometheus.h"

static void a_counter_is_head_and_sample(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    prometheus_counter(&out, "x_total", "What it counts.", 18446744073709551615u);
    assert_string_equal(out.data, "# HELP x_total What it counts.\n# TYPE x_total counter\n"
                                  "x_total 18446744073709551615\n");
    buf_release(&out);
}

static void labels_are_quoted(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    prometheus_labelled(&out, "x", "worker", "w-1", 3);
    assert_string_equal(out.data, "x{worker=\"w-1\"} 3\n");
    buf_clear(&out);
    prometheus_labelled2(&out, "x", "worker", "w-1", "model", "a\"b\\c\nd", 3);
    assert_string_equal(out.data, "x{worker=\"w-1\",model=\"a\\\"b\\\\c\\nd\"} 3\n");
    buf_release(&out);
}

static unsigned long long bucket(const char *text, const char *bound) {
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "x_seconds_bucket{le=\"%s\"} ", bound);
    const char *at = strstr(text, wanted);
    if (!at)
        fail_msg("no bucket %s in %s", bound, text);
    return strtoull(at + strlen(wanted), NULL, 10);
}

static void buckets_are_cumulative_and_take_their_own_bound(void **state) {
    (void)state;
    static struct latency latency;
    struct buf out;
    buf_init(&out, 0);
    latency_add(&latency, 0);
    latency_add(&latency, 1000);
    latency_add(&latency, 1001);
    latency_add(&latency, 20 * 1000 * 1000);
    latency_add(&latency, 20 * 1000 * 1000 + 1);
    latency_add(&latency, INT64_MAX / 4);
    prometheus_latency(&out, "x_seconds", "Time.", &latency);
    assert_int_equal(bucket(out.data, "0.0005"), 1);
    assert_int_equal(bucket(out.data, "0.001"), 2);
    assert_int_equal(bucket(out.data, "0.0025"), 3);
    assert_int_equal(bucket(out.data, "10"), 3);
    assert_int_equal(bucket(out.data, "20"), 4);
    assert_int_equal(bucket(out.data, "30"), 5);
    assert_int_equal(bucket(out.data, "300"), 5);
    assert_int_equal(bucket(out.data, "+Inf"), 6);
    assert_non_null(strstr(out.data, "\nx_seconds_count 6\n"));
    buf_release(&out);
}

static void the_sum_is_in_seconds(void **state) {
    (void)state;
    static struct latency latency;
    struct buf out;
    buf_init(&out, 0);
    latency_add(&latency, 1500000);
    latency_add(&latency, 250);
    prometheus_latency(&out, "x_seconds", "Time.", &latency);
    assert_non_null(strstr(out.data, "\nx_seconds_sum 1.500250\n"));
    buf_release(&out);
}

static void a_time_that_was_never_taken_does_not_count(void **state) {
    (void)state;
    static struct latency latency;
    latency_add(&latency, -1);
    assert_int_equal(latency.us.total, 0);
}

static void bounds_ascend(void **state) {
    (void)state;
    for (int i = 1; i < LATENCY_BOUNDS; i++)
        assert_true(latency_bounds_us[i] > latency_bounds_us[i - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_is_head_and_sample),
        cmocka_unit_test(labels_are_quoted),
        cmocka_unit_test(buckets_are_cumulative_and_take_their_own_bound),
        cmocka_unit_test(the_sum_is_in_seconds),
        cmocka_unit_test(a_time_that_was_never_taken_does_not_count),
        cmocka_unit_test(bounds_ascend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
