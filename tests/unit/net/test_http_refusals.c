/* What the server answers by itself, and that the client can read it. */
#include "http_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

#include <cmocka.h>

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

static void restart(void) {
    rig_stop();
    close(client);
    rig_start();
    client = rig_connect();
}

#define CHUNKED "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"

static void malformed_requests_get_400(void **state) {
    (void)state;
    static const char *const rows[] = {
        "\x16\x03\x01\x02",
        "FLY / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / FTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /echo HTTP/1.1\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /echo%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /echo%2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /echo%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX\x01Y: b\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET /echo\xc3\xa4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\nConnection: close\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX:\r\n\tc\r\nConnection: close\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX: b\nConnection: close\r\n\r\n",
        "GET /echo HTTP/1.1\nHost: a\nConnection: close\n\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\nConnection: "
        "close\r\n\r\n0\r\n\r\n",
        CHUNKED "5\r\nhelloXX0\r\n\r\n",
        CHUNKED "5\r\nhello\n\n0\r\n\r\n",
        CHUNKED "5\r\nhello\rX0\r\n\r\n",
        CHUNKED "5 \r\nhello\r\n0\r\n\r\n",
        CHUNKED "5;a\nb\r\nhello\r\n0\r\n\r\n",
        CHUNKED "5\rXhello\r\n0\r\n\r\n",
        CHUNKED "0\r\nX: a\r\n b\r\n\r\n",
        CHUNKED "0\nX: a\r\n\r\n",
        CHUNKED "0\r\n\rX",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *reply = rig_talk(rows[i]);
        if (strncmp(reply, "HTTP/1.1 400 Bad Request\r\n", 26) != 0 ||
            !strstr(reply, "\r\n\r\n{\"code\":\"BAD_HTTP_REQUEST\"}"))
            fail_msg("%s -> %s", rows[i], reply);
        assert_non_null(strstr(reply, "\r\nConnection: close\r\n"));
        assert_non_null(strstr(reply, "\r\nContent-Type: application/json\r\n"));
        free(reply);
    }
    assert_int_equal(rig_stats().requests_total, 0);
    assert_int_equal(rig_stats().requests_refused, ARRAY_LEN(rows));
}

static void the_head_may_have_its_limit_and_no_byte_more(void **state) {
    (void)state;
    static const char begin[] = "GET /echo HTTP/1.1\r\nHost: a\r\nX: ";
    char text[8192];
    for (size_t over = 0; over <= 1; over++) {
        size_t head_len = rig.options.head_max_bytes + over;
        memset(text, 'x', sizeof text);
        memcpy(text, begin, sizeof begin - 1);
        memcpy(text + head_len - 4, "\r\n\r\n", 5);
        int fd = rig_connect();
        buf_clear(&in);
        rig_send_bytes(fd, text, head_len);
        rig_expect(fd, &in, over ? "HTTP/1.1 431 " : "HTTP/1.1 200 ", 1);
        close(fd);
    }
    assert_non_null(strstr(in.data, "HEADERS_TOO_LARGE"));
}

static void oversized_heads_get_431(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    for (int kind = 0; kind < 3; kind++) {
        buf_clear(&text);
        buf_append_str(&text, "GET /");
        for (int i = 0; kind == 0 && i < 100000; i++)
            buf_append_char(&text, 'u');
        buf_append_str(&text, " HTTP/1.1\r\n");
        for (int i = 0; kind == 1 && i < 300; i++)
            buf_append_str(&text, "a: b\r\n");
        for (int i = 0; kind == 2 && i < 100000; i++)
            buf_append_str(&text, i == 0 ? "X:" : " ");
        buf_append_str(&text, "\r\n\r\n");
        char *reply = rig_talk(text.data);
        assert_non_null(strstr(reply, "HTTP/1.1 431 "));
        free(reply);
    }
    buf_release(&text);
}

static void a_body_over_the_limit_is_refused_before_it_is_sent(void **state) {
    (void)state;
    rig_send(client,
             "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n");
    rig_expect(client, &in, "{\"code\":\"PAYLOAD_TOO_LARGE\"}", 1);
    assert_memory_equal(in.data, "HTTP/1.1 413 ", 13);
}

static void a_body_of_exactly_the_limit_is_taken(void **state) {
    (void)state;
    static char body[100000];
    memset(body, 'b', sizeof body);
    rig_send(client, "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    rig_send_bytes(client, body, sizeof body);
    rig_expect(client, &in, "HTTP/1.1 404 ", 1);
    rig_send(client, "POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n");
    rig_send_bytes(client, body, sizeof body);
    rig_send(client, "\r\n0\r\n\r\n");
    rig_expect(client, &in, "HTTP/1.1 404 ", 2);
}

/* The client reads only when it is done with sending 20 MB. */
static void check_413_is_readable(const char *head) {
    enum { PIECES = 20 };
    size_t piece_len = 1 << 20;
    char *piece = malloc(piece_len);
    assert_non_null(piece);
    memset(piece, 'x', piece_len);
    rig_send(client, head);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(rig_send_bytes(client, piece, piece_len), piece_len);
    free(piece);
    bool reset = false;
    RIG_UNTIL(rig_receive(client, &in, &reset));
    assert_false(reset);
    assert_memory_equal(in.data, "HTTP/1.1 413 Payload Too Large\r\n", 32);
    assert_non_null(strstr(in.data, "PAYLOAD_TOO_LARGE"));
}

static void a_client_that_goes_on_sending_can_read_its_413(void **state) {
    (void)state;
    check_413_is_readable("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20971520\r\n\r\n");
}

static void a_client_that_goes_on_sending_chunks_can_read_its_413(void **state) {
    (void)state;
    check_413_is_readable("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1400000\r\n");
}

static void a_refused_head_request_gets_no_body(void **state) {
    (void)state;
    char *reply = rig_talk("HEAD /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n");
    assert_memory_equal(reply, "HTTP/1.1 413 ", 13);
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
    free(reply);
}

static void slow_requests_get_408(void **state) {
    (void)state;
    static const char *const rows[] = {"G", "GET / HTTP/1.1\r\nHost",
                                       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"};
    rig.options.head_timeout_ms = 50;
    restart();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t begin = clock_ms();
        char *reply = rig_talk(rows[i]);
        assert_memory_equal(reply, "HTTP/1.1 408 Request Timeout\r\n", 30);
        assert_in_range(clock_ms() - begin, 40, 2000);
        free(reply);
    }
}

static void a_trickle_does_not_extend_the_time_for_a_request(void **state) {
    (void)state;
    rig.options.head_timeout_ms = 80;
    restart();
    int64_t begin = clock_ms();
    rig_send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n");
    while (!rig_receive(client, &in, NULL)) {
        rig_send_bytes(client, "x", 1);
        assert_true(clock_ms() - begin < 5000);
    }
    assert_memory_equal(in.data, "HTTP/1.1 408 ", 13);
}

static void replies_before_a_malformed_request_still_arrive(void **state) {
    (void)state;
    char *reply = rig_talk("GET /echo HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n");
    assert_memory_equal(reply, "HTTP/1.1 200 ", 13);
    assert_non_null(strstr(reply, "GET /echo  HTTP/1.1 400 "));
    free(reply);
}

static void connections_over_the_maximum_get_503(void **state) {
    (void)state;
    rig.options.connections_max = 2;
    restart();
    int second = rig_connect();
    RIG_UNTIL(rig_stats().connections == 2);
    char *reply = rig_talk("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_memory_equal(reply, "HTTP/1.1 503 Service Unavailable\r\n", 34);
    assert_non_null(strstr(reply, "\r\nRetry-After: "));
    free(reply);
    assert_int_equal(rig_stats().connections_refused, 1);
    close(second);
    RIG_UNTIL(rig_stats().connections == 1);
    int third = rig_connect();
    rig_send(third, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_expect(third, &in, "GET /echo  ", 1);
    close(third);
}

static void out_of_descriptors_it_pauses_and_recovers(void **state) {
    (void)state;
    struct rlimit before;
    RIG_UNTIL(rig_stats().connections == 1);
    int other = rig_connect();
    RIG_UNTIL(rig_stats().connections == 2);
    int waiting = rig_connect();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)waiting + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    /* The one that is being accepted finds no number; the open ones go on. */
    rig_send(client, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_expect(client, &in, "GET /echo  ", 1);
    assert_int_equal(rig_stats().connections, 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    rig_send(waiting, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    buf_clear(&in);
    rig_expect(waiting, &in, "GET /echo  ", 1);
    close(other);
    close(waiting);
}

int main(void) {
#define HTTP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        HTTP_TEST(malformed_requests_get_400),
        HTTP_TEST(the_head_may_have_its_limit_and_no_byte_more),
        HTTP_TEST(oversized_heads_get_431),
        HTTP_TEST(a_body_over_the_limit_is_refused_before_it_is_sent),
        HTTP_TEST(a_body_of_exactly_the_limit_is_taken),
        HTTP_TEST(a_client_that_goes_on_sending_can_read_its_413),
        HTTP_TEST(a_client_that_goes_on_sending_chunks_can_read_its_413),
        HTTP_TEST(a_refused_head_request_gets_no_body),
        HTTP_TEST(slow_requests_get_408),
        HTTP_TEST(a_trickle_does_not_extend_the_time_for_a_request),
        HTTP_TEST(replies_before_a_malformed_request_still_arrive),
        HTTP_TEST(connections_over_the_maximum_get_503),
        HTTP_TEST(out_of_descriptors_it_pauses_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
