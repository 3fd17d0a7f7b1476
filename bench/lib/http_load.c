#include "lib/http_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <http_parser.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/sample.h"

enum { READ_BYTES = 64 * 1024, EVENTS_AT_ONCE = 256, SILENCE_MS = 10 * 1000 };

struct connection {
    int fd;
    http_parser parser;
    int64_t sent_ns;
    size_t body_bytes;
    bool complete;
};

struct load {
    const struct http_load_options *options;
    struct http_load_result *result;
    struct connection connections[HTTP_LOAD_CONNECTIONS_MAX];
    int epoll;
    int busy;
    int64_t sent;
    int64_t end_ns;
};

static void give_up(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "the connection was closed");
    exit(1);
}

static int on_body(http_parser *parser, const char *data, size_t len) {
    (void)data;
    ((struct connection *)parser->data)->body_bytes += len;
    return 0;
}

static int on_complete(http_parser *parser) {
    ((struct connection *)parser->data)->complete = true;
    return 0;
}

static const http_parser_settings settings = {.on_body = on_body, .on_message_complete = on_complete};

static void open_connection(struct load *load, struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->options->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        give_up("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        give_up("epoll_ctl");
    http_parser_init(&connection->parser, HTTP_RESPONSE);
    connection->parser.data = connection;
}

static void send_next(struct load *load, struct connection *connection, int64_t now_ns) {
    if (load->sent == load->options->requests || now_ns >= load->end_ns)
        return;
    load->sent++;
    load->busy++;
    connection->complete = false;
    connection->body_bytes = 0;
    connection->sent_ns = now_ns;
    ssize_t wrote = write(connection->fd, load->options->request, load->options->request_len);
    if (wrote != (ssize_t)load->options->request_len)
        give_up("write");
}

static void read_reply(struct load *load, struct connection *connection) {
    static char bytes[READ_BYTES];
    struct http_load_result *result = load->result;
    ssize_t got = read(connection->fd, bytes, sizeof(bytes));
    if (got < 0 && errno == EAGAIN)
        return;
    errno = got == 0 ? 0 : errno;
    if (got <= 0)
        give_up("read");
    http_parser_execute(&connection->parser, &settings, bytes, (size_t)got);
    if (!connection->complete)
        return;
    int64_t now_ns = sample_now_ns();
    load->busy--;
    result->requests++;
    result->errors += connection->parser.status_code != 200;
    result->body_bytes = connection->body_bytes;
    hist_add(&result->ns, (uint64_t)(now_ns - connection->sent_ns));
    send_next(load, connection, now_ns);
}

static void run(struct load *load) {
    struct epoll_event events[EVENTS_AT_ONCE];
    for (int i = 0; i < load->options->connections; i++)
        send_next(load, &load->connections[i], sample_now_ns());
    while (load->busy > 0) {
        int count = epoll_wait(load->epoll, events, EVENTS_AT_ONCE, SILENCE_MS);
        errno = count == 0 ? ETIMEDOUT : errno;
        if (count <= 0)
            give_up("waiting for replies");
        for (int i = 0; i < count; i++)
            read_reply(load, events[i].data.ptr);
    }
}

void http_load_run(const struct http_load_options *options, struct http_load_result *result) {
    static struct load load;
    if (options->connections < 1 || options->connections > HTTP_LOAD_CONNECTIONS_MAX) {
        fprintf(stderr, "load: 1 to %d connections\n", HTTP_LOAD_CONNECTIONS_MAX);
        exit(2);
    }
    memset(&load, 0, sizeof(load));
    *result = (struct http_load_result){0};
    load.options = options;
    load.result = result;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options->connections; i++)
        open_connection(&load, &load.connections[i]);
    int64_t begun_ns = sample_now_ns();
    load.end_ns = begun_ns + options->limit_ms * 1000000;
    run(&load);
    result->seconds = (double)(sample_now_ns() - begun_ns) / 1e9;
    for (int i = 0; i < options->connections; i++)
        close(load.connections[i].fd);
    close(load.epoll);
}
