#include "worker/model_facts.h"

#include <stdio.h>

#include "engine/gguf.h"
#include "worker/engine_config.h"

/* As the engine chooses when nothing is configured. */
enum { CONTEXT_TOKENS_DEFAULT_MAX = 4096 };

static int64_t context_of(const struct config *config, const struct gguf_info *info) {
    int64_t tokens = config->worker.context_tokens, shared = config->worker.kv_cache_tokens;
    if (tokens == 0)
        tokens = info->context_tokens > 0 && info->context_tokens < CONTEXT_TOKENS_DEFAULT_MAX
                     ? info->context_tokens
                     : CONTEXT_TOKENS_DEFAULT_MAX;
    return shared > 0 && tokens > shared ? shared : tokens;
}

static void take(const struct config *config, const struct gguf_info *info, struct model_facts *out) {
    enum engine_cache_type keys = engine_cache_type_of(config->worker.cache_type_k);
    enum engine_cache_type values = engine_cache_type_of(config->worker.cache_type_v);
    int64_t context = context_of(config, info);
    int64_t cells = config->worker.kv_cache_tokens > 0 ? config->worker.kv_cache_tokens
                                                       : context * config->worker.max_batch_size;
    *out = (struct model_facts){
        .parameters = info->parameters,
        .file_bytes = info->file_bytes,
        .context_tokens = (int32_t)context,
        .capabilities = info->has_chat_template ? model_capability_bit(CAPABILITY_CHAT) : 0,
        .weights_bytes = info->weights_bytes,
        .cache_token_bytes = gguf_cache_bytes(info, keys, values, 1),
    };
    if (__builtin_add_overflow(info->weights_bytes, gguf_cache_bytes(info, keys, values, cells),
                               &out->memory_bytes))
        out->memory_bytes = INT64_MAX;
    snprintf(out->architecture, sizeof out->architecture, "%.32s", info->architecture);
    snprintf(out->quantization, sizeof out->quantization, "%s", info->quantization);
}

enum status model_facts_read(const struct config *config, const char *path, struct model_facts *out,
                             struct error *error) {
    struct gguf_info info;
    *out = (struct model_facts){.parameters = 0};
    if (config->worker.engine == ENGINE_KIND_FAKE) {
        out->memory_bytes = config->worker.fake_model_mb << 20;
        return STATUS_OK;
    }
    enum status status = gguf_read_model(path, &info, error);
    if (status == STATUS_OK)
        take(config, &info, out);
    return status;
}
