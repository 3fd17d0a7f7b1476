/* Debian builds http_parser without its strict checks: it takes folded headers, bare line feeds and chunks
 * that do not end where they say. A proxy before us may cut such bytes differently, and what one of us holds
 * for a body the other would hold for a request. So every byte the parser took is looked at here once more.
 */
#include "net/http_internal.h"

static bool is_hex(unsigned char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static uint64_t hex_value(unsigned char c) {
    return (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static bool expect(struct http_strict *strict, bool holds, enum http_strict_state next) {
    strict->state = next;
    return holds;
}

/* That there is a digit and that the number does not overflow, the parser has seen to. */
static bool check_size(struct http_strict *strict, unsigned char c) {
    if (is_hex(c)) {
        strict->chunk_left = strict->chunk_left << 4 | hex_value(c);
        return true;
    }
    return expect(strict, c == ';' || c == '\r', c == ';' ? STRICT_EXTENSION : STRICT_SIZE_LF);
}

/* One byte of anything but chunk data. */
static bool check_byte(struct http_strict *strict, unsigned char c) {
    switch (strict->state) {
    case STRICT_START:
        return expect(strict, true, c == '\r' || c == '\n' ? STRICT_START : STRICT_REQUEST_LINE);
    case STRICT_REQUEST_LINE:
        return expect(strict, c == '\r' || (c >= ' ' && c < 0x7f),
                      c == '\r' ? STRICT_LINE_LF : strict->state);
    case STRICT_LINE_BEGIN:
        if (c == '\r')
            return expect(strict, true, STRICT_LAST_LF);
        return expect(strict, c != ' ' && c != '\t' && c != '\n', STRICT_LINE);
    case STRICT_LINE:
        return expect(strict, c != '\n', c == '\r' ? STRICT_LINE_LF : STRICT_LINE);
    case STRICT_LINE_LF:
        return expect(strict, c == '\n', STRICT_LINE_BEGIN);
    case STRICT_LAST_LF:
        return expect(strict, c == '\n', STRICT_BODY);
    case STRICT_SIZE:
        return check_size(strict, c);
    case STRICT_EXTENSION:
        return expect(strict, c != '\n', c == '\r' ? STRICT_SIZE_LF : STRICT_EXTENSION);
    case STRICT_SIZE_LF:
        /* Behind the chunk of no bytes come the trailers, lines as in the head. */
        return expect(strict, c == '\n', strict->chunk_left > 0 ? STRICT_CHUNK : STRICT_LINE_BEGIN);
    case STRICT_CHUNK_CR:
        return expect(strict, c == '\r', STRICT_CHUNK_LF);
    case STRICT_CHUNK_LF:
        return expect(strict, c == '\n', STRICT_SIZE);
    case STRICT_BODY:
    case STRICT_CHUNK:
        break;
    }
    return true;
}

static size_t skip_chunk(struct http_strict *strict, size_t len) {
    if (len > strict->chunk_left)
        len = (size_t)strict->chunk_left;
    strict->chunk_left -= len;
    if (strict->chunk_left == 0)
        strict->state = STRICT_CHUNK_CR;
    return len;
}

bool http_strict_check(struct http_strict *strict, bool chunked, const char *data, size_t len) {
    size_t i = 0;
    while (i < len) {
        if (strict->state == STRICT_BODY && !chunked)
            return true; /* of a known length, which the parser counts */
        if (strict->state == STRICT_BODY)
            strict->state = STRICT_SIZE;
        if (strict->state == STRICT_CHUNK)
            i += skip_chunk(strict, len - i);
        else if (!check_byte(strict, (unsigned char)data[i++]))
            return false;
    }
    return true;
}
