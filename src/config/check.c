/* What holds between options, and the names of models. */
#include "config/options.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SKILLS_MAX = 16 };      /* as a worker can tell */
enum { MODEL_NAME_MAX = 128 }; /* bytes, as in what workers tell about their models */

#define REFUSE(path, ...) error_set(error, STATUS_CONFIG_INVALID, (path), path ": " __VA_ARGS__)

static enum status check_nats(const struct config *config, struct error *error) {
    const char *url = config->nats.url;
    if (config->nats.mode == NATS_EXTERNAL && !*url)
        return REFUSE("cluster.nats.url", "must be set when cluster.nats.mode is external, as in "
                                          "nats://127.0.0.1:4222");
    if (config->nats.mode == NATS_EMBEDDED && *url)
        return REFUSE("cluster.nats.url",
                      "is for an external NATS, but cluster.nats.mode is embedded; set the mode "
                      "to external");
    if (*url && strncmp(url, "nats://", 7) != 0)
        return REFUSE("cluster.nats.url", "must begin with nats://, as in nats://127.0.0.1:4222");
    return STATUS_OK;
}

static enum status check_times(const struct config *config, struct error *error) {
    /* A worker is suspect after 2.5 missed heartbeats; offline must come later. */
    if (config->controller.worker_offline_timeout_ms < 3 * config->discovery.heartbeat_interval_ms)
        return REFUSE("cluster.controller.worker_offline_timeout_ms",
                      "must be at least three times cluster.discovery.heartbeat_interval_ms, %lld",
                      (long long)(3 * config->discovery.heartbeat_interval_ms));
    /* One heartbeat that is lost must not cost a controller its jobs. */
    if (config->discovery.controller_timeout_ms < 3 * config->discovery.heartbeat_interval_ms)
        return REFUSE("cluster.discovery.controller_timeout_ms",
                      "must be at least three times cluster.discovery.heartbeat_interval_ms, %lld",
                      (long long)(3 * config->discovery.heartbeat_interval_ms));
    if (config->routing.retry.max_delay_ms < config->routing.retry.retry_delay_ms)
        return REFUSE("cluster.requestRouting.retry.maxDelayMs", "must not be less than retryDelayMs, %lld",
                      (long long)config->routing.retry.retry_delay_ms);
    return STATUS_OK;
}

static enum status check_worker(const struct config *config, struct error *error) {
    if (config->worker.batch_tokens < config->worker.max_batch_size)
        return REFUSE("cluster.worker.batch_tokens",
                      "must be at least cluster.worker.continuous_batching.max_batch_size, %lld",
                      (long long)config->worker.max_batch_size);
    if (config->worker.min_batch_size > config->worker.max_batch_size)
        return REFUSE("cluster.worker.continuous_batching.min_batch_size",
                      "must not be more than max_batch_size, %lld", (long long)config->worker.max_batch_size);
    if (config->worker.micro_batch_tokens > config->worker.batch_tokens)
        return REFUSE("cluster.worker.micro_batch_tokens",
                      "must not be more than cluster.worker.batch_tokens, %lld",
                      (long long)config->worker.batch_tokens);
    return STATUS_OK;
}

static bool is_quantized_cache(enum cache_kind kind) {
#define X(name, word, quantized) [CACHE_KIND_##name] = (quantized),
    static const bool is_quantized[] = {CONFIG_CACHE_MAP(X)};
#undef X
    return is_quantized[kind];
}

/* What depends on how many GPUs there are is asked where they are known: engine/devices.h. */
static enum status check_devices(const struct config *config, struct error *error) {
    const struct config_shares *split = &config->worker.tensor_split;
    int64_t sum = 0;
    for (size_t i = 0; i < split->count; i++)
        sum += split->thousandths[i];
    if (split->count > 0 && sum == 0)
        return REFUSE("cluster.worker.tensor_split", "at least one number must be more than 0");
    if (split->count > 0 && config->worker.split_mode == SPLIT_KIND_NONE)
        return REFUSE("cluster.worker.tensor_split",
                      "must be empty when cluster.worker.split_mode is none: main_gpu has all of it then");
    if (config->worker.main_gpu > 0 && config->worker.split_mode != SPLIT_KIND_NONE)
        return REFUSE("cluster.worker.main_gpu",
                      "is for cluster.worker.split_mode none; leave it at 0 or set split_mode to none");
    if (is_quantized_cache(config->worker.cache_type_v) && config->worker.flash_attention == FLASH_KIND_OFF)
        return REFUSE("cluster.worker.cache_type_v",
                      "quantized values need flash attention; set cluster.worker.flash_attention to auto or "
                      "on, or this to f16, bf16 or f32");
    return STATUS_OK;
}

static enum status check_limits(const struct config *config, struct error *error) {
    int64_t max_mb = config->worker.limits.max_memory_mb;
    int64_t critical_mb = config->worker.limits.critical_memory_mb;
    if (critical_mb > 0 && critical_mb < max_mb)
        return REFUSE("cluster.worker.resource_limits.critical_memory_mb",
                      "must not be less than max_memory_mb, %lld; or 0, then it follows from that",
                      (long long)max_mb);
    int64_t max_percent = config->worker.limits.max_memory_percent;
    if (config->worker.limits.critical_memory_percent < max_percent)
        return REFUSE("cluster.worker.resource_limits.critical_memory_percent",
                      "must not be less than max_memory_percent, %lld", (long long)max_percent);
    return STATUS_OK;
}

/* Whether a part of a file name between '-' or '.' tells how weights are stored: q8_0, Q4_K_M, IQ2_XXS, f16.
 */
static bool is_quantization(const char *part) {
    static const char *const plain[] = {"f16", "f32", "f64", "bf16", "fp16", "fp32", "mxfp4"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (strcasecmp(part, plain[i]) == 0)
            return true;
    }
    const char *at = part;
    if (tolower((unsigned char)*at) == 'i' || tolower((unsigned char)*at) == 't')
        at++;
    if (tolower((unsigned char)*at) != 'q' || !isdigit((unsigned char)at[1]))
        return false;
    for (at += 2; *at; at++) {
        if (!isalnum((unsigned char)*at) && *at != '_')
            return false;
    }
    return true;
}

/* The length without "-00001-of-00003", which the parts of a split model have. */
static size_t without_part(const char *name, size_t len) {
    enum { TAIL = 15 };
    if (len <= TAIL)
        return len;
    const char *at = name + len - TAIL;
    bool is_part = at[0] == '-' && strspn(at + 1, "0123456789") == 5 && strncmp(at + 6, "-of-", 4) == 0 &&
                   strspn(at + 10, "0123456789") == 5;
    return is_part ? len - TAIL : len;
}

/* Of the names that a request can have. */
static const char name_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/-";

void config_model_name(const char *path, bool whole, char *out, size_t cap) {
    const char *slash = strrchr(path, '/');
    snprintf(out, cap, "%s", slash ? slash + 1 : path);
    size_t len = strlen(out);
    if (len > 5 && strcasecmp(out + len - 5, ".gguf") == 0)
        out[len - 5] = '\0';
    len = without_part(out, strlen(out));
    out[len] = '\0';
    char *cut = out + len;
    while (cut > out && *cut != '-' && *cut != '.')
        cut--;
    if (!whole && cut > out && is_quantization(cut + 1))
        *cut = '\0';
    while (*(out += strspn(out, name_chars)))
        *out = '-';
}

static void name_from_path(struct config_model *model) {
    char name[CONFIG_TEXT_MAX + 1];
    config_model_name(model->path, false, name, sizeof name);
    config_set_text(&model->name, name);
}

static enum status check_model(const struct config *config, size_t index, struct error *error) {
    const struct config_model *model = &config->models[index];
    if (!*model->name)
        return REFUSE(CONFIG_MODELS_PATH, "a model has an empty name (path \"%.200s\")", model->path);
    if (strlen(model->name) > MODEL_NAME_MAX)
        return REFUSE(CONFIG_MODELS_PATH,
                      "the name \"%.200s\" is longer than %d bytes; give another one: name=path", model->name,
                      MODEL_NAME_MAX);
    if (model->name[strspn(model->name, name_chars)])
        return REFUSE(
            CONFIG_MODELS_PATH,
            "the name \"%.200s\" has characters other than A-Z a-z 0-9 . _ : / -, which no request can "
            "have in \"model\"",
            model->name);
    for (size_t i = 0; i < index; i++) {
        if (strcmp(config->models[i].name, model->name) == 0)
            return REFUSE(CONFIG_MODELS_PATH, "two models have the name \"%s\": %.120s and %.120s",
                          model->name, config->models[i].path, model->path);
    }
    return STATUS_OK;
}

static enum status check_models(struct config *config, struct error *error) {
    for (size_t i = 0; i < config->model_count; i++) {
        struct config_model *model = &config->models[i];
        if (!*model->path)
            return REFUSE(CONFIG_MODELS_PATH, "a model has an empty path");
        if (!model->name)
            name_from_path(model);
        enum status status = check_model(config, i, error);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status check_expected(const struct config *config, struct error *error) {
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-*";
    const struct config_list *expected = &config->discovery.expected_workers;
    for (size_t i = 0; i < expected->count; i++)
        if (expected->items[i][strspn(expected->items[i], chars)] != '\0')
            return REFUSE(
                "cluster.discovery.expected_workers",
                "a worker's id has letters, digits, '_' and '-', and a pattern of it '*', not \"%s\"",
                expected->items[i]);
    return STATUS_OK;
}

static enum status check_skills(const struct config *config, struct error *error) {
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    const struct config_list *skills = &config->worker.skills;
    if (skills->count > SKILLS_MAX)
        return REFUSE("cluster.worker.skills", "must not be more than %d", SKILLS_MAX);
    for (size_t i = 0; i < skills->count; i++)
        if (skills->items[i][strspn(skills->items[i], chars)] != '\0')
            return REFUSE("cluster.worker.skills",
                          "a skill has letters, digits, '_', '.' and '-', not \"%s\"", skills->items[i]);
    return STATUS_OK;
}

static void follow_switches(struct config *config) {
    if (!config->worker.batching)
        config->worker.max_batch_size = config->worker.min_batch_size = 1;
    if (!config->worker.queueing)
        config->worker.max_depth = 0;
}

enum status config_check(struct config *config, struct error *error) {
    follow_switches(config);
    enum status status = check_nats(config, error);
    if (status == STATUS_OK)
        status = check_times(config, error);
    if (status == STATUS_OK)
        status = check_worker(config, error);
    if (status == STATUS_OK)
        status = check_limits(config, error);
    if (status == STATUS_OK)
        status = check_devices(config, error);
    if (status == STATUS_OK)
        status = check_expected(config, error);
    if (status == STATUS_OK)
        status = check_skills(config, error);
    if (status == STATUS_OK)
        status = check_models(config, error);
    return status;
}
