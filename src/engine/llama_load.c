#include "engine/llama_load.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"
#include "ggml-backend.h"
#include "llama.h"

enum {
    CONTEXT_TOKENS_DEFAULT_MAX = 4096,
    UBATCH_TOKENS_MAX = 512, /* llama.cpp's own default; larger ones cost memory and are not faster */
};

/* What llama.cpp said first since the load began on this thread; the lines after it only say that it failed.
 */
static _Thread_local char first_error[256];

static void keep_first_error(enum ggml_log_level level, const char *text, void *arg) {
    (void)arg;
    if (level != GGML_LOG_LEVEL_ERROR || first_error[0])
        return;
    /* "function: what is wrong\n"; the function is of no use to whoever reads the message. */
    const char *colon = strstr(text, ": ");
    const char *reason = colon && !memchr(text, ' ', (size_t)(colon - text)) ? colon + 2 : text;
    snprintf(first_error, sizeof(first_error), "%s", reason);
    first_error[strcspn(first_error, "\n")] = '\0';
}

static void init_backend(void) {
    llama_log_set(keep_first_error, NULL);
    llama_backend_init();
}

static void init_backend_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_backend);
}

static int32_t usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return CPU_COUNT(&set);
}

/* Before llama.cpp sees it: what it would believe is checked. */
static enum status check_file(const char *path, int64_t *bytes, struct error *error) {
    struct gguf_info info;
    struct error why = {.status = STATUS_OK};
    if (gguf_read_model(path, &info, &why) != STATUS_OK)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%.200s: %s", path, why.message);
    *bytes = info.file_bytes;
    return STATUS_OK;
}

struct progress {
    const struct engine_options *options;
    int32_t percent;
    bool aborted;
};

static bool report(struct progress *progress, int32_t percent) {
    if (percent <= progress->percent || !progress->options->on_progress)
        return true;
    progress->percent = percent;
    progress->aborted = !progress->options->on_progress(percent, progress->options->arg);
    return !progress->aborted;
}

/* 100 is kept for when the context is there too. */
static bool on_model_progress(float fraction, void *arg) {
    return report(arg, (int32_t)(fraction * 99.0f));
}

static enum status load_model(struct llama_loaded *loaded, const struct engine_options *options,
                              struct progress *progress, struct error *error) {
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = options->gpu_layers;
    params.progress_callback = on_model_progress;
    params.progress_callback_user_data = progress;
    loaded->model = llama_model_load_from_file(options->model_path, params);
    if (loaded->model && !llama_model_has_encoder(loaded->model) && llama_model_has_decoder(loaded->model))
        return STATUS_OK;
    if (progress->aborted)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: the load was aborted",
                         options->model_path);
    if (loaded->model)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s is not a model that writes text",
                         options->model_path);
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: %s", options->model_path,
                     first_error[0] ? first_error : "llama.cpp could not load it");
}

/* Keys and values of all slots, half-precision, in MiB. */
static double predicted_cache_mib(const struct llama_model *model, int64_t tokens) {
    int32_t heads = llama_model_n_head(model) > 0 ? llama_model_n_head(model) : 1;
    double width = (double)llama_model_n_embd(model) / heads * llama_model_n_head_kv(model);
    return 2.0 * 2.0 * width * llama_model_n_layer(model) * (double)tokens / (1024.0 * 1024.0);
}

static enum ggml_type cache_type_of(enum engine_cache_type type) {
    switch (type) {
    case ENGINE_CACHE_F16:
        return GGML_TYPE_F16;
    case ENGINE_CACHE_BF16:
        return GGML_TYPE_BF16;
    case ENGINE_CACHE_Q8_0:
        return GGML_TYPE_Q8_0;
    }
    return GGML_TYPE_F16;
}

static enum status make_context(struct llama_loaded *loaded, const struct engine_options *options,
                                struct error *error) {
    int32_t trained = llama_model_n_ctx_train(loaded->model);
    loaded->context_tokens = options->context_tokens;
    if (loaded->context_tokens <= 0)
        loaded->context_tokens = trained < CONTEXT_TOKENS_DEFAULT_MAX ? trained : CONTEXT_TOKENS_DEFAULT_MAX;
    loaded->cache_is_shared = options->cache_tokens > 0;
    if (loaded->cache_is_shared && loaded->context_tokens > options->cache_tokens)
        loaded->context_tokens = options->cache_tokens; /* so that a job that is alone always fits */
    int64_t tokens =
        loaded->cache_is_shared ? options->cache_tokens : (int64_t)loaded->context_tokens * options->slots;
    if (options->slots < 1 || (size_t)options->slots > llama_max_parallel_sequences() || tokens > INT32_MAX)
        return error_set(
            error, STATUS_MODEL_LOAD_FAILED, NULL,
            "%d slots of %d context tokens are more than llama.cpp can have (%zu slots, %d tokens)",
            options->slots, loaded->context_tokens, llama_max_parallel_sequences(), INT32_MAX);

    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)tokens;
    params.n_seq_max = (uint32_t)options->slots;
    params.n_batch = (uint32_t)options->batch_tokens;
    params.n_ubatch = params.n_batch < UBATCH_TOKENS_MAX ? params.n_batch : UBATCH_TOKENS_MAX;
    /* One row of logits for a slot: with a row for each token of the batch, a large vocabulary would take
     * hundreds of megabytes. */
    params.n_outputs_max = params.n_seq_max;
    params.n_threads = options->threads > 0 ? options->threads : usable_cores();
    params.n_threads_batch = params.n_threads;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    /* A cache of its own for each slot, if there is the memory: in a shared one, every slot's attention also
     * pays for the tokens of the others. */
    params.kv_unified = loaded->cache_is_shared;
    params.type_k = params.type_v = cache_type_of(options->cache_type);
    params.no_perf = true;
    first_error[0] = '\0';
    loaded->context = llama_init_from_model(loaded->model, params);
    if (loaded->context) {
        loaded->cache_tokens = llama_n_ctx(loaded->context);
        return STATUS_OK;
    }
    return error_set(
        error, STATUS_MODEL_LOAD_FAILED, NULL,
        "%s: no context for %d slots of %d tokens (about %.0f MiB for the cache, beside %.0f MiB of "
        "weights): %s",
        options->model_path, options->slots, loaded->context_tokens,
        predicted_cache_mib(loaded->model, tokens),
        (double)llama_model_size(loaded->model) / (1024.0 * 1024.0),
        first_error[0] ? first_error : "llama.cpp gave no reason");
}

enum status llama_load(struct llama_loaded *loaded, const struct engine_options *options,
                       struct error *error) {
    struct progress progress = {.options = options, .percent = -1};
    *loaded = (struct llama_loaded){0};
    enum status status = check_file(options->model_path, &loaded->file_bytes, error);
    if (status != STATUS_OK)
        return status;
    init_backend_once();
    first_error[0] = '\0';
    status = load_model(loaded, options, &progress, error);
    if (status == STATUS_OK)
        status = make_context(loaded, options, error);
    if (status == STATUS_OK && !report(&progress, 100))
        status =
            error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: the load was aborted", options->model_path);
    if (status != STATUS_OK)
        llama_unload(loaded);
    return status;
}

bool engine_llama_has_gpu(void) {
    return llama_supports_gpu_offload();
}

void llama_unload(struct llama_loaded *loaded) {
    if (!loaded)
        return;
    if (loaded->context)
        llama_free(loaded->context);
    if (loaded->model)
        llama_model_free(loaded->model);
    *loaded = (struct llama_loaded){0};
}

bool llama_is_pooled(const struct llama_model *model) {
    char architecture[64], key[96], type[16];
    if (llama_model_meta_val_str(model, "general.architecture", architecture, sizeof(architecture)) < 0)
        return false;
    snprintf(key, sizeof(key), "%s.pooling_type", architecture);
    if (llama_model_meta_val_str(model, key, type, sizeof(type)) < 0)
        return false;
    return strtol(type, NULL, 10) > LLAMA_POOLING_TYPE_NONE;
}

size_t llama_list_gpus(struct engine_gpu *out, size_t max) {
    size_t count = 0;
    init_backend_once();
    for (size_t i = 0; i < ggml_backend_dev_count() && count < max; i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        enum ggml_backend_dev_type type = ggml_backend_dev_type(device);
        if (type != GGML_BACKEND_DEVICE_TYPE_GPU && type != GGML_BACKEND_DEVICE_TYPE_IGPU)
            continue;
        size_t free_bytes = 0, total_bytes = 0;
        ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
        snprintf(out[count].name, sizeof(out[count].name), "%s", ggml_backend_dev_description(device));
        out[count++].memory_bytes = (int64_t)total_bytes;
    }
    return count;
}
