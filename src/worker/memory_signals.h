/* What the kernel tells about memory: of this process, of its control group (worker/cgroup.h), of the
 * machine, and how much time is lost waiting for it.
 *
 * Of the process only what cannot be had back without it counts: private memory (RssAnon), shared memory
 * (RssShmem), and what of it was swapped out. Model weights are mapped from their files: they are in RSS, but
 * the kernel drops them when it needs the room and reads them again, so they are no reason to refuse work
 * while the limit is one of the process's own.
 * https://docs.kernel.org/filesystems/proc.html, https://docs.kernel.org/accounting/psi.html
 *
 * All paths begin with `root`, which is "" but in tests. Any thread. */
#pragma once

#include <stdint.h>

#include "worker/cgroup.h"

enum { MEMORY_UNKNOWN = -1 };

struct memory_signals {
    int64_t process_bytes;       /* see above; MEMORY_UNKNOWN */
    struct cgroup_memory cgroup; /* no limit when it is not known */
    int64_t machine_used;        /* bytes that are not available: MemTotal - MemAvailable */
    int64_t machine_bytes;       /* MemTotal; 0: unknown */
    /* Of the last 10 s, in hundredths of a percent, how long some task, and how long all of them at once,
     * waited for memory: of the control group where it tells so, else of the machine. MEMORY_UNKNOWN. */
    int32_t pressure_some;
    int32_t pressure_full;
};

void memory_signals_read(const struct cgroup_mounts *mounts, const char *root, struct memory_signals *out);
