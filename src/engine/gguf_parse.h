/* What the parts of the GGUF reader share (gguf.c, gguf_keys.c, gguf_tensors.c). Not for others. */
#pragma once

#include "base/map.h"
#include "engine/gguf.h"
#include "engine/gguf_reader.h"

struct gguf_parse {
    struct gguf_reader reader;
    struct gguf_info *info;
    struct error *error;
    uint64_t file_bytes;
    uint64_t tensor_count; /* as the file says */
    uint64_t key_count;
    uint64_t keys_at;
    /* What is being read, for messages: `key "x"` at this byte. */
    const char *noun;
    char name[GGUF_KEY_BYTES_MAX + 1];
    uint64_t name_at;
    struct map seen; /* keys or tensors by name; the values mean nothing */
    /* Lengths of the lists of the vocabulary; UINT64_MAX: not there. */
    uint64_t tokens;
    uint64_t merges;
    uint64_t scores;
    uint64_t token_types;
    uint64_t file_type; /* UINT64_MAX: not there */
};

/* Fills the error and returns false. */
bool gguf_refuse(struct gguf_parse *parse, const char *format, ...) PRINTF_LIKE(2, 3);
/* As gguf_reader_take, with an error. */
MUST_USE bool gguf_take(struct gguf_parse *parse, void *out, size_t count);
MUST_USE bool gguf_skip(struct gguf_parse *parse, uint64_t count);
/* Reads the name of a key or tensor into `name`: 1 to `max` bytes of printable UTF-8. */
MUST_USE bool gguf_take_name(struct gguf_parse *parse, const char *noun, size_t max);
/* Refuses a name that was there before. */
MUST_USE bool gguf_note_name(struct gguf_parse *parse);
void gguf_forget_names(struct gguf_parse *parse);

MUST_USE bool gguf_read_keys(struct gguf_parse *parse);
MUST_USE bool gguf_read_tensors(struct gguf_parse *parse);
