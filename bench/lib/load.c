#include "lib/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { READ_BYTES = 64 * 1024, EVENTS_AT_ONCE = 64, SILENCE_MS = 120 * 1000 };

struct client {
    int fd; /* -1: idle */
    struct reply reply;
};

struct load {
    const struct load_options *options;
    struct load_result *result;
    struct client clients[LOAD_CLIENTS_MAX];
    struct buf body, request;
    int epoll;
    int busy;
    int64_t end_us;
};

static void give_up(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void connect_client(struct load *load, struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->options->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        give_up("connect");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
        give_up("epoll_ctl");
}

static void send_next(struct load *load, struct client *client) {
    const struct load_options *options = load->options;
    int number = (int)(client - load->clients);
    buf_clear(&load->body);
    buf_clear(&load->request);
    if (clock_us() >= load->end_us || !options->next(options->arg, number, &load->body))
        return;
    buf_printf(&load->request,
               "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
               load->body.len);
    buf_append(&load->request, load->body.data, load->body.len);
    connect_client(load, client);
    load->busy++;
    reply_begin(&client->reply);
    if (write(client->fd, load->request.data, load->request.len) != (ssize_t)load->request.len)
        give_up("write");
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

static void send_all(struct load *load) {
    for (int i = 0; i < load->options->clients; i++)
        if (load->clients[i].fd < 0)
            send_next(load, &load->clients[i]);
}

static void count(struct load_result *result, const struct reply *reply) {
    result->requests++;
    if (!reply_is_right(reply)) {
        result->errors++;
        return;
    }
    result->tokens += (uint64_t)reply->completion_tokens;
    result->prompt_tokens += (uint64_t)reply->prompt_tokens;
    result->cached_tokens += (uint64_t)reply->cached_tokens;
    hist_add(&result->first_us, (uint64_t)(reply->first_us - reply->sent_us));
    hist_add(&result->total_us, (uint64_t)(reply->last_us - reply->sent_us));
}

static void end_request(struct load *load, struct client *client) {
    const struct load_options *options = load->options;
    close(client->fd);
    client->fd = -1;
    load->busy--;
    count(load->result, &client->reply);
    if (options->done)
        options->done(options->arg, (int)(client - load->clients), &client->reply);
    send_all(load);
}

static void read_client(struct load *load, struct client *client) {
    static char bytes[READ_BYTES];
    ssize_t got = read(client->fd, bytes, sizeof(bytes));
    if (got < 0 && errno == EAGAIN)
        return;
    /* Without bytes: the connection has ended before the reply. */
    if (got <= 0 || reply_take(&client->reply, bytes, (size_t)got))
        end_request(load, client);
}

static void turn(struct load *load) {
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(load->epoll, events, EVENTS_AT_ONCE, SILENCE_MS);
    if (count <= 0)
        give_up("the server is silent");
    for (int i = 0; i < count; i++)
        read_client(load, events[i].data.ptr);
}

void load_run(const struct load_options *options, struct load_result *result) {
    static struct load load;
    int64_t begun_us = clock_us();
    *result = (struct load_result){0};
    load = (struct load){.options = options,
                         .result = result,
                         .epoll = epoll_create1(EPOLL_CLOEXEC),
                         .end_us = begun_us + options->limit_ms * 1000};
    buf_init(&load.body, 0);
    buf_init(&load.request, 0);
    for (int i = 0; i < options->clients; i++) {
        load.clients[i].fd = -1;
        reply_init(&load.clients[i].reply);
    }
    send_all(&load);
    while (load.busy > 0)
        turn(&load);
    result->seconds = (double)(clock_us() - begun_us) / 1e6;
    for (int i = 0; i < options->clients; i++)
        reply_release(&load.clients[i].reply);
    buf_release(&load.body);
    buf_release(&load.request);
    close(load.epoll);
}
