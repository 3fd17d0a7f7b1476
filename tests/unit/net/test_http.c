/* What a well-behaved client gets. */
#include "http_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    close(client);
    buf_release(&in);
    rig_stop();
    return 0;
}

static void a_connection_answers_one_request_after_the_other(void **state) {
    (void)state;
    for (size_t i = 1; i <= 3; i++) {
        rig_send(client, GET("/echo?x=1"));
        rig_expect(client, &in, "GET /echo x=1 ", i);
    }
    assert_non_null(strstr(in.data, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(in.data, "\r\nContent-Length: 14\r\n"));
    assert_non_null(strstr(in.data, "\r\nContent-Type: text/plain\r\n"));
    assert_non_null(strstr(in.data, "\r\nConnection: keep-alive\r\n"));
    assert_non_null(strstr(in.data, " GMT\r\n"));
    assert_int_equal(rig_stats().requests_total, 3);
    assert_int_equal(rig_stats().connections_total, 1);
}

static void the_handler_sees_method_path_query_headers_and_body(void **state) {
    (void)state;
    rig_send(client, "PURGE /hold?a=%20b#c HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one: 2\r\nX-Empty:\r\n"
                     "X-Spaces:  a b \t \r\nContent-Length: 5\r\n\r\nhello");
    RIG_UNTIL(rig.held_count == 1);
    struct http_exchange *exchange = rig.held[0];
    size_t len;
    assert_string_equal(http_method(exchange), "PURGE");
    assert_string_equal(http_path(exchange), "/hold");
    assert_string_equal(http_query(exchange), "a=%20b");
    assert_string_equal(http_header(exchange, "X-ONE"), "1");
    assert_string_equal(http_header(exchange, "x-empty"), "");
    assert_string_equal(http_header(exchange, "x-spaces"), "a b");
    assert_null(http_header(exchange, "x-two"));
    assert_memory_equal(http_body(exchange, &len), "hello", 5);
    assert_int_equal(len, 5);
    http_body_drop(exchange);
    assert_string_equal(http_body(exchange, &len), "");
    assert_int_equal(len, 0);
    http_reply(exchange, 200, "text/plain", "x", 1);
}

static void paths_are_decoded_once(void **state) {
    (void)state;
    static const struct {
        const char *target;
        const char *path;
    } rows[] = {
        {"/echo%2fa%20b", "/echo/a b"},     {"/echo%252f", "/echo%2f"},
        {"http://h/echo?q", "/echo"},       {"/echo/http://x/y", "/echo/http://x/y"},
        {"/echo/%c3%a4", "/echo/\xc3\xa4"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", rows[i].target);
        rig_send(client, text);
        snprintf(text, sizeof text, "\r\n\r\nGET %s ", rows[i].path);
        rig_expect(client, &in, text, 1);
        buf_clear(&in);
    }
}

static void a_chunked_body_is_put_together(void **state) {
    (void)state;
    rig_send(client, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n" GET("/echo"));
    rig_expect(client, &in, "POST /echo  abcdefg", 1);
    rig_expect(client, &in, "GET /echo  ", 1);
}

static void requests_sent_ahead_are_answered_in_their_order(void **state) {
    (void)state;
    rig_send(client, GET("/hold") GET("/echo") GET("/hold"));
    RIG_UNTIL(rig.held_count == 1);
    assert_false(rig_receive(client, &in, NULL));
    assert_int_equal(in.len, 0);
    http_reply(rig.held[0], 200, "text/plain", "first", 5);
    RIG_UNTIL(rig.held_count == 2);
    http_reply(rig.held[1], 200, "text/plain", "third", 5);
    rig_expect(client, &in, "third", 1);
    const char *first = strstr(in.data, "first");
    const char *second = strstr(in.data, "GET /echo");
    assert_non_null(first);
    assert_non_null(second);
    assert_true(first < second && second < strstr(in.data, "third"));
}

static void many_requests_sent_ahead_are_all_answered(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(write(client, GET("/echo"), strlen(GET("/echo"))), strlen(GET("/echo")));
    rig_expect(client, &in, "GET /echo  ", 1000);
}

static void bytes_that_come_one_by_one_mean_the_same(void **state) {
    (void)state;
    static const char text[] =
        "POST /echo?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Y: zz\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
        "wxyz";
    char *whole = rig_talk(text);
    for (size_t i = 0; i < sizeof text - 1; i++)
        rig_send_bytes(client, text + i, 1);
    RIG_UNTIL(rig_receive(client, &in, NULL));
    /* But for the Date, which may have moved on. */
    assert_int_equal(strlen(whole), in.len);
    assert_non_null(strstr(in.data, "POST /echo q abc"));
    assert_string_equal(strstr(in.data, "POST /echo  wxyz"), strstr(whole, "POST /echo  wxyz"));
    free(whole);
}

static void head_gets_the_length_but_no_body(void **state) {
    (void)state;
    rig_send(client, "HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n" GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 1);
    assert_non_null(strstr(in.data, "Content-Length: 12\r\n"));
    assert_null(strstr(in.data, "HEAD /echo"));
}

static void connection_close_is_honoured_and_announced(void **state) {
    (void)state;
    char *reply = rig_talk("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(reply, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(reply, "GET /echo  "));
    free(reply);
}

static void http_1_0_closes_unless_asked_to_stay(void **state) {
    (void)state;
    char *reply = rig_talk("GET /echo HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(reply, "\r\nConnection: close\r\n"));
    free(reply);
    rig_send(client, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    rig_expect(client, &in, "Connection: keep-alive\r\n", 1);
    rig_send(client, GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 2);
}

static void a_stream_is_chunked_and_the_connection_goes_on(void **state) {
    (void)state;
    rig_send(client, GET("/hold"));
    RIG_UNTIL(rig.held_count == 1);
    struct http_exchange *exchange = rig.held[0];
    http_stream_start(exchange, 200, "text/event-stream");
    assert_true(http_stream_write(exchange, "data: 1\n\n", 9));
    assert_true(http_stream_write(exchange, "", 0));
    assert_true(http_stream_pending(exchange) > 0);
    rig_expect(client, &in, "\r\n\r\n9\r\ndata: 1\n\n\r\n", 1);
    assert_int_equal(http_stream_pending(exchange), 0);
    assert_true(http_stream_write(exchange, "0123456789abcdef", 16));
    http_stream_end(exchange);
    rig_expect(client, &in, "\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n", 1);
    assert_non_null(strstr(in.data, "Transfer-Encoding: chunked\r\n"));
    assert_null(strstr(in.data, "Content-Length"));
    rig_send(client, GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 1);
}

static void a_stream_to_http_1_0_ends_with_the_connection(void **state) {
    (void)state;
    rig_send(client, "GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    RIG_UNTIL(rig.held_count == 1);
    http_stream_start(rig.held[0], 200, "text/plain");
    http_stream_write(rig.held[0], "one", 3);
    http_stream_write(rig.held[0], "two", 3);
    http_stream_end(rig.held[0]);
    RIG_UNTIL(rig_receive(client, &in, NULL));
    assert_non_null(strstr(in.data, "Connection: close\r\n"));
    assert_null(strstr(in.data, "chunked"));
    assert_string_equal(strstr(in.data, "\r\n\r\n"), "\r\n\r\nonetwo");
}

static void a_stream_asked_for_with_head_has_no_body(void **state) {
    (void)state;
    rig_send(client, "HEAD /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    RIG_UNTIL(rig.held_count == 1);
    http_stream_start(rig.held[0], 200, "text/plain");
    http_stream_write(rig.held[0], "one", 3);
    http_stream_end(rig.held[0]);
    rig_send(client, GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 1);
    assert_null(strstr(in.data, "one"));
    assert_null(strstr(in.data, "0\r\n\r\nHTTP"));
}

static void headers_are_added_but_none_with_a_line_break(void **state) {
    (void)state;
    rig_send(client, GET("/hold"));
    RIG_UNTIL(rig.held_count == 1);
    http_add_header(rig.held[0], "Retry-After", "3");
    http_add_header(rig.held[0], "X-Bad", "a\r\nSet-Cookie: b");
    http_add_header(rig.held[0], "X-Bad\nX", "a");
    http_reply(rig.held[0], 503, "text/plain", "busy", 4);
    rig_expect(client, &in, "\r\n\r\nbusy", 1);
    assert_non_null(strstr(in.data, "HTTP/1.1 503 Service Unavailable\r\n"));
    assert_non_null(strstr(in.data, "\r\nRetry-After: 3\r\n"));
    assert_null(strstr(in.data, "X-Bad"));
}

static void no_content_has_neither_body_nor_length(void **state) {
    (void)state;
    rig_send(client, "OPTIONS /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    RIG_UNTIL(rig.held_count == 1);
    http_reply(rig.held[0], 204, NULL, "x", 1);
    rig_send(client, GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 1);
    assert_non_null(strstr(in.data, "HTTP/1.1 204 No Content\r\n"));
    assert_ptr_equal(strstr(in.data, "\r\n\r\nHTTP/1.1 200"), strstr(in.data, "\r\n\r\n"));
}

static void a_client_that_waits_for_100_is_told_to_go_on(void **state) {
    (void)state;
    rig_send(client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    rig_expect(client, &in, "HTTP/1.1 100 Continue\r\n\r\n", 1);
    rig_send(client, "abc");
    rig_expect(client, &in, "POST /echo  abc", 1);
}

static void a_request_for_an_upgrade_is_an_ordinary_request(void **state) {
    (void)state;
    rig_send(client,
             "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 2);
}

static void an_idle_connection_is_closed_after_its_timeout(void **state) {
    (void)state;
    rig_stop();
    close(client);
    rig.options.idle_timeout_ms = 60;
    rig_start();
    client = rig_connect();
    rig_send(client, GET("/echo"));
    rig_expect(client, &in, "GET /echo  ", 1);
    int64_t begin = clock_ms();
    RIG_UNTIL(rig_receive(client, &in, NULL));
    assert_in_range(clock_ms() - begin, 40, 2000);
    RIG_UNTIL(rig_stats().connections == 0);
    assert_int_equal(rig_stats().client_left, 0);
}

static void after_it_stops_accepting_what_is_under_way_is_finished(void **state) {
    (void)state;
    int idle = rig_connect();
    rig_send(client, GET("/hold"));
    RIG_UNTIL(rig.held_count == 1 && rig_stats().connections == 2);
    http_server_stop_accepting(rig.server);
    RIG_UNTIL(rig_receive(idle, &in, NULL));
    http_reply(rig.held[0], 200, "text/plain", "done", 4);
    RIG_UNTIL(rig_receive(client, &in, NULL));
    assert_non_null(strstr(in.data, "Connection: close\r\n"));
    assert_non_null(strstr(in.data, "\r\n\r\ndone"));
    close(idle);
}

static void while_it_winds_down_new_connections_get_one_answer_and_are_closed(void **state) {
    (void)state;
    int idle = rig_connect();
    rig_send(client, GET("/hold"));
    RIG_UNTIL(rig.held_count == 1 && rig_stats().connections == 2);
    http_server_wind_down(rig.server);
    RIG_UNTIL(rig_receive(idle, &in, NULL));
    char *late = rig_talk(GET("/echo") GET("/echo"));
    assert_non_null(strstr(late, "Connection: close\r\n"));
    char *first = strstr(late, "GET /echo");
    assert_non_null(first);
    assert_null(strstr(first + 1, "GET /echo"));
    free(late);
    http_reply(rig.held[0], 200, "text/plain", "done", 4);
    RIG_UNTIL(rig_receive(client, &in, NULL));
    assert_non_null(strstr(in.data, "Connection: close\r\n"));
    assert_non_null(strstr(in.data, "\r\n\r\ndone"));
    close(idle);
}

static void a_port_that_is_taken_is_an_error(void **state) {
    (void)state;
    struct error error;
    struct http_options options = rig.options;
    options.port = http_server_port(rig.server);
    assert_null(http_server_new(rig.loop, &options, &error));
    assert_int_equal(error.status, STATUS_START_FAILED);
    assert_non_null(strstr(error.message, "in use"));
    options.host = "192.0.2.1";
    assert_null(http_server_new(rig.loop, &options, &error));
    assert_int_equal(error.status, STATUS_START_FAILED);
}

int main(void) {
#define HTTP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        HTTP_TEST(a_connection_answers_one_request_after_the_other),
        HTTP_TEST(the_handler_sees_method_path_query_headers_and_body),
        HTTP_TEST(paths_are_decoded_once),
        HTTP_TEST(a_chunked_body_is_put_together),
        HTTP_TEST(requests_sent_ahead_are_answered_in_their_order),
        HTTP_TEST(many_requests_sent_ahead_are_all_answered),
        HTTP_TEST(bytes_that_come_one_by_one_mean_the_same),
        HTTP_TEST(head_gets_the_length_but_no_body),
        HTTP_TEST(connection_close_is_honoured_and_announced),
        HTTP_TEST(http_1_0_closes_unless_asked_to_stay),
        HTTP_TEST(a_stream_is_chunked_and_the_connection_goes_on),
        HTTP_TEST(a_stream_to_http_1_0_ends_with_the_connection),
        HTTP_TEST(a_stream_asked_for_with_head_has_no_body),
        HTTP_TEST(headers_are_added_but_none_with_a_line_break),
        HTTP_TEST(no_content_has_neither_body_nor_length),
        HTTP_TEST(a_client_that_waits_for_100_is_told_to_go_on),
        HTTP_TEST(a_request_for_an_upgrade_is_an_ordinary_request),
        HTTP_TEST(an_idle_connection_is_closed_after_its_timeout),
        HTTP_TEST(after_it_stops_accepting_what_is_under_way_is_finished),
        HTTP_TEST(while_it_winds_down_new_connections_get_one_answer_and_are_closed),
        HTTP_TEST(a_port_that_is_taken_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
