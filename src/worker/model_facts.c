#include "worker/model_facts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "worker/engine_config.h"

/* What the engine says once the model is loaded may differ: it has tried the template. */
static uint32_t capabilities_of(const struct gguf_info *info) {
    return (info->has_chat_template ? model_capability_bit(CAPABILITY_CHAT) : 0) |
           (info->template_has_tools ? model_capability_bit(CAPABILITY_TOOLS) : 0);
}

static void take(const struct config *config, const struct gguf_info *info, struct model_facts *out) {
    const struct engine_options options = engine_options_of(config, "");
    int64_t context = engine_context_tokens(&options, info->context_tokens);
    int64_t cells = engine_cache_tokens(&options, context);
    *out = (struct model_facts){
        .parameters = info->parameters,
        .file_bytes = info->file_bytes,
        .context_tokens = (int32_t)context,
        .capabilities = capabilities_of(info),
        .layers = info->layers,
        .weights_bytes = info->weights_bytes,
        .cache_token_bytes = gguf_cache_bytes(info, options.cache_type_k, options.cache_type_v, 1),
    };
    if (__builtin_add_overflow(info->weights_bytes,
                               gguf_cache_bytes(info, options.cache_type_k, options.cache_type_v, cells),
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

static void drop_pages(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* advice: nothing depends on it */
    close(fd);
}

void model_facts_drop_pages(const char *path) {
    char name[PATH_MAX];
    int part, parts;
    if (!gguf_is_part(path, &part, &parts)) {
        drop_pages(path);
        return;
    }
    int stem_len = (int)(strlen(path) - strlen("-00001-of-00003.gguf"));
    for (int i = 1; i <= parts; i++) {
        int wrote = snprintf(name, sizeof name, "%.*s-%05d-of-%05d.gguf", stem_len, path, i, parts);
        if (wrote > 0 && (size_t)wrote < sizeof name)
            drop_pages(name);
    }
}
