/* What the files of the HTTP server share. Data flow: http_connection.c reads and writes sockets, hands bytes
 * to http_request.c, calls the handler for a complete request; http_reply.c writes what comes back.
 *
 * Who frees what: a connection owns its bufferevent and the one exchange that may be open on it. A closed
 * connection goes to the server's `dead` list and is freed at the end of the tick, because it may still be on
 * the stack. */
#pragma once

#include <http_parser.h>
#include <time.h>

#include "net/http.h"

enum { HTTP_HEADERS_MAX = 128 };

struct bufferevent;
struct evconnlistener;

/* Offsets into the text of the request. */
struct http_header_at {
    uint32_t name;
    uint32_t value;
};

struct http_request {
    struct buf text; /* URL, names and values, each ended with NUL */
    struct http_header_at headers[HTTP_HEADERS_MAX];
    size_t headers_count;
    bool in_value; /* the piece before was of a header's value */
    struct buf body;
    char *path; /* owned; decoded */
    const char *query;
    unsigned method;
    bool is_http10;
    bool is_chunked;
    bool keep_alive;
};

struct http_exchange {
    struct http_connection *connection;
    struct http_request request;
    struct buf extra_headers; /* lines added by http_add_header */
    http_close_fn *close_fn;
    void *close_arg;
    bool chunked;    /* of a stream: every write is one chunk */
    bool keep_alive; /* as announced in the reply */
};

/* Where in a request http_strict.c is. */
enum http_strict_state {
    STRICT_START, /* line breaks before a request are nothing */
    STRICT_REQUEST_LINE,
    STRICT_LINE_BEGIN, /* of a header or trailer */
    STRICT_LINE,
    STRICT_LINE_LF,
    STRICT_LAST_LF, /* of the head, or of the trailers */
    STRICT_BODY,
    STRICT_SIZE, /* of a chunk */
    STRICT_EXTENSION,
    STRICT_SIZE_LF,
    STRICT_CHUNK,
    STRICT_CHUNK_CR,
    STRICT_CHUNK_LF,
};
struct http_strict {
    enum http_strict_state state;
    uint64_t chunk_left; /* bytes */
};

enum http_state {
    HTTP_IDLE,      /* between requests */
    HTTP_READING,   /* a request is coming in */
    HTTP_ANSWERING, /* the handler has it; what comes in meanwhile is kept, up to a bound */
    HTTP_FLUSHING,  /* the last reply goes out, what comes in is thrown away */
    HTTP_LINGERING, /* all is sent; thrown away until the client closes, so that it can read our answer */
    HTTP_DEAD,
};

struct http_connection {
    struct http_server *server;
    struct http_connection *next; /* in server->open, or server->dead */
    struct http_connection **link;
    struct http_connection *pending_next;
    struct bufferevent *stream; /* owned */
    struct loop_timer timer;    /* idle, slow request, lingering: by state */
    struct http_parser parser;
    struct http_strict strict;      /* of the request that comes in */
    struct http_exchange *exchange; /* owned; open from the first byte of a request on */
    enum http_state state;
    enum status refusal; /* why a callback of the parser stopped it */
    const char *why;     /* a sentence for it; may be NULL */
    size_t head_bytes;   /* of this request so far */
    bool head_done;
    bool request_done;
    bool eof;             /* the client will not send more */
    bool overrun;         /* requests sent ahead were thrown away: the reply under way is the last */
    bool broken;          /* memory ran out while writing: what the client got is not whole */
    bool pending;         /* in server->pending */
    bool goes_on;         /* at the end of the tick */
    bool going_on;        /* inside http_connection_go_on */
    bool refused;         /* over connections_max */
    uint64_t thrown_away; /* bytes */
    int64_t linger_until_ms;
};

struct http_server {
    struct loop *loop;
    struct http_options options;
    struct evconnlistener *listener; /* owned; NULL once it stopped accepting */
    bool winding_down;               /* no connection is kept after its reply */
    struct loop_timer accept_pause;
    struct loop_defer defer;
    struct http_connection *open;
    struct http_connection *dead;    /* freed at the end of the tick */
    struct http_connection *pending; /* looked at again at the end of the tick */
    struct http_stats stats;
    size_t refused_open; /* connections that only get told that there are too many */
    int port;
    int64_t accept_warned_ms; /* 0: never */
    time_t date_at;           /* `date` is of this second */
    char date[40];
};

/* http_connection.c. Takes the descriptor. */
struct http_connection *http_connection_open(struct http_server *server, int fd);
/* Closes the socket. `tell`: calls on_close of an open exchange. */
void http_connection_close(struct http_connection *connection, bool tell);
void http_connection_write(struct http_connection *connection, const void *data, size_t len);
size_t http_connection_unsent(const struct http_connection *connection);
/* The exchange has its whole reply: frees it and goes on with the next request, or closes. */
void http_connection_finish_exchange(struct http_connection *connection);
/* Sends what waits, then closes when the client does or after a while. */
void http_connection_flush_and_close(struct http_connection *connection);
/* Handles requests that wait in the input. */
void http_connection_go_on(struct http_connection *connection);
/* Runs http_connection_go_on at the end of the tick. */
void http_connection_go_on_later(struct http_connection *connection);
/* What was asked for in this tick: goes on, sends. It may be dead already. */
void http_connection_end_tick(struct http_connection *connection);

/* http_request.c. Parses up to `len` bytes and returns how many it took; stops at the end of a request. Sets
 * `refusal` of the connection when the request cannot be accepted. */
size_t http_request_parse(struct http_connection *connection, const char *data, size_t len);
void http_exchange_free(struct http_exchange *exchange);

/* http_strict.c. Looks at bytes that the parser took without an error, all of one request; `chunked` is asked
 * for behind the head only. false: another reader might cut them differently. */
bool http_strict_check(struct http_strict *strict, bool chunked, const char *data, size_t len);

/* http_reply.c */
void http_refuse(struct http_connection *connection, enum status status, const char *why);
