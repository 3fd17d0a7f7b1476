/* What machine a worker runs on, for its info. Any thread; asks the system once for each call. */
#pragma once

#include <stdio.h>

#include "engine/engine.h"
#include "proto/worker_info.h"

/* `ops` tells of the GPUs. */
void hardware_find(const struct engine_ops *ops, struct worker_hardware *out);

/* The name of the processor from text like that of /proc/cpuinfo: at most HARDWARE_NAME_MAX bytes of
 * printable ASCII, empty when it is not told. */
void hardware_read_cpu(FILE *cpuinfo, char out[HARDWARE_NAME_MAX + 1]);
