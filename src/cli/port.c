#include "cli/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static struct addrinfo *resolve(const char *host, int64_t port, int *why) {
    char service[24];
    struct addrinfo *list = NULL;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    snprintf(service, sizeof service, "%lld", (long long)port);
    *why = getaddrinfo(host, service, &hints, &list);
    return *why == 0 ? list : NULL;
}

static bool bind_kept(int fd, const struct addrinfo *address, bool shared) {
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
           bind(fd, address->ai_addr, address->ai_addrlen) == 0;
}

static int64_t bound_port(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

int port_keep(const char *host, int64_t *port, bool shared, struct error *error) {
    int why;
    struct addrinfo *address = resolve(host, *port, &why);
    if (!address) {
        error_set(error, STATUS_START_FAILED, "cluster.controller.host", "cannot listen on \"%.200s\": %s",
                  host, gai_strerror(why));
        return -1;
    }
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind_kept(fd, address, shared);
    int reason = errno;
    freeaddrinfo(address);
    if (bound) {
        *port = bound_port(fd);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    error_set(error, STATUS_START_FAILED, "cluster.controller.port",
              "cannot listen on %.200s port %lld: %s%s", host, (long long)*port, strerror(reason),
              reason == EADDRINUSE ? ". Stop what listens there, or take another port: --port N" : "");
    return -1;
}

const char *port_local_host(const char *host) {
    if (strcmp(host, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(host, "::") == 0 ? "::1" : host;
}

static bool wait_for(int fd, short events, int64_t until_ms) {
    int64_t left = until_ms - clock_ms();
    struct pollfd poller = {.fd = fd, .events = events};
    return left > 0 && poll(&poller, 1, (int)left) == 1;
}

/* A connected socket that does not block, or -1. */
static int connect_to(const char *host, int64_t port, int64_t until_ms) {
    int why;
    struct addrinfo *address = resolve(host, port, &why);
    if (!address)
        return -1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool pending =
        fd >= 0 && (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS);
    freeaddrinfo(address);
    int failure = 0;
    socklen_t len = sizeof failure;
    if (pending && wait_for(fd, POLLOUT, until_ms) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) == 0 && failure == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

bool port_is_open(const char *host, int64_t port, int wait_ms) {
    int fd = connect_to(host, port, clock_ms() + wait_ms);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* The whole answer, until the server closes. */
static bool read_answer(int fd, struct buf *answer, int64_t until_ms) {
    char chunk[4096];
    while (wait_for(fd, POLLIN, until_ms)) {
        ssize_t got = recv(fd, chunk, sizeof chunk, 0);
        if (got == 0)
            return !answer->failed;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (got > 0)
            buf_append(answer, chunk, (size_t)got);
    }
    return false;
}

bool port_http_get(const char *host, int64_t port, const char *path, int wait_ms, struct buf *body) {
    int64_t until_ms = clock_ms() + wait_ms;
    char request[256];
    /* HTTP/1.0: the body comes in one piece and ends with the connection. */
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
    int fd = connect_to(host, port, until_ms);
    bool ok =
        fd >= 0 && send(fd, request, (size_t)len, MSG_NOSIGNAL) == len && read_answer(fd, body, until_ms);
    if (fd >= 0)
        close(fd);
    const char *head_end = ok ? strstr(body->data, "\r\n\r\n") : NULL;
    if (!head_end || strncmp(body->data, "HTTP/1.", 7) != 0 || strncmp(body->data + 8, " 200 ", 5) != 0)
        return false;
    buf_drop_front(body, (size_t)(head_end + 4 - body->data));
    return true;
}
