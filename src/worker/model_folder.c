#include "worker/model_folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/log.h"
#include "engine/gguf.h"

static bool has_model_name(const char *name) {
    int part, parts;
    size_t len = strlen(name);
    if (name[0] == '.' || len <= 5 || strcasecmp(name + len - 5, ".gguf") != 0)
        return false;
    return !gguf_is_part(name, &part, &parts) || part == 0;
}

enum place { INSIDE, ELSEWHERE, UNKNOWN };

/* INSIDE: a file, and one that lies in the folder even when its name there is a link. A file system that does
 * not answer now says nothing. */
static enum place find_place(const char *real_folder, const char *path) {
    struct stat file;
    char *real = realpath(path, NULL);
    size_t len = strlen(real_folder);
    enum place place = ELSEWHERE;
    if (!real || stat(real, &file) != 0)
        place = errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? ELSEWHERE : UNKNOWN;
    else if (strncmp(real, real_folder, len) == 0 && (real[len] == '/' || len == 1) && S_ISREG(file.st_mode))
        place = INSIDE;
    free(real);
    return place;
}

static enum status add(struct model_folder *out, const char *folder, const char *real_folder,
                       const char *name, struct error *error) {
    char path[PATH_MAX];
    size_t len = strlen(folder);
    const char *slash = len > 0 && folder[len - 1] == '/' ? "" : "/";
    int wrote = snprintf(path, sizeof path, "%s%s%s", folder, slash, name);
    bool fits = wrote >= 0 && (size_t)wrote < sizeof path;
    enum place place = fits ? find_place(real_folder, path) : ELSEWHERE;
    if (place != INSIDE) {
        if (place == ELSEWHERE && out->left_out++ == 0)
            snprintf(out->left_name, sizeof out->left_name, "%s", name);
        out->unsure |= place == UNKNOWN;
        return STATUS_OK;
    }
    if (out->count == MODEL_FOLDER_MAX)
        return error_set(error, STATUS_CONFIG_INVALID, NULL, "%.200s: more than %d models", folder,
                         MODEL_FOLDER_MAX);
    out->paths[out->count] = strdup(path);
    if (!out->paths[out->count])
        return error_set(error, STATUS_CONFIG_INVALID, NULL, "%.200s: out of memory", folder);
    out->count++;
    return STATUS_OK;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum status model_folder_list(const char *folder, struct model_folder *out, struct error *error) {
    *out = (struct model_folder){.count = 0};
    DIR *dir = opendir(folder);
    char *real_folder = dir ? realpath(folder, NULL) : NULL;
    if (!real_folder) {
        enum status status =
            error_set(error, STATUS_CONFIG_INVALID, NULL, "%.200s: %s", folder, strerror(errno));
        if (dir)
            closedir(dir);
        return status;
    }
    enum status status = STATUS_OK;
    struct dirent *entry;
    while (errno = 0, status == STATUS_OK && (entry = readdir(dir))) {
        if (has_model_name(entry->d_name))
            status = add(out, folder, real_folder, entry->d_name, error);
    }
    out->unsure |= status == STATUS_OK && errno != 0;
    closedir(dir);
    free(real_folder);
    qsort(out->paths, out->count, sizeof out->paths[0], compare);
    return status;
}

enum status model_folder_read(const char *folder, struct model_folder *out, struct error *error) {
    enum status status = model_folder_list(folder, out, error);
    if (out->left_out > 0)
        log_warn("left out: no files, or links that lead out of the folder; name their targets with --model",
                 F_STR("folder", folder), F_STR("first", out->left_name), F_INT("count", out->left_out));
    if (status == STATUS_OK && out->count == 0)
        status = error_set(error, STATUS_CONFIG_INVALID, NULL,
                           "%.200s: there is no model (*.gguf) in this folder", folder);
    return status;
}

void model_folder_release(struct model_folder *folder) {
    if (!folder)
        return;
    for (size_t i = 0; i < folder->count; i++)
        free(folder->paths[i]);
    folder->count = 0;
}
