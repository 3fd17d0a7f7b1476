#include "worker/cores.h"

#include <sched.h>

#include "worker/cgroup.h"

int32_t cores_usable(const char *root) {
    cpu_set_t set;
    struct cgroup_mounts mounts;
    int64_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    cgroup_find_mounts(root, &mounts);
    int64_t quota = (cgroup_read_cpus(&mounts, root) + 999) / 1000;
    return (int32_t)(quota > 0 && quota < cores ? quota : cores);
}
