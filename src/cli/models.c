/* Which files the models are, and whether the engine can be asked for what it is asked for. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/fake_fault.h"
#include "worker/model_folder.h"

enum { FILE_PATH_MAX = 4096 };

#define DEFAULT_MODEL "tiny-chat-q8_0.gguf"

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Beside an installed mlxd: PREFIX/bin/mlxd and PREFIX/share/mlx-serving/models. */
static bool find_installed(char *path) {
    char program[FILE_PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    if (len <= 0)
        return false;
    program[len] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(program, '/');
        if (!slash)
            return false;
        *slash = '\0';
    }
    int wrote = snprintf(path, FILE_PATH_MAX, "%s/share/mlx-serving/models/" DEFAULT_MODEL, program);
    return wrote < FILE_PATH_MAX && is_there(path);
}

static bool find_default(char *path) {
    if (find_installed(path))
        return true;
    static const char *const places[] = {
#ifdef MLX_SOURCE_DIR
        MLX_SOURCE_DIR "/models/" DEFAULT_MODEL,
#endif
        "models/" DEFAULT_MODEL,
    };
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        snprintf(path, FILE_PATH_MAX, "%s", places[i]);
        if (is_there(path))
            return true;
    }
    return false;
}

/* What is no GGUF file is told here, before anything is started. */
static const char *find_problem(const char *path) {
    char magic[4] = "";
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        const char *problem = strerror(errno);
        if (fd >= 0)
            close(fd);
        return problem;
    }
    bool is_gguf = S_ISREG(st.st_mode) && read(fd, magic, sizeof magic) == sizeof magic &&
                   memcmp(magic, "GGUF", sizeof magic) == 0;
    close(fd);
    if (S_ISDIR(st.st_mode))
        return "it is a folder, not a GGUF file";
    return is_gguf ? NULL : "it is not a GGUF file";
}

static enum status check_file(const struct config_model *model, struct error *error) {
    const char *problem = find_problem(model->path);
    if (!problem)
        return STATUS_OK;
    char folder[256];
    bool relative = model->path[0] != '/' && getcwd(folder, sizeof folder);
    return error_set(error, STATUS_CONFIG_INVALID, "cluster.models",
                     "model \"%s\": %.200s: %s%s%s%s. Give the path of a GGUF file: --model PATH",
                     model->name, model->path, problem, relative ? " (looked in " : "",
                     relative ? folder : "", relative ? ")" : "");
}

static enum status add_default(struct config *config, struct error *error) {
    char path[FILE_PATH_MAX];
    bool found = find_default(path);
    if (!found && config->worker.engine != ENGINE_KIND_FAKE)
        return error_set(error, STATUS_CONFIG_INVALID, "cluster.models",
                         "no model is configured, and " DEFAULT_MODEL
                         " is not where it should be. Give the path "
                         "of a GGUF file: --model PATH");
    if (!config_add_model(config, NULL, found ? path : DEFAULT_MODEL))
        return STATUS_CONFIG_INVALID;
    return config_check(config, error);
}

static bool has_model(const struct config *config, const char *path) {
    for (size_t i = 0; i < config->model_count; i++) {
        if (strcmp(config->models[i].path, path) == 0)
            return true;
    }
    return false;
}

static enum status add_folder(struct config *config, const char *path, struct error *error) {
    struct model_folder folder;
    enum status status = model_folder_read(path, &folder, error);
    for (size_t i = 0; status == STATUS_OK && i < folder.count; i++) {
        if (has_model(config, folder.paths[i]))
            continue;
        if (config_add_model(config, NULL, folder.paths[i]))
            config->models[config->model_count - 1].found = true;
        else
            status = error_set(error, STATUS_CONFIG_INVALID, NULL, "%.200s: more than %d models in all", path,
                               CONFIG_MODELS_MAX);
    }
    model_folder_release(&folder);
    return status;
}

/* How many models would have this name without their quantization. */
static size_t count_namesakes(const struct config *config, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < config->model_count; i++) {
        const struct config_model *model = &config->models[i];
        char own[FILE_PATH_MAX];
        config_model_name(model->path, false, own, sizeof own);
        count += strcmp(model->found ? own : model->name, name) == 0;
    }
    return count;
}

/* A folder often has one model in several quantizations: then the names keep them. */
static void name_found(struct config *config) {
    for (size_t i = 0; i < config->model_count; i++) {
        struct config_model *model = &config->models[i];
        char name[FILE_PATH_MAX];
        if (!model->found)
            continue;
        config_model_name(model->path, false, name, sizeof name);
        if (count_namesakes(config, name) > 1)
            config_model_name(model->path, true, name, sizeof name);
        config_set_text(&model->name, name);
    }
}

static enum status add_folders(struct config *config, struct error *error) {
    const struct config_list *folders = &config->worker.model_dirs;
    for (size_t i = 0; i < folders->count; i++) {
        struct error why = {.status = STATUS_OK};
        if (add_folder(config, folders->items[i], &why) != STATUS_OK)
            return error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.model_dirs",
                             "cluster.worker.model_dirs: %s", why.message);
    }
    name_found(config);
    return config_check(config, error);
}

/* A fault that would do nothing is a mistake, too. */
static enum status check_fault(const struct config *config, struct error *error) {
    int32_t numbers[FAKE_FAULT_COUNT];
    if (*config->worker.fake_fault && config->worker.engine != ENGINE_KIND_FAKE)
        return error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.fake.fault",
                         "cluster.worker.fake.fault: only the fake engine fails on demand: --engine fake");
    return fake_faults_read(config->worker.fake_fault, numbers, error);
}

static enum status check_pre_warming(const struct config *config, struct error *error) {
    const struct config_list *names = &config->worker.pre_warming.models;
    for (size_t i = 0; i < names->count; i++) {
        size_t at = 0;
        while (at < config->model_count && strcmp(config->models[at].name, names->items[i]) != 0)
            at++;
        if (at == config->model_count)
            return error_set(
                error, STATUS_CONFIG_INVALID, "cluster.worker.pre_warming.models",
                "cluster.worker.pre_warming.models: there is no model \"%s\"; the first one that "
                "there is is \"%s\"",
                names->items[i], config->model_count > 0 ? config->models[0].name : "");
    }
    return STATUS_OK;
}

enum status cli_find_models(struct config *config, struct error *error) {
    enum status status = check_fault(config, error);
    if (status == STATUS_OK && config->worker.model_dirs.count > 0)
        status = add_folders(config, error);
    if (status == STATUS_OK && config->model_count == 0)
        status = add_default(config, error);
    if (status == STATUS_OK)
        status = check_pre_warming(config, error);
    if (status != STATUS_OK)
        return status;
    if (config->worker.engine == ENGINE_KIND_FAKE)
        return STATUS_OK;
    if (!MLX_WITH_LLAMA)
        return error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.engine",
                         "this mlxd was built without llama.cpp; only --engine fake is there");
    /* What a folder holds is not chosen one by one: there the worker tells which files are broken. */
    for (size_t i = 0; i < config->model_count && status == STATUS_OK; i++) {
        if (!config->models[i].found)
            status = check_file(&config->models[i], error);
    }
    return status;
}
