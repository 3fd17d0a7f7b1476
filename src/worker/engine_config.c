#include "worker/engine_config.h"

#include <assert.h>

#include "engine/devices.h"
#include "worker/cores.h"

static_assert((int)CONFIG_SHARES_MAX == (int)ENGINE_DEVICES_MAX, "a share for each device");

enum engine_cache_type engine_cache_type_of(enum cache_kind kind) {
    switch (kind) {
#define X(name, word, quantized) \
    case CACHE_KIND_##name:      \
        return ENGINE_CACHE_##name;
        CONFIG_CACHE_MAP(X)
#undef X
    }
    return ENGINE_CACHE_F16;
}

static enum engine_split split_of(enum split_kind kind) {
    switch (kind) {
    case SPLIT_KIND_NONE:
        return ENGINE_SPLIT_NONE;
    case SPLIT_KIND_LAYER:
        return ENGINE_SPLIT_LAYER;
    case SPLIT_KIND_ROW:
        return ENGINE_SPLIT_ROW;
    }
    return ENGINE_SPLIT_LAYER;
}

static enum engine_flash flash_of(enum flash_kind kind) {
    switch (kind) {
    case FLASH_KIND_AUTO:
        return ENGINE_FLASH_AUTO;
    case FLASH_KIND_ON:
        return ENGINE_FLASH_ON;
    case FLASH_KIND_OFF:
        return ENGINE_FLASH_OFF;
    }
    return ENGINE_FLASH_AUTO;
}

static enum engine_load_mode load_mode_of(enum load_mode_kind kind) {
    switch (kind) {
    case LOAD_MODE_KIND_AUTO:
        return ENGINE_LOAD_AUTO;
    case LOAD_MODE_KIND_READ:
        return ENGINE_LOAD_READ;
    case LOAD_MODE_KIND_MMAP:
        return ENGINE_LOAD_MMAP;
    case LOAD_MODE_KIND_MLOCK:
        return ENGINE_LOAD_MLOCK;
    case LOAD_MODE_KIND_MMAP_MLOCK:
        return ENGINE_LOAD_MMAP_MLOCK;
    case LOAD_MODE_KIND_DIRECT_IO:
        return ENGINE_LOAD_DIRECT_IO;
    }
    return ENGINE_LOAD_AUTO;
}

static void place(const struct config *config, struct engine_options *options) {
    const struct config_shares *split = &config->worker.tensor_split;
    options->gpu_layers = (int32_t)config->worker.gpu_layers;
    options->devices = (const char *const *)config->worker.devices.items;
    options->device_count = config->worker.devices.count;
    options->split = split_of(config->worker.split_mode);
    options->main_gpu = (int32_t)config->worker.main_gpu;
    options->cache_on_cpu = !config->worker.offload_kqv;
    options->tensor_split_count = split->count;
    for (size_t i = 0; i < split->count; i++)
        options->tensor_split[i] = (float)split->thousandths[i] / 1000;
}

struct engine_options engine_options_of(const struct config *config, const char *model_path) {
    struct engine_options options = {
        .model_path = model_path,
        .slots = (int32_t)config->worker.max_batch_size,
        .context_tokens = (int32_t)config->worker.context_tokens,
        .cache_tokens = (int32_t)config->worker.kv_cache_tokens,
        .batch_tokens = (int32_t)config->worker.batch_tokens,
        .threads = config->worker.threads > 0 ? (int32_t)config->worker.threads : cores_usable(""),
        .threads_batch = (int32_t)config->worker.threads_batch,
        .micro_batch_tokens = (int32_t)config->worker.micro_batch_tokens,
        .cache_type_k = engine_cache_type_of(config->worker.cache_type_k),
        .cache_type_v = engine_cache_type_of(config->worker.cache_type_v),
        .flash = flash_of(config->worker.flash_attention),
        .load_mode = load_mode_of(config->worker.load_mode),
        .fake_step_us = config->worker.fake_step_us,
        .fake_prompt_token_us = config->worker.fake_prompt_token_us,
        .fake_load_ms = config->worker.fake_load_ms,
        .fake_reply_tokens = (int32_t)config->worker.fake_reply_tokens,
        .fake_fault = config->worker.fake_fault,
        .fake_fault_jobs = config->worker.fake_fault_jobs,
    };
    place(config, &options);
    return options;
}

enum status engine_check_devices(const struct config *config, const struct engine_ops *ops,
                                 struct error *error) {
    struct engine_gpu gpus[ENGINE_DEVICES_MAX];
    size_t chosen[ENGINE_DEVICES_MAX], chosen_count;
    const struct engine_options options = engine_options_of(config, "");
    size_t count = ops && ops->list_gpus ? ops->list_gpus(gpus, ENGINE_DEVICES_MAX) : 0;
    return engine_choose_devices(&options, gpus, count, chosen, &chosen_count, error);
}
