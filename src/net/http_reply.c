/* What goes to the client. */
#include <stdio.h>
#include <string.h>

#include "net/http_internal.h"

#define LENGTH_UNKNOWN SIZE_MAX

static const char *date_now(struct http_server *server) {
    time_t now = time(NULL);
    struct tm parts;
    if (now != server->date_at && gmtime_r(&now, &parts)) {
        strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        server->date_at = now;
    }
    return server->date;
}

static bool has_body(int status) {
    return status >= 200 && status != 204 && status != 304;
}

static void append_length(struct buf *head, int status, size_t len, bool chunked) {
    if (!has_body(status))
        return;
    if (len != LENGTH_UNKNOWN) {
        buf_append_str(head, "Content-Length: ");
        buf_append_u64(head, len);
        buf_append_str(head, "\r\n");
    } else if (chunked)
        buf_append_str(head, "Transfer-Encoding: chunked\r\n");
}

static void append_line(struct buf *head, const char *name, const char *value) {
    buf_append_str(head, name);
    buf_append(head, ": ", 2);
    buf_append_str(head, value);
    buf_append(head, "\r\n", 2);
}

static void append_head(struct buf *head, struct http_server *server, int status, const char *content_type,
                        bool keep_alive) {
    buf_append_str(head, "HTTP/1.1 ");
    buf_append_u64(head, (uint64_t)status);
    buf_append_char(head, ' ');
    buf_append_str(head, http_status_str((enum http_status)status));
    buf_append(head, "\r\n", 2);
    append_line(head, "Date", date_now(server));
    append_line(head, "Connection", keep_alive ? "keep-alive" : "close");
    if (content_type)
        append_line(head, "Content-Type", content_type);
}

/* A reply without its whole head is no reply. */
static void write_head(struct http_connection *connection, struct buf *head) {
    buf_append_str(head, "\r\n");
    if (head->failed) {
        connection->broken = true;
        http_connection_go_on_later(connection);
    } else {
        http_connection_write(connection, head->data, head->len);
    }
    buf_release(head);
}

static bool is_head_request(const struct http_exchange *exchange) {
    return exchange->request.method == HTTP_HEAD;
}

static void begin(struct http_exchange *exchange, int status, const char *content_type, size_t len) {
    struct http_connection *connection = exchange->connection;
    struct buf head;
    buf_init(&head, 0);
    exchange->chunked = len == LENGTH_UNKNOWN && !exchange->request.is_http10;
    bool end_is_known = len != LENGTH_UNKNOWN || exchange->chunked || is_head_request(exchange);
    exchange->keep_alive = exchange->request.keep_alive && end_is_known && !connection->overrun &&
                           !connection->server->winding_down;
    append_head(&head, connection->server, status, content_type, exchange->keep_alive);
    append_length(&head, status, len, exchange->chunked);
    buf_append(&head, exchange->extra_headers.data, exchange->extra_headers.len);
    write_head(connection, &head);
}

void http_add_header(struct http_exchange *exchange, const char *name, const char *value) {
    if (strpbrk(name, "\r\n") || strpbrk(value, "\r\n"))
        return;
    append_line(&exchange->extra_headers, name, value);
}

void http_reply(struct http_exchange *exchange, int status, const char *content_type, const void *body,
                size_t len) {
    struct http_connection *connection = exchange->connection;
    begin(exchange, status, content_type, len);
    if (len > 0 && has_body(status) && !is_head_request(exchange))
        http_connection_write(connection, body, len);
    http_connection_finish_exchange(connection);
}

void http_stream_start(struct http_exchange *exchange, int status, const char *content_type) {
    begin(exchange, status, content_type, LENGTH_UNKNOWN);
}

bool http_stream_write(struct http_exchange *exchange, const void *data, size_t len) {
    struct http_connection *connection = exchange->connection;
    if (len > 0 && !is_head_request(exchange)) {
        char size[24];
        if (exchange->chunked)
            http_connection_write(connection, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", len));
        http_connection_write(connection, data, len);
        if (exchange->chunked)
            http_connection_write(connection, "\r\n", 2);
    }
    return http_connection_unsent(connection) <= connection->server->options.write_high_bytes;
}

size_t http_stream_pending(const struct http_exchange *exchange) {
    return http_connection_unsent(exchange->connection);
}

void http_stream_end(struct http_exchange *exchange) {
    struct http_connection *connection = exchange->connection;
    if (exchange->chunked && !is_head_request(exchange))
        http_connection_write(connection, "0\r\n\r\n", 5);
    http_connection_finish_exchange(connection);
}

void http_on_close(struct http_exchange *exchange, http_close_fn *fn, void *arg) {
    exchange->close_fn = fn;
    exchange->close_arg = arg;
}

void http_abort(struct http_exchange *exchange) {
    http_connection_close(exchange->connection, false);
}

void http_refuse(struct http_connection *connection, enum status status, const char *why) {
    struct http_server *server = connection->server;
    struct error error;
    struct buf body;
    struct buf head;
    const struct http_exchange *exchange = connection->exchange;
    bool is_head = exchange && connection->head_done && is_head_request(exchange);
    server->stats.requests_refused++;
    error_set(&error, status, NULL, "%s", why ? why : status_text(status));
    buf_init(&body, 0);
    buf_init(&head, 0);
    server->options.error_body(&error, &body);
    append_head(&head, server, status_http(status), "application/json", false);
    append_length(&head, status_http(status), body.len, false);
    if (status_http(status) == 503)
        buf_append_str(&head, "Retry-After: 1\r\n");
    write_head(connection, &head);
    if (!is_head)
        http_connection_write(connection, body.data, body.len);
    buf_release(&body);
    http_connection_flush_and_close(connection);
}
