/* Clients that leave, do not read, or send too much ahead. */
#include "http_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static struct buf in;
static int client;

static int setup(void **state) {
    (void)state;
    rig_defaults();
    rig_start();
    buf_init(&in, 0);
    client = rig_connect();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (client >= 0)
        close(client);
    buf_release(&in);
    rig_stop();
    return 0;
}

static void hold(void) {
    rig_send(client, GET("/hold"));
    RIG_UNTIL(rig.held_count == 1);
}

static void leave(void) {
    close(client);
    client = -1;
}

static void check_left_soon(void) {
    int64_t begin = clock_ms();
    RIG_UNTIL(rig.closed == 1);
    assert_true(clock_ms() - begin < 1000);
    assert_null(rig.held[0]);
    assert_int_equal(rig_stats().client_left, 1);
    assert_int_equal(rig_stats().connections, 0);
}

static void a_client_that_leaves_while_it_waits_is_noticed(void **state) {
    (void)state;
    hold();
    leave();
    check_left_soon();
}

static void a_reset_while_it_waits_is_noticed(void **state) {
    (void)state;
    hold();
    rig_reset(client);
    client = -1;
    check_left_soon();
}

static void a_client_that_only_ends_its_side_counts_as_left(void **state) {
    (void)state;
    hold();
    shutdown(client, SHUT_WR);
    check_left_soon();
}

static void a_client_that_sent_ahead_and_leaves_is_noticed(void **state) {
    (void)state;
    hold();
    for (int i = 0; i < 100; i++)
        rig_send(client, GET("/echo"));
    leave();
    check_left_soon();
    assert_int_equal(rig_stats().requests_total, 1);
}

static void send_ahead_too_much(void) {
    size_t len = 3 << 20;
    char *data = malloc(len);
    assert_non_null(data);
    memset(data, 'x', len);
    assert_int_equal(rig_send_bytes(client, data, len), len);
    free(data);
}

static void a_client_that_sent_too_much_ahead_and_leaves_is_noticed(void **state) {
    (void)state;
    hold();
    send_ahead_too_much();
    rig_reset(client);
    client = -1;
    check_left_soon();
}

static void who_sends_too_much_ahead_gets_its_reply_and_is_closed(void **state) {
    (void)state;
    hold();
    send_ahead_too_much();
    http_reply(rig.held[0], 200, "text/plain", "reply", 5);
    RIG_UNTIL(rig_receive(client, &in, NULL));
    assert_non_null(strstr(in.data, "Connection: close\r\n"));
    assert_non_null(strstr(in.data, "\r\n\r\nreply"));
    assert_int_equal(rig.closed, 0);
}

static void a_client_that_leaves_in_the_middle_of_a_stream_is_noticed(void **state) {
    (void)state;
    hold();
    http_stream_start(rig.held[0], 200, "text/event-stream");
    http_stream_write(rig.held[0], "data", 4);
    rig_expect(client, &in, "data", 1);
    leave();
    check_left_soon();
}

static void a_client_that_leaves_in_the_middle_of_its_request_is_forgotten(void **state) {
    (void)state;
    rig_send(client, "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    leave();
    RIG_UNTIL(rig_stats().connections_total == 1 && rig_stats().connections == 0);
    assert_int_equal(rig_stats().requests_total, 0);
    assert_int_equal(rig_stats().client_left, 0);
}

static void a_reply_that_was_complete_reaches_a_client_that_ended_its_side(void **state) {
    (void)state;
    rig_send_bytes(client, GET("/echo") GET("/echo"), 2 * strlen(GET("/echo")));
    shutdown(client, SHUT_WR);
    rig_expect(client, &in, "GET /echo  ", 2);
    assert_int_equal(rig_stats().client_left, 0);
}

static void an_aborted_exchange_closes_at_once_and_tells_nobody(void **state) {
    (void)state;
    hold();
    http_stream_start(rig.held[0], 200, "text/plain");
    http_stream_write(rig.held[0], "part", 4);
    rig_expect(client, &in, "part", 1);
    http_abort(rig.held[0]);
    assert_int_equal(rig_stats().connections, 0);
    RIG_UNTIL(rig_receive(client, &in, NULL));
    assert_null(strstr(in.data, "0\r\n\r\n"));
    assert_int_equal(rig.closed, 0);
}

static void freeing_the_server_tells_open_exchanges(void **state) {
    (void)state;
    hold();
    http_server_free(rig.server);
    rig.server = NULL;
    assert_int_equal(rig.closed, 1);
    RIG_UNTIL(rig_receive(client, &in, NULL));
}

static char piece[1 << 20];

/* More than the kernel takes for a client that does not read. */
static size_t fill(struct http_exchange *exchange) {
    size_t written = 0;
    memset(piece, 'z', sizeof piece);
    for (int i = 0; i < 24 && rig.closed == 0; i++) {
        http_stream_write(exchange, piece, sizeof piece);
        written += sizeof piece;
        loop_run_once(rig.loop, 0);
    }
    assert_true(rig.closed == 1 || !http_stream_write(exchange, "", 0));
    return written;
}

static void a_slow_reader_is_shown_by_the_high_mark_and_goes_on_when_it_reads(void **state) {
    (void)state;
    hold();
    struct http_exchange *exchange = rig.held[0];
    http_stream_start(exchange, 200, "text/plain");
    size_t written = fill(exchange);
    assert_true(http_stream_pending(exchange) > rig.options.write_high_bytes);
    RIG_UNTIL(!rig_receive(client, &in, NULL) && http_stream_pending(exchange) == 0);
    assert_true(http_stream_write(exchange, "end", 3));
    http_stream_end(exchange);
    rig_expect(client, &in, "\r\n3\r\nend\r\n0\r\n\r\n", 1);
    assert_true(in.len > written);
    assert_int_equal(rig.closed, 0);
}

static void restart_with_write_timeout(int64_t timeout_ms) {
    rig_stop();
    close(client);
    rig.options.write_timeout_ms = timeout_ms;
    rig_start();
    client = rig_connect();
}

static void a_client_that_reads_nothing_is_given_up(void **state) {
    (void)state;
    restart_with_write_timeout(100);
    hold();
    http_stream_start(rig.held[0], 200, "text/plain");
    fill(rig.held[0]);
    check_left_soon();
}

static void a_client_that_reads_a_little_is_not_given_up(void **state) {
    (void)state;
    enum { TIMEOUT_MS = 400 };
    restart_with_write_timeout(TIMEOUT_MS);
    hold();
    http_stream_start(rig.held[0], 200, "text/plain");
    int64_t begin = clock_ms();
    int64_t last = begin;
    while (clock_ms() - begin < 2 * TIMEOUT_MS && rig.closed == 0) {
        if (http_stream_pending(rig.held[0]) <= rig.options.write_high_bytes)
            http_stream_write(rig.held[0], piece, sizeof piece);
        loop_run_once(rig.loop, 5);
        recv(client, piece, sizeof piece / 4, MSG_DONTWAIT);
        /* On a machine that stood still the client did not read: nothing can be said. */
        if (clock_ms() - last > TIMEOUT_MS / 4)
            skip();
        last = clock_ms();
    }
    assert_int_equal(rig.closed, 0);
}

static void a_client_that_sends_ahead_but_reads_nothing_is_not_answered_without_bound(void **state) {
    (void)state;
    size_t rounds = 200000;
    size_t len = strlen(GET("/echo"));
    uint64_t before = 0;
    for (size_t i = 0; i < rounds; i++) {
        if (send(client, GET("/echo"), len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
            break;
        if (i % 50 == 0)
            loop_run_once(rig.loop, 0);
    }
    do {
        before = rig_stats().requests_total;
        for (int i = 0; i < 20; i++)
            loop_run_once(rig.loop, 1);
    } while (rig_stats().requests_total != before && rig_stats().connections == 1);
    /* What is answered but not read fills two socket buffers and the high mark, no more. */
    assert_true(before < rounds);
    bool reset = false;
    RIG_UNTIL(rig_receive(client, &in, &reset) || rig_stats().requests_total > before);
}

int main(void) {
#define HTTP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        HTTP_TEST(a_client_that_leaves_while_it_waits_is_noticed),
        HTTP_TEST(a_reset_while_it_waits_is_noticed),
        HTTP_TEST(a_client_that_only_ends_its_side_counts_as_left),
        HTTP_TEST(a_client_that_sent_ahead_and_leaves_is_noticed),
        HTTP_TEST(a_client_that_sent_too_much_ahead_and_leaves_is_noticed),
        HTTP_TEST(who_sends_too_much_ahead_gets_its_reply_and_is_closed),
        HTTP_TEST(a_client_that_leaves_in_the_middle_of_a_stream_is_noticed),
        HTTP_TEST(a_client_that_leaves_in_the_middle_of_its_request_is_forgotten),
        HTTP_TEST(a_reply_that_was_complete_reaches_a_client_that_ended_its_side),
        HTTP_TEST(an_aborted_exchange_closes_at_once_and_tells_nobody),
        HTTP_TEST(freeing_the_server_tells_open_exchanges),
        HTTP_TEST(a_slow_reader_is_shown_by_the_high_mark_and_goes_on_when_it_reads),
        HTTP_TEST(a_client_that_reads_nothing_is_given_up),
        HTTP_TEST(a_client_that_reads_a_little_is_not_given_up),
        HTTP_TEST(a_client_that_sends_ahead_but_reads_nothing_is_not_answered_without_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
