/* A model of a size that makes the engine work: about 146 million random weights, Llama architecture, 12
 * layers of width 768, Q8_0. Its words mean nothing; its steps cost what those of a trained model of this
 * shape cost. Tokenizer and chat template are those of another model, whose vocabulary is filled up with
 * unused tokens to 32,000, so that the head and the sampler work as hard as real ones.
 *
 * The same seed makes the same bytes. Only tokens that are a whole word can win: the head's rows of all
 * others are zero. So a reply never ends before its max_tokens, and its text has the same tokens when it
 * comes back in a later prompt.
 *
 *     bench_make_model --tokenizer GGUF [--out GGUF]     prints the path; makes nothing that is there
 *
 * Without --out: in the cache folder, ${MLX_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/mlx-serving}. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "ggml.h"
#include "gguf.h"

/* In the file's name: another one whenever what is made changes. */
#define MODEL_VERSION "1"

enum {
    LAYERS = 12,
    WIDTH = 768,
    HEADS = 12,
    HEADS_KV = 4,
    HEAD_WIDTH = WIDTH / HEADS,
    KV_WIDTH = HEAD_WIDTH * HEADS_KV,
    FEED_FORWARD = 2816,
    VOCABULARY = 32000,
    CONTEXT_TOKENS = 8192,
    WORD_LETTERS_MIN = 2,
    MODEL_SEED = 1,
    TENSOR_BYTES_MAX = 256 << 20, /* what all tensors take, and more */
    UNUSED_TOKEN = 5,             /* tokenizer.ggml.token_type */
    NAME_MAX_BYTES = 64,
    OUT_PATH_MAX = 4096,
};

struct maker {
    struct gguf_context *file;
    struct ggml_context *tensors;
    struct rng rng;
    bool *is_word; /* owned; by token */
};

static void give_up(const char *what, const char *why) {
    fprintf(stderr, "make_model: %s: %s\n", what, why);
    exit(1);
}

/* As tokenizers of this kind write a word with the space before it: U+0120 and its letters. */
static bool is_word(const char *token) {
    if (strncmp(token, "\xc4\xa0", 2) != 0)
        return false;
    size_t letters = 0;
    while (islower((unsigned char)token[2 + letters]))
        letters++;
    return letters >= WORD_LETTERS_MIN && token[2 + letters] == '\0';
}

static int64_t key_of(const struct gguf_context *file, const char *key) {
    int64_t id = gguf_find_key(file, key);
    if (id < 0)
        give_up("the tokenizer's file does not have", key);
    return id;
}

/* The source's tokens and their types, filled up; notes which are words. */
static void set_vocabulary(struct maker *maker, const struct gguf_context *source) {
    static const char *tokens[VOCABULARY];
    static char unused[VOCABULARY][16];
    static int32_t types[VOCABULARY];
    int64_t tokens_key = key_of(source, "tokenizer.ggml.tokens");
    const int32_t *source_types = gguf_get_arr_data(source, key_of(source, "tokenizer.ggml.token_type"));
    size_t count = gguf_get_arr_n(source, tokens_key), words = 0;
    if (count > VOCABULARY)
        give_up("--tokenizer", "its vocabulary is larger than the model's");
    for (size_t i = 0; i < VOCABULARY; i++) {
        snprintf(unused[i], sizeof(unused[i]), "<|unused%zu|>", i);
        tokens[i] = i < count ? gguf_get_arr_str(source, tokens_key, i) : unused[i];
        types[i] = i < count ? source_types[i] : UNUSED_TOKEN;
        maker->is_word[i] = i < count && is_word(tokens[i]);
        words += maker->is_word[i];
    }
    if (words == 0)
        give_up("--tokenizer", "no token is a word");
    gguf_set_arr_str(maker->file, "tokenizer.ggml.tokens", tokens, VOCABULARY);
    gguf_set_arr_data(maker->file, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types, VOCABULARY);
}

static void set_shape(struct gguf_context *file) {
    static const struct {
        const char *key;
        uint32_t value;
    } shape[] = {
        {"llama.context_length", CONTEXT_TOKENS},
        {"llama.embedding_length", WIDTH},
        {"llama.block_count", LAYERS},
        {"llama.feed_forward_length", FEED_FORWARD},
        {"llama.attention.head_count", HEADS},
        {"llama.attention.head_count_kv", HEADS_KV},
        {"llama.rope.dimension_count", HEAD_WIDTH},
        {"llama.vocab_size", VOCABULARY},
    };
    gguf_set_val_str(file, "general.name", "Benchmark 146M");
    gguf_set_val_str(file, "general.description", "Random weights, made for measuring.");
    for (size_t i = 0; i < sizeof(shape) / sizeof(*shape); i++)
        gguf_set_val_u32(file, shape[i].key, shape[i].value);
}

static void add_norm(struct maker *maker, const char *name) {
    struct ggml_tensor *norm = ggml_new_tensor_1d(maker->tensors, GGML_TYPE_F32, WIDTH);
    ggml_set_name(norm, name);
    for (int i = 0; i < WIDTH; i++)
        ((float *)norm->data)[i] = 1.0f;
    gguf_add_tensor(maker->file, norm);
}

/* Uniform in [-limit, limit). */
static void fill_row(struct maker *maker, float *row, int64_t width, float limit) {
    for (int64_t i = 0; i < width; i += 2) {
        uint64_t bits = rng_next(&maker->rng);
        row[i] = ((float)(uint32_t)bits / 2147483648.0f - 1.0f) * limit;
        row[i + 1] = ((float)(bits >> 32) / 2147483648.0f - 1.0f) * limit;
    }
}

/* Weights of standard deviation `deviation`. Rows that `only` names, or all; the others are zero. */
static void add_matrix(struct maker *maker, const char *name, int64_t width, int64_t rows, float deviation,
                       const bool *only) {
    float row[FEED_FORWARD];
    struct ggml_tensor *matrix = ggml_new_tensor_2d(maker->tensors, GGML_TYPE_Q8_0, width, rows);
    ggml_set_name(matrix, name);
    for (int64_t i = 0; i < rows; i++) {
        fill_row(maker, row, width, deviation * sqrtf(3.0f));
        if (only && !only[i])
            memset(row, 0, sizeof(row));
        ggml_quantize_chunk(GGML_TYPE_Q8_0, row, (char *)matrix->data + i * matrix->nb[1], 0, 1, width, NULL);
    }
    gguf_add_tensor(maker->file, matrix);
}

/* Deviations keep what flows through a layer near 1: 1 / sqrt(width of the input), and less for what is added
 * to the stream, which 2 * LAYERS matrices do. */
static void add_layer(struct maker *maker, int layer) {
    const float in = 1.0f / sqrtf(WIDTH), added = 1.0f / sqrtf(2.0f * LAYERS);
    const struct {
        const char *name;
        int64_t width, rows;
        float deviation;
    } matrices[] = {
        {"attn_q", WIDTH, WIDTH, in},
        {"attn_k", WIDTH, KV_WIDTH, in},
        {"attn_v", WIDTH, KV_WIDTH, in},
        {"attn_output", WIDTH, WIDTH, in * added},
        {"ffn_gate", WIDTH, FEED_FORWARD, in},
        {"ffn_up", WIDTH, FEED_FORWARD, in},
        {"ffn_down", FEED_FORWARD, WIDTH, added / sqrtf(FEED_FORWARD)},
    };
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", layer);
    add_norm(maker, name);
    snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", layer);
    add_norm(maker, name);
    for (size_t i = 0; i < sizeof(matrices) / sizeof(*matrices); i++) {
        snprintf(name, sizeof(name), "blk.%d.%s.weight", layer, matrices[i].name);
        add_matrix(maker, name, matrices[i].width, matrices[i].rows, matrices[i].deviation, NULL);
    }
}

/* Logits of words have a standard deviation of about 3, as trained models have. */
static void add_tensors(struct maker *maker) {
    add_matrix(maker, "token_embd.weight", WIDTH, VOCABULARY, 1.0f, NULL);
    for (int layer = 0; layer < LAYERS; layer++)
        add_layer(maker, layer);
    add_norm(maker, "output_norm.weight");
    add_matrix(maker, "output.weight", WIDTH, VOCABULARY, 3.0f / sqrtf(WIDTH), maker->is_word);
}

/* By rename, so that nobody reads half of it. */
static void write_model(const struct maker *maker, const char *path) {
    char beside[OUT_PATH_MAX + 32];
    snprintf(beside, sizeof(beside), "%s.%d", path, (int)getpid());
    if (!gguf_write_to_file(maker->file, beside, false) || rename(beside, path) != 0) {
        int why = errno;
        unlink(beside);
        give_up(path, strerror(why));
    }
}

static void make(const char *tokenizer, const char *path) {
    struct gguf_context *source = gguf_init_from_file(tokenizer, (struct gguf_init_params){.no_alloc = true});
    if (!source)
        give_up(tokenizer, "cannot be read as GGUF");
    struct maker maker = {
        .file = gguf_init_empty(),
        .tensors = ggml_init((struct ggml_init_params){.mem_size = TENSOR_BYTES_MAX}),
        .is_word = calloc(VOCABULARY, sizeof(bool)),
    };
    if (!maker.file || !maker.tensors || !maker.is_word)
        give_up(path, "out of memory");
    rng_seed(&maker.rng, MODEL_SEED);
    gguf_set_kv(maker.file, source);
    set_shape(maker.file);
    set_vocabulary(&maker, source);
    add_tensors(&maker);
    write_model(&maker, path);
    gguf_free(source);
    gguf_free(maker.file);
    ggml_free(maker.tensors);
    free(maker.is_word);
}

static void default_path(char *out, size_t cap) {
    const char *own = getenv("MLX_CACHE_DIR"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[OUT_PATH_MAX];
    if (own && *own)
        snprintf(folder, sizeof(folder), "%s", own);
    else if (cache && *cache)
        snprintf(folder, sizeof(folder), "%s/mlx-serving", cache);
    else
        snprintf(folder, sizeof(folder), "%s/.cache/mlx-serving", home ? home : "/tmp");
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        give_up(folder, strerror(errno));
    if ((size_t)snprintf(out, cap, "%s/bench-146m-v" MODEL_VERSION ".gguf", folder) >= cap)
        give_up(folder, "the path is too long");
}

static void usage(void) {
    fprintf(stderr, "usage: bench_make_model --tokenizer GGUF [--out GGUF]\n");
    exit(2);
}

int main(int argc, char **argv) {
    const char *tokenizer = NULL, *out = NULL;
    char path[OUT_PATH_MAX];
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            usage();
        if (strcmp(argv[i], "--tokenizer") == 0)
            tokenizer = argv[i + 1];
        else if (strcmp(argv[i], "--out") == 0)
            out = argv[i + 1];
        else
            usage();
    }
    if (!tokenizer)
        usage();
    if (out)
        snprintf(path, sizeof(path), "%s", out);
    else
        default_path(path, sizeof(path));
    if (access(path, R_OK) != 0)
        make(tokenizer, path);
    puts(path);
    return 0;
}
