#include "gguf_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

void put_u32(struct buf *out, uint32_t value) {
    buf_append(out, &value, sizeof value);
}

void put_u64(struct buf *out, uint64_t value) {
    buf_append(out, &value, sizeof value);
}

void put_text(struct buf *out, const char *text) {
    put_u64(out, strlen(text));
    buf_append_str(out, text);
}

void put_key(struct buf *out, const char *key, uint32_t type) {
    put_text(out, key);
    put_u32(out, type);
}

void put_key_u32(struct buf *out, const char *key, uint32_t value) {
    put_key(out, key, GGUF_U32);
    put_u32(out, value);
}

void put_key_text(struct buf *out, const char *key, const char *value) {
    put_key(out, key, GGUF_TEXT);
    put_text(out, value);
}

void put_key_list(struct buf *out, const char *key, uint32_t element, uint64_t count) {
    put_key(out, key, GGUF_LIST);
    put_u32(out, element);
    put_u64(out, count);
}

void put_tensor(struct buf *out, const struct tensor_bytes *tensor) {
    put_text(out, tensor->name);
    put_u32(out, tensor->dimensions);
    for (uint32_t i = 0; i < tensor->dimensions && i < 5; i++)
        put_u64(out, tensor->size[i]);
    put_u32(out, tensor->type);
    put_u64(out, tensor->offset);
}

static int64_t put_good_keys(struct buf *out, bool no_architecture) {
    if (!no_architecture)
        put_key_text(out, "general.architecture", "tiny");
    put_key_u32(out, "tiny.context_length", 128);
    put_key_u32(out, "tiny.embedding_length", 8);
    put_key_u32(out, "tiny.block_count", 3);
    put_key_u32(out, "tiny.attention.head_count", 4);
    put_key_u32(out, "tiny.attention.head_count_kv", 2);
    put_key_list(out, "tokenizer.ggml.tokens", GGUF_TEXT, 3);
    put_text(out, "a");
    put_text(out, "");
    put_text(out, "b");
    return no_architecture ? 6 : 7;
}

void gguf_bytes_write(struct buf *out, const struct gguf_bytes *what) {
    static const struct tensor_bytes first = {"first", 2, {8, 2}, 0, 0}, second = {"second", 1, {32}, 8, 64};
    static const char zeros[128];
    struct buf keys;
    buf_init(&keys, 0);
    int64_t key_count = put_good_keys(&keys, what->no_architecture) + what->more;
    if (what->more_keys)
        what->more_keys(&keys);
    buf_append_str(out, what->magic ? what->magic : "GGUF");
    put_u32(out, what->version ? what->version : 3);
    put_u64(out, (uint64_t)((what->no_tensors ? 0 : 2) + what->tensors));
    put_u64(out, (uint64_t)(key_count + what->keys));
    buf_append(out, keys.data, keys.len);
    buf_release(&keys);
    if (!what->no_tensors) {
        put_tensor(out, what->first.name ? &what->first : &first);
        put_tensor(out, what->second.name ? &what->second : &second);
    }
    size_t alignment = what->alignment ? (size_t)what->alignment : 32;
    while (out->len % alignment != 0)
        buf_append_char(out, '\0');
    buf_append(out, zeros, 64 + 34);
    out->len -= (size_t)what->cut;
}

int gguf_bytes_file(const void *data, size_t len) {
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    return fd;
}
