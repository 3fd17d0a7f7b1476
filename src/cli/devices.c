/* mlxd devices: the names for cluster.worker.devices. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "engine/engine.h"
#include "worker/hardware.h"

#if MLX_WITH_LLAMA
static const struct engine_ops *const engine = &engine_llama_ops;
#else
static const struct engine_ops *const engine = &engine_fake_ops;
#endif

static int64_t mib(int64_t bytes) {
    return bytes / (1024 * 1024);
}

int cli_devices(const struct cli_command *command, int argc, char **argv) {
    struct worker_hardware hardware;
    if (cli_wants_help(argc, argv)) {
        printf("Usage: mlxd devices\n\n%s\n", command->text);
        return EXIT_OK;
    }
    if (argc > 0)
        return cli_refuse(command, "it takes no arguments");
    hardware_find(engine, &hardware);
    printf("%-10s %s, %d cores, %" PRId64 " MiB\n", "CPU", hardware.cpu, hardware.cores,
           mib(hardware.memory_bytes));
    for (size_t i = 0; i < hardware.gpu_count; i++) {
        const struct worker_gpu *gpu = &hardware.gpus[i];
        printf("%-10s %s%s, %" PRId64 " MiB, %" PRId64 " MiB free\n", gpu->device, gpu->name,
               gpu->integrated ? " (integrated)" : "", mib(gpu->memory_bytes), mib(gpu->free_bytes));
    }
    if (hardware.gpu_count == 0)
        puts(MLX_WITH_LLAMA ? "no GPU" : "no GPU: this mlxd was built without llama.cpp");
    return EXIT_OK;
}
