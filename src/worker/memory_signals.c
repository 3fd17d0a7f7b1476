#include "worker/memory_signals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/proc_text.h"

static bool read_proc(const char *root, const char *name, char out[PROC_TEXT_MAX]) {
    char path[PROC_PATH_MAX];
    return snprintf(path, sizeof path, "%s/proc/%s", root, name) < PROC_PATH_MAX &&
           proc_read(path, out, PROC_TEXT_MAX);
}

/* The sum of those that are there, in bytes; MEMORY_UNKNOWN when none is. */
static int64_t sum_kb(const char *text, const char *const *keys, size_t count) {
    int64_t sum = MEMORY_UNKNOWN, kb;
    for (size_t i = 0; i < count; i++)
        if (proc_number(text, keys[i], &kb) && kb < INT64_MAX / 4096)
            sum = (sum == MEMORY_UNKNOWN ? 0 : sum) + kb * 1024;
    return sum;
}

static int64_t process_bytes(const char *root) {
    static const char *const keys[] = {"RssAnon:", "RssShmem:", "VmSwap:"};
    char text[PROC_TEXT_MAX];
    return read_proc(root, "self/status", text) ? sum_kb(text, keys, ARRAY_LEN(keys)) : MEMORY_UNKNOWN;
}

static void read_machine(const char *root, struct memory_signals *out) {
    static const char *const total_key[] = {"MemTotal:"}, *const available_key[] = {"MemAvailable:"};
    char text[PROC_TEXT_MAX];
    if (!read_proc(root, "meminfo", text))
        return;
    int64_t total = sum_kb(text, total_key, 1), available = sum_kb(text, available_key, 1);
    if (total <= 0)
        return;
    out->machine_bytes = total;
    out->machine_used = available >= 0 && available <= total ? total - available : 0;
}

/* In a text like "some avg10=0.12 avg60=0.00 avg300=0.00 total=0\nfull avg10=..." */
static int32_t find_pressure(const char *text, const char *kind) {
    const char *line = strstr(text, kind);
    if (!line)
        return MEMORY_UNKNOWN;
    char *end;
    const char *number = line + strlen(kind);
    double percent = strtod(number, &end);
    return end > number && percent >= 0 && percent <= 100 ? (int32_t)lround(percent * 100) : MEMORY_UNKNOWN;
}

static void read_pressure(const struct cgroup_mounts *mounts, const char *root, struct memory_signals *out) {
    char text[PROC_TEXT_MAX];
    if (!cgroup_read_pressure(mounts, root, text, sizeof text) && !read_proc(root, "pressure/memory", text))
        return;
    out->pressure_some = find_pressure(text, "some avg10=");
    out->pressure_full = find_pressure(text, "full avg10=");
}

void memory_signals_read(const struct cgroup_mounts *mounts, const char *root, struct memory_signals *out) {
    *out = (struct memory_signals){.process_bytes = process_bytes(root),
                                   .pressure_some = MEMORY_UNKNOWN,
                                   .pressure_full = MEMORY_UNKNOWN};
    read_machine(root, out);
    cgroup_read_memory(mounts, root, out->machine_bytes, &out->cgroup);
    read_pressure(mounts, root, out);
}
