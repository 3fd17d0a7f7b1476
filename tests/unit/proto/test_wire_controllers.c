#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "proto/wire.h"
#include "wire_harm.h"

#define STAMP_MAX ((int64_t)1 << 62)

static const struct wire_speaker speaker = {"controller-1", "c7w2m5n8r4tb"};

static bool accepts_discover(const char *data, size_t len) {
    struct wire_discover discover;
    struct error error;
    return wire_read_discover(data, len, &discover, &error) == STATUS_OK;
}

static bool accepts_controller(const char *data, size_t len) {
    struct wire_controller controller;
    struct error error;
    return wire_read_controller(data, len, &controller, &error) == STATUS_OK;
}

static void count_breaker(const struct wire_speaker *from, const struct wire_breaker *breaker, void *arg) {
    assert_true(from->controller_id[0] && breaker->worker_id[0]);
    ++*(size_t *)arg;
}

static bool accepts_breakers(const char *data, size_t len) {
    size_t count = 0;
    struct error error;
    return wire_read_breakers(data, len, count_breaker, &count, &error) == STATUS_OK;
}

static void count_session(const struct wire_speaker *from, const struct wire_session *session, void *arg) {
    assert_true(from->controller_id[0] && session->id[0]);
    ++*(size_t *)arg;
}

static bool accepts_sessions(const char *data, size_t len) {
    size_t count = 0;
    struct error error;
    return wire_read_sessions(data, len, count_session, &count, &error) == STATUS_OK;
}

static bool accepts_lookup(const char *data, size_t len) {
    struct wire_lookup lookup;
    struct error error;
    return wire_read_lookup(data, len, &lookup, &error) == STATUS_OK;
}

static bool accepts_found(const char *data, size_t len) {
    struct wire_found found;
    struct error error;
    bool ok = wire_read_found(data, len, &found, &error) == STATUS_OK;
    wire_found_release(&found);
    return ok;
}

static void harm(wire_read_fn *read, const struct buf *message) {
    wire_harm(read, message->data, message->len);
    wire_harm_version(read, message->data, message->len);
}

static void a_heartbeat_comes_back_as_it_was(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    for (int s = WIRE_CONTROLLER_READY; s <= WIRE_CONTROLLER_LEFT; s++) {
        const struct wire_controller said = {.id = "c-1",
                                             .incarnation = "k3v9x0q2m1za",
                                             .state = (enum wire_controller_state)s,
                                             .active_requests = INT64_MAX};
        struct wire_controller heard;
        struct error error;
        buf_clear(&text);
        wire_write_controller(&text, &said);
        assert_int_equal(wire_read_controller(text.data, text.len, &heard, &error), STATUS_OK);
        assert_string_equal(heard.id, said.id);
        assert_string_equal(heard.incarnation, said.incarnation);
        assert_int_equal(heard.state, said.state);
        assert_true(heard.active_requests == said.active_requests);
        harm(accepts_controller, &text);
    }
    buf_release(&text);
}

static void a_discovery_names_who_asks(void **state) {
    (void)state;
    struct wire_discover heard;
    struct error error;
    struct buf text;
    buf_init(&text, 0);
    wire_write_discover(&text, "c-1");
    assert_int_equal(wire_read_discover(text.data, text.len, &heard, &error), STATUS_OK);
    assert_string_equal(heard.controller_id, "c-1");
    harm(accepts_discover, &text);
    buf_release(&text);
}

static const struct wire_breaker breakers[] = {{.worker_id = "w-1",
                                                .incarnation = "i1",
                                                .state = "OPEN",
                                                .stamp = STAMP_MAX,
                                                .remaining_ms = INT32_MAX,
                                                .openings = 3,
                                                .last_failure = STATUS_WORKER_TIMEOUT},
                                               {.worker_id = "w-2",
                                                .incarnation = "i2",
                                                .model = "m/x:8b \"q\"",
                                                .state = "FORCED_CLOSED",
                                                .operator_stamp = 7,
                                                .stamp = 7}};

static void compare_breaker(const struct wire_speaker *from, const struct wire_breaker *heard, void *arg) {
    const struct wire_breaker *said = &breakers[(*(size_t *)arg)++];
    assert_string_equal(from->controller_id, speaker.controller_id);
    assert_string_equal(from->incarnation, speaker.incarnation);
    assert_string_equal(heard->worker_id, said->worker_id);
    assert_string_equal(heard->incarnation, said->incarnation);
    assert_string_equal(heard->state, said->state);
    assert_true(said->model ? strcmp(heard->model, said->model) == 0 : !heard->model);
    assert_true(heard->stamp == said->stamp && heard->operator_stamp == said->operator_stamp);
    assert_true(heard->remaining_ms == said->remaining_ms && heard->openings == said->openings);
    assert_int_equal(heard->last_failure, said->last_failure);
}

static void breakers_come_back_as_they_were_and_in_order(void **state) {
    (void)state;
    struct buf text;
    struct error error;
    size_t count = 0;
    buf_init(&text, 0);
    wire_breakers_open(&text, &speaker);
    for (size_t i = 0; i < ARRAY_LEN(breakers); i++)
        wire_breakers_add(&text, &breakers[i]);
    wire_list_close(&text);
    assert_int_equal(wire_read_breakers(text.data, text.len, compare_breaker, &count, &error), STATUS_OK);
    assert_int_equal(count, ARRAY_LEN(breakers));
    harm(accepts_breakers, &text);
    buf_release(&text);
}

static void compare_session(const struct wire_speaker *from, const struct wire_session *heard, void *arg) {
    const struct wire_session *said = arg;
    assert_string_equal(from->controller_id, speaker.controller_id);
    assert_string_equal(heard->id, said->id);
    assert_string_equal(heard->worker_id, said->worker_id);
    assert_string_equal(heard->incarnation, said->incarnation);
    assert_true(heard->stamp == said->stamp && heard->age_ms == said->age_ms);
}

static void a_session_comes_back_as_it_was(void **state) {
    (void)state;
    struct wire_session said = {
        .id = "chat:7.a", .worker_id = "w-1", .incarnation = "i1", .stamp = 1, .age_ms = INT32_MAX};
    struct buf text;
    struct error error;
    buf_init(&text, 0);
    wire_sessions_open(&text, &speaker);
    wire_sessions_add(&text, &said);
    wire_list_close(&text);
    assert_int_equal(wire_read_sessions(text.data, text.len, compare_session, &said, &error), STATUS_OK);
    harm(accepts_sessions, &text);
    buf_release(&text);
}

static void questions_and_answers_come_back_as_they_were(void **state) {
    (void)state;
    static const struct wire_lookup lookups[] = {
        {.op = WIRE_LOOKUP_REQUEST, .controller_id = "c1", .id = "chatcmpl-5k1f"},
        {.op = WIRE_LOOKUP_DROP_SESSION, .controller_id = "c1", .id = "chat:7", .stamp = STAMP_MAX}};
    static char record[] = "{\"requestId\":\"x\",\"durationMs\":3.514}";
    static const struct wire_found answers[] = {{.controller_id = "c2"},
                                                {.controller_id = "c2", .found = true, .record = record}};
    struct buf text;
    struct error error;
    buf_init(&text, 0);
    for (size_t i = 0; i < 2; i++) {
        struct wire_lookup lookup;
        buf_clear(&text);
        wire_write_lookup(&text, &lookups[i]);
        assert_int_equal(wire_read_lookup(text.data, text.len, &lookup, &error), STATUS_OK);
        assert_memory_equal(&lookup, &lookups[i], sizeof(lookup));
        harm(accepts_lookup, &text);
        struct wire_found found;
        buf_clear(&text);
        wire_write_found(&text, &answers[i]);
        assert_int_equal(wire_read_found(text.data, text.len, &found, &error), STATUS_OK);
        assert_string_equal(found.controller_id, "c2");
        assert_int_equal(found.found, answers[i].found);
        assert_true(answers[i].record ? strcmp(found.record, record) == 0 : !found.record);
        wire_found_release(&found);
        harm(accepts_found, &text);
    }
    buf_release(&text);
}

#define WHO "{\"v\":1,\"controller\":\"c\",\"incarnation\":\"i\","
#define BREAKER(state, stamp, operator, remaining)                                               \
    WHO "\"list\":[{\"worker\":\"w\",\"incarnation\":\"i\",\"state\":" state ",\"stamp\":" stamp \
        ",\"operator\":"                                                                         \
        operator",\"remainingMs\":" remaining ",\"openings\":0}]}"
#define SESSION(id, stamp, age)                                                                              \
    WHO "\"list\":[{\"id\":" id ",\"worker\":\"w\",\"incarnation\":\"i\",\"stamp\":" stamp ",\"ageMs\":" age \
        "}]}"

static void what_is_out_of_range_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *text, *param;
    } breaker_rows[] = {{BREAKER("\"OPEN\"", "-1", "0", "0"), "stamp"},
                        {BREAKER("\"OPEN\"", "4611686018427387905", "0", "0"), "stamp"},
                        {BREAKER("\"OPEN\"", "1", "-1", "0"), "operator"},
                        {BREAKER("\"OPEN\"", "1", "0", "2147483648"), "remainingMs"},
                        {BREAKER("\"OP EN\"", "1", "0", "0"), "state"},
                        {BREAKER("7", "1", "0", "0"), "state"},
                        {WHO "\"list\":{}}", "list"},
                        {WHO "\"list\":[7]}", "worker"},
                        {"{\"v\":1,\"controller\":\"c\",\"list\":[]}", "incarnation"}},
      session_rows[] = {{SESSION("\"s\"", "0", "0"), "stamp"},
                        {SESSION("\"s\"", "1", "-1"), "ageMs"},
                        {SESSION("\"\"", "1", "0"), "id"},
                        {SESSION("\"a\\u0000b\"", "1", "0"), "id"},
                        {WHO "\"list\":null}", "list"}};
    for (size_t i = 0; i < ARRAY_LEN(breaker_rows); i++) {
        struct error error;
        size_t count = 0;
        const char *text = breaker_rows[i].text;
        assert_int_equal(wire_read_breakers(text, strlen(text), count_breaker, &count, &error),
                         STATUS_PROTOCOL_ERROR);
        assert_string_equal(error.param, breaker_rows[i].param);
        assert_int_equal(count, 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(session_rows); i++) {
        struct error error;
        size_t count = 0;
        const char *text = session_rows[i].text;
        assert_int_equal(wire_read_sessions(text, strlen(text), count_session, &count, &error),
                         STATUS_PROTOCOL_ERROR);
        assert_string_equal(error.param, session_rows[i].param);
    }
}

static void lists_hold_no_more_than_their_maximum(void **state) {
    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        struct buf text;
        buf_init(&text, 0);
        wire_breakers_open(&text, &speaker);
        for (size_t i = 0; i < WIRE_BREAKERS_MAX + over; i++)
            wire_breakers_add(&text, &breakers[0]);
        wire_list_close(&text);
        assert_int_equal(accepts_breakers(text.data, text.len), over == 0);
        buf_clear(&text);
        wire_sessions_open(&text, &speaker);
        for (size_t i = 0; i < WIRE_SESSIONS_MAX + over; i++)
            wire_sessions_add(&text, &(struct wire_session){"s", "w", "i", 1, 0});
        wire_list_close(&text);
        assert_int_equal(accepts_sessions(text.data, text.len), over == 0);
        buf_release(&text);
    }
}

static void a_lookup_of_another_kind_or_a_record_that_is_none_is_refused(void **state) {
    (void)state;
    static const char *const lookups[] = {
        "{\"v\":1,\"controller\":\"c\",\"op\":\"other\",\"id\":\"x\"}",
        "{\"v\":1,\"controller\":\"c\",\"op\":\"request\"}",
        "{\"v\":1,\"controller\":\"c.d\",\"op\":\"request\",\"id\":\"x\"}",
        "{\"v\":1,\"controller\":\"c\",\"op\":\"dropSession\",\"id\":\"x\"}"};
    static const char *const answers[] = {"{\"v\":1,\"controller\":\"c\"}",
                                          "{\"v\":1,\"controller\":\"c\",\"found\":1}",
                                          "{\"v\":1,\"controller\":\"c\",\"found\":true,\"record\":[]}",
                                          "{\"v\":1,\"found\":true,\"record\":{}}"};
    for (size_t i = 0; i < 4; i++) {
        assert_false(accepts_lookup(lookups[i], strlen(lookups[i])));
        assert_false(accepts_found(answers[i], strlen(answers[i])));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heartbeat_comes_back_as_it_was),
        cmocka_unit_test(a_discovery_names_who_asks),
        cmocka_unit_test(breakers_come_back_as_they_were_and_in_order),
        cmocka_unit_test(a_session_comes_back_as_it_was),
        cmocka_unit_test(questions_and_answers_come_back_as_they_were),
        cmocka_unit_test(what_is_out_of_range_is_refused_by_name),
        cmocka_unit_test(lists_hold_no_more_than_their_maximum),
        cmocka_unit_test(a_lookup_of_another_kind_or_a_record_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
