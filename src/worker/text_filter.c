/* The three limits of what may be shown, which all lie on character boundaries: the beginning of a complete
 * stop string, the beginning of what may become one, and the beginning of an unfinished character. The first
 * two do because stop strings are valid UTF-8: a byte that begins a character ends any broken one before it.
 * So the text before such a limit never changes with what comes later, which makes the output independent of
 * the cuts. */
#include "worker/text_filter.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

static const char replacement[] = "\xEF\xBF\xBD";

/* The state after one more byte; it may be the whole length. `matched` < len. */
static size_t advance(const struct text_filter_stop *stop, size_t matched, char byte) {
    while (matched > 0 && stop->text[matched] != byte)
        matched = stop->fallback[matched - 1];
    return stop->text[matched] == byte ? matched + 1 : 0;
}

static void stop_init(struct text_filter_stop *stop, const char *text) {
    *stop = (struct text_filter_stop){.text = text, .len = strlen(text)};
    assert(stop->len > 0 && stop->len <= CHAT_STOP_BYTES_MAX);
    for (size_t i = 1; i < stop->len; i++)
        stop->fallback[i] = (uint8_t)advance(stop, stop->fallback[i - 1], text[i]);
}

void text_filter_init(struct text_filter *filter, char *const *stop, size_t stop_count) {
    assert(stop_count <= CHAT_STOP_MAX);
    *filter = (struct text_filter){.stop_count = stop_count};
    for (size_t i = 0; i < stop_count; i++)
        stop_init(&filter->stops[i], stop[i]);
    buf_init(&filter->held, 0);
}

void text_filter_release(struct text_filter *filter) {
    buf_release(&filter->held);
    *filter = (struct text_filter){0};
}

/* Moves all automata on by one byte. Returns the length of the longest stop string that is complete with it.
 */
static size_t match_byte(struct text_filter *filter, char byte) {
    size_t complete = 0;
    for (size_t i = 0; i < filter->stop_count; i++) {
        struct text_filter_stop *stop = &filter->stops[i];
        stop->matched = advance(stop, stop->matched, byte);
        if (stop->matched == stop->len && stop->len > complete)
            complete = stop->len;
    }
    return complete;
}

static size_t longest_match(const struct text_filter *filter) {
    size_t longest = 0;
    for (size_t i = 0; i < filter->stop_count; i++) {
        if (filter->stops[i].matched > longest)
            longest = filter->stops[i].matched;
    }
    return longest;
}

/* How many bytes one U+FFFD stands for: the longest beginning of a character, or one byte that begins none.
 */
static size_t broken_len(const char *text, size_t len) {
    for (size_t n = len < 3 ? len : 3; n > 1; n--) {
        bool truncated = false;
        if (utf8_valid_prefix(text, n, &truncated) == 0 && truncated)
            return n;
    }
    return 1;
}

/* Shows `len` bytes as valid UTF-8 and returns how many were used: all of them, but for an unfinished
 * character at the end when more may come. */
static size_t show(const char *text, size_t len, bool more, struct buf *out) {
    size_t at = 0;
    while (at < len) {
        bool truncated = false;
        size_t valid = utf8_valid_prefix(text + at, len - at, &truncated);
        buf_append(out, text + at, valid);
        at += valid;
        if (at == len || (truncated && more))
            break;
        buf_append(out, replacement, sizeof replacement - 1);
        at += broken_len(text + at, len - at);
    }
    return at;
}

/* Handles held bytes from `from` on; the end of a complete stop string, or 0. */
static size_t find_stop(struct text_filter *filter, size_t from, size_t *stop_len) {
    for (size_t at = from; at < filter->held.len; at++) {
        *stop_len = match_byte(filter, filter->held.data[at]);
        if (*stop_len > 0)
            return at + 1;
    }
    return 0;
}

bool text_filter_add(struct text_filter *filter, const char *piece, size_t len, struct buf *out) {
    struct buf *held = &filter->held;
    size_t before = held->len;
    buf_append(held, piece, len);
    if (held->failed)
        out->failed = true;
    size_t stop_len = 0;
    size_t stop_end = find_stop(filter, before, &stop_len);
    if (stop_end > 0) {
        show(held->data, stop_end - stop_len, false, out);
        buf_clear(held);
        return true;
    }
    size_t pending = longest_match(filter);
    buf_drop_front(held, show(held->data, held->len - pending, pending == 0, out));
    return false;
}

void text_filter_finish(struct text_filter *filter, struct buf *out) {
    show(filter->held.data, filter->held.len, true, out);
    buf_clear(&filter->held);
}
