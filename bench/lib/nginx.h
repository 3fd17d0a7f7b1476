/* nginx as a proxy before one server, with a configuration of its own in `dir`: one worker process,
 * connections to the server kept alive, no access log. A child process like any other; the system's service
 * is not touched. */
#pragma once

#include "lib/process.h"

/* `program`: path. Returns when it answers; exits on failure. `port`: where it listens. */
void nginx_start(struct process *process, const char *program, const char *dir, int upstream_port, int *port);
