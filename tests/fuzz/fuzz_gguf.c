/* Any bytes are a GGUF file or a refusal with a sentence; what is told of a file is inside its limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/utf8.h"
#include "engine/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct gguf_info *info, size_t size) {
    if (info->file_bytes != (int64_t)size || info->weights_bytes < 0 || info->weights_bytes > (int64_t)size ||
        info->parameters < 0 || info->layers < 0 || info->layers > GGUF_LAYERS_MAX ||
        info->context_tokens < 0)
        abort();
    if (!utf8_is_valid(info->name, strlen(info->name)) || (info->part == 0 && !*info->architecture))
        abort();
    for (int type = 0; type < ENGINE_CACHE_TYPE_COUNT; type++)
        if (gguf_cache_bytes(info, (enum engine_cache_type)type, (enum engine_cache_type)type, 4096) < 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    struct gguf_info info;
    struct error error = {.status = STATUS_OK};
    if (fd < 0)
        fd = memfd_create("gguf", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    if (gguf_read(fd, &info, &error) == STATUS_OK)
        check(&info, size);
    else if (error.status != STATUS_MODEL_LOAD_FAILED || !error.message[0])
        abort();
    return 0;
}
