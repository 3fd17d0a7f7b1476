/* Bytes of a file in order, through a small buffer. Not for other folders. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum { GGUF_READER_BYTES = 32 * 1024 };

struct gguf_reader {
    int fd;
    uint64_t end; /* never read at or past it */
    uint64_t at;  /* of the next byte */
    uint64_t buffer_at;
    size_t buffer_len;
    int failed_errno; /* of pread; 0 for a file that is shorter than it was */
    bool failed;
    uint8_t buffer[GGUF_READER_BYTES];
};

/* Whether `count` more bytes are there. */
bool gguf_reader_has(const struct gguf_reader *reader, uint64_t count);
/* Copies `count` bytes out. false when they are not there (then nothing moved), or could not be read:
 * `failed`. */
MUST_USE bool gguf_reader_take(struct gguf_reader *reader, void *out, size_t count);
/* Only that they are there is checked. */
MUST_USE bool gguf_reader_skip(struct gguf_reader *reader, uint64_t count);
