/* mlxd load-model: what a worker runs before it loads a file itself. Not for people; they have check-model.
 * Tries the model in this process, which may die of it. The reason of a failure is the last line of its
 * output. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/cli.h"
#include "engine/engine_try.h"
#include "engine/gguf.h"
#include "worker/engine_config.h"

/* Beside the file and a copy of the weights in another layout: cache, working memory, the program. */
#define SPARE_BYTES (INT64_C(4) << 30)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SHADOW_MEMORY true /* terabytes of addresses */
#elif defined(__has_feature)
#define HAS_SHADOW_MEMORY (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define HAS_SHADOW_MEMORY false
#endif

static bool has_gpu(void) {
#if MLX_WITH_LLAMA
    return engine_llama_has_gpu();
#else
    return false;
#endif
}

/* A file that makes the engine ask for absurd amounts fails here and not in the machine's memory. Drivers of
 * GPUs take large ranges of addresses for themselves, so that there is no bound then. */
static void limit_memory(const struct gguf_info *info, const struct config *config) {
    int64_t bytes;
    if (HAS_SHADOW_MEMORY || (config->worker.gpu_layers != 0 && has_gpu()) ||
        __builtin_add_overflow(info->file_bytes, info->weights_bytes + SPARE_BYTES, &bytes))
        return;
    const struct rlimit limit = {.rlim_cur = (rlim_t)bytes, .rlim_max = (rlim_t)bytes};
    setrlimit(RLIMIT_AS, &limit);
}

/* Nobody waits for us any more when the worker is gone; and a crash is expected, not to be looked into. */
static void prepare(void) {
    const struct rlimit none = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &none);
    setenv("GGML_NO_BACKTRACE", "1", 1);
}

static enum status try_model(const char *path, const struct config *config, struct error *error) {
    struct gguf_info info;
    enum status status = gguf_read_model(path, &info, error);
    if (status != STATUS_OK)
        return status;
    limit_memory(&info, config);
#if MLX_WITH_LLAMA
    const struct engine_options options = engine_options_of(config, path);
    return engine_try(&engine_llama_ops, &options, error);
#else
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "this mlxd was built without llama.cpp");
#endif
}

int cli_load_model(const struct cli_command *command, int argc, char **argv) {
    struct config config;
    struct error error = {0};
    if (argc < 1)
        return cli_refuse(command, "the path of a model is expected");
    prepare();
    int code = cli_read_config(command, argc - 1, argv + 1, &config);
    if (code < 0) {
        code = try_model(argv[0], &config, &error) == STATUS_OK ? EXIT_OK : EXIT_FAILED;
        /* The reader knows the path. */
        size_t len = strlen(argv[0]);
        bool has_path =
            strncmp(error.message, argv[0], len) == 0 && strncmp(error.message + len, ": ", 2) == 0;
        if (code != EXIT_OK)
            printf("%s\n", error.message + (has_path ? len + 2 : 0));
    }
    config_release(&config);
    return code;
}
