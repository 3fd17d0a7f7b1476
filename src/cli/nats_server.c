#include "cli/nats_server.h"

#include <stdio.h>
#include <unistd.h>

#include "base/rng.h"
#include "cli/port.h"

#define LOOPBACK  "127.0.0.1"
#define USER      "mlxd"
#define CONF_NAME "nats-server.conf"

enum { PROBE_WAIT_MS = 200 };

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
    return (struct child_command){
        .program = program, .args = {"nats-server", "-c", server->config_path}, .log_path = server->log_path};
}

bool nats_server_is_up(const struct nats_server *server) {
    return port_is_open(LOOPBACK, server->port, PROBE_WAIT_MS);
}
