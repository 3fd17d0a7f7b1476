/* What is measured side by side: `mlxd serve` and llama-server, each with one model on a free loopback port.
 * They end with us. */
#pragma once

#include "lib/process.h"

/* The name both serve the model by. */
#define SERVER_MODEL "bench"

struct server_options {
    const char *program;
    const char *model; /* a GGUF file */
    const char *log_dir;
    int slots;
    int context_tokens;       /* of a slot */
    int threads;              /* 0: the program's default */
    const char *const *flags; /* further ones, ended by NULL; may be NULL */
};

struct server {
    const char *name;
    struct process process;
    int port;
};

/* Return when it is ready; exit on failure. `name` is for what is printed, and for the log's name. */
void server_start_mlxd(struct server *server, const char *name, const struct server_options *options);
void server_start_llama(struct server *server, const char *name, const struct server_options *options);
void server_stop(struct server *server);
