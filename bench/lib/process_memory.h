/* What a process has in memory, from /proc/<pid>/smaps_rollup. The kernel's socket buffers are not in it. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct process_memory {
    int64_t rss_kib;
    int64_t pss_kib;       /* pages shared with other processes count in part */
    int64_t anonymous_kib; /* heap and stacks */
};

/* Exits when it cannot be read. */
struct process_memory process_memory_read(pid_t pid);
