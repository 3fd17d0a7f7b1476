/* mlxd controller */
#include <stdio.h>

#include "base/log.h"
#include "base/rng.h"
#include "cli/node.h"
#include "controller/controller.h"

struct controller_node {
    struct node node;
    struct controller *controller; /* owned */
};

static void drain(void *arg) {
    struct controller_node *self = arg;
    controller_drain(self->controller, self->node.config.controller.drain_timeout_ms, node_stop, &self->node);
}

static enum status run(struct controller_node *self, struct error *error) {
    struct node *node = &self->node;
    node_set_name(node, "controller");
    enum status status = node_open(node, error);
    if (status != STATUS_OK)
        return status;
    const struct controller_env env = {
        .config = &node->config, .id = node->id, .loop = node->loop, .transport = node->transport};
    self->controller = controller_new(&env, error);
    if (!self->controller)
        return error->status;
    log_info("listening", F_STR("host", node->config.controller.host),
             F_INT("port", controller_port(self->controller)));
    return node_run(node, drain, self, error);
}

int cli_controller(const struct cli_command *command, int argc, char **argv) {
    struct controller_node self = {0};
    struct node *node = &self.node;
    int code = node_configure(node, command, argc, argv);
    if (code < 0) {
        struct error error = {0};
        enum { RANDOM_CHARS = 8 };
        char random[RANDOM_CHARS + 1];
        rng_id(random, RANDOM_CHARS);
        if (*node->config.controller.id)
            snprintf(node->id, sizeof node->id, "%s", node->config.controller.id);
        else
            snprintf(node->id, sizeof node->id, "controller-%s", random);
        code = run(&self, &error) == STATUS_OK ? node->exit_code : cli_fail("controller failed", &error);
    }
    controller_free(self.controller);
    node_close(node);
    return code;
}
