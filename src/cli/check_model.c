/* mlxd check-model: what a model file is, or what is wrong with it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "engine/gguf.h"
#include "worker/engine_config.h"
#include "worker/model_check.h"
#include "worker/model_folder.h"

enum { TEXT_MAX = 32 };

struct amount {
    char text[TEXT_MAX];
};

/* 1536 -> "1.5 KiB" with 1024, "1.5 thousand" with 1000. */
static struct amount show(int64_t value, double step, const char *const *units) {
    struct amount shown;
    double number = (double)value;
    size_t unit = 0;
    while (number >= step && units[unit + 1]) {
        number /= step;
        unit++;
    }
    snprintf(shown.text, sizeof shown.text, unit ? "%.1f%s%s" : "%.0f%s%s", number, *units[unit] ? " " : "",
             units[unit]);
    return shown;
}

static struct amount show_bytes(int64_t value) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", NULL};
    return show(value, 1024, units);
}

static struct amount show_count(int64_t value) {
    static const char *const units[] = {"", "thousand", "million", "billion", NULL};
    return show(value, 1000, units);
}

static void put_text(const char *name, const char *value) {
    printf("  %-15s%s\n", name, *value ? value : "not told");
}

static void put_number(const char *name, int64_t value, const char *unit) {
    if (value > 0)
        printf("  %-15s%" PRId64 "%s%s\n", name, value, *unit ? " " : "", unit);
    else
        put_text(name, "");
}

static void put_shape(const struct gguf_info *info) {
    put_text("name", info->name);
    put_text("architecture", info->architecture);
    put_text("parameters", show_count(info->parameters).text);
    put_text("quantization", info->quantization);
    put_number("context", info->context_tokens, "tokens");
    put_number("width", info->embedding_width, "");
    put_number("layers", info->layers, "");
    put_number("heads", info->heads.max, "");
    put_number("KV heads", info->heads_kv.max, "");
    put_number("vocabulary", info->vocabulary, "tokens");
    put_text("chat template", info->has_chat_template ? "yes" : "no; ChatML is used");
    if (info->parts > 1)
        put_number("files", info->parts, "");
}

/* As the worker would have it with these options. */
static void put_memory(const struct gguf_info *info, const struct config *config) {
    const struct engine_options options = engine_options_of(config, "");
    int64_t context = engine_context_tokens(&options, info->context_tokens);
    int64_t cells = engine_cache_tokens(&options, context);
    int64_t cache = gguf_cache_bytes(info, options.cache_type_k, options.cache_type_v, cells);
    put_text("weights", show_bytes(info->weights_bytes).text);
    printf("  %-15s%s a token; %s for %" PRId64 " sequences of %" PRId64 " tokens\n", "KV cache",
           show_bytes(gguf_cache_bytes(info, options.cache_type_k, options.cache_type_v, 1)).text,
           show_bytes(cache).text, config->worker.max_batch_size, context);
}

static bool try_to_load(const char *path, const struct config *config) {
    const struct model_check check = {.config = config, .program = "/proc/self/exe", .path = path};
    struct error error = {0};
    int64_t began_ms = clock_ms();
    bool loads = model_check_run(&check, &error) == STATUS_OK;
    if (loads)
        printf("  %-15syes, tried in %.1f s\n", "loads", (double)(clock_ms() - began_ms) / 1000);
    else
        printf("  %-15sno: %s\n", "loads", error.message);
    return loads;
}

static bool report(const char *path, const struct config *config) {
    struct gguf_info info;
    struct error error = {0};
    printf("%s\n", path);
    if (gguf_read_model(path, &info, &error) != STATUS_OK) {
        printf("  %-15s%s\n", "broken", error.message);
        return false;
    }
    put_shape(&info);
    put_memory(&info, config);
    fflush(stdout);
    return config->worker.model_check == MODEL_CHECK_HEADER || !MLX_WITH_LLAMA || try_to_load(path, config);
}

/* A file, or all models of a folder. */
static bool report_path(const char *path, const struct config *config) {
    struct stat st;
    struct model_folder folder;
    struct error error = {0};
    bool good = true;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return report(path, config);
    if (model_folder_read(path, &folder, &error) != STATUS_OK) {
        printf("%s\n", error.message);
        good = false;
    }
    for (size_t i = 0; i < folder.count; i++) {
        bool this_one = report(folder.paths[i], config);
        good = good && this_one;
    }
    model_folder_release(&folder);
    return good;
}

int cli_check_model(const struct cli_command *command, int argc, char **argv) {
    struct config config;
    int paths = 0;
    bool good = true;
    while (paths < argc && argv[paths][0] != '-')
        paths++;
    int code = cli_read_config(command, argc - paths, argv + paths, &config);
    if (code < 0 && paths == 0)
        code = cli_refuse(command, "the path of a GGUF file or of a folder with some is expected");
    for (int i = 0; code < 0 && i < paths; i++) {
        bool this_one = report_path(argv[i], &config);
        good = good && this_one;
    }
    config_release(&config);
    return code >= 0 ? code : good ? EXIT_OK : EXIT_FAILED;
}
