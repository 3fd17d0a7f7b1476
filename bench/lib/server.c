#include "lib/server.h"

#include <stdio.h>

#include "lib/arguments.h"

enum { READY_S = 120, PATH_MAX_BYTES = 4096 };

static void start(struct server *server, const struct server_options *options, struct arguments *arguments,
                  const char *health) {
    char log[PATH_MAX_BYTES];
    snprintf(log, sizeof(log), "%s/%s.log", options->log_dir, server->name);
    arguments_add(arguments, options->flags);
    process_start(&server->process, server->name, log, arguments->list);
    process_wait_ready(&server->process, server->port, health, READY_S, log);
}

void server_start_mlxd(struct server *server, const char *name, const struct server_options *options) {
    char model[PATH_MAX_BYTES];
    struct arguments arguments = {0};
    *server = (struct server){.name = name, .port = process_free_port()};
    snprintf(model, sizeof(model), SERVER_MODEL "=%s", options->model);
    arguments_add(&arguments, (const char *const[]){options->program, "serve", "--model", model, NULL});
    arguments_add_number(&arguments, "--port", server->port);
    arguments_add_number(&arguments, "--max-batch-size", options->slots);
    arguments_add_number(&arguments, "--context-tokens", options->context_tokens);
    arguments_add_number(&arguments, "--threads", options->threads);
    start(server, options, &arguments, "/health/ready");
}

void server_start_llama(struct server *server, const char *name, const struct server_options *options) {
    struct arguments arguments = {0};
    *server = (struct server){.name = name, .port = process_free_port()};
    arguments_add(&arguments,
                  (const char *const[]){options->program, "--host", "127.0.0.1", "-m", options->model,
                                        "--alias", SERVER_MODEL, "--jinja", NULL});
    arguments_add_number(&arguments, "--port", server->port);
    arguments_add_number(&arguments, "-np", options->slots);
    arguments_add_number(&arguments, "-c", options->slots * options->context_tokens);
    arguments_add_number(&arguments, "-t", options->threads ? options->threads : -1);
    start(server, options, &arguments, "/health");
}

void server_stop(struct server *server) {
    process_stop(&server->process);
}
