#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
    MAX_DEFAULT = 1 << 30,
    CAP_FIRST = 64, /* most buffers hold a header line or a token event */
};

/* What `data` points to while nothing is allocated. Never written: cap is 0 then. */
static char nothing[1];

void buf_init(struct buf *buf, size_t max_bytes) {
    size_t max = max_bytes ? max_bytes : MAX_DEFAULT;
    /* The NUL must not make the allocation overflow. */
    *buf = (struct buf){.data = nothing, .max = max < SIZE_MAX / 2 ? max : SIZE_MAX / 2};
}

void buf_release(struct buf *buf) {
    if (!buf)
        return;
    if (buf->data != nothing)
        free(buf->data);
    *buf = (struct buf){0};
}

static void cut_to(struct buf *buf, size_t len) {
    buf->len = len;
    if (buf->cap > 0)
        buf->data[len] = '\0';
}

void buf_clear(struct buf *buf) {
    buf->failed = false;
    cut_to(buf, 0);
}

/* Makes room for `more` bytes. After a failure nothing is appended any more, so that the content is always a
 * prefix of what the writer meant. */
static bool reserve(struct buf *buf, size_t more) {
    if (buf->failed || more > buf->max - buf->len) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + more;
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap < CAP_FIRST / 2 ? CAP_FIRST : buf->cap * 2;
    cap = cap < need ? need : cap;
    cap = cap > buf->max ? buf->max : cap;
    char *data = realloc(buf->data == nothing ? NULL : buf->data, cap + 1);
    if (!data) {
        buf->failed = true;
        return false;
    }
    data[buf->len] = '\0';
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_append(struct buf *buf, const void *data, size_t len) {
    if (len == 0 || !reserve(buf, len))
        return;
    memcpy(buf->data + buf->len, data, len);
    cut_to(buf, buf->len + len);
}

void buf_append_str(struct buf *buf, const char *text) {
    buf_append(buf, text, strlen(text));
}

void buf_append_char(struct buf *buf, char c) {
    buf_append(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *format, ...) {
    size_t room = buf->cap > 0 ? buf->cap - buf->len + 1 : 0;
    va_list args;
    va_start(args, format);
    int wrote = vsnprintf(room ? buf->data + buf->len : NULL, room, format, args);
    va_end(args);
    size_t len = wrote < 0 ? SIZE_MAX : (size_t)wrote;
    if (!reserve(buf, len)) {
        cut_to(buf, buf->len);
        return;
    }
    if (len > 0 && len >= room) { /* an empty text must not be written into `nothing` */
        va_start(args, format);
        vsnprintf(buf->data + buf->len, len + 1, format, args);
        va_end(args);
    }
    buf->len += len;
}

void buf_append_u64(struct buf *buf, uint64_t value) {
    char digits[20]; /* 2^64 - 1 has 20 */
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_append(buf, digits + at, sizeof digits - at);
}

void buf_append_i64(struct buf *buf, int64_t value) {
    if (value >= 0) {
        buf_append_u64(buf, (uint64_t)value);
        return;
    }
    size_t start = buf->len;
    buf_append_char(buf, '-');
    buf_append_u64(buf, -(uint64_t)value);
    if (buf->failed && buf->len > start)
        cut_to(buf, start);
}

static bool needs_escape(unsigned char byte) {
    return byte < 0x20 || byte == '"' || byte == '\\';
}

static void append_escape(struct buf *buf, unsigned char byte) {
    static const char hex[] = "0123456789abcdef";
    switch (byte) {
    case '"':
        buf_append(buf, "\\\"", 2);
        break;
    case '\\':
        buf_append(buf, "\\\\", 2);
        break;
    case '\n':
        buf_append(buf, "\\n", 2);
        break;
    case '\r':
        buf_append(buf, "\\r", 2);
        break;
    case '\t':
        buf_append(buf, "\\t", 2);
        break;
    default:
        buf_append(buf, (const char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6);
    }
}

/* `text` is valid UTF-8. */
static void append_escaped(struct buf *buf, const char *text, size_t len) {
    size_t start = 0;
    for (size_t at = 0; at < len; at++) {
        unsigned char byte = (unsigned char)text[at];
        if (!needs_escape(byte))
            continue;
        buf_append(buf, text + start, at - start);
        append_escape(buf, byte);
        start = at + 1;
    }
    buf_append(buf, text + start, len - start);
}

void buf_append_json(struct buf *buf, const char *text, size_t len) {
    size_t start = buf->len;
    buf_append_char(buf, '"');
    for (size_t at = 0; at < len && !buf->failed;) {
        size_t valid = utf8_valid_prefix(text + at, len - at, NULL);
        append_escaped(buf, text + at, valid);
        at += valid;
        if (at < len) {
            buf_append(buf, "\xEF\xBF\xBD", 3);
            at++;
        }
    }
    buf_append_char(buf, '"');
    if (buf->failed)
        cut_to(buf, start);
}

void buf_drop_front(struct buf *buf, size_t len) {
    if (len == 0)
        return;
    size_t keep = len < buf->len ? buf->len - len : 0;
    if (keep > 0)
        memmove(buf->data, buf->data + len, keep);
    cut_to(buf, keep);
}

char *buf_take(struct buf *buf) {
    struct buf taken = *buf;
    buf_init(buf, taken.max);
    if (taken.failed) {
        buf_release(&taken);
        return NULL;
    }
    return taken.cap > 0 ? taken.data : calloc(1, 1);
}
