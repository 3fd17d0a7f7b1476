/* What a controller process and a worker process have in common: configuration, loop, link to NATS, and the
 * end on a signal. One for each process; all on the loop thread. */
#pragma once

#include "cli/cli.h"
#include "net/loop.h"
#include "net/transport.h"

enum { NODE_ID_MAX = 64 };

struct node {
    struct config config;
    char id[NODE_ID_MAX + 1];
    struct loop *loop;
    struct transport *transport;
    void (*drain)(void *arg); /* called once, at the first signal */
    void *arg;
    bool draining;
    int exit_code;
};

/* The part before anything runs. Returns -1 to go on or the exit code; node_close is needed in any case. */
MUST_USE int node_configure(struct node *node, const struct cli_command *command, int argc, char **argv);
/* How the process is called in the logs and in `ps`: its role and, in the logs, its id. */
void node_set_name(const struct node *node, const char *role);
/* Makes the loop and connects to NATS, which may take connect_wait_ms. A signal ends the process until then.
 */
MUST_USE enum status node_open(struct node *node, struct error *error);
/* Runs until node_stop. The first SIGINT or SIGTERM calls `drain`, which leads to node_stop; the second one
 * ends the process at once. */
MUST_USE enum status node_run(struct node *node, void (*drain)(void *arg), void *arg, struct error *error);
void node_stop(void *node);
/* What was made with the transport must be freed by then. */
void node_close(struct node *node);

/* Writes prefix-host-pid, made of characters that an id may have. */
void node_make_id(struct node *node, const char *prefix);
