#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controller/records.h"

static struct record numbered(int number) {
    struct record record = {.state = REQUEST_ENDED,
                            .end = REQUEST_SUCCEEDED,
                            .queue_us = -1,
                            .queue_position = -1,
                            .queue_wait_ms = -1,
                            .first_token_us = -1,
                            .inter_token_us = -1,
                            .model = "m"};
    snprintf(record.id, sizeof(record.id), "request-%d", number);
    return record;
}

static void add_numbered(struct records *records, int first, int count, int64_t now_ms) {
    for (int i = first; i < first + count; i++) {
        struct record record = numbered(i);
        records_add(records, &record, now_ms);
    }
}

static bool knows(const struct records *records, int number) {
    struct record record = numbered(number);
    const struct record *found = records_find(records, record.id);
    return found && strcmp(found->id, record.id) == 0;
}

static void at_most_the_maximum_is_kept_and_the_oldest_go(void **state) {
    (void)state;
    struct records records;
    assert_true(records_init(&records, 4));
    for (int i = 0; i < 11; i++) {
        add_numbered(&records, i, 1, 0);
        assert_true(records.count <= 4);
        for (int k = 0; k <= i; k++)
            assert_int_equal(knows(&records, k), k > i - 4);
    }
    assert_int_equal(records.displaced, 7);
    assert_int_equal(records.by_id.count, 4);
    records_release(&records);
}

static void the_newest_comes_first(void **state) {
    (void)state;
    struct records records;
    char id[32];
    assert_true(records_init(&records, 5));
    add_numbered(&records, 0, 8, 0);
    assert_int_equal(records.count, 5);
    for (size_t i = 0; i < records.count; i++) {
        snprintf(id, sizeof(id), "request-%zu", 7 - i);
        assert_string_equal(records_at(&records, i)->id, id);
    }
    records_release(&records);
}

static void a_record_is_dropped_five_minutes_after_its_end(void **state) {
    (void)state;
    struct records records;
    assert_true(records_init(&records, 8));
    add_numbered(&records, 0, 2, 1000);
    add_numbered(&records, 2, 1, 2000);
    records_expire(&records, 1000 + RECORD_KEEP_MS - 1);
    assert_int_equal(records.count, 3);
    records_expire(&records, 1000 + RECORD_KEEP_MS);
    assert_int_equal(records.count, 1);
    assert_false(knows(&records, 0));
    assert_false(knows(&records, 1));
    assert_true(knows(&records, 2));
    records_expire(&records, 2000 + RECORD_KEEP_MS);
    assert_int_equal(records.count, 0);
    assert_int_equal(records.displaced, 0);
    add_numbered(&records, 3, 9, 3000 + RECORD_KEEP_MS);
    assert_int_equal(records.count, 8);
    assert_true(knows(&records, 11));
    records_release(&records);
}

static void a_maximum_of_zero_keeps_nothing(void **state) {
    (void)state;
    struct records records;
    assert_true(records_init(&records, 0));
    add_numbered(&records, 0, 3, 0);
    records_expire(&records, RECORD_KEEP_MS);
    assert_int_equal(records.count, 0);
    assert_false(knows(&records, 0));
    records_release(&records);
    records_release(&records);
    records_release(NULL);
}

static void what_is_kept_does_not_change_with_what_it_was_copied_from(void **state) {
    (void)state;
    struct records records;
    struct request_try tries[2] = {{"w1", STATUS_ENGINE_ERROR, 5}, {"w2", STATUS_WORKER_TIMEOUT, 70}};
    char message[] = "all 2 tries failed";
    struct route_explanation explanation = {.candidates = {{"w3", 0.5}}, .candidate_count = 1};
    assert_true(records_init(&records, 2));
    struct record record = numbered(1);
    record.tries = tries;
    record.try_count = 2;
    record.message = message;
    record.explanation = &explanation;
    records_add(&records, &record, 0);
    memset(&explanation, 0, sizeof(explanation));
    memset(tries, 0, sizeof(tries));
    memset(message, 'x', sizeof(message) - 1);
    const struct record *found = records_find(&records, "request-1");
    assert_int_equal(found->try_count, 2);
    assert_string_equal(found->tries[0].worker_id, "w1");
    assert_string_equal(found->tries[1].worker_id, "w2");
    assert_int_equal(found->tries[1].status, STATUS_WORKER_TIMEOUT);
    assert_string_equal(found->message, "all 2 tries failed");
    assert_int_equal(found->explanation->candidate_count, 1);
    assert_string_equal(found->explanation->candidates[0].worker_id, "w3");
    records_release(&records);
}

static void assert_written(const struct record *record, const char *wanted) {
    struct buf out;
    buf_init(&out, 0);
    record_write(&out, record);
    if (!strstr(out.data, wanted))
        fail_msg("%s is not in %s", wanted, out.data);
    buf_release(&out);
}

static void a_failed_request_is_written_with_its_tries_and_its_error(void **state) {
    (void)state;
    struct request_try tries[1] = {{"w1", STATUS_WORKER_TIMEOUT, 70}};
    struct record record = numbered(1);
    record.end = REQUEST_FAILED;
    record.outcome = STATUS_WORKER_TIMEOUT;
    record.attempts = 2;
    record.begun_wall_ms = 1700000000000;
    record.duration_us = 2500999;
    record.queue_us = 1500;
    record.tries = tries;
    record.try_count = 1;
    char message[] = "worker \"w1\" was silent";
    record.message = message;
    assert_written(&record, "\"requestId\":\"request-1\",\"clientRequestId\":null,\"model\":\"m\"");
    assert_written(&record, "\"state\":\"failed\",\"startTime\":1700000000000,\"endTime\":1700000002500,");
    assert_written(&record, "\"durationMs\":2500.999,\"retryCount\":1,\"selectedWorker\":null,");
    assert_written(&record,
                   "\"failedWorkers\":[{\"worker\":\"w1\",\"code\":\"WORKER_TIMEOUT\",\"durationMs\":70}]");
    assert_written(&record, "{\"code\":\"WORKER_TIMEOUT\",\"message\":\"worker \\\"w1\\\" was silent\"}");
    assert_written(&record, "\"queueMs\":1.500,\"queuePosition\":null,\"queueEstimateMs\":null,");
    assert_written(&record, "\"firstTokenMs\":null,\"interTokenMs\":null");
    record.queue_position = 3;
    record.queue_wait_ms = 0;
    assert_written(&record, "\"queuePosition\":3,\"queueEstimateMs\":0,");
}

static void a_request_under_way_has_its_state_and_no_end(void **state) {
    (void)state;
    struct record record = numbered(1);
    record.state = REQUEST_STREAMING;
    assert_written(&record, "\"state\":\"streaming\"");
    assert_written(&record, "\"endTime\":null");
    assert_written(&record, "\"retryCount\":0");
    assert_written(&record, "\"failedWorkers\":[]");
    assert_written(&record, "\"finalError\":null");
}

static void the_routing_decision_tells_why_workers_were_left_out(void **state) {
    (void)state;
    struct record record = numbered(1);
    assert_written(&record, "\"routing\":null");
    record.strategy = "least_requests";
    record.candidates = 2;
    record.census = (struct route_census){
        .serving = 9, .offline = 1, .suspect = 2, .loading = 3, .excluded = 1, .full = 4};
    assert_written(&record, "\"routing\":{\"strategy\":\"least_requests\",\"candidates\":2,\"serving\":9,");
    assert_written(&record, "\"excluded\":{\"offline\":1,\"suspect\":2,\"hung\":0,\"draining\":0,"
                            "\"loading\":3,\"unloaded\":0,\"loadFailed\":0,\"unskilled\":0,\"tried\":1,"
                            "\"memory\":0,\"breaker\":0,\"full\":4,"
                            "\"busy\":0,\"cold\":0,\"slowStart\":0}");
}

static void every_state_has_a_name_of_its_own(void **state) {
    (void)state;
    char names[REQUEST_ENDED + REQUEST_END_COUNT][RECORD_STATE_CHARS];
    int count = 0;
    struct record record = numbered(1);
    for (int s = 0; s < REQUEST_ENDED; s++) {
        record.state = (enum request_state)s;
        record_state_name(&record, names[count++]);
    }
    record.state = REQUEST_ENDED;
    for (int e = 0; e < REQUEST_END_COUNT; e++) {
        record.end = (enum request_end)e;
        record_state_name(&record, names[count++]);
    }
    for (int i = 0; i < count; i++) {
        assert_in_range(strlen(names[i]), 3, RECORD_STATE_CHARS - 2);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    }
}

static void a_record_costs_about_as_much_as_its_option_says(void **state) {
    (void)state;
    assert_in_range(sizeof(struct record), 1, 768);
}

static void a_pick_is_explained_by_name(void **state) {
    (void)state;
    struct route_explanation explanation = {
        .candidates = {{"w1", 0.25}, {"w2", 1}},
        .candidate_count = 2,
        .kept_out = {{"w3", ROUTE_FULL}, {"w4", ROUTE_SUSPECT}},
        .kept_out_count = 2,
    };
    struct record record = numbered(1);
    record.strategy = "least_requests";
    record.explanation = &explanation;
    assert_written(&record,
                   "\"scores\":[{\"worker\":\"w1\",\"score\":0.25},{\"worker\":\"w2\",\"score\":1}]");
    assert_written(&record, "\"leftOut\":[{\"worker\":\"w3\",\"reason\":\"full\"},"
                            "{\"worker\":\"w4\",\"reason\":\"suspect\"}]");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_most_the_maximum_is_kept_and_the_oldest_go),
        cmocka_unit_test(the_newest_comes_first),
        cmocka_unit_test(a_record_is_dropped_five_minutes_after_its_end),
        cmocka_unit_test(a_maximum_of_zero_keeps_nothing),
        cmocka_unit_test(a_pick_is_explained_by_name),
        cmocka_unit_test(what_is_kept_does_not_change_with_what_it_was_copied_from),
        cmocka_unit_test(a_failed_request_is_written_with_its_tries_and_its_error),
        cmocka_unit_test(a_request_under_way_has_its_state_and_no_end),
        cmocka_unit_test(the_routing_decision_tells_why_workers_were_left_out),
        cmocka_unit_test(every_state_has_a_name_of_its_own),
        cmocka_unit_test(a_record_costs_about_as_much_as_its_option_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
