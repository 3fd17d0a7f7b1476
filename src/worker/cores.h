/* On how many processors this process can compute at a time: those of its affinity, or fewer when a control
 * group (a container, a service with a CPU quota) gives it less time. A started part of a processor counts as
 * one. Threads beyond that would only wait for each other: those of a step meet many times in each layer. */
#pragma once

#include <stdint.h>

/* At least 1. `root` is "" but in tests. Any thread; reads a few small files. */
int32_t cores_usable(const char *root);
