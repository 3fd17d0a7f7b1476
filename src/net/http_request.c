/* From bytes to a request, and the handler's view of it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/http_internal.h"

static int refuse(struct http_connection *connection, enum status status, const char *why) {
    connection->refusal = status;
    connection->why = why;
    return -1;
}

static struct http_exchange *new_exchange(struct http_connection *connection) {
    struct http_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    const struct http_options *options = &connection->server->options;
    exchange->connection = connection;
    /* A NUL behind each piece; a piece has at least one byte. */
    buf_init(&exchange->request.text, options->head_max_bytes * 2);
    buf_init(&exchange->request.body, options->body_max_bytes);
    buf_init(&exchange->extra_headers, options->head_max_bytes);
    return exchange;
}

void http_exchange_free(struct http_exchange *exchange) {
    if (!exchange)
        return;
    buf_release(&exchange->request.text);
    buf_release(&exchange->request.body);
    buf_release(&exchange->extra_headers);
    free(exchange->request.path);
    free(exchange);
}

static int on_begin(http_parser *parser) {
    struct http_connection *connection = parser->data;
    connection->exchange = new_exchange(connection);
    if (!connection->exchange)
        return refuse(connection, STATUS_INTERNAL_ERROR, NULL);
    connection->state = HTTP_READING;
    connection->strict = (struct http_strict){0};
    connection->head_bytes = 0;
    connection->head_done = false;
    connection->request_done = false;
    loop_timer_arm(&connection->timer, connection->server->options.head_timeout_ms);
    return 0;
}

/* Cannot grow past its bound before head_max_bytes refuses the request; so this is memory. */
static int check_text(struct http_connection *connection) {
    if (connection->exchange->request.text.failed)
        return refuse(connection, STATUS_INTERNAL_ERROR, NULL);
    return 0;
}

static int on_url(http_parser *parser, const char *data, size_t len) {
    struct http_connection *connection = parser->data;
    buf_append(&connection->exchange->request.text, data, len);
    return check_text(connection);
}

static bool is_token(const char *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (data[i] <= ' ' || data[i] == 0x7f)
            return false;
    return true;
}

static int on_header_name(http_parser *parser, const char *data, size_t len) {
    struct http_connection *connection = parser->data;
    struct http_request *request = &connection->exchange->request;
    if (connection->head_done)
        return 0; /* a trailer of a chunked body */
    /* The parser lets "Content-Length : 5" pass; a proxy before us may have read something else in it. */
    if (!is_token(data, len))
        return refuse(connection, STATUS_BAD_HTTP_REQUEST, "A header's name has a space in it.");
    if (request->headers_count == 0 || request->in_value) {
        if (request->headers_count == HTTP_HEADERS_MAX)
            return refuse(connection, STATUS_HEADERS_TOO_LARGE, "The request has too many headers.");
        buf_append_char(&request->text, '\0');
        request->headers[request->headers_count++] =
            (struct http_header_at){.name = (uint32_t)request->text.len};
        request->in_value = false;
    }
    buf_append(&request->text, data, len);
    return check_text(connection);
}

static int on_header_value(http_parser *parser, const char *data, size_t len) {
    struct http_connection *connection = parser->data;
    struct http_request *request = &connection->exchange->request;
    if (connection->head_done)
        return 0;
    if (!request->in_value) {
        buf_append_char(&request->text, '\0');
        request->headers[request->headers_count - 1].value = (uint32_t)request->text.len;
        request->in_value = true;
    }
    buf_append(&request->text, data, len);
    return check_text(connection);
}

static const char *header_name(const struct http_request *request, size_t i) {
    return request->text.data + request->headers[i].name;
}

static const char *header_value(const struct http_request *request, size_t i) {
    return request->text.data + request->headers[i].value;
}

/* The parser leaves the white space behind a value. */
static void trim_values(struct http_request *request) {
    for (size_t i = 0; i < request->headers_count; i++) {
        char *value = request->text.data + request->headers[i].value;
        size_t len = strlen(value);
        while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
            value[--len] = '\0';
    }
}

static size_t count_headers(const struct http_request *request, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < request->headers_count; i++)
        count += strcasecmp(header_name(request, i), name) == 0;
    return count;
}

static const char *find_header(const struct http_request *request, const char *name) {
    for (size_t i = 0; i < request->headers_count; i++)
        if (strcasecmp(header_name(request, i), name) == 0)
            return header_value(request, i);
    return NULL;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. false for a broken escape and for one of NUL. */
static bool decode(char *text) {
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        int high = hex_digit(in[1]);
        int low = high < 0 ? -1 : hex_digit(in[2]);
        if (low < 0 || high + low == 0)
            return false;
        *out++ = (char)(high << 4 | low);
        in += 2;
    }
    *out = '\0';
    return true;
}

/* `/path?query`, the absolute form a proxy is given, or `*`. */
static const char *path_begin(const char *url) {
    const char *scheme_end = strstr(url, "://");
    if (*url == '/' || *url == '*' || !scheme_end)
        return url;
    const char *path = strpbrk(scheme_end + 3, "/?#");
    return path ? path : "";
}

static int read_url(struct http_connection *connection, struct http_request *request) {
    const char *path = path_begin(request->text.data);
    size_t path_len = strcspn(path, "?#");
    request->path = path_len > 0 ? strndup(path, path_len) : strdup("/");
    if (!request->path)
        return refuse(connection, STATUS_INTERNAL_ERROR, NULL);
    if (!decode(request->path))
        return refuse(connection, STATUS_BAD_HTTP_REQUEST, "The URL has a malformed % escape.");
    request->query = "";
    if (path[path_len] == '?') {
        /* The text is ours, only reached by a const pointer. */
        char *query = request->text.data + (path + path_len + 1 - request->text.data);
        query[strcspn(query, "#")] = '\0';
        request->query = query;
    }
    return 0;
}

/* Whatever another reader of the same bytes might cut differently is refused, not guessed. */
static int check_framing(struct http_connection *connection, const struct http_request *request) {
    const http_parser *parser = &connection->parser;
    const char *coding = find_header(request, "transfer-encoding");
    if (parser->http_major != 1)
        return refuse(connection, STATUS_BAD_HTTP_REQUEST, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    size_t hosts = count_headers(request, "host");
    if (hosts > 1 || (hosts == 0 && !request->is_http10))
        return refuse(connection, STATUS_BAD_HTTP_REQUEST, "The request needs exactly one Host header.");
    if (coding && (request->is_http10 || count_headers(request, "transfer-encoding") > 1 ||
                   strcasecmp(coding, "chunked") != 0 || find_header(request, "content-length")))
        return refuse(connection, STATUS_BAD_HTTP_REQUEST,
                      "Transfer-Encoding may only be chunked, in HTTP/1.1, without Content-Length.");
    return 0;
}

static void answer_expectation(struct http_connection *connection, const struct http_request *request) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *expect = find_header(request, "expect");
    if (expect && strcasecmp(expect, "100-continue") == 0 && !request->is_http10)
        http_connection_write(connection, go_on, sizeof go_on - 1);
}

static int on_head(http_parser *parser) {
    struct http_connection *connection = parser->data;
    struct http_request *request = &connection->exchange->request;
    /* Otherwise the parser would take what follows for another protocol. */
    parser->upgrade = 0;
    connection->head_done = true;
    request->method = parser->method;
    request->is_http10 = parser->http_major == 1 && parser->http_minor == 0;
    request->is_chunked = (parser->flags & F_CHUNKED) != 0;
    buf_append_char(&request->text, '\0');
    if (check_text(connection) != 0)
        return -1;
    trim_values(request);
    if (check_framing(connection, request) != 0 || read_url(connection, request) != 0)
        return -1;
    bool has_length = (parser->flags & F_CONTENTLENGTH) != 0;
    if (has_length && parser->content_length > connection->server->options.body_max_bytes)
        return refuse(connection, STATUS_PAYLOAD_TOO_LARGE, NULL);
    answer_expectation(connection, request);
    return 0;
}

static int on_body(http_parser *parser, const char *data, size_t len) {
    struct http_connection *connection = parser->data;
    struct buf *body = &connection->exchange->request.body;
    if (len > connection->server->options.body_max_bytes - body->len)
        return refuse(connection, STATUS_PAYLOAD_TOO_LARGE, NULL);
    buf_append(body, data, len);
    if (body->failed)
        return refuse(connection, STATUS_INTERNAL_ERROR, NULL);
    return 0;
}

static int on_end(http_parser *parser) {
    struct http_connection *connection = parser->data;
    connection->request_done = true;
    connection->exchange->request.keep_alive = http_should_keep_alive(parser) != 0;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_header_name,
    .on_header_value = on_header_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_end,
};

static void look_at_parser_error(struct http_connection *connection) {
    enum http_errno problem = HTTP_PARSER_ERRNO(&connection->parser);
    if (problem == HPE_OK || problem == HPE_PAUSED || connection->refusal != STATUS_OK)
        return;
    if (problem == HPE_HEADER_OVERFLOW)
        refuse(connection, STATUS_HEADERS_TOO_LARGE, NULL);
    else
        refuse(connection, STATUS_BAD_HTTP_REQUEST, NULL);
}

static void check_strictly(struct http_connection *connection, const char *data, size_t len) {
    bool chunked = connection->exchange && connection->exchange->request.is_chunked;
    if (connection->refusal == STATUS_OK && !http_strict_check(&connection->strict, chunked, data, len))
        refuse(connection, STATUS_BAD_HTTP_REQUEST, "The request's lines or chunks are malformed.");
}

size_t http_request_parse(struct http_connection *connection, const char *data, size_t len) {
    bool in_head = connection->state == HTTP_READING && !connection->head_done;
    size_t head_left = connection->server->options.head_max_bytes - (in_head ? connection->head_bytes : 0);
    if ((in_head || connection->state == HTTP_IDLE) && len > head_left)
        len = head_left;
    size_t taken = http_parser_execute(&connection->parser, &settings, data, len);
    look_at_parser_error(connection);
    check_strictly(connection, data, taken);
    if (connection->state == HTTP_READING && !connection->head_done) {
        connection->head_bytes += taken;
        if (connection->refusal == STATUS_OK &&
            connection->head_bytes >= connection->server->options.head_max_bytes)
            refuse(connection, STATUS_HEADERS_TOO_LARGE, NULL);
    }
    return taken;
}

const char *http_method(const struct http_exchange *exchange) {
    return http_method_str((enum http_method)exchange->request.method);
}

const char *http_path(const struct http_exchange *exchange) {
    return exchange->request.path;
}

const char *http_query(const struct http_exchange *exchange) {
    return exchange->request.query;
}

const char *http_header(const struct http_exchange *exchange, const char *name) {
    return find_header(&exchange->request, name);
}

const char *http_body(const struct http_exchange *exchange, size_t *len) {
    *len = exchange->request.body.len;
    return *len > 0 ? exchange->request.body.data : "";
}

void http_body_drop(struct http_exchange *exchange) {
    buf_release(&exchange->request.body);
}
