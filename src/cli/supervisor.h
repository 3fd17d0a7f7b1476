/* The supervisor of `mlxd serve`: a nats-server (unless an external one is used), a controller and workers as
 * child processes. It starts them in order, says when all are ready, restarts what ends by itself, and stops
 * them in order: controller (open requests finish), workers, nats-server.
 *
 * No child outlives it: the kernel kills the children of a supervisor that is killed. One thread. */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"

/* Runs until a signal ends it or it gives up, and returns the exit code. `config` has been checked, has
 * models, and is changed: it becomes what the children are given. */
int supervisor_run(struct config *config);
