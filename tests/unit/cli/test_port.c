#include "cli/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 2000 };

static int listen_on(int64_t port) {
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 5) == 0)
        return fd;
    close(fd);
    return -1;
}

static void a_kept_port_can_be_listened_on_again_and_again(void **state) {
    (void)state;
    struct error error;
    int64_t port = 0;
    int kept = port_keep("127.0.0.1", &port, false, &error);
    assert_true(kept >= 0);
    assert_true(port > 0);
    assert_false(port_is_open("127.0.0.1", port, WAIT_MS));
    for (int i = 0; i < 3; i++) {
        int fd = listen_on(port);
        assert_true(fd >= 0);
        assert_true(port_is_open("127.0.0.1", port, WAIT_MS));
        close(fd);
    }
    close(kept);
}

static void a_port_in_use_is_refused_with_advice(void **state) {
    (void)state;
    struct error error;
    int64_t port = 0;
    int kept = port_keep("127.0.0.1", &port, false, &error);
    int fd = listen_on(port);
    close(kept);
    assert_int_equal(port_keep("127.0.0.1", &port, false, &error), -1);
    assert_int_equal(error.status, STATUS_START_FAILED);
    assert_non_null(strstr(error.message, "Address already in use. Stop what listens there"));
    close(fd);
}

static void an_address_that_is_not_ours_is_refused(void **state) {
    (void)state;
    struct error error;
    int64_t port = 0;
    assert_int_equal(port_keep("192.0.2.1", &port, false, &error), -1);
    assert_non_null(strstr(error.message, "192.0.2.1"));
    assert_int_equal(port_keep("not an address", &port, false, &error), -1);
    assert_non_null(strstr(error.message, "not an address"));
}

static void any_address_is_reached_on_the_loopback(void **state) {
    (void)state;
    assert_string_equal(port_local_host("0.0.0.0"), "127.0.0.1");
    assert_string_equal(port_local_host("::"), "::1");
    assert_string_equal(port_local_host("10.0.0.1"), "10.0.0.1");
}

struct server {
    int fd;
    const char *answer;
};

static void *serve_once(void *arg) {
    struct server *server = arg;
    char request[512];
    int fd = accept(server->fd, NULL, NULL);
    if (fd >= 0 && recv(fd, request, sizeof request, 0) > 0)
        (void)!write(fd, server->answer, strlen(server->answer));
    if (fd >= 0)
        close(fd);
    return NULL;
}

static bool get(const char *answer, struct buf *body) {
    struct error error;
    int64_t port = 0;
    int kept = port_keep("127.0.0.1", &port, false, &error);
    struct server server = {.fd = listen_on(port), .answer = answer};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, serve_once, &server), 0);
    buf_init(body, 64);
    bool ok = port_http_get("127.0.0.1", port, "/x", WAIT_MS, body);
    pthread_join(thread, NULL);
    close(server.fd);
    close(kept);
    return ok;
}

static void an_answer_counts_only_when_it_is_a_whole_200(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        const char *body; /* NULL: refused */
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello\r\n\r\nyou", "hello\r\n\r\nyou"},
        {"HTTP/1.0 200 OK\r\n\r\n", ""},
        {"HTTP/1.1 503 No\r\n\r\nx", NULL},
        {"HTTP/1.1 2000 No\r\n\r\nx", NULL},
        {"HTTP/1.1 200 OK\r\nA: b", NULL},
        {"hello", NULL},
        {"", NULL},
        {"HTTP/1.1 200 OK\r\n\r\nmore than the sixty-four bytes that the buffer of this test may hold", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf body;
        bool ok = get(rows[i].answer, &body);
        assert_int_equal(ok, rows[i].body != NULL);
        if (ok)
            assert_string_equal(body.data, rows[i].body);
        buf_release(&body);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_port_can_be_listened_on_again_and_again),
        cmocka_unit_test(a_port_in_use_is_refused_with_advice),
        cmocka_unit_test(an_address_that_is_not_ours_is_refused),
        cmocka_unit_test(any_address_is_reached_on_the_loopback),
        cmocka_unit_test(an_answer_counts_only_when_it_is_a_whole_200),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
