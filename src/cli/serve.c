/* mlxd serve: from the command line to the supervisor. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/supervisor.h"
#include "worker/cores.h"

/* Several workers that all compute on all cores would only hinder each other. */
static void share_cores(struct config *config) {
    if (config->worker.threads > 0 || config->serve.workers == 1)
        return;
    int64_t share = cores_usable("") / config->serve.workers;
    config->worker.threads = share > 1 ? share : 1;
}

/* Draining ends early enough that nobody has to be killed: a share of the stop timeout for the controller's
 * requests; a smaller one, in worker_main.c, for what workers still run for controllers elsewhere. */
static void bound_drain(struct config *config) {
    int64_t controller_ms = config->serve.stop_timeout_ms / 2;
    if (config->controller.drain_timeout_ms > controller_ms)
        config->controller.drain_timeout_ms = controller_ms;
}

/* The workers are <id>-1, <id>-2, ... Behind an external NATS other machines may have theirs, so the default
 * names this one. */
static void choose_worker_prefix(struct config *config) {
    enum { HOST_CHARS = 40 };
    char host[HOST_CHARS + 1] = "";
    if (*config->worker.id)
        return;
    if (config->nats.mode == NATS_EMBEDDED || gethostname(host, HOST_CHARS) != 0)
        snprintf(host, sizeof host, "worker");
    for (char *at = host; *at; at++) {
        bool fits = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        *at = fits ? *at : '-';
    }
    config_set_text(&config->worker.id, host);
}

static enum status refuse_prefix(const char *path, int max, struct error *error) {
    return error_set(error, STATUS_CONFIG_INVALID, path,
                     "%s: must have at most %d characters, because a number follows", path, max);
}

static enum status prepare(struct config *config, struct error *error) {
    enum { PREFIX_MAX = 60 }; /* so that an id, with its number, has at most 64 characters */
    config->controller.reuse_port |= config->serve.controllers > 1;
    share_cores(config);
    bound_drain(config);
    choose_worker_prefix(config);
    if (strlen(config->worker.id) > PREFIX_MAX)
        return refuse_prefix("cluster.worker.id", PREFIX_MAX, error);
    if (config->serve.controllers > 1 && strlen(config->controller.id) > PREFIX_MAX)
        return refuse_prefix("cluster.controller.id", PREFIX_MAX, error);
    return cli_find_models(config, error);
}

int cli_serve(const struct cli_command *command, int argc, char **argv) {
    struct config config;
    struct error error = {0};
    enum log_level level = LOG_INFO;
    int code = cli_read_config(command, argc, argv, &config);
    if (code < 0) {
        (void)log_level_from_name(config.log_level, &level);
        log_setup(level, "serve");
        code = prepare(&config, &error) == STATUS_OK ? supervisor_run(&config)
                                                     : cli_refuse(command, error.message);
    }
    config_release(&config);
    return code;
}
