/* A connection's states, timers and bytes.
 *
 * Reading stays armed in every state, so that a client that leaves is noticed at once. What it sends ahead
 * while a request is being answered is kept up to a bound; beyond it, it is thrown away and the connection
 * closed after the reply, as HTTP allows for requests that were sent ahead. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http_internal.h"

#define SENT_AHEAD_BYTES_MAX ((size_t)1 << 20)
/* Requests answered in one go; the rest waits until the replies are written. */
#define REQUESTS_PER_TURN 32
/* How long and how much a client may go on sending after our last answer. Closing earlier would make the
 * kernel send a reset, which takes the answer away from the client before it has read it. */
#define LINGER_IDLE_MS        2000
#define LINGER_MS_MAX         30000
#define THROWN_AWAY_BYTES_MAX ((uint64_t)256 << 20)
/* A client whose machine vanished is noticed within a minute although nothing is sent. */
#define KEEPALIVE_IDLE_S     30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES     3
/* What the kernel takes beyond what it can send now: without this bound it swallows megabytes, and neither
 * http_stream_pending nor the write timeout sees how slowly a client reads. */
#define KERNEL_UNSENT_BYTES (128 << 10)

size_t http_connection_unsent(const struct http_connection *connection) {
    return evbuffer_get_length(bufferevent_get_output(connection->stream));
}

static void look_again_later(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (connection->pending)
        return;
    connection->pending = true;
    connection->pending_next = server->pending;
    server->pending = connection;
    loop_defer_ask(&server->defer);
}

void http_connection_go_on_later(struct http_connection *connection) {
    connection->goes_on = true;
    look_again_later(connection);
}

/* Nothing is sent here: what is written in one tick, or until the end of the reply, leaves with one system
 * call. */
void http_connection_write(struct http_connection *connection, const void *data, size_t len) {
    if (evbuffer_add(bufferevent_get_output(connection->stream), data, len) != 0) {
        connection->broken = true;
        connection->goes_on = true;
    }
    look_again_later(connection);
}

static void take_out(struct http_connection *connection) {
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
}

void http_connection_close(struct http_connection *connection, bool tell) {
    struct http_server *server = connection->server;
    struct http_exchange *exchange = connection->exchange;
    bool was_answering = connection->state == HTTP_ANSWERING;
    if (connection->state == HTTP_DEAD)
        return;
    take_out(connection);
    connection->state = HTTP_DEAD;
    connection->next = server->dead;
    server->dead = connection;
    server->stats.connections--;
    server->refused_open -= connection->refused;
    bufferevent_free(connection->stream);
    connection->stream = NULL;
    loop_timer_release(&connection->timer);
    loop_defer_ask(&server->defer);
    if (was_answering && tell && exchange) {
        server->stats.client_left++;
        if (exchange->close_fn)
            exchange->close_fn(exchange->close_arg);
    }
    connection->exchange = NULL;
    http_exchange_free(exchange);
}

static void linger(struct http_connection *connection) {
    if (connection->eof) {
        http_connection_close(connection, false);
        return;
    }
    shutdown(bufferevent_getfd(connection->stream), SHUT_WR);
    connection->state = HTTP_LINGERING;
    connection->linger_until_ms = clock_ms() + LINGER_MS_MAX;
    loop_timer_arm(&connection->timer, LINGER_IDLE_MS);
}

void http_connection_flush_and_close(struct http_connection *connection) {
    connection->state = HTTP_FLUSHING;
    loop_timer_disarm(&connection->timer);
    http_exchange_free(connection->exchange);
    connection->exchange = NULL;
    if (http_connection_unsent(connection) == 0)
        linger(connection);
}

/* Most replies are taken by the kernel at once, which spares arming the socket, one more turn of the loop and
 * disarming. The rest, and whatever has further requests behind it, waits until the socket is writable. */
static void send_now(struct http_connection *connection) {
    struct bufferevent *stream = connection->stream;
    struct evbuffer *output = bufferevent_get_output(stream);
    if (evbuffer_get_length(output) == 0 || bufferevent_get_enabled(stream) & EV_WRITE)
        return;
    if (evbuffer_get_length(bufferevent_get_input(stream)) > 0) {
        bufferevent_enable(stream, EV_WRITE);
        return;
    }
    /* A bufferevent keeps others from its output's front. */
    evbuffer_unfreeze(output, 1);
    int sent = evbuffer_write(output, bufferevent_getfd(stream));
    int code = errno;
    evbuffer_freeze(output, 1);
    if (sent < 0 && code != EAGAIN && code != EINTR)
        http_connection_close(connection, true);
    else if (evbuffer_get_length(output) > 0)
        bufferevent_enable(stream, EV_WRITE);
    else if (connection->state == HTTP_FLUSHING)
        linger(connection);
}

void http_connection_finish_exchange(struct http_connection *connection) {
    bool keep_alive =
        connection->exchange->keep_alive && !connection->overrun && !connection->server->winding_down;
    http_exchange_free(connection->exchange);
    connection->exchange = NULL;
    if (!keep_alive) {
        http_connection_flush_and_close(connection);
        return;
    }
    connection->state = HTTP_IDLE;
    send_now(connection); /* the client waits for nothing else of this tick */
    if (connection->state == HTTP_DEAD)
        return;
    loop_timer_arm(&connection->timer, connection->server->options.idle_timeout_ms);
    http_parser_pause(&connection->parser, 0);
    if (!connection->going_on && evbuffer_get_length(bufferevent_get_input(connection->stream)) > 0)
        http_connection_go_on_later(connection);
}

static void throw_away_input(struct http_connection *connection) {
    if (connection->state == HTTP_DEAD)
        return;
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    size_t len = evbuffer_get_length(input);
    connection->thrown_away += len;
    evbuffer_drain(input, len);
    if (connection->thrown_away > THROWN_AWAY_BYTES_MAX) {
        http_connection_close(connection, true);
        return;
    }
    if (connection->state != HTTP_LINGERING)
        return;
    int64_t left = connection->linger_until_ms - clock_ms();
    loop_timer_arm(&connection->timer, left < LINGER_IDLE_MS ? left : LINGER_IDLE_MS);
}

static void parse_some(struct http_connection *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    struct evbuffer_iovec piece;
    if (evbuffer_peek(input, -1, NULL, &piece, 1) < 1)
        return;
    size_t taken = http_request_parse(connection, piece.iov_base, piece.iov_len);
    evbuffer_drain(input, taken);
    if (connection->refusal != STATUS_OK)
        http_refuse(connection, connection->refusal, connection->why);
}

static void answer(struct http_connection *connection) {
    struct http_server *server = connection->server;
    connection->request_done = false;
    connection->state = HTTP_ANSWERING;
    loop_timer_disarm(&connection->timer);
    server->stats.requests_total++;
    server->options.handler(connection->exchange, server->options.arg);
}

/* Between requests a client that does not read its replies gets no further ones. */
static bool may_parse(const struct http_connection *connection) {
    if (evbuffer_get_length(bufferevent_get_input(connection->stream)) == 0)
        return false;
    if (connection->state == HTTP_IDLE)
        return http_connection_unsent(connection) <= connection->server->options.write_high_bytes;
    return connection->state == HTTP_READING;
}

static void check_sent_ahead(struct http_connection *connection) {
    if (!connection->overrun &&
        evbuffer_get_length(bufferevent_get_input(connection->stream)) <= SENT_AHEAD_BYTES_MAX)
        return;
    connection->overrun = true;
    if (connection->state == HTTP_IDLE)
        http_connection_flush_and_close(connection);
    throw_away_input(connection);
}

void http_connection_go_on(struct http_connection *connection) {
    if (connection->broken)
        http_connection_close(connection, true);
    unsigned answered = 0;
    connection->going_on = true;
    while (connection->state != HTTP_DEAD && answered < REQUESTS_PER_TURN && may_parse(connection)) {
        parse_some(connection);
        if (connection->state == HTTP_READING && connection->request_done) {
            answer(connection);
            answered++;
        }
    }
    connection->going_on = false;
}

static void on_readable(struct bufferevent *stream, void *arg) {
    (void)stream;
    struct http_connection *connection = arg;
    if (connection->state == HTTP_IDLE || connection->state == HTTP_READING)
        http_connection_go_on(connection);
    if (connection->state == HTTP_IDLE || connection->state == HTTP_ANSWERING)
        check_sent_ahead(connection);
    else if (connection->state == HTTP_FLUSHING || connection->state == HTTP_LINGERING)
        throw_away_input(connection);
}

static void on_all_written(struct bufferevent *stream, void *arg) {
    struct http_connection *connection = arg;
    bufferevent_disable(stream, EV_WRITE);
    if (connection->state == HTTP_FLUSHING)
        linger(connection);
    else if (connection->state == HTTP_IDLE)
        http_connection_go_on(connection);
}

void http_connection_end_tick(struct http_connection *connection) {
    bool goes_on = connection->goes_on;
    connection->goes_on = false;
    if (goes_on && connection->state != HTTP_DEAD)
        http_connection_go_on(connection);
    if (connection->state != HTTP_DEAD)
        send_now(connection);
}

static void on_eof(struct http_connection *connection) {
    connection->eof = true;
    bool may_flush = connection->state == HTTP_IDLE || connection->state == HTTP_READING;
    if (connection->state == HTTP_FLUSHING)
        return;
    if (may_flush && http_connection_unsent(connection) > 0)
        http_connection_flush_and_close(connection);
    else
        http_connection_close(connection, true);
}

static void on_event(struct bufferevent *stream, short what, void *arg) {
    (void)stream;
    struct http_connection *connection = arg;
    if (what & BEV_EVENT_EOF)
        on_eof(connection);
    else if (what & (BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
        http_connection_close(connection, true);
}

static void on_timer(void *arg) {
    struct http_connection *connection = arg;
    switch (connection->state) {
    case HTTP_IDLE:
        /* A reply that still goes out has a timeout of its own. */
        if (http_connection_unsent(connection) > 0)
            loop_timer_arm(&connection->timer, connection->server->options.idle_timeout_ms);
        else
            http_connection_close(connection, false);
        break;
    case HTTP_READING:
        http_refuse(connection, STATUS_REQUEST_TIMEOUT, NULL);
        break;
    case HTTP_LINGERING:
        http_connection_close(connection, false);
        break;
    case HTTP_ANSWERING:
    case HTTP_FLUSHING:
    case HTTP_DEAD:
        break;
    }
}

/* None of these is needed to be correct, so a failure (a socket that is not TCP) does not matter. */
static void tune_socket(int fd) {
    const struct {
        int level;
        int name;
        int value;
    } settings[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, KERNEL_UNSENT_BYTES},
                    {SOL_SOCKET, SO_KEEPALIVE, 1},
                    {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
                    {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
                    {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES}};
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        setsockopt(fd, settings[i].level, settings[i].name, &settings[i].value, sizeof settings[i].value);
}

static void put_in(struct http_connection *connection) {
    struct http_server *server = connection->server;
    connection->next = server->open;
    connection->link = &server->open;
    if (server->open)
        server->open->link = &connection->next;
    server->open = connection;
    server->stats.connections++;
    server->stats.connections_total++;
}

struct http_connection *http_connection_open(struct http_server *server, int fd) {
    struct http_connection *connection = calloc(1, sizeof *connection);
    struct bufferevent *stream =
        connection ? bufferevent_socket_new(loop_base(server->loop), fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (!stream || !loop_timer_init(&connection->timer, server->loop, on_timer, connection)) {
        if (stream)
            bufferevent_free(stream);
        else
            close(fd);
        free(connection);
        return NULL;
    }
    tune_socket(fd);
    connection->server = server;
    connection->stream = stream;
    http_parser_init(&connection->parser, HTTP_REQUEST);
    connection->parser.data = connection;
    put_in(connection);
    struct timeval write_timeout = {.tv_sec = server->options.write_timeout_ms / 1000,
                                    .tv_usec = server->options.write_timeout_ms % 1000 * 1000};
    bufferevent_setcb(stream, on_readable, on_all_written, on_event, connection);
    bufferevent_set_timeouts(stream, NULL, &write_timeout);
    bufferevent_disable(stream, EV_WRITE); /* see send_now */
    bufferevent_enable(stream, EV_READ);
    loop_timer_arm(&connection->timer, server->options.idle_timeout_ms);
    return connection;
}
