#include "worker/hardware.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "worker/cores.h"

void hardware_read_cpu(FILE *cpuinfo, char out[HARDWARE_NAME_MAX + 1]) {
    char line[256];
    out[0] = '\0';
    while (fgets(line, sizeof(line), cpuinfo)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10) != 0)
            continue;
        const char *name = colon + 1 + strspn(colon + 1, " \t");
        size_t len = 0;
        for (; *name && *name != '\n' && len < HARDWARE_NAME_MAX; name++)
            out[len++] = isprint((unsigned char)*name) ? *name : '?';
        out[len] = '\0';
        return;
    }
}

static_assert(sizeof(((struct worker_gpu *)0)->name) == sizeof(((struct engine_gpu *)0)->name) &&
                  sizeof(((struct worker_gpu *)0)->device) == sizeof(((struct engine_gpu *)0)->device),
              "names of GPUs are copied whole");

static size_t find_gpus(const struct engine_ops *ops, struct worker_gpu *out) {
    struct engine_gpu gpus[WORKER_GPUS_MAX];
    size_t count = ops->list_gpus ? ops->list_gpus(gpus, WORKER_GPUS_MAX) : 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(out[i].name, gpus[i].name, sizeof(out[i].name));
        memcpy(out[i].device, gpus[i].device, sizeof(out[i].device));
        out[i].integrated = gpus[i].integrated;
        out[i].memory_bytes = gpus[i].memory_bytes;
        out[i].free_bytes = gpus[i].free_bytes;
    }
    return count;
}

void hardware_find(const struct engine_ops *ops, struct worker_hardware *out) {
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    *out = (struct worker_hardware){.cores = cores_usable("")};
    if (pages > 0 && page_bytes > 0)
        out->memory_bytes = (int64_t)pages * page_bytes;
    FILE *cpuinfo = fopen("/proc/cpuinfo", "re");
    if (cpuinfo) {
        hardware_read_cpu(cpuinfo, out->cpu);
        fclose(cpuinfo);
    }
    out->gpu_count = find_gpus(ops, out->gpus);
}
