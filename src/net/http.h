/* An HTTP/1.1 server on the loop: keep-alive, pipelining (answered one after the other), streamed replies
 * with backpressure, and reliable news of clients that leave at any time. Parsing is done by http_parser; no
 * TLS.
 *
 * One exchange is one request and its reply. The handler is called once the whole body has arrived. It ends
 * the exchange with http_reply, or http_stream_start, http_stream_write... and http_stream_end; at once or
 * later. When the client leaves first, `on_close` is called once, and that is the end of the exchange too:
 * after http_reply, http_stream_end or on_close the pointer is dead. Everything on the loop thread.
 *
 * A client that only ends its own side of the connection while it waits (shutdown(SHUT_WR), `nc -N`) has left
 * too: on the wire that looks the same as a client that is gone.
 *
 * What the server refuses by itself (malformed requests, oversized heads and bodies, timeouts) is answered
 * with the body that `error_body` makes; the connection is closed afterwards, after the client had a chance
 * to read the answer although it is still sending. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "net/loop.h"

struct http_server;
struct http_exchange;

typedef void http_handler_fn(struct http_exchange *exchange, void *arg);
typedef void http_close_fn(void *arg);

struct http_options {
    const char *host;       /* address to listen on */
    int port;               /* 0: any free one, see http_server_port */
    bool reuse_port;        /* several processes on one port */
    size_t connections_max; /* more are refused with 503 and closed */
    size_t body_max_bytes;
    size_t head_max_bytes;    /* up to 1 GiB */
    size_t write_high_bytes;  /* http_stream_write says false above */
    int64_t head_timeout_ms;  /* from the first byte of a request to the end of its body */
    int64_t idle_timeout_ms;  /* keep-alive without a request */
    int64_t write_timeout_ms; /* a client that reads nothing of what waits for it */
    http_handler_fn *handler;
    void (*error_body)(const struct error *error, struct buf *out); /* for the server's own refusals */
    void *arg;                                                      /* of handler */
};

struct http_stats {
    uint64_t connections; /* open now */
    uint64_t connections_total;
    uint64_t connections_refused;
    uint64_t requests_total;
    uint64_t requests_refused; /* answered by the server itself */
    uint64_t client_left;      /* before the reply was complete */
};

struct http_server *http_server_new(struct loop *loop, const struct http_options *options,
                                    struct error *error);
int http_server_port(const struct http_server *server);
void http_server_stats(const struct http_server *server, struct http_stats *out);
/* Closes idle connections; exchanges under way go on, and from now on each is its connection's last. New
 * connections are still accepted, so that their clients are told why they get nothing. */
void http_server_wind_down(struct http_server *server);
/* That, and closes the listening socket. */
void http_server_stop_accepting(struct http_server *server);
/* Closes every connection (on_close is called for open exchanges) and frees. Takes NULL. */
void http_server_free(struct http_server *server);

/* The request. Strings live until the exchange ends. */
const char *http_method(const struct http_exchange *exchange);
const char *http_path(const struct http_exchange *exchange);  /* decoded once, without the query */
const char *http_query(const struct http_exchange *exchange); /* raw, "" when none */
/* Case does not matter in `name`; NULL when absent; the first one when repeated. */
const char *http_header(const struct http_exchange *exchange, const char *name);
const char *http_body(const struct http_exchange *exchange, size_t *len);
/* Frees the body early: it is not needed while a long stream goes on. */
void http_body_drop(struct http_exchange *exchange);

/* `fn` is never called from inside the handler or a function of this header, but for http_server_free. */
void http_on_close(struct http_exchange *exchange, http_close_fn *fn, void *arg);
/* Closes the connection at once; the exchange is dead afterwards and on_close is not called. */
void http_abort(struct http_exchange *exchange);

/* Before http_reply or http_stream_start; a value with a line break in it is refused by dropping the header.
 */
void http_add_header(struct http_exchange *exchange, const char *name, const char *value);
/* Content-Length and Connection are added. A HEAD request gets no body. */
void http_reply(struct http_exchange *exchange, int status, const char *content_type, const void *body,
                size_t len);

/* A reply of unknown length: chunked, or until close for HTTP/1.0. */
void http_stream_start(struct http_exchange *exchange, int status, const char *content_type);
/* false: more than write_high_bytes wait for the client; the data was taken all the same. */
bool http_stream_write(struct http_exchange *exchange, const void *data, size_t len);
size_t http_stream_pending(const struct http_exchange *exchange); /* bytes not yet given to the kernel */
void http_stream_end(struct http_exchange *exchange);
