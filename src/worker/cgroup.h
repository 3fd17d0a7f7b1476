/* The control group of this process: what memory it uses and may use, and how much of the processors, from
 * version 2 of the kernel's interface or version 1, whichever has the controller. On a hybrid machine version
 * 2 is mounted, too, but only with other controllers. https://docs.kernel.org/admin-guide/cgroup-v2.html,
 * https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, https://docs.kernel.org/scheduler/sched-bwc.html
 *
 * What a group uses is its usage without inactive_file: pages of files that were not touched lately go first
 * and cost nothing. Active pages of files stay in it, and so the weights of a model that computes: the kernel
 * could drop those as well, but the next token would read them from the disk again.
 *
 * A limit may lie at any level, from the process's own group up, and whoever shares that level with the
 * process uses it up. So each level is compared with its own use; the one nearest to its limit counts.
 *
 * All paths begin with `root`, which is "" but in tests. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum {
    CGROUP_PATH_MAX = 1024, /* bytes with a NUL; groups with longer paths are not found */
    CGROUP_LEVELS_MAX = 32, /* levels that are looked at, from the process's own on */
};

/* Where a hierarchy is mounted, and which of its groups one sees there. Empty: not mounted. */
struct cgroup_mount {
    char point[CGROUP_PATH_MAX];
    char top[CGROUP_PATH_MAX];
};

struct cgroup_mounts {
    struct cgroup_mount v2;
    struct cgroup_mount v1_memory; /* the one with the memory controller */
    struct cgroup_mount v1_cpu;    /* with the cpu controller */
};
/* From /proc/self/mountinfo. A hierarchy that is mounted more than once: where most of it is seen. */
void cgroup_find_mounts(const char *root, struct cgroup_mounts *out);

struct cgroup_memory {
    int64_t used;  /* bytes; 0 when nothing is known */
    int64_t limit; /* 0: none */
};
/* Of the level that is nearest to its limit; of the process's own where none has one. A limit of
 * `machine_bytes` or more (0: not known) is none. The process's group is looked up each time, since it may be
 * moved. */
void cgroup_read_memory(const struct cgroup_mounts *mounts, const char *root, int64_t machine_bytes,
                        struct cgroup_memory *out);
/* The text of the group's memory.pressure; false when there is none. `out` has `cap` bytes. */
MUST_USE bool cgroup_read_pressure(const struct cgroup_mounts *mounts, const char *root, char *out,
                                   size_t cap);
/* How much time of processors the process gets for each second, in thousandths of a second, by the lowest
 * quota of all levels; 0: no quota. */
int64_t cgroup_read_cpus(const struct cgroup_mounts *mounts, const char *root);
