/* What a GGUF file is, read from its header alone, with nothing believed: the check before llama.cpp sees it.
 *
 * The format (github.com/ggml-org/ggml, docs/gguf.md): magic, version, number of tensors and of keys; the
 * keys with typed values; name, shape, type and offset of each tensor; then, aligned, the tensors' data.
 * Versions 2 and 3 are read, which differ in nothing that matters here; little-endian only.
 *
 * Everything that llama.cpp would have to trust is checked: lengths and counts against limits and against the
 * size of the file, sums for overflow, types of known keys, lists that must be as long as the vocabulary, and
 * that the data of the tensors lies where it should, without gaps, and inside the file. Nothing is allocated
 * by a count of the file. The data itself is not read, so files of any size take milliseconds; and what is in
 * it cannot be checked: a wrong weight is a weight.
 *
 * Any thread. Reads with pread, never mmap: a file that shrinks meanwhile is an error, not a signal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "engine/engine.h"

enum {
    GGUF_KEYS_MAX = 65536,
    GGUF_TENSORS_MAX = 131072,
    GGUF_KEY_BYTES_MAX = 256,          /* the format allows 65535; real keys have 60 at most */
    GGUF_TENSOR_NAME_MAX = 63,         /* bytes, llama.cpp's limit */
    GGUF_TEXT_BYTES_MAX = 8 << 20,     /* of one text: chat templates have some kilobytes */
    GGUF_HEADER_BYTES_MAX = 128 << 20, /* all before the data: a vocabulary of 256k tokens takes 16 MiB */
    GGUF_ALIGNMENT_MAX = 65536,        /* bytes */
    GGUF_LAYERS_MAX = 512,             /* llama.cpp's limit */
    GGUF_PARTS_MAX = 256,              /* files of a split model */
};

/* A number that is the same for all layers, or one for each. */
struct gguf_per_layer {
    uint64_t count; /* 0: not in the file, 1: a single number */
    int64_t max;
    int64_t sum; /* of a list */
};

struct gguf_info {
    int32_t version;
    char architecture[65];
    char name[129];        /* general.name; may be empty */
    char quantization[25]; /* general.file_type, as in Q4_K_M; without it, the type of most of the data */
    bool has_chat_template;
    bool template_has_tools; /* the word: most likely it writes the tools of a request into the prompt */
    int64_t tensors;         /* how many; this and the next three of all parts together */
    int64_t parameters;
    int64_t weights_bytes; /* the tensors' data */
    int64_t file_bytes;
    int64_t context_tokens; /* trained with; 0 where the file does not say, as are those that follow */
    int64_t embedding_width;
    int64_t layers;
    struct gguf_per_layer heads;
    struct gguf_per_layer heads_kv;
    int64_t key_width; /* of a head */
    int64_t value_width;
    int64_t attention_interval; /* only every so many-th layer has attention, and a cache; 0: all */
    int64_t latent_width;       /* of keys from which the values are made, too; 0: they are kept themselves */
    int64_t vocabulary;         /* tokens */
    int64_t alignment;          /* of the data, bytes */
    /* Of a model that is split into several files; otherwise 0. */
    int64_t part; /* of this file, 0.. */
    int64_t parts;
    int64_t parts_tensors; /* what all of them together should have */
};

/* Reads one file. `fd` stays open and its offset is not used. MODEL_LOAD_FAILED and a sentence with the
 * place (byte, and key or tensor) when it is not a sound GGUF file; then `out` is of no use. */
MUST_USE enum status gguf_read(int fd, struct gguf_info *out, struct error *error);

/* The same for a model by its path. Of a split model it must be the first part (NAME-00001-of-00003.gguf);
 * the other parts are read too. The sentence does not repeat the path, except of another part. */
MUST_USE enum status gguf_read_model(const char *path, struct gguf_info *out, struct error *error);

/* Whether `path` ends like a part of a split model; then *part counts from 0. */
bool gguf_is_part(const char *path, int *part, int *parts);

/* Memory that the KV cache of `tokens` tokens takes (all slots together), bytes. From the shape alone: right
 * for plain attention, an upper bound where layers have a window, or have no attention and the file does not
 * say so by an interval. INT64_MAX when it would not fit. */
int64_t gguf_cache_bytes(const struct gguf_info *info, enum engine_cache_type keys,
                         enum engine_cache_type values, int64_t tokens);
