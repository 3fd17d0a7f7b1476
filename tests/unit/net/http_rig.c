#include "http_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#include <cmocka.h>

enum { WAIT_MS_MAX = 10000 };

struct rig rig;

static void count_close(void *arg) {
    struct http_exchange **slot = arg;
    *slot = NULL;
    rig.closed++;
}

static void echo(struct http_exchange *exchange) {
    struct buf reply;
    size_t len;
    const char *body = http_body(exchange, &len);
    buf_init(&reply, 0);
    buf_printf(&reply, "%s %s %s ", http_method(exchange), http_path(exchange), http_query(exchange));
    buf_append(&reply, body, len);
    http_reply(exchange, 200, "text/plain", reply.data, reply.len);
    buf_release(&reply);
}

static void handle(struct http_exchange *exchange, void *arg) {
    (void)arg;
    if (strncmp(http_path(exchange), "/echo", 5) == 0) {
        echo(exchange);
    } else if (strcmp(http_path(exchange), "/hold") == 0) {
        assert_true(rig.held_count < RIG_HELD_MAX);
        struct http_exchange **slot = &rig.held[rig.held_count++];
        *slot = exchange;
        http_on_close(exchange, count_close, slot);
    } else {
        http_reply(exchange, 404, NULL, NULL, 0);
    }
}

static void error_body(const struct error *error, struct buf *out) {
    buf_printf(out, "{\"code\":\"%s\"}", status_name(error->status));
}

void rig_defaults(void) {
    rig = (struct rig){.options = {.host = "127.0.0.1",
                                   .connections_max = 100,
                                   .body_max_bytes = 100000,
                                   .head_max_bytes = 4096,
                                   .write_high_bytes = 65536,
                                   .head_timeout_ms = 5000,
                                   .idle_timeout_ms = 5000,
                                   .write_timeout_ms = 5000,
                                   .handler = handle,
                                   .error_body = error_body}};
}

void rig_start(void) {
    struct error error = {0};
    rig.loop = loop_new();
    assert_non_null(rig.loop);
    rig.server = http_server_new(rig.loop, &rig.options, &error);
    if (!rig.server)
        fail_msg("%s", error.message);
}

void rig_stop(void) {
    http_server_free(rig.server);
    loop_free(rig.loop);
    rig.server = NULL;
    rig.loop = NULL;
}

struct http_stats rig_stats(void) {
    struct http_stats stats;
    http_server_stats(rig.server, &stats);
    return stats;
}

int64_t rig_deadline(void) {
    return clock_ms() + WAIT_MS_MAX;
}

void rig_turn(int64_t until_ms, const char *what, int line) {
    if (clock_ms() >= until_ms)
        fail_msg("line %d: waited too long for %s", line, what);
    loop_run_once(rig.loop, 2);
}

int rig_connect(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_server_port(rig.server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

size_t rig_send_bytes(int fd, const void *data, size_t len) {
    const char *bytes = data;
    size_t sent = 0;
    int64_t until = rig_deadline();
    while (sent < len) {
        ssize_t n = send(fd, bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break;
        sent += n > 0 ? (size_t)n : 0;
        rig_turn(until, "sending", __LINE__);
    }
    return sent;
}

void rig_send(int fd, const char *text) {
    assert_int_equal(rig_send_bytes(fd, text, strlen(text)), strlen(text));
}

bool rig_receive(int fd, struct buf *in, bool *reset) {
    char piece[16384];
    while (true) {
        ssize_t n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0 && reset)
            *reset = true;
        if (n <= 0)
            return true;
        buf_append(in, piece, (size_t)n);
    }
}

static size_t count_of(const struct buf *in, const char *text) {
    size_t count = 0;
    const char *end = in->data + in->len;
    const char *at = in->data;
    while ((at = memmem(at, (size_t)(end - at), text, strlen(text)))) {
        count++;
        at += strlen(text);
    }
    return count;
}

void rig_expect(int fd, struct buf *in, const char *text, size_t times) {
    int64_t until = rig_deadline();
    bool ended = false;
    while (count_of(in, text) < times) {
        if (ended)
            fail_msg("closed before \"%s\" came %zu times; got: %s", text, times, in->data);
        ended = rig_receive(fd, in, NULL);
        rig_turn(until, text, __LINE__);
    }
    assert_int_equal(count_of(in, text), times);
}

char *rig_talk(const char *text) {
    struct buf in;
    bool reset = false;
    buf_init(&in, 0);
    int fd = rig_connect();
    rig_send_bytes(fd, text, strlen(text));
    RIG_UNTIL(rig_receive(fd, &in, &reset));
    close(fd);
    assert_false(reset);
    buf_append_char(&in, '\0');
    return buf_take(&in);
}

void rig_reset(int fd) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}
