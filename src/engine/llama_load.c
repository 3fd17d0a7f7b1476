#include "engine/llama_load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/devices.h"
#include "engine/gguf.h"
#include "ggml-backend.h"
#include "llama.h"

enum {
    UBATCH_TOKENS_MAX = 512, /* llama.cpp's own default; larger ones cost memory and are not faster */
};

/* What llama.cpp said first since the load began on this thread; the lines after it only say that it failed.
 */
static _Thread_local char first_error[256];
/* It goes on when memory cannot be locked, and says so in a warning only. */
static _Thread_local bool lock_failed;

static void keep_first_error(enum ggml_log_level level, const char *text, void *arg) {
    (void)arg;
    lock_failed |= level == GGML_LOG_LEVEL_WARN && strstr(text, "failed to mlock");
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

/* Before llama.cpp sees it: what it would believe is checked. */
static enum status check_file(const char *path, struct gguf_info *info, struct error *error) {
    struct error why = {.status = STATUS_OK};
    if (gguf_read_model(path, info, &why) != STATUS_OK)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%.200s: %s", path, why.message);
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

/* What llama.cpp wants as arrays. */
struct placement {
    ggml_backend_dev_t devices[ENGINE_DEVICES_MAX + 1]; /* ends with NULL */
    float *split;                                       /* owned; at least llama_max_devices long */
};

static enum status place(const struct engine_options *options, struct placement *out, struct error *error) {
    struct engine_gpu gpus[ENGINE_DEVICES_MAX];
    size_t chosen[ENGINE_DEVICES_MAX], count, there = llama_list_gpus(gpus, ENGINE_DEVICES_MAX);
    struct error why = {.status = STATUS_OK};
    if (engine_choose_devices(options, gpus, there, chosen, &count, &why) != STATUS_OK)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, why.param, "%s", why.message);
    for (size_t i = 0; i < count; i++)
        out->devices[i] = ggml_backend_dev_by_name(gpus[chosen[i]].device);
    if (options->tensor_split_count == 0)
        return STATUS_OK;
    out->split = calloc(llama_max_devices() + ENGINE_DEVICES_MAX, sizeof(*out->split));
    if (!out->split)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "no memory");
    memcpy(out->split, options->tensor_split, options->tensor_split_count * sizeof(*out->split));
    return STATUS_OK;
}

static enum llama_split_mode split_mode_of(enum engine_split split) {
    switch (split) {
    case ENGINE_SPLIT_LAYER:
        return LLAMA_SPLIT_MODE_LAYER;
    case ENGINE_SPLIT_ROW:
        return LLAMA_SPLIT_MODE_ROW;
    case ENGINE_SPLIT_NONE:
        return LLAMA_SPLIT_MODE_NONE;
    }
    return LLAMA_SPLIT_MODE_LAYER;
}

static enum llama_load_mode load_mode_of(enum engine_load_mode mode) {
    switch (mode) {
    case ENGINE_LOAD_AUTO:
        return LLAMA_LOAD_MODE_AUTO;
    case ENGINE_LOAD_READ:
        return LLAMA_LOAD_MODE_NONE;
    case ENGINE_LOAD_MMAP:
        return LLAMA_LOAD_MODE_MMAP;
    case ENGINE_LOAD_MLOCK:
        return LLAMA_LOAD_MODE_MLOCK;
    case ENGINE_LOAD_MMAP_MLOCK:
        return LLAMA_LOAD_MODE_MMAP_MLOCK;
    case ENGINE_LOAD_DIRECT_IO:
        return LLAMA_LOAD_MODE_DIRECT_IO;
    }
    return LLAMA_LOAD_MODE_AUTO;
}

static enum status open_file(struct llama_loaded *loaded, const struct engine_options *options,
                             struct progress *progress, struct error *error) {
    struct placement placement = {.split = NULL};
    enum status status = place(options, &placement, error);
    if (status != STATUS_OK)
        return status;
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = options->gpu_layers;
    params.devices = options->device_count > 0 ? placement.devices : NULL;
    params.split_mode = split_mode_of(options->split);
    params.tensor_split = placement.split;
    params.main_gpu = options->main_gpu;
    params.load_mode = load_mode_of(options->load_mode);
    params.progress_callback = on_model_progress;
    params.progress_callback_user_data = progress;
    loaded->model = llama_model_load_from_file(options->model_path, params);
    free(placement.split);
    return STATUS_OK;
}

/* The value of "<architecture>.<name>"; false: there is none. */
static bool read_value(const struct llama_model *model, const char *name, char *out, size_t cap) {
    char architecture[64], key[96];
    if (llama_model_meta_val_str(model, "general.architecture", architecture, sizeof(architecture)) < 0)
        return false;
    snprintf(key, sizeof(key), "%s.%s", architecture, name);
    return llama_model_meta_val_str(model, key, out, cap) >= 0;
}

/* Others do not write from left to right, and llama.cpp ends the process on prompts of several passes. */
static bool is_causal(const struct llama_model *model) {
    char value[16];
    return !read_value(model, "attention.causal", value, sizeof(value)) || strcmp(value, "false") != 0;
}

static enum status load_model(struct llama_loaded *loaded, const struct engine_options *options,
                              struct progress *progress, struct error *error) {
    enum status status = open_file(loaded, options, progress, error);
    if (status != STATUS_OK)
        return status;
    if (loaded->model && lock_failed)
        return error_set(
            error, STATUS_MODEL_LOAD_FAILED, NULL,
            "%s: its memory cannot be locked; allow it (ulimit -l) or choose a load_mode without "
            "mlock",
            options->model_path);
    if (loaded->model && !llama_model_has_encoder(loaded->model) && llama_model_has_decoder(loaded->model) &&
        is_causal(loaded->model))
        return STATUS_OK;
    if (progress->aborted)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: the load was aborted",
                         options->model_path);
    if (loaded->model)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                         "%s is not a model that writes text from left to right", options->model_path);
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: %s", options->model_path,
                     first_error[0] ? first_error : "llama.cpp could not load it");
}

static enum ggml_type cache_type_of(enum engine_cache_type type) {
    static const enum ggml_type types[ENGINE_CACHE_TYPE_COUNT] = {
#define X(name, numbers, bytes) GGML_TYPE_##name,
        ENGINE_CACHE_MAP(X)
#undef X
    };
    return types[type];
}

static enum llama_flash_attn_type flash_type_of(enum engine_flash flash) {
    switch (flash) {
    case ENGINE_FLASH_AUTO:
        return LLAMA_FLASH_ATTN_TYPE_AUTO;
    case ENGINE_FLASH_ON:
        return LLAMA_FLASH_ATTN_TYPE_ENABLED;
    case ENGINE_FLASH_OFF:
        return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    return LLAMA_FLASH_ATTN_TYPE_AUTO;
}

static uint32_t micro_batch_of(const struct engine_options *options) {
    int32_t wanted = options->micro_batch_tokens > 0 ? options->micro_batch_tokens : UBATCH_TOKENS_MAX;
    return (uint32_t)(wanted < options->batch_tokens ? wanted : options->batch_tokens);
}

static struct llama_context_params context_params(const struct engine_options *options, int64_t tokens) {
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)tokens;
    params.n_seq_max = (uint32_t)options->slots;
    params.n_batch = (uint32_t)options->batch_tokens;
    params.n_ubatch = micro_batch_of(options);
    /* One row of logits for a slot: with a row for each token of the batch, a large vocabulary would take
     * hundreds of megabytes. */
    params.n_outputs_max = params.n_seq_max;
    params.n_threads = options->threads > 0 ? options->threads : 1;
    params.n_threads_batch = options->threads_batch > 0 ? options->threads_batch : params.n_threads;
    params.flash_attn_type = flash_type_of(options->flash);
    /* A cache of its own for each slot, if there is the memory: in a shared one, every slot's attention also
     * pays for the tokens of the others. */
    params.kv_unified = options->cache_tokens > 0;
    params.type_k = cache_type_of(options->cache_type_k);
    params.type_v = cache_type_of(options->cache_type_v);
    params.offload_kqv = !options->cache_on_cpu;
    params.no_perf = true;
    return params;
}

static enum status make_context(struct llama_loaded *loaded, const struct engine_options *options,
                                const struct gguf_info *info, struct error *error) {
    const double mib = 1024.0 * 1024.0;
    int32_t trained = llama_model_n_ctx_train(loaded->model);
    loaded->context_tokens = (int32_t)engine_context_tokens(options, trained);
    loaded->cache_is_shared = options->cache_tokens > 0;
    int64_t tokens = engine_cache_tokens(options, loaded->context_tokens);
    if (options->slots < 1 || (size_t)options->slots > llama_max_parallel_sequences() || tokens > INT32_MAX)
        return error_set(
            error, STATUS_MODEL_LOAD_FAILED, NULL,
            "%d slots of %d context tokens are more than llama.cpp can have (%zu slots, %d tokens)",
            options->slots, loaded->context_tokens, llama_max_parallel_sequences(), INT32_MAX);

    first_error[0] = '\0';
    loaded->context = llama_init_from_model(loaded->model, context_params(options, tokens));
    if (loaded->context) {
        loaded->cache_tokens = llama_n_ctx(loaded->context);
        return STATUS_OK;
    }
    return error_set(
        error, STATUS_MODEL_LOAD_FAILED, NULL,
        "%s: no context for %d slots of %d tokens (about %.0f MiB for the cache, beside %.0f MiB of "
        "weights): %s",
        options->model_path, options->slots, loaded->context_tokens,
        (double)gguf_cache_bytes(info, options->cache_type_k, options->cache_type_v, tokens) / mib,
        (double)llama_model_size(loaded->model) / mib,
        first_error[0] ? first_error : "llama.cpp gave no reason");
}

enum status llama_load(struct llama_loaded *loaded, const struct engine_options *options,
                       struct error *error) {
    struct progress progress = {.options = options, .percent = -1};
    struct gguf_info info;
    *loaded = (struct llama_loaded){0};
    enum status status = check_file(options->model_path, &info, error);
    if (status != STATUS_OK)
        return status;
    loaded->file_bytes = info.file_bytes;
    init_backend_once();
    first_error[0] = '\0';
    lock_failed = false;
    status = load_model(loaded, options, &progress, error);
    if (status == STATUS_OK)
        status = make_context(loaded, options, &info, error);
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
    char type[16];
    if (!read_value(model, "pooling_type", type, sizeof(type)))
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
        out[count] = (struct engine_gpu){.integrated = type == GGML_BACKEND_DEVICE_TYPE_IGPU,
                                         .memory_bytes = (int64_t)total_bytes,
                                         .free_bytes = (int64_t)free_bytes};
        snprintf(out[count].device, sizeof(out[count].device), "%s", ggml_backend_dev_name(device));
        snprintf(out[count].name, sizeof(out[count].name), "%s", ggml_backend_dev_description(device));
        count++;
    }
    return count;
}
