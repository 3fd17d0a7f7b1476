#include "lib/reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

static int on_header_field(http_parser *parser, const char *name, size_t len) {
    struct reply *reply = parser->data;
    reply->is_retry_after = len == strlen("Retry-After") && strncasecmp(name, "Retry-After", len) == 0;
    return 0;
}

static int on_header_value(http_parser *parser, const char *value, size_t len) {
    struct reply *reply = parser->data;
    for (size_t i = 0; reply->is_retry_after && i < len && value[i] >= '0' && value[i] <= '9'; i++)
        reply->retry_after_s = reply->retry_after_s * 10 + (value[i] - '0');
    return 0;
}

/* The text behind `key` in the line; NULL without it. */
static const char *find(const char *line, size_t len, const char *key) {
    const char *at = memmem(line, len, key, strlen(key));
    return at ? at + strlen(key) : NULL;
}

/* Its length up to the quote that ends it. */
static size_t string_len(const char *text, const char *end) {
    const char *at = text;
    while (at < end && *at != '"')
        at += *at == '\\' ? 2 : 1;
    return (size_t)((at < end ? at : end) - text);
}

static void take_number(const char *line, size_t len, const char *key, int *out) {
    const char *number = find(line, len, key);
    if (number)
        *out = (int)strtol(number, NULL, 10);
}

/* One line of the stream. Both servers write JSON without spaces. */
static void take_line(struct reply *reply, const char *line, size_t len) {
    const char *end = line + len;
    const char *content = find(line, len, "\"content\":\"");
    const char *finish = find(line, len, "\"finish_reason\":\"");
    size_t content_len = content ? string_len(content, end) : 0;
    if (find(line, len, "data: [DONE]"))
        reply->done = true;
    if (find(line, len, "\"error\":{"))
        reply->failed = true;
    if (content_len > 0) {
        buf_append(&reply->text, content, content_len);
        if (!reply->first_us)
            reply->first_us = reply->last_us;
    }
    if (finish) {
        size_t finish_len = string_len(finish, end);
        finish_len = finish_len < REPLY_WORD_MAX ? finish_len : REPLY_WORD_MAX - 1;
        memcpy(reply->finish, finish, finish_len);
        reply->finish[finish_len] = '\0';
    }
    take_number(line, len, "\"prompt_tokens\":", &reply->prompt_tokens);
    take_number(line, len, "\"cached_tokens\":", &reply->cached_tokens);
    take_number(line, len, "\"completion_tokens\":", &reply->completion_tokens);
}

static int on_body(http_parser *parser, const char *data, size_t len) {
    struct reply *reply = parser->data;
    struct buf *lines = &reply->lines;
    const char *end;
    size_t done = 0;
    buf_append(lines, data, len);
    while ((end = memchr(lines->data + done, '\n', lines->len - done))) {
        size_t line = (size_t)(end - lines->data) - done;
        take_line(reply, lines->data + done, line);
        done += line + 1;
    }
    buf_drop_front(lines, done);
    return 0;
}

static int on_complete(http_parser *parser) {
    struct reply *reply = parser->data;
    reply->complete = true;
    return 0;
}

static const http_parser_settings settings = {.on_header_field = on_header_field,
                                              .on_header_value = on_header_value,
                                              .on_body = on_body,
                                              .on_message_complete = on_complete};

void reply_init(struct reply *reply) {
    *reply = (struct reply){0};
    buf_init(&reply->text, 0);
    buf_init(&reply->lines, 0);
}

void reply_release(struct reply *reply) {
    buf_release(&reply->text);
    buf_release(&reply->lines);
}

void reply_begin(struct reply *reply) {
    struct buf text = reply->text, lines = reply->lines;
    buf_clear(&text);
    buf_clear(&lines);
    *reply = (struct reply){.text = text, .lines = lines, .sent_us = clock_us()};
    http_parser_init(&reply->parser, HTTP_RESPONSE);
    reply->parser.data = reply;
}

bool reply_take(struct reply *reply, const char *bytes, size_t len) {
    reply->last_us = clock_us();
    http_parser_execute(&reply->parser, &settings, bytes, len);
    reply->status = reply->parser.status_code;
    return reply->complete;
}

bool reply_is_right(const struct reply *reply) {
    return reply->status == 200 && reply->done && !reply->failed && reply->first_us && reply->finish[0];
}
