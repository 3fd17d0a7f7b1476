/* Loading a model file and making its context. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "engine/engine.h"

struct llama_model;
struct llama_context;

struct llama_loaded {
    struct llama_model *model;     /* owned */
    struct llama_context *context; /* owned */
    int32_t context_tokens;        /* for each slot */
    int64_t cache_tokens;          /* cells, all slots together */
    bool cache_is_shared;
    int64_t file_bytes;
};

/* MODEL_LOAD_FAILED with the reason, and nothing left loaded. Reports progress as engine_options says. */
MUST_USE enum status llama_load(struct llama_loaded *loaded, const struct engine_options *options,
                                struct error *error);
void llama_unload(struct llama_loaded *loaded); /* takes NULL; leaves it zeroed */

/* Whether the model's file says that its outputs are pooled into one vector for a text. */
bool llama_is_pooled(const struct llama_model *model);
/* As engine_ops.list_gpus. */
size_t llama_list_gpus(struct engine_gpu *out, size_t max);
