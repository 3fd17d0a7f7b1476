/* From token pieces to text that may be shown: characters are never cut, and what may be the beginning of a
 * stop string is held back until it is clear. What has come out is a function of the bytes so far alone,
 * however they are cut into pieces. Linear in the bytes, at most CHAT_STOP_BYTES_MAX of them are held. Pure.
 *
 * Each stop string is searched with the automaton of Knuth, Morris and Pratt ("Fast pattern matching in
 * strings", 1977): its state is the length of the longest end of the text that begins the stop string, which
 * is also what has to be held back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "proto/chat.h"

struct text_filter_stop {
    const char *text; /* the caller's; outlives the filter */
    size_t len;       /* 1..CHAT_STOP_BYTES_MAX */
    size_t matched;   /* the text so far ends with this many first bytes of the stop string */
    /* fallback[i]: the longest beginning of the stop string that also ends its first i + 1 bytes, shorter
     * than these. */
    uint8_t fallback[CHAT_STOP_BYTES_MAX];
};

struct text_filter {
    struct text_filter_stop stops[CHAT_STOP_MAX];
    size_t stop_count;
    struct buf held; /* bytes that may not be shown yet */
};

/* `stop`: stop_count <= CHAT_STOP_MAX strings of valid UTF-8 with 1..CHAT_STOP_BYTES_MAX bytes. */
void text_filter_init(struct text_filter *filter, char *const *stop, size_t stop_count);
void text_filter_release(struct text_filter *filter); /* takes zeroed structs */
/* Adds a piece and appends to `out` what may be shown now. true: a stop string is complete; it and what
 * follows is not part of the text, and nothing more may be added. The stop string that is complete first
 * wins; of two that end together, the longer one. Bytes that can not become valid UTF-8 are replaced by
 * U+FFFD, one for each broken character. `out->failed` is set when memory is out, and then text may be
 * missing. */
MUST_USE bool text_filter_add(struct text_filter *filter, const char *piece, size_t len, struct buf *out);
/* The reply ended otherwise: appends all that was held back, but for a character that was left unfinished:
 * the limit cut it, the model did not mean it. After a complete stop string it appends nothing. */
void text_filter_finish(struct text_filter *filter, struct buf *out);
