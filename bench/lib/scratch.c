#include "lib/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPEN_FOLDERS_MAX = 16 };

void scratch_make(struct scratch *scratch) {
    const char *below = getenv("TMPDIR");
    snprintf(scratch->path, sizeof(scratch->path), "%s/mlx-bench-XXXXXX", below && *below ? below : "/tmp");
    if (!mkdtemp(scratch->path)) {
        perror(scratch->path);
        exit(1);
    }
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

void scratch_remove(struct scratch *scratch) {
    if (nftw(scratch->path, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS) != 0)
        perror(scratch->path);
}
