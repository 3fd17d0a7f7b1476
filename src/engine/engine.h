/* How tokens are made: the face that llama.cpp and the fake engine have in common.
 *
 * An engine is one loaded model with a fixed number of slots. The worker's scheduler drives it step by step
 * from one thread (the engine thread): each step it passes items, each some tokens of one slot, and then asks
 * for a next token of those items that wanted one. What runs in a step is the scheduler's decision alone.
 *
 * engine_prompt is the exception: it only reads what never changes after loading (template, vocabulary) and
 * may run on another thread at the same time.
 *
 * A slot goes on holding the tokens that it has computed when its job is over, so that a later prompt which
 * begins with the same ones need not compute them again; the scheduler knows what each slot holds and says
 * how much of it stays. What a slot holds can be cut at the end, copied to another slot, and moved out and
 * back in.
 *
 * Determinism: the token at position i of a reply is a function of the prompt, the sampling parameters (seed
 * included) and the tokens before it, not of what else is in the batch, as far as the arithmetic of the back
 * end allows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "proto/chat.h"

struct engine;

enum { ENGINE_TOKEN_NONE = -1, ENGINE_PIECE_MAX = 512 };

enum { ENGINE_DEVICES_MAX = 16 };

/* Numbers of the KV cache. X(NAME, numbers of a block, bytes of a block) */
#define ENGINE_CACHE_MAP(X) \
    X(F16, 1, 2)            \
    X(F32, 1, 4)            \
    X(BF16, 1, 2)           \
    X(Q8_0, 32, 34)         \
    X(Q5_1, 32, 24)         \
    X(Q5_0, 32, 22)         \
    X(Q4_1, 32, 20)         \
    X(Q4_0, 32, 18)         \
    X(IQ4_NL, 32, 18)

enum engine_cache_type {
#define X(name, numbers, bytes) ENGINE_CACHE_##name,
    ENGINE_CACHE_MAP(X)
#undef X
        ENGINE_CACHE_TYPE_COUNT
};

/* How a model is shared among GPUs. */
enum engine_split { ENGINE_SPLIT_LAYER, ENGINE_SPLIT_ROW, ENGINE_SPLIT_NONE };
enum engine_flash { ENGINE_FLASH_AUTO, ENGINE_FLASH_ON, ENGINE_FLASH_OFF };
/* How a model file comes into memory. */
enum engine_load_mode {
    ENGINE_LOAD_AUTO,
    ENGINE_LOAD_READ,
    ENGINE_LOAD_MMAP,
    ENGINE_LOAD_MLOCK,
    ENGINE_LOAD_MMAP_MLOCK,
    ENGINE_LOAD_DIRECT_IO,
};

struct engine_options {
    const char *model_path; /* a GGUF file; the fake engine reads only its name */
    int32_t slots;          /* >= 1 */
    int32_t context_tokens; /* for each slot; 0: what the model was trained with, at most 4096 */
    int32_t cache_tokens;   /* cells of one KV cache that all slots share, for less memory than slots times
                               context; 0: each slot has a cache of its own, in which nobody is in its way */
    int32_t batch_tokens;   /* most tokens in one step, >= slots */
    int32_t threads;        /* for steps of one token; 0: 1 */
    int32_t threads_batch;  /* for larger steps; 0: as threads */
    int32_t micro_batch_tokens; /* computed at once, at most batch_tokens; 0: the engine's choice */
    enum engine_cache_type cache_type_k;
    enum engine_cache_type cache_type_v; /* a quantized one needs flash attention */
    enum engine_flash flash;
    enum engine_load_mode load_mode;
    /* GPUs; see engine/devices.h for what fits to what. */
    int32_t gpu_layers;         /* -1: all that fit; 0: none */
    const char *const *devices; /* names as in engine_gpu.device, each once; the caller's */
    size_t device_count;        /* 0: all */
    enum engine_split split;
    float tensor_split[ENGINE_DEVICES_MAX]; /* what each gets in relation to the others, >= 0 */
    size_t tensor_split_count;              /* 0: in relation to their free memory */
    int32_t main_gpu;                       /* which of them has the model when it is not split */
    bool cache_on_cpu;                      /* also of layers that are on a GPU */
    /* Called on the loading thread with 0..100; false aborts the load. May be NULL. */
    bool (*on_progress)(int32_t percent, void *arg);
    /* Asked often during a step, on its thread; true ends it as if it had not begun, with STATUS_CANCELLED.
     * Only what is computed on the CPU asks. May be NULL. */
    bool (*should_abort)(void *arg);
    void *arg;
    /* The fake engine only: */
    int64_t fake_step_us;         /* time of a step */
    int64_t fake_prompt_token_us; /* and for each prompt token in it */
    int64_t fake_load_ms;         /* time of open */
    int32_t fake_reply_tokens;    /* length of replies that end by themselves */
    const char *fake_fault;       /* see engine_fake.h; NULL and "": none; read by open alone */
    int64_t fake_fault_jobs;      /* how many jobs have it; 0: all */
};

struct engine_info {
    int32_t slots;
    int32_t context_tokens; /* for each slot */
    int32_t batch_tokens;
    int64_t cache_tokens;       /* cells of the KV cache, all slots together */
    bool cache_is_shared;       /* by all slots; see engine_options.cache_tokens */
    int32_t pass_tokens;        /* a step of up to so many takes little longer than one of a single token */
    bool pass_is_even;          /* sequences with different numbers of tokens in a step take passes of their
                                   own over the model all the same */
    bool can_rewind;            /* a slot whose step was aborted is as before; if not, its next step fails */
    int32_t micro_batch_tokens; /* this and the next two: 0 where the engine has no such thing */
    int32_t threads;
    int32_t threads_batch;
    int64_t parameters;
    int64_t file_bytes;
    char description[128]; /* "llama 5M Q8_0" */
    bool can_chat;         /* it has a chat template of its own */
    bool can_use_tools;    /* the template knows what to do with them */
    bool can_embed;        /* it is made to turn a text into one vector */
};

enum { ENGINE_GPU_NAME_MAX = 64, ENGINE_GPU_DEVICE_MAX = 32 };

/* A device that engines can compute on, beside the CPU. */
struct engine_gpu {
    char device[ENGINE_GPU_DEVICE_MAX + 1]; /* "CUDA0", each once */
    char name[ENGINE_GPU_NAME_MAX + 1];     /* "NVIDIA L4" */
    bool integrated;                        /* it has no memory of its own */
    int64_t memory_bytes;
    int64_t free_bytes; /* now */
};

struct engine_prompt {
    int32_t *tokens; /* owned */
    size_t count;    /* >= 1 */
    size_t reply;    /* the last ones of them, which belong to the reply; < count */
};

/* What a slot held, outside of the engine; only for the engine that it came from. */
struct engine_state {
    uint8_t *bytes; /* owned */
    size_t size;
};

/* Some tokens of one slot, in the order of their positions. */
struct engine_item {
    int32_t slot;
    int32_t position;      /* of the first token in the slot's sequence, 0.. */
    const int32_t *tokens; /* the caller's, until the call returns */
    int32_t count;         /* >= 1 */
    bool sample;           /* a next token is wanted after the last one */
    int32_t next;          /* out: that token, or ENGINE_TOKEN_NONE */
    enum status status;    /* out: STATUS_OK or what went wrong with this slot alone */
};

struct engine_ops {
    const char *name;
    /* Fills at most `max`, returns how many. Any thread, needs no open engine. NULL: it uses none. */
    size_t (*list_gpus)(struct engine_gpu *out, size_t max);
    /* Loads; slow. NULL and an error (MODEL_LOAD_FAILED with the reason). */
    struct engine *(*open)(const struct engine_options *options, struct error *error);
    void (*close)(struct engine *engine);
    void (*info)(const struct engine *engine, struct engine_info *out);
    enum status (*prompt)(struct engine *engine, const struct chat_request *chat, int64_t now_s,
                          struct engine_prompt *out, struct error *error);
    enum status (*slot_start)(struct engine *engine, int32_t slot, const struct sampling *sampling,
                              const struct engine_prompt *prompt, int32_t held);
    void (*slot_stop)(struct engine *engine, int32_t slot);
    int32_t (*slot_trim)(struct engine *engine, int32_t slot, int32_t tokens);
    int32_t (*slot_copy)(struct engine *engine, int32_t from, int32_t to, int32_t tokens);
    bool (*slot_save)(struct engine *engine, int32_t slot, struct engine_state *out);
    bool (*slot_load)(struct engine *engine, int32_t slot, const struct engine_state *state);
    enum status (*step)(struct engine *engine, struct engine_item *items, size_t count, struct error *error);
    size_t (*piece)(struct engine *engine, int32_t token, char *out, size_t cap);
    bool (*is_end)(struct engine *engine, int32_t token);
};

extern const struct engine_ops engine_fake_ops;
#if MLX_WITH_LLAMA
extern const struct engine_ops engine_llama_ops;
bool engine_llama_has_gpu(void); /* a model may go to one */
#endif

/* Every engine begins with this. */
struct engine {
    const struct engine_ops *ops;
};

/* What the options come to for a model that was trained with so many tokens (0: unknown): tokens of a slot's
 * context, and cells of the KV cache, all slots together. */
int64_t engine_context_tokens(const struct engine_options *options, int64_t trained);
int64_t engine_cache_tokens(const struct engine_options *options, int64_t context_tokens);

void engine_prompt_release(struct engine_prompt *prompt); /* takes NULL; leaves it zeroed */
void engine_state_release(struct engine_state *state);    /* likewise */

/* Renders the messages with the model's chat template and tokenizes them. Any one thread.
 * REQUEST_VALIDATION_FAILED when the template refuses the messages, CONTEXT_LENGTH_EXCEEDED when the prompt
 * leaves no room for a token; both with numbers in the message. */
MUST_USE static inline enum status engine_make_prompt(struct engine *e, const struct chat_request *chat,
                                                      int64_t now_s, struct engine_prompt *out,
                                                      struct error *error) {
    return e->ops->prompt(e, chat, now_s, out, error);
}
/* Gives the slot, which must be stopped, a sampler. It holds `held` tokens, which are the first ones of the
 * prompt and not all of it; the first item of the slot has that position. */
MUST_USE static inline enum status engine_slot_start(struct engine *e, int32_t slot,
                                                     const struct sampling *sampling,
                                                     const struct engine_prompt *prompt, int32_t held) {
    return e->ops->slot_start(e, slot, sampling, prompt, held);
}
/* Frees the slot's sampler; what it holds stays. Takes stopped slots too. */
static inline void engine_slot_stop(struct engine *e, int32_t slot) {
    e->ops->slot_stop(e, slot);
}
/* Lets a stopped slot hold its first `tokens` tokens only and returns how many it really holds then:
 * `tokens`, or 0 when the model's state cannot be taken back. 0 frees its part of the cache. */
static inline int32_t engine_slot_trim(struct engine *e, int32_t slot, int32_t tokens) {
    return e->ops->slot_trim(e, slot, tokens);
}
/* Gives `to`, a stopped slot, the first `tokens` tokens of another one, which may be running, in place of
 * what it holds. In a shared cache both then use the same cells. Returns as engine_slot_trim. */
MUST_USE static inline int32_t engine_slot_copy(struct engine *e, int32_t from, int32_t to, int32_t tokens) {
    return e->ops->slot_copy(e, from, to, tokens);
}
/* Copies out what the slot holds. false: no memory, or the model has no such state. The caller releases. */
MUST_USE static inline bool engine_slot_save(struct engine *e, int32_t slot, struct engine_state *out) {
    return e->ops->slot_save(e, slot, out);
}
/* The way back, into any stopped slot, in place of what it holds. false: it holds nothing now, because there
 * is no room in the cache. */
MUST_USE static inline bool engine_slot_load(struct engine *e, int32_t slot,
                                             const struct engine_state *state) {
    return e->ops->slot_load(e, slot, state);
}
/* Runs one step; at most one item for a slot, at most batch_tokens tokens. STATUS_OK: look at each item's
 * status. Anything else: no item was done and the slots' caches are as before. WORKER_OVERLOADED: the cache
 * has too few free cells for these items. CANCELLED: should_abort said so. */
MUST_USE static inline enum status engine_step(struct engine *e, struct engine_item *items, size_t count,
                                               struct error *error) {
    return e->ops->step(e, items, count, error);
}
/* The bytes of a token as text, no NUL; may be part of a UTF-8 character. Returns the length, <= cap;
 * cap >= ENGINE_PIECE_MAX always suffices. */
static inline size_t engine_piece(struct engine *e, int32_t token, char *out, size_t cap) {
    return e->ops->piece(e, token, out, cap);
}
/* true when the token ends the model's turn (it is then not part of the text). */
static inline bool engine_is_end(struct engine *e, int32_t token) {
    return e->ops->is_end(e, token);
}
