/* The folder of one run of `mlxd serve`: generated configuration (it holds a password, so the folder is for
 * its owner alone) and the log of nats-server. It carries a lock while its supervisor lives; folders that a
 * killed supervisor left behind are removed by the next one. */
#pragma once

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"

enum { RUNTIME_NAME_MAX = 96, RUNTIME_PATH_MAX = 1024 };

struct runtime_dir {
    char path[RUNTIME_PATH_MAX - RUNTIME_NAME_MAX];
    int lock_fd;
};

/* `parent` "" means $XDG_RUNTIME_DIR, or else /tmp. */
MUST_USE enum status runtime_dir_make(struct runtime_dir *dir, const char *parent, struct error *error);
/* Removes the folder and the files in it. Takes zeroed structs. */
void runtime_dir_remove(struct runtime_dir *dir);

/* The path of a file in it; `name` is shorter than RUNTIME_NAME_MAX, `out` holds RUNTIME_PATH_MAX bytes. */
void runtime_dir_path(const struct runtime_dir *dir, const char *name, char *out);
/* A file that only its owner may read. */
MUST_USE enum status runtime_dir_write(const struct runtime_dir *dir, const char *name,
                                       const struct buf *text, struct error *error);
/* The last line of a file that is not empty, "" when there is none. */
void runtime_dir_last_line(const struct runtime_dir *dir, const char *name, char *out, size_t size);
