#include "lib/process_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"

struct process_memory process_memory_read(pid_t pid) {
    struct process_memory memory = {0};
    const struct {
        const char *name;
        int64_t *kib;
    } wanted[] = {
        {"Rss:", &memory.rss_kib}, {"Pss:", &memory.pss_kib}, {"Anonymous:", &memory.anonymous_kib}};
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
            if (strncmp(line, wanted[i].name, strlen(wanted[i].name)) == 0)
                *wanted[i].kib = strtoll(line + strlen(wanted[i].name), NULL, 10);
    if (file)
        fclose(file);
    if (memory.rss_kib == 0) {
        perror(path);
        exit(1);
    }
    return memory;
}
