/* Input: up to four stop strings and the text, each ended by a NUL byte, then one byte for each piece's
 * length. After every piece, what has come out is what a fresh filter says about the same bytes in one piece,
 * and it is valid UTF-8. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "worker/text_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 512 }; /* the comparison is quadratic */

struct input {
    char *stop[CHAT_STOP_MAX]; /* owned */
    size_t stop_count;
    const char *text;
    size_t len;
    const uint8_t *cuts;
    size_t cut_count;
};

static void must(bool condition) {
    if (!condition)
        abort();
}

/* The bytes up to the next NUL or the end, which are skipped. */
static const uint8_t *take_part(const uint8_t **at, size_t *left, size_t *len) {
    const uint8_t *part = *at;
    const uint8_t *end = *left > 0 ? memchr(part, 0, *left) : NULL;
    *len = end ? (size_t)(end - part) : *left;
    size_t skip = *len + (end ? 1 : 0);
    *at += skip;
    *left -= skip;
    return part;
}

static void read_input(struct input *input, const uint8_t *data, size_t size) {
    *input = (struct input){.stop_count = 0};
    size_t len;
    for (int i = 0; i < CHAT_STOP_MAX; i++) {
        const char *stop = (const char *)take_part(&data, &size, &len);
        if (len > 0 && len <= CHAT_STOP_BYTES_MAX && utf8_is_valid(stop, len))
            input->stop[input->stop_count++] = strndup(stop, len);
    }
    input->text = (const char *)take_part(&data, &size, &len);
    input->len = len < TEXT_MAX ? len : TEXT_MAX;
    input->cuts = data;
    input->cut_count = size;
}

static void check_same(const struct input *input, size_t len, bool stopped, bool finish,
                       const struct buf *shown) {
    struct text_filter filter;
    struct buf out;
    text_filter_init(&filter, input->stop, input->stop_count);
    buf_init(&out, 0);
    bool whole_stopped = text_filter_add(&filter, input->text, len, &out);
    if (finish)
        text_filter_finish(&filter, &out);
    must(whole_stopped == stopped);
    must(out.len == shown->len && memcmp(out.data, shown->data, out.len) == 0);
    must(utf8_is_valid(out.data, out.len));
    buf_release(&out);
    text_filter_release(&filter);
}

static void check_pieces(const struct input *input) {
    struct text_filter filter;
    struct buf out;
    text_filter_init(&filter, input->stop, input->stop_count);
    buf_init(&out, 0);
    bool stopped = false;
    size_t at = 0;
    for (size_t i = 0; at < input->len && !stopped; i++) {
        size_t piece = i < input->cut_count ? input->cuts[i] % 16 : 1;
        piece = piece < input->len - at ? piece : input->len - at;
        stopped = text_filter_add(&filter, input->text + at, piece, &out);
        at += piece;
        check_same(input, at, stopped, false, &out);
    }
    text_filter_finish(&filter, &out);
    check_same(input, at, stopped, true, &out);
    buf_release(&out);
    text_filter_release(&filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input;
    read_input(&input, data, size);
    check_pieces(&input);
    for (size_t i = 0; i < input.stop_count; i++)
        free(input.stop[i]);
    return 0;
}
