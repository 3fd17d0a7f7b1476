#include "net/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/subject.h"

#include <cmocka.h>

/* What one subscription got: "subject=data;" for each message. */
struct seen {
    char log[1024];
    size_t count;
};

static struct loop *loop;
static struct memory_bus *bus;
static struct transport *a;
static struct transport *b;
static struct seen at_a;
static struct seen at_b;

static int setup(void **state) {
    (void)state;
    at_a = at_b = (struct seen){0};
    loop = loop_new();
    bus = memory_bus_new();
    a = transport_memory_open(bus, loop);
    b = transport_memory_open(bus, loop);
    return loop && bus && a && b ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    transport_close(a);
    transport_close(b);
    memory_bus_free(bus);
    loop_free(loop);
    return 0;
}

static void see(const struct transport_message *message, void *arg) {
    struct seen *seen = arg;
    size_t len = strlen(seen->log);
    snprintf(seen->log + len, sizeof seen->log - len, "%s%s=%.*s;", message->no_responders ? "!" : "",
             message->subject, (int)message->len, message->data);
    seen->count++;
}

static void listen(struct transport *transport, const char *subject, struct seen *seen) {
    assert_int_equal(transport_subscribe(transport, subject, see, seen), STATUS_OK);
}

static enum status send(struct transport *transport, const char *subject, const char *text) {
    return transport_publish(transport, subject, NULL, text, strlen(text));
}

static void run(void) {
    for (int i = 0; i < 4; i++)
        loop_run_once(loop, 0);
}

static void patterns_match_as_in_nats(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        const char *subject;
        bool matches;
    } rows[] = {
        {"a.b", "a.b", true},     {"a.b", "a.c", false}, {"a.b", "a", false},       {"a", "a.b", false},
        {"a.b", "a.bc", false},   {"a.*", "a.b", true},  {"a.*", "a", false},       {"a.*", "a.b.c", false},
        {"*", "a", true},         {"*.b", "a.b", true},  {"*.*", "a.b", true},      {"a.*.c", "a.b.c", true},
        {"a.*.c", "a..c", false}, {"a.>", "a.b", true},  {"a.>", "a.b.c.d", true},  {"a.>", "a", false},
        {">", "a.b", true},       {">", "a", true},      {"a.b*", "a.bc", false},   {"a.b*", "a.b*", true},
        {"*.>", "a.b.c", true},   {"*.>", "a", false},   {"a.>.c", "a.b.c", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (subject_matches(rows[i].pattern, rows[i].subject) != rows[i].matches)
            fail_msg("%s against %s", rows[i].pattern, rows[i].subject);
}

static void subjects_that_would_break_the_wire_are_invalid(void **state) {
    (void)state;
    assert_true(subject_is_valid("a"));
    assert_true(subject_is_valid("worker.w-1.jobs"));
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB x", "a\tb", "a\x7f"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(subject_is_valid(bad[i]));
        assert_int_equal(transport_publish(a, bad[i], NULL, "x", 1), STATUS_INTERNAL_ERROR);
        assert_int_equal(transport_publish(a, "fine", bad[i], "x", 1), STATUS_INTERNAL_ERROR);
    }
}

static void every_matching_subscription_gets_the_message_the_senders_own_too(void **state) {
    (void)state;
    listen(a, "x.*", &at_a);
    listen(b, "x.1", &at_b);
    listen(b, "x.>", &at_b);
    assert_int_equal(send(a, "x.1", "hi"), STATUS_OK);
    assert_int_equal(send(a, "y.1", "no"), STATUS_OK);
    run();
    assert_string_equal(at_a.log, "x.1=hi;");
    assert_string_equal(at_b.log, "x.1=hi;x.1=hi;");
}

static void the_order_of_a_publisher_is_kept(void **state) {
    (void)state;
    listen(b, "n.>", &at_b);
    assert_int_equal(send(a, "n.1", "1"), STATUS_OK);
    assert_int_equal(send(a, "n.2", "2"), STATUS_OK);
    assert_int_equal(send(a, "n.1", "3"), STATUS_OK);
    run();
    assert_string_equal(at_b.log, "n.1=1;n.2=2;n.1=3;");
}

static void a_request_nobody_listens_to_is_answered_at_once(void **state) {
    (void)state;
    listen(a, "reply.a.*", &at_a);
    listen(b, "reply.>", &at_b);
    assert_int_equal(transport_publish(a, "jobs.1", "reply.a.7", "x", 1), STATUS_OK);
    run();
    assert_string_equal(at_a.log, "!reply.a.7=;");
    assert_string_equal(at_b.log, "");
}

static void a_request_somebody_listens_to_is_not_answered_by_the_system(void **state) {
    (void)state;
    listen(a, "reply.a.*", &at_a);
    listen(b, "jobs.*", &at_b);
    assert_int_equal(transport_publish(a, "jobs.1", "reply.a.7", "x", 1), STATUS_OK);
    run();
    assert_string_equal(at_a.log, "");
    assert_string_equal(at_b.log, "jobs.1=x;");
}

static char links[16];

static void see_link(bool up, void *arg) {
    (void)arg;
    strncat(links, up ? "u" : "d", sizeof links - strlen(links) - 1);
}

static void a_link_that_is_down_neither_sends_nor_receives(void **state) {
    (void)state;
    listen(a, "reply.>", &at_a);
    listen(b, "x", &at_b);
    links[0] = '\0';
    transport_on_link(b, see_link, NULL);
    transport_memory_set_link(b, false);
    assert_false(transport_is_up(b));
    assert_true(transport_is_up(a));
    assert_int_equal(send(b, "reply.1", "lost"), STATUS_NATS_ERROR);
    assert_int_equal(transport_publish(a, "x", "reply.2", "lost", 4), STATUS_OK);
    run();
    assert_string_equal(links, "d");
    assert_string_equal(at_a.log, "!reply.2=;");
    assert_string_equal(at_b.log, "");
    transport_memory_set_link(b, true);
    assert_int_equal(send(a, "x", "again"), STATUS_OK);
    run();
    assert_string_equal(links, "du");
    assert_string_equal(at_b.log, "x=again;");
}

static void a_cut_that_is_over_before_the_loop_looks_is_told_all_the_same(void **state) {
    (void)state;
    links[0] = '\0';
    transport_on_link(a, see_link, NULL);
    transport_memory_set_link(a, false);
    transport_memory_set_link(a, false);
    transport_memory_set_link(a, true);
    run();
    assert_string_equal(links, "du");
    struct transport_stats stats;
    transport_get_stats(a, &stats);
    assert_int_equal(stats.reconnects, 1);
    /* Of many, the last pair. */
    for (int i = 0; i < 5; i++) {
        transport_memory_set_link(a, false);
        transport_memory_set_link(a, true);
    }
    transport_memory_set_link(a, false);
    run();
    assert_string_equal(links, "dud");
}

static void a_frozen_client_gets_everything_when_it_is_resumed(void **state) {
    (void)state;
    listen(a, "reply", &at_a);
    listen(b, "x", &at_b);
    transport_memory_set_frozen(b, true);
    assert_int_equal(transport_publish(a, "x", "reply", "1", 1), STATUS_OK);
    assert_int_equal(send(a, "x", "2"), STATUS_OK);
    run();
    assert_string_equal(at_b.log, "");
    assert_string_equal(at_a.log, "");
    transport_memory_set_frozen(b, false);
    run();
    assert_string_equal(at_b.log, "x=1;x=2;");
}

static void what_does_not_fit_into_the_mailbox_is_dropped_and_counted(void **state) {
    (void)state;
    listen(b, "x", &at_b);
    for (int i = 0; i < 65536 + 10; i++)
        assert_int_equal(transport_publish(a, "x", NULL, "", 0), STATUS_OK);
    struct transport_stats stats;
    transport_get_stats(b, &stats);
    assert_int_equal(stats.messages_in, 65536);
    assert_int_equal(stats.dropped_in, 10);
    transport_get_stats(a, &stats);
    assert_int_equal(stats.messages_out, 65536 + 10);
}

static void a_payload_over_the_limit_is_refused(void **state) {
    (void)state;
    size_t max = transport_max_payload(a);
    char *data = calloc(1, max + 1);
    assert_non_null(data);
    listen(b, "x", &at_b);
    assert_int_equal(transport_publish(a, "x", NULL, data, max + 1), STATUS_PAYLOAD_TOO_LARGE);
    assert_int_equal(transport_publish(a, "x", NULL, data, max), STATUS_OK);
    free(data);
    run();
    assert_int_equal(at_b.count, 1);
}

static void close_on_message(const struct transport_message *message, void *arg) {
    see(message, arg);
    transport_close(b);
    b = NULL;
}

static void closing_inside_a_callback_ends_the_callbacks(void **state) {
    (void)state;
    assert_int_equal(transport_subscribe(b, "x", close_on_message, &at_b), STATUS_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(send(a, "x", "1"), STATUS_OK);
    run();
    assert_int_equal(at_b.count, 1);
}

enum { THREADS = 3, MESSAGES_EACH = 2000 };

static void *publish_many(void *arg) {
    for (int i = 0; i < MESSAGES_EACH; i++)
        if (transport_publish(arg, "x", NULL, "data", 4) != STATUS_OK)
            abort();
    return NULL;
}

static void any_thread_may_publish(void **state) {
    (void)state;
    listen(b, "x", &at_b);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_many, a), 0);
    while (at_b.count < THREADS * MESSAGES_EACH)
        loop_run_once(loop, 1000);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct transport_stats stats;
    transport_get_stats(b, &stats);
    assert_int_equal(stats.bytes_in, THREADS * MESSAGES_EACH * 4);
}

int main(void) {
#define BUS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_in_nats),
        BUS_TEST(subjects_that_would_break_the_wire_are_invalid),
        BUS_TEST(every_matching_subscription_gets_the_message_the_senders_own_too),
        BUS_TEST(the_order_of_a_publisher_is_kept),
        BUS_TEST(a_request_nobody_listens_to_is_answered_at_once),
        BUS_TEST(a_request_somebody_listens_to_is_not_answered_by_the_system),
        BUS_TEST(a_link_that_is_down_neither_sends_nor_receives),
        BUS_TEST(a_cut_that_is_over_before_the_loop_looks_is_told_all_the_same),
        BUS_TEST(a_frozen_client_gets_everything_when_it_is_resumed),
        BUS_TEST(what_does_not_fit_into_the_mailbox_is_dropped_and_counted),
        BUS_TEST(a_payload_over_the_limit_is_refused),
        BUS_TEST(closing_inside_a_callback_ends_the_callbacks),
        BUS_TEST(any_thread_may_publish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
