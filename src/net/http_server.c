/* The listening socket, and the life of the whole. */
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/http_internal.h"

#define BACKLOG 1024
/* Connections over the maximum that are told so at the same time; more are closed without a word. */
#define REFUSED_OPEN_MAX 64
/* When descriptors are out, accepting at once again would only spin. */
#define ACCEPT_PAUSE_MS 100
/* That can go on for as long as a flood of clients does. */
#define ACCEPT_WARN_MS 60000

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len,
                      void *arg) {
    (void)listener;
    (void)address;
    (void)len;
    struct http_server *server = arg;
    bool full = server->stats.connections - server->refused_open >= server->options.connections_max;
    if (full)
        server->stats.connections_refused++;
    if (full && server->refused_open >= REFUSED_OPEN_MAX) {
        close(fd);
        return;
    }
    struct http_connection *connection = http_connection_open(server, fd);
    if (!connection || !full)
        return;
    connection->refused = true;
    server->refused_open++;
    http_refuse(connection, STATUS_CONTROLLER_OVERLOADED, "The server has its maximum of connections.");
}

static void on_accept_error(struct evconnlistener *listener, void *arg) {
    struct http_server *server = arg;
    int code = errno;
    int64_t now_ms = clock_ms();
    if (server->accept_warned_ms == 0 || now_ms - server->accept_warned_ms >= ACCEPT_WARN_MS) {
        log_warn("cannot accept connections for a moment", F_STR("error", strerror(code)));
        server->accept_warned_ms = now_ms;
    }
    evconnlistener_disable(listener);
    loop_timer_arm(&server->accept_pause, ACCEPT_PAUSE_MS);
}

static void on_accept_pause_over(void *arg) {
    struct http_server *server = arg;
    if (server->listener)
        evconnlistener_enable(server->listener);
}

static void free_dead(struct http_server *server) {
    while (server->dead) {
        struct http_connection *connection = server->dead;
        server->dead = connection->next;
        free(connection);
    }
}

/* Pending connections first: they may be among the dead ones, or become so. */
static void at_end_of_tick(void *arg) {
    struct http_server *server = arg;
    while (server->pending) {
        struct http_connection *connection = server->pending;
        server->pending = connection->pending_next;
        connection->pending = false;
        http_connection_end_tick(connection);
    }
    free_dead(server);
}

static struct evconnlistener *listen_at(struct http_server *server, const struct addrinfo *address) {
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
    if (server->options.reuse_port)
        flags |= LEV_OPT_REUSEABLE_PORT;
    return evconnlistener_new_bind(loop_base(server->loop), on_accept, server, flags, BACKLOG,
                                   address->ai_addr, (int)address->ai_addrlen);
}

static int port_of(evutil_socket_t fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t len = sizeof address;
    memset(&address, 0, sizeof address);
    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

static enum status start_listening(struct http_server *server, const char *host, struct error *error) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", server->options.port);
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed)
        return error_set(error, STATUS_START_FAILED, NULL, "cannot listen on %s:%s: %s", host, port,
                         gai_strerror(failed));
    int code = 0;
    for (const struct addrinfo *at = found; at && !server->listener; at = at->ai_next) {
        server->listener = listen_at(server, at);
        code = errno;
    }
    freeaddrinfo(found);
    if (!server->listener)
        return error_set(error, STATUS_START_FAILED, NULL, "cannot listen on %s:%s: %s", host, port,
                         strerror(code));
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    server->port = port_of(evconnlistener_get_fd(server->listener));
    return STATUS_OK;
}

struct http_server *http_server_new(struct loop *loop, const struct http_options *options,
                                    struct error *error) {
    struct http_server *server = calloc(1, sizeof *server);
    if (!server) {
        error_set(error, STATUS_START_FAILED, NULL, "out of memory");
        return NULL;
    }
    server->loop = loop;
    server->options = *options;
    server->options.host = NULL; /* the caller's string is not kept */
    bool ready = loop_defer_init(&server->defer, loop, at_end_of_tick, server) &&
                 loop_timer_init(&server->accept_pause, loop, on_accept_pause_over, server);
    if (!ready)
        error_set(error, STATUS_START_FAILED, NULL, "out of memory");
    if (ready && start_listening(server, options->host, error) == STATUS_OK) {
        /* The parser's own bound, one for the process; ours is exact and comes first. It is what bounds
         * trailers and chunk extensions. */
        http_parser_set_max_header_size((uint32_t)options->head_max_bytes);
        return server;
    }
    http_server_free(server);
    return NULL;
}

int http_server_port(const struct http_server *server) {
    return server->port;
}

void http_server_stats(const struct http_server *server, struct http_stats *out) {
    *out = server->stats;
}

void http_server_wind_down(struct http_server *server) {
    server->winding_down = true;
    struct http_connection *next;
    for (struct http_connection *connection = server->open; connection; connection = next) {
        next = connection->next;
        if (connection->state == HTTP_IDLE)
            http_connection_flush_and_close(connection);
    }
}

void http_server_stop_accepting(struct http_server *server) {
    if (!server->listener)
        return;
    evconnlistener_free(server->listener);
    server->listener = NULL;
    http_server_wind_down(server);
}

void http_server_free(struct http_server *server) {
    if (!server)
        return;
    if (server->listener)
        evconnlistener_free(server->listener);
    server->listener = NULL;
    while (server->open)
        http_connection_close(server->open, true);
    free_dead(server);
    loop_defer_release(&server->defer);
    loop_timer_release(&server->accept_pause);
    free(server);
}
