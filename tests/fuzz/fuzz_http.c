/* Any bytes as what a client sends: the handler sees only well-formed requests, and the same ones however the
 * bytes are cut. The first byte of the input chooses the cuts. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_internal.h"

enum { INPUT_BYTES_MAX = 32768 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct http_server *server;
static struct buf *requests; /* what the handler saw */

static void require(bool holds) {
    if (!holds)
        abort();
}

static void handle(struct http_exchange *exchange, void *arg) {
    (void)arg;
    size_t len;
    const char *body = http_body(exchange, &len);
    const char *host = http_header(exchange, "host");
    const struct http_request *request = &exchange->request;
    require(request->is_http10 || host);
    require(len <= server->options.body_max_bytes);
    buf_printf(requests, "%s|%s|%s|", http_method(exchange), http_path(exchange), http_query(exchange));
    for (size_t i = 0; i < request->headers_count; i++) {
        const char *name = request->text.data + request->headers[i].name;
        require(*name != '\0' && !strpbrk(name, " :\r\n"));
        require(http_header(exchange, name) != NULL);
        buf_printf(requests, "%s:%s|", name, request->text.data + request->headers[i].value);
    }
    buf_append(requests, body, len);
    buf_append_char(requests, '\n');
    if (len % 2) {
        http_stream_start(exchange, 200, "text/plain");
        http_stream_write(exchange, body, len);
        http_stream_end(exchange);
    } else {
        http_reply(exchange, 200, "text/plain", body, len);
    }
}

static void error_body(const struct error *error, struct buf *out) {
    buf_append_json(out, error->message, strlen(error->message));
}

static void start(void) {
    struct http_options options = {.host = "127.0.0.1",
                                   .connections_max = 10,
                                   .body_max_bytes = 2000,
                                   .head_max_bytes = 1000,
                                   .write_high_bytes = 1 << 20,
                                   .head_timeout_ms = 60000,
                                   .idle_timeout_ms = 60000,
                                   .write_timeout_ms = 60000,
                                   .handler = handle,
                                   .error_body = error_body};
    loop = loop_new();
    server = loop ? http_server_new(loop, &options, NULL) : NULL;
    require(server != NULL);
}

/* Reads what the server sent; it must look like replies. */
static void check_replies(int fd, bool *first) {
    char piece[65536];
    ssize_t n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n <= 0 || !*first)
        return;
    require(n > 9 && memcmp(piece, "HTTP/1.1 ", 9) == 0);
    *first = false;
}

static void turn(int fd, bool *first) {
    for (int i = 0; i < 3; i++)
        loop_run_once(loop, 0);
    check_replies(fd, first);
}

static void send_in_pieces(const uint8_t *data, size_t size, size_t piece_len, struct buf *seen) {
    int fds[2];
    bool first = true;
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    requests = seen;
    require(http_connection_open(server, fds[0]) != NULL);
    while (size > 0) {
        size_t len = piece_len < size ? piece_len : size;
        /* Fails once the server has closed. */
        if (send(fds[1], data, len, MSG_NOSIGNAL) != (ssize_t)len)
            break;
        data += len;
        size -= len;
        turn(fds[1], &first);
    }
    for (int i = 0; i < 20; i++)
        turn(fds[1], &first);
    close(fds[1]);
    for (int i = 0; i < 100 && server->stats.connections > 0; i++)
        loop_run_once(loop, 0);
    require(server->stats.connections == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf whole;
    struct buf cut;
    if (size < 2 || size > INPUT_BYTES_MAX)
        return 0;
    if (!server)
        start();
    buf_init(&whole, 0);
    buf_init(&cut, 0);
    /* Cuts of one byte in a long input would cost more than they tell. */
    size_t piece_len = 1 + data[0] % 64 + size / 512;
    send_in_pieces(data + 1, size - 1, size, &whole);
    send_in_pieces(data + 1, size - 1, piece_len, &cut);
    require(whole.len == cut.len && memcmp(whole.data, cut.data, whole.len) == 0);
    buf_release(&whole);
    buf_release(&cut);
    return 0;
}
