/* An HTTP server that answers every request at once with the same body: what a proxy is put in front of, so
 * that only the proxy is measured. One thread, keep-alive, loopback only. */
#pragma once

#include <stddef.h>

#include "lib/process.h"

/* Runs it as a child process that listens when this returns. `body_bytes` up to 64 KiB. Exits on failure. */
void instant_http_start(struct process *process, size_t body_bytes, int *port);
