#include "cli/runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_PREFIX "mlxd-"
#define LOCK_NAME   "lock"

enum { NAME_RANDOM_CHARS = 6, TAIL_BYTES = 4096 };

void runtime_dir_path(const struct runtime_dir *dir, const char *name, char *out) {
    snprintf(out, RUNTIME_PATH_MAX, "%s/%s", dir->path, name);
}

/* The folder is flat and ours: no recursion, so nothing outside of it can be reached. */
static void remove_folder(const char *path) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

static bool is_stale(const char *path) {
    char lock[RUNTIME_PATH_MAX + sizeof LOCK_NAME + 1];
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return false;
    snprintf(lock, sizeof lock, "%s/" LOCK_NAME, path);
    int fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool stale = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return stale;
}

static void remove_stale(const char *parent) {
    DIR *folder = opendir(parent);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char path[RUNTIME_PATH_MAX];
        if (strncmp(entry->d_name, NAME_PREFIX, sizeof NAME_PREFIX - 1) != 0 ||
            strlen(entry->d_name) != sizeof NAME_PREFIX - 1 + NAME_RANDOM_CHARS)
            continue;
        int wrote = snprintf(path, sizeof path, "%s/%s", parent, entry->d_name);
        if (wrote < (int)sizeof path && is_stale(path))
            remove_folder(path);
    }
    if (folder)
        closedir(folder);
}

/* The lock gets its name only when it is held, so that it never looks like one that was left behind. */
static bool take_lock(struct runtime_dir *dir) {
    char fresh[RUNTIME_PATH_MAX];
    char path[RUNTIME_PATH_MAX];
    runtime_dir_path(dir, LOCK_NAME ".new", fresh);
    runtime_dir_path(dir, LOCK_NAME, path);
    dir->lock_fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return dir->lock_fd >= 0 && flock(dir->lock_fd, LOCK_EX | LOCK_NB) == 0 && rename(fresh, path) == 0;
}

enum status runtime_dir_make(struct runtime_dir *dir, const char *parent, struct error *error) {
    const char *session = getenv("XDG_RUNTIME_DIR");
    *dir = (struct runtime_dir){.lock_fd = -1};
    if (!*parent)
        parent = session && access(session, W_OK | X_OK) == 0 ? session : "/tmp";
    if (strlen(parent) + sizeof "/" NAME_PREFIX "XXXXXX" > sizeof dir->path)
        return error_set(error, STATUS_START_FAILED, "cluster.serve.runtime_dir", "the path is too long");
    remove_stale(parent);
    snprintf(dir->path, sizeof dir->path, "%s/" NAME_PREFIX "XXXXXX", parent);
    if (!mkdtemp(dir->path)) {
        dir->path[0] = '\0';
        return error_set(error, STATUS_START_FAILED, "cluster.serve.runtime_dir",
                         "no folder can be made in %.256s: %s. Give another one: --runtime-dir PATH", parent,
                         strerror(errno));
    }
    if (!take_lock(dir))
        return error_set(error, STATUS_START_FAILED, "cluster.serve.runtime_dir",
                         "%.256s cannot be locked: %s", dir->path, strerror(errno));
    return STATUS_OK;
}

void runtime_dir_remove(struct runtime_dir *dir) {
    if (!dir->path[0])
        return;
    remove_folder(dir->path);
    if (dir->lock_fd >= 0)
        close(dir->lock_fd);
    *dir = (struct runtime_dir){.lock_fd = -1};
}

enum status runtime_dir_write(const struct runtime_dir *dir, const char *name, const struct buf *text,
                              struct error *error) {
    char path[RUNTIME_PATH_MAX];
    runtime_dir_path(dir, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = !text->failed && fd >= 0 && write(fd, text->data, text->len) == (ssize_t)text->len;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (written)
        return STATUS_OK;
    return error_set(error, STATUS_START_FAILED, NULL, "%.256s cannot be written: %s", path, strerror(why));
}

void runtime_dir_last_line(const struct runtime_dir *dir, const char *name, char *out, size_t size) {
    char path[RUNTIME_PATH_MAX];
    char tail[TAIL_BYTES + 1];
    out[0] = '\0';
    runtime_dir_path(dir, name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    ssize_t got = pread(fd, tail, TAIL_BYTES, end > TAIL_BYTES ? end - TAIL_BYTES : 0);
    close(fd);
    while (got > 0 && (tail[got - 1] == '\n' || tail[got - 1] == ' '))
        got--;
    if (got <= 0)
        return;
    tail[got] = '\0';
    const char *newline = strrchr(tail, '\n');
    snprintf(out, size, "%s", newline ? newline + 1 : tail);
}
