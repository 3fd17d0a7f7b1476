#include "lib/instant_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <http_parser.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_BYTES_MAX = 64 * 1024, HEAD_BYTES_MAX = 256, READ_BYTES = 64 * 1024, EVENTS_AT_ONCE = 256 };

struct server {
    int listener;
    int epoll;
    char reply[HEAD_BYTES_MAX + BODY_BYTES_MAX];
    size_t reply_len;
};

struct connection {
    int fd;
    http_parser parser;
    int complete; /* requests that wait for their reply */
};

static void give_up(const char *what) {
    fprintf(stderr, "instant http: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int on_complete(http_parser *parser) {
    ((struct connection *)parser->data)->complete++;
    return 0;
}

static const http_parser_settings settings = {.on_message_complete = on_complete};

static void accept_one(struct server *server) {
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct connection *connection = fd < 0 ? NULL : calloc(1, sizeof(*connection));
    if (!connection)
        give_up("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    connection->fd = fd;
    http_parser_init(&connection->parser, HTTP_REQUEST);
    connection->parser.data = connection;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        give_up("epoll_ctl");
}

static void serve_one(struct server *server, struct connection *connection) {
    static char bytes[READ_BYTES];
    ssize_t got = read(connection->fd, bytes, sizeof(bytes));
    if (got < 0 && errno == EAGAIN)
        return;
    size_t parsed = got <= 0 ? 0 : http_parser_execute(&connection->parser, &settings, bytes, (size_t)got);
    bool open = got > 0 && parsed == (size_t)got;
    while (open && connection->complete > 0) {
        open = write(connection->fd, server->reply, server->reply_len) == (ssize_t)server->reply_len;
        connection->complete--;
    }
    if (open)
        return;
    close(connection->fd);
    free(connection);
}

static void serve(void *arg) {
    struct server *server = arg;
    struct epoll_event events[EVENTS_AT_ONCE];
    while (true) {
        int count = epoll_wait(server->epoll, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                serve_one(server, events[i].data.ptr);
            else
                accept_one(server);
        }
    }
}

static void prepare_reply(struct server *server, size_t body_bytes) {
    int head = snprintf(server->reply, HEAD_BYTES_MAX,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        body_bytes);
    memset(server->reply + head, 'x', body_bytes);
    server->reply_len = (size_t)head + body_bytes;
}

void instant_http_start(struct process *process, size_t body_bytes, int *port) {
    static struct server server;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    prepare_reply(&server, body_bytes < BODY_BYTES_MAX ? body_bytes : BODY_BYTES_MAX);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (server.listener < 0 || server.epoll < 0 ||
        bind(server.listener, (struct sockaddr *)&address, len) != 0 ||
        listen(server.listener, SOMAXCONN) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&address, &len) != 0 ||
        epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event) != 0)
        give_up("cannot listen");
    *port = ntohs(address.sin_port);
    process_fork(process, "instant http server", serve, &server);
    close(server.listener);
    close(server.epoll);
}
