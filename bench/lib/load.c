#include "lib/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <http_parser.h>

#include "base/buf.h"
#include "base/clock.h"

enum { READ_BYTES = 64 * 1024, CLIENTS_MAX = 256, SILENCE_MS = 60 * 1000 };

struct client {
    int fd;
    http_parser parser;
    struct buf events; /* the body that has not been looked at */
    int64_t sent_us;
    int64_t first_us; /* 0 until text came */
    uint64_t tokens;
    bool ended;
    bool busy;
};

struct load {
    const struct load_options *options;
    struct load_result *result;
    struct client clients[CLIENTS_MAX];
    int epoll;
    int sent;
    int busy;
};

static void give_up(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One `data:` line. The token count comes with the usage of the last chunk. */
static void take_event(struct client *client, const char *line, size_t len) {
    if (len >= 12 && memcmp(line, "data: [DONE]", 12) == 0) {
        client->ended = true;
        return;
    }
    const char *content = memmem(line, len, "\"content\":\"", 11);
    if (!client->first_us && content && content[11] != '"')
        client->first_us = clock_us();
    const char *tokens = memmem(line, len, "\"completion_tokens\":", 20);
    if (tokens)
        client->tokens = strtoull(tokens + 20, NULL, 10);
}

static int on_body(http_parser *parser, const char *data, size_t len) {
    struct client *client = parser->data;
    buf_append(&client->events, data, len);
    const char *end;
    size_t done = 0;
    while ((end = memchr(client->events.data + done, '\n', client->events.len - done))) {
        size_t line = (size_t)(end - client->events.data) - done;
        take_event(client, client->events.data + done, line);
        done += line + 1;
    }
    buf_drop_front(&client->events, done);
    return 0;
}

static int on_complete(http_parser *parser) {
    struct client *client = parser->data;
    client->busy = false;
    return 0;
}

static const http_parser_settings settings = {.on_body = on_body, .on_message_complete = on_complete};

static void connect_client(struct load *load, struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->options->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        give_up("connect");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
        give_up("epoll_ctl");
    http_parser_init(&client->parser, HTTP_RESPONSE);
    client->parser.data = client;
}

static void send_next(struct load *load, struct client *client) {
    const struct load_options *options = load->options;
    if (load->sent == options->requests)
        return;
    char body[1024], head[256];
    int len =
        snprintf(body, sizeof(body),
                 "{\"model\":\"%s\",\"temperature\":0,\"max_tokens\":%d,\"stream\":true,"
                 "\"stream_options\":{\"include_usage\":true},"
                 "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
                 options->model, options->max_tokens, options->prompts[load->sent % options->prompt_count]);
    int head_len = snprintf(head, sizeof(head),
                            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n",
                            len);
    char request[sizeof(body) + sizeof(head)];
    memcpy(request, head, (size_t)head_len);
    memcpy(request + head_len, body, (size_t)len);
    load->sent++;
    load->busy++;
    client->busy = true;
    client->ended = false;
    client->tokens = 0;
    client->first_us = 0;
    client->sent_us = clock_us();
    if (write(client->fd, request, (size_t)(head_len + len)) != head_len + len)
        give_up("write");
}

static void reconnect(struct load *load, struct client *client) {
    close(client->fd);
    connect_client(load, client);
}

static void end_request(struct load *load, struct client *client) {
    struct load_result *result = load->result;
    load->busy--;
    result->requests++;
    result->tokens += client->tokens;
    if (!client->ended || !client->first_us || client->parser.status_code != 200) {
        result->errors++;
    } else {
        hist_add(&result->first_us, (uint64_t)(client->first_us - client->sent_us));
        hist_add(&result->total_us, (uint64_t)(clock_us() - client->sent_us));
    }
    buf_clear(&client->events);
    if (load->sent < load->options->requests)
        reconnect(load, client);
    send_next(load, client);
}

static void read_client(struct load *load, struct client *client) {
    static char bytes[READ_BYTES];
    ssize_t got = read(client->fd, bytes, sizeof(bytes));
    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0) {
        http_parser_execute(&client->parser, &settings, bytes, (size_t)got);
        if (!client->busy)
            end_request(load, client);
        return;
    }
    /* The end of the connection: of a reply that was not complete, if it is still busy. */
    epoll_ctl(load->epoll, EPOLL_CTL_DEL, client->fd, NULL);
    if (client->busy) {
        client->busy = false;
        end_request(load, client);
    }
}

void load_run(const struct load_options *options, struct load_result *result) {
    static struct load load;
    memset(&load, 0, sizeof(load));
    *result = (struct load_result){0};
    load.options = options;
    load.result = result;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options->clients; i++) {
        buf_init(&load.clients[i].events, 0);
        connect_client(&load, &load.clients[i]);
    }
    int64_t begun_us = clock_us();
    for (int i = 0; i < options->clients; i++)
        send_next(&load, &load.clients[i]);
    while (load.busy > 0) {
        struct epoll_event events[64];
        int count = epoll_wait(load.epoll, events, 64, SILENCE_MS);
        if (count <= 0)
            give_up("the server is silent");
        for (int i = 0; i < count; i++)
            read_client(&load, events[i].data.ptr);
    }
    result->seconds = (double)(clock_us() - begun_us) / 1e6;
    for (int i = 0; i < options->clients; i++) {
        close(load.clients[i].fd);
        buf_release(&load.clients[i].events);
    }
    close(load.epoll);
}
