#include "worker/cores.h"

#include <sched.h>
#include <stdbool.h>

#include "worker/cgroup.h"

enum { CPUS_MAX = 1 << 16 };

/* The kernel refuses a set that is smaller than its own. */
static int64_t count_allowed(void) {
    for (size_t cpus = CPU_SETSIZE; cpus <= CPUS_MAX; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t size = CPU_ALLOC_SIZE(cpus);
        bool known = set && sched_getaffinity(0, size, set) == 0;
        int64_t count = known ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (known)
            return count;
    }
    return 1;
}

int32_t cores_usable(const char *root) {
    struct cgroup_mounts mounts;
    int64_t cores = count_allowed();
    cgroup_find_mounts(root, &mounts);
    int64_t quota = (cgroup_read_cpus(&mounts, root) + 999) / 1000;
    return (int32_t)(quota > 0 && quota < cores ? quota : cores);
}
