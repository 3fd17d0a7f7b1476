/* Writes GGUF files for tests, byte by byte, wrong ones too. */
#pragma once

#include <stdint.h>

#include "base/buf.h"

enum {
    GGUF_U8 = 0,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_TEXT = 8,
    GGUF_LIST = 9,
    GGUF_U64 = 10,
};

void put_u32(struct buf *out, uint32_t value);
void put_u64(struct buf *out, uint64_t value);
void put_text(struct buf *out, const char *text);
/* A key and its type; the value is the caller's. */
void put_key(struct buf *out, const char *key, uint32_t type);
void put_key_u32(struct buf *out, const char *key, uint32_t value);
void put_key_text(struct buf *out, const char *key, const char *value);
/* A key and the head of a list; the elements are the caller's. */
void put_key_list(struct buf *out, const char *key, uint32_t element, uint64_t count);

struct tensor_bytes {
    const char *name;
    uint32_t dimensions;
    uint64_t size[5];
    uint32_t type;
    uint64_t offset;
};
void put_tensor(struct buf *out, const struct tensor_bytes *tensor);

/* What a file is made of; what is zero is as in a good one. */
struct gguf_bytes {
    const char *magic;
    uint32_t version;
    int64_t tensors;                    /* what the file says, above what is true */
    int64_t keys;                       /* as well */
    void (*more_keys)(struct buf *out); /* behind the good ones */
    int64_t more;                       /* how many they are */
    bool no_architecture;
    struct tensor_bytes first; /* instead of the first tensor, when it has a name */
    struct tensor_bytes second;
    bool no_tensors;
    int64_t alignment; /* of the data; 0: 32 */
    int64_t cut;       /* bytes missing at the end */
};
/* The first tensor is F32 [8, 2] (64 bytes), the second Q8_0 [32] (34 bytes). */
void gguf_bytes_write(struct buf *out, const struct gguf_bytes *what);
/* A file in memory that holds them; the caller closes it. */
int gguf_bytes_file(const void *data, size_t len);
