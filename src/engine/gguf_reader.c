#include "engine/gguf_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool gguf_reader_has(const struct gguf_reader *reader, uint64_t count) {
    return reader->at <= reader->end && count <= reader->end - reader->at;
}

static bool fill(struct gguf_reader *reader) {
    uint64_t left = reader->end - reader->at;
    size_t want = left < GGUF_READER_BYTES ? (size_t)left : GGUF_READER_BYTES;
    ssize_t got;
    do
        got = pread(reader->fd, reader->buffer, want, (off_t)reader->at);
    while (got < 0 && errno == EINTR);
    reader->failed = got <= 0;
    reader->failed_errno = got < 0 ? errno : 0;
    reader->buffer_at = reader->at;
    reader->buffer_len = got > 0 ? (size_t)got : 0;
    return got > 0;
}

bool gguf_reader_take(struct gguf_reader *reader, void *out, size_t count) {
    if (!gguf_reader_has(reader, count))
        return false;
    char *to = out;
    while (count > 0) {
        bool inside = reader->at >= reader->buffer_at && reader->at - reader->buffer_at < reader->buffer_len;
        if (!inside && !fill(reader))
            return false;
        size_t offset = (size_t)(reader->at - reader->buffer_at);
        size_t part = reader->buffer_len - offset;
        if (part > count)
            part = count;
        memcpy(to, reader->buffer + offset, part);
        to += part;
        count -= part;
        reader->at += part;
    }
    return true;
}

bool gguf_reader_skip(struct gguf_reader *reader, uint64_t count) {
    if (!gguf_reader_has(reader, count))
        return false;
    reader->at += count;
    return true;
}
