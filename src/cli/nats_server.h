/* The nats-server that `mlxd serve` runs for itself: on the loopback, on a port and with a password that are
 * made for one run and stay the same when it is restarted. */
#pragma once

#include "cli/child.h"
#include "cli/runtime_dir.h"

enum { NATS_PASSWORD_CHARS = 32, NATS_URL_MAX = 128 };

#define NATS_LOG_NAME "nats-server.log"

struct nats_server {
    int64_t port;
    int kept_fd; /* see port.h */
    char config_path[RUNTIME_PATH_MAX];
    char log_path[RUNTIME_PATH_MAX];
    char url[NATS_URL_MAX]; /* with user and password */
    char processors[12];    /* how many it uses at a time; "": it decides */
};

/* Chooses port and password and writes the configuration into the folder. */
MUST_USE enum status nats_server_prepare(struct nats_server *server, const struct runtime_dir *dir,
                                         struct error *error);
void nats_server_release(struct nats_server *server); /* takes zeroed structs */
/* `program` and the strings of `server` must outlive the command. */
struct child_command nats_server_command(const struct nats_server *server, const char *program);
bool nats_server_is_up(const struct nats_server *server);
