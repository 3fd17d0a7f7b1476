#include "lib/stream_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, EVENTS_AT_ONCE = 256, SILENCE_MS = 120 * 1000 };

struct stream {
    int fd; /* -1: ended */
    bool begun;
};

struct stream_load {
    struct stream *streams; /* owned */
    int epoll;
    int opened;
    int begun; /* of those, with text */
    int ended;
};

static void give_up(const char *what, const char *why) {
    fprintf(stderr, "streams: %s: %s\n", what, why);
    exit(1);
}

static void open_stream(struct stream_load *load, struct stream *stream, int port, const char *request,
                        size_t request_len) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream->fd < 0 || connect(stream->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        write(stream->fd, request, request_len) != (ssize_t)request_len)
        give_up("connect", strerror(errno));
    fcntl(stream->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, stream->fd, &event) != 0)
        give_up("epoll_ctl", strerror(errno));
    load->opened++;
}

static void end_stream(struct stream_load *load, struct stream *stream) {
    close(stream->fd);
    stream->fd = -1;
    load->ended++;
}

static void read_stream(struct stream_load *load, struct stream *stream) {
    static char bytes[READ_BYTES + 1];
    ssize_t got = read(stream->fd, bytes, READ_BYTES);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        end_stream(load, stream);
        return;
    }
    bytes[got] = '\0';
    if (!stream->begun && strncmp(bytes, "HTTP/1.1 200", 12) != 0)
        give_up("a stream was refused", bytes);
    load->begun += !stream->begun;
    stream->begun = true;
    if (strstr(bytes, "data: [DONE]"))
        end_stream(load, stream);
}

/* true when something came. */
static bool turn(struct stream_load *load, int wait_ms) {
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(load->epoll, events, EVENTS_AT_ONCE, wait_ms);
    for (int i = 0; i < count; i++)
        read_stream(load, events[i].data.ptr);
    return count > 0;
}

struct stream_load *stream_load_open(int port, int streams, int at_once, const char *request,
                                     size_t request_len) {
    struct stream_load *load = calloc(1, sizeof(*load));
    if (load)
        load->streams = calloc((size_t)streams, sizeof(*load->streams));
    if (!load || !load->streams)
        give_up("streams", "out of memory");
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    while (load->opened < streams) {
        for (int i = 0; i < at_once && load->opened < streams; i++)
            open_stream(load, &load->streams[load->opened], port, request, request_len);
        turn(load, 1);
    }
    while (load->begun < streams && load->ended == 0)
        if (!turn(load, SILENCE_MS))
            give_up("waiting for the first text of all", "nothing came");
    if (load->ended > 0)
        give_up("a stream ended", "it was to stay open");
    return load;
}

int stream_load_count(struct stream_load *load) {
    while (turn(load, 0))
        ;
    return load->opened - load->ended;
}

void stream_load_close(struct stream_load *load) {
    for (int i = 0; i < load->opened; i++)
        if (load->streams[i].fd >= 0)
            close(load->streams[i].fd);
    close(load->epoll);
    free(load->streams);
    free(load);
}
