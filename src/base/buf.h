/* A growing byte buffer with a maximum. The content is always followed by a NUL that does not count.
 *
 * Appending past the maximum, or when memory runs out, does nothing but set `failed`; so a writer appends
 * freely and asks once at the end. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct buf {
    char *data; /* owned; never NULL between init and release */
    size_t len; /* bytes */
    size_t cap; /* bytes allocated, without the NUL */
    size_t max; /* bytes; the content never grows past it */
    bool
        failed; /* an append did not fit; the content is what was there before it, later appends do nothing */
};

/* `max_bytes` 0 means 1 GiB. Allocates nothing until the first append. */
void buf_init(struct buf *buf, size_t max_bytes);
/* Frees the content and leaves the struct zeroed. Takes NULL and zeroed structs. */
void buf_release(struct buf *buf);
/* Empties it, keeps the memory, clears `failed`. */
void buf_clear(struct buf *buf);

void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_str(struct buf *buf, const char *text);
void buf_append_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_append_u64(struct buf *buf, uint64_t value);
void buf_append_i64(struct buf *buf, int64_t value);
/* Appends a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so that the result is
 * always valid JSON. `text` need not end in NUL. */
void buf_append_json(struct buf *buf, const char *text, size_t len);
/* Removes the first `len` bytes (all when there are fewer). */
void buf_drop_front(struct buf *buf, size_t len);
/* Moves the content out: the caller frees it with free(); the buffer is empty afterwards.
 * NULL when the buffer has failed. */
char *buf_take(struct buf *buf);
