#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "proto/wire.h"

#define LONGEST "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-" /* 64 */

static void subjects_are_spelt_as_documented(void **state) {
    (void)state;
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_job(subject, "w1");
    assert_string_equal(subject, "inference.w1");
    wire_subject_cancel(subject, "w1");
    assert_string_equal(subject, "inference.w1.cancel");
    wire_subject_control(subject, "w1");
    assert_string_equal(subject, "worker.w1.control");
    wire_subject_events(subject, "c1", "w1");
    assert_string_equal(subject, "reply.c1.events.w1");
    wire_subject_job_reply(subject, "c1", "chatcmpl-x", 4294967295u);
    assert_string_equal(subject, "reply.c1.job.chatcmpl-x.4294967295");
    wire_subject_control_reply(subject, "c1", 12);
    assert_string_equal(subject, "reply.c1.control.12");
    wire_subject_echo(subject, "c1", 123456789);
    assert_string_equal(subject, "reply.c1.echo.123456789");
    wire_subject_all_sessions(subject, "c1");
    assert_string_equal(subject, "reply.c1.sessions");
    wire_subject_replies(subject, "c1");
    assert_string_equal(subject, "reply.c1.>");
}

static void the_longest_ids_fit(void **state) {
    (void)state;
    char subject[WIRE_SUBJECT_MAX];
    struct wire_reply reply;
    wire_subject_job_reply(subject, LONGEST, LONGEST, UINT32_MAX);
    wire_reply_read(&reply, subject);
    assert_int_equal(reply.kind, WIRE_REPLY_JOB);
    assert_string_equal(reply.request_id, LONGEST);
    assert_true(reply.attempt == UINT32_MAX);
    wire_subject_events(subject, LONGEST, LONGEST);
    wire_reply_read(&reply, subject);
    assert_int_equal(reply.kind, WIRE_REPLY_EVENTS);
    assert_string_equal(reply.worker_id, LONGEST);
    wire_subject_all_sessions(subject, LONGEST);
    wire_reply_read(&reply, subject);
    assert_int_equal(reply.kind, WIRE_REPLY_SESSIONS);
    wire_subject_control_reply(subject, LONGEST, INT64_MAX);
    wire_reply_read(&reply, subject);
    assert_int_equal(reply.kind, WIRE_REPLY_CONTROL);
    assert_true(reply.ticket == INT64_MAX);
}

static void random_id(struct rng *rng, char *out, size_t max) {
    size_t len = 1 + rng_below(rng, max);
    for (size_t i = 0; i < len; i++)
        out[i] = LONGEST[rng_below(rng, strlen(LONGEST))];
    out[len] = '\0';
}

static void what_is_written_is_read(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        char subject[WIRE_SUBJECT_MAX], controller[65], id[65];
        struct wire_reply reply;
        random_id(&rng, controller, 64);
        random_id(&rng, id, 64);
        uint64_t number = rng_next(&rng) >> (1 + rng_below(&rng, 63));
        wire_subject_events(subject, controller, id);
        wire_reply_read(&reply, subject);
        assert_int_equal(reply.kind, WIRE_REPLY_EVENTS);
        assert_string_equal(reply.worker_id, id);
        wire_subject_job_reply(subject, controller, id, (uint32_t)number);
        wire_reply_read(&reply, subject);
        assert_int_equal(reply.kind, WIRE_REPLY_JOB);
        assert_string_equal(reply.request_id, id);
        assert_int_equal(reply.attempt, (uint32_t)number);
        wire_subject_control_reply(subject, controller, number);
        wire_reply_read(&reply, subject);
        assert_int_equal(reply.kind, WIRE_REPLY_CONTROL);
        assert_true(reply.ticket == number);
        wire_subject_echo(subject, controller, (int64_t)number);
        wire_reply_read(&reply, subject);
        assert_int_equal(reply.kind, WIRE_REPLY_ECHO);
        assert_true(reply.sent_ms == (int64_t)number);
    }
}

static void other_subjects_are_unknown(void **state) {
    (void)state;
    const char *const subjects[] = {
        "",
        ".",
        "reply",
        "reply.",
        "reply.c1",
        "reply.c1.",
        "reply.c1.events",
        "reply.c1.events.",
        "reply.c1.events.w1.",
        "reply.c1.events.w1.x",
        "reply..events.w1",
        "reply.c1..w1",
        "replyx.c1.events.w1",
        "Reply.c1.events.w1",
        "reply.c1.eventsx.w1",
        "reply.c1.events.w 1",
        "reply.c1.events.w*",
        "reply.c1.events." LONGEST "x",
        "reply." LONGEST "x.events.w1",
        "reply.c1.job.r1",
        "reply.c1.job.r1.",
        "reply.c1.job.r1.x",
        "reply.c1.job.r1.-1",
        "reply.c1.job.r1.1x",
        "reply.c1.job.r1.4294967296",
        "reply.c1.job.r1.1.2",
        "reply.c1.job." LONGEST "x.1",
        "reply.c1.control.",
        "reply.c1.control.x",
        "reply.c1.control.9223372036854775808",
        "reply.c1.control.18446744073709551617",
        "reply.c1.control.100000000000000000000000000",
        "inference.w1",
        "worker.register",
    };
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        struct wire_reply reply;
        wire_reply_read(&reply, subjects[i]);
        if (reply.kind != WIRE_REPLY_UNKNOWN)
            fail_msg("\"%s\" is taken for something", subjects[i]);
    }
}

static void tokens_are_1_to_max_of_the_allowed_characters(void **state) {
    (void)state;
    assert_true(wire_is_token(LONGEST, 64));
    assert_false(wire_is_token(LONGEST, 63));
    assert_true(wire_is_token("a", 1));
    assert_false(wire_is_token("", 64));
    for (int c = 1; c < 256; c++) {
        const char text[] = {'a', (char)c, '\0'};
        assert_int_equal(wire_is_token(text, 2), strchr(LONGEST, c) != NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects_are_spelt_as_documented),
        cmocka_unit_test(the_longest_ids_fit),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(other_subjects_are_unknown),
        cmocka_unit_test(tokens_are_1_to_max_of_the_allowed_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
