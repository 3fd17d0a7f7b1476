#include "cli/nats_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rng.h"
#include "cli/port.h"
#include "worker/cores.h"

#define LOOPBACK  "127.0.0.1"
#define USER      "mlxd"
#define CONF_NAME "nats-server.conf"

enum { PROBE_WAIT_MS = 200 };

/* Go's name for how many processors a program of it uses at a time. With more than it needs, its idle threads
 * look for work at each message, on processors that the engines compute on; so it is a few of them unless
 * somebody has decided. */
#define PROCESSORS_VARIABLE "GOMAXPROCS"
enum { PROCESSORS_SHARE = 4 };
static void choose_processors(struct nats_server *server) {
    int32_t processors = (cores_usable("") + PROCESSORS_SHARE - 1) / PROCESSORS_SHARE;
    if (!getenv(PROCESSORS_VARIABLE))
        snprintf(server->processors, sizeof server->processors, "%d", processors);
}

/* ping and write_deadline: a peer that hangs is noticed after 15 s instead of minutes. */
static void write_conf(const struct nats_server *server, const char *password, struct buf *out) {
    buf_printf(out,
               "listen: \"" LOOPBACK ":%lld\"\n"
               "authorization { user: \"" USER "\", password: \"%s\" }\n"
               "max_payload: 8388608\n"
               "ping_interval: \"5s\"\n"
               "ping_max: 2\n"
               "write_deadline: \"2s\"\n",
               (long long)server->port, password);
}

enum status nats_server_prepare(struct nats_server *server, const struct runtime_dir *dir,
                                struct error *error) {
    char password[NATS_PASSWORD_CHARS + 1];
    *server = (struct nats_server){.kept_fd = -1};
    server->kept_fd = port_keep(LOOPBACK, &server->port, false, error);
    if (server->kept_fd < 0)
        return error->status;
    rng_id(password, NATS_PASSWORD_CHARS);
    snprintf(server->url, sizeof server->url, "nats://" USER ":%s@" LOOPBACK ":%lld", password,
             (long long)server->port);
    runtime_dir_path(dir, CONF_NAME, server->config_path);
    runtime_dir_path(dir, NATS_LOG_NAME, server->log_path);
    choose_processors(server);
    struct buf conf;
    buf_init(&conf, 0);
    write_conf(server, password, &conf);
    enum status status = runtime_dir_write(dir, CONF_NAME, &conf, error);
    buf_release(&conf);
    return status;
}

void nats_server_release(struct nats_server *server) {
    if (server->port)
        close(server->kept_fd);
    *server = (struct nats_server){.kept_fd = -1};
}

struct child_command nats_server_command(const struct nats_server *server, const char *program) {
    struct child_command command = {
        .program = program, .args = {"nats-server", "-c", server->config_path}, .log_path = server->log_path};
    if (server->processors[0]) {
        command.variable = PROCESSORS_VARIABLE;
        command.value = server->processors;
    }
    return command;
}

bool nats_server_is_up(const struct nats_server *server) {
    return port_is_open(LOOPBACK, server->port, PROBE_WAIT_MS);
}
