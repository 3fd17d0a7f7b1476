/* mlxd worker */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/log.h"
#include "cli/node.h"
#include "worker/engine_config.h"
#include "worker/worker.h"

enum { END_S = 5 };

struct worker_node {
    struct node node;
    struct worker *worker; /* owned */
};

/* Where `mlxd serve` would kill it, it ends in time; a drain from afar has all of its time. */
static void drain(void *arg) {
    struct worker_node *self = arg;
    const struct config *config = &self->node.config;
    int64_t limit_ms = config->worker.drain_timeout_ms, bound_ms = config->serve.stop_timeout_ms / 5;
    bool supervised = getenv(CLI_ERROR_FILE_VARIABLE) != NULL;
    worker_drain(self->worker, supervised && bound_ms < limit_ms ? bound_ms : limit_ms, node_stop,
                 &self->node);
}

/* A worker without a model is of no use to anybody; whoever started it must learn of it. */
static void on_failed(void *arg) {
    struct worker_node *self = arg;
    struct error error;
    size_t count = self->node.config.model_count;
    error_set(&error, STATUS_MODEL_LOAD_FAILED, "cluster.models",
              "no model could be loaded (%.200s%s); the log has the reason", self->node.config.models[0].path,
              count > 1 ? " and others" : "");
    self->node.exit_code = cli_fail("worker failed", &error);
    node_stop(&self->node);
}

static const struct engine_ops *find_engine(const struct config *config) {
#if MLX_WITH_LLAMA
    if (config->worker.engine == ENGINE_KIND_LLAMA)
        return &engine_llama_ops;
#endif
    return config->worker.engine == ENGINE_KIND_FAKE ? &engine_fake_ops : NULL;
}

static enum status run(struct worker_node *self, struct error *error) {
    struct node *node = &self->node;
    node_set_name(node, "worker");
    enum status status = cli_find_models(&node->config, error);
    if (status == STATUS_OK)
        status = engine_check_devices(&node->config, find_engine(&node->config), error);
    if (status == STATUS_OK)
        status = node_open(node, error);
    if (status != STATUS_OK)
        return status;
    const struct worker_env env = {
        .config = &node->config,
        .id = node->id,
        .loop = node->loop,
        .transport = node->transport,
        .engine_ops = find_engine(&node->config),
        .system_root = "",
        .checker = node->config.worker.engine == ENGINE_KIND_FAKE ? NULL : "/proc/self/exe"};
    self->worker = worker_new(&env, error);
    if (!self->worker)
        return error->status;
    worker_start(self->worker, on_failed, self);
    return node_run(node, drain, self, error);
}

/* An engine that hangs in a step never gives its thread back. */
static void end_by_force(int signal UNUSED) {
    static const char text[] = "the worker ends by force: an engine does not come back from a step\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_FAILURE);
}

/* All that had to be said is said. A second signal ends it at once. */
static void end_within(unsigned seconds) {
    signal(SIGALRM, end_by_force);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    alarm(seconds);
}

int cli_worker(const struct cli_command *command, int argc, char **argv) {
    struct worker_node self = {0};
    struct node *node = &self.node;
    int code = node_configure(node, command, argc, argv);
    if (code < 0) {
        struct error error = {0};
        if (*node->config.worker.id)
            snprintf(node->id, sizeof node->id, "%s", node->config.worker.id);
        else
            node_make_id(node, "worker");
        code = run(&self, &error) == STATUS_OK ? node->exit_code : cli_fail("worker failed", &error);
    }
    end_within(END_S);
    worker_free(self.worker);
    node_close(node);
    return code;
}
