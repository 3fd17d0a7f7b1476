#include "cli/node.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"

enum { MAILBOX_MESSAGES = 65536 };

int node_configure(struct node *node, const struct cli_command *command, int argc, char **argv) {
    *node = (struct node){.exit_code = EXIT_OK};
    int code = cli_read_config(command, argc, argv, &node->config);
    if (code >= 0)
        return code;
    if (node->config.nats.mode == NATS_EMBEDDED)
        return cli_refuse(command, "which NATS? Give --nats nats://HOST:4222 (or set cluster.nats.mode and "
                                   "cluster.nats.url); `mlxd serve` is what runs one of its own");
    return -1;
}

void node_make_id(struct node *node, const char *prefix) {
    char host[40] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "host");
    host[strcspn(host, ".")] = '\0';
    for (char *at = host; *at; at++) {
        bool fits = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        *at = fits ? *at : '-';
    }
    snprintf(node->id, sizeof node->id, "%s-%s-%d", prefix, host, (int)getpid());
}

void node_set_name(const struct node *node, const char *role) {
    char log_role[NODE_ID_MAX + 16];
    enum log_level level = LOG_INFO;
    (void)log_level_from_name(node->config.log_level, &level);
    snprintf(log_role, sizeof log_role, "%s %s", role, node->id);
    log_setup(level, log_role);
    char name[16]; /* what the kernel keeps */
    snprintf(name, sizeof name, "mlxd-%s", role);
    prctl(PR_SET_NAME, name);
}

enum status node_open(struct node *node, struct error *error) {
    node->loop = loop_new();
    if (!node->loop)
        return error_set(error, STATUS_START_FAILED, NULL, "no memory or descriptors for the event loop");
    const struct nats_options options = {
        .url = node->config.nats.url,
        .name = node->id,
        .connect_wait_ms = node->config.nats.connect_wait_ms,
        .write_deadline_ms = node->config.nats.write_deadline_ms,
        .mailbox_messages = MAILBOX_MESSAGES,
    };
    node->transport = transport_nats_open(&options, node->loop, error);
    return node->transport ? STATUS_OK : error->status;
}

static void on_signal(void *arg) {
    struct node *node = arg;
    if (node->draining) {
        log_warn("second signal: stopping at once");
        _exit(EXIT_FAILED);
    }
    log_info("stopping");
    node->draining = true;
    node->drain(node->arg);
}

enum status node_run(struct node *node, void (*drain)(void *arg), void *arg, struct error *error) {
    node->drain = drain;
    node->arg = arg;
    if (!loop_on_signal(node->loop, on_signal, node))
        return error_set(error, STATUS_START_FAILED, NULL, "no memory for the signal handler");
    loop_run(node->loop);
    return STATUS_OK;
}

void node_stop(void *arg) {
    struct node *node = arg;
    loop_stop(node->loop);
}

void node_close(struct node *node) {
    transport_close(node->transport);
    if (node->loop)
        loop_free(node->loop);
    config_release(&node->config);
}
