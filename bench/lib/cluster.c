#include "lib/cluster.h"

#include <stdio.h>

#include "lib/arguments.h"

enum { READY_S = 60 };

static void log_path(char *out, const struct cluster_options *options, const char *name) {
    snprintf(out, CLUSTER_PATH_MAX, "%s/%s.log", options->log_dir, name);
}

static void start_nats(struct cluster *cluster, const struct cluster_options *options) {
    char port[16], log[CLUSTER_PATH_MAX];
    int number = process_free_port();
    snprintf(port, sizeof(port), "%d", number);
    snprintf(cluster->nats_url, sizeof(cluster->nats_url), "nats://127.0.0.1:%d", number);
    log_path(log, options, "nats-server");
    process_start(&cluster->nats, "nats-server", log,
                  (const char *const[]){options->nats_server, "-a", "127.0.0.1", "-p", port, NULL});
}

static void start_worker(struct cluster *cluster, const struct cluster_options *options, int number) {
    char name[32], log[CLUSTER_PATH_MAX];
    struct arguments arguments = {0};
    snprintf(name, sizeof(name), "worker-%d", number);
    log_path(log, options, name);
    arguments_add(&arguments,
                  (const char *const[]){options->mlxd, "worker", "--nats", cluster->nats_url, "--worker-id",
                                        name, "--engine", "fake", "--model", "bench", NULL});
    arguments_add(&arguments, options->worker_flags);
    process_start(&cluster->workers[number], "worker", log, arguments.list);
}

static void start_controller(struct cluster *cluster, const struct cluster_options *options) {
    char port[16], log[CLUSTER_PATH_MAX], ready[32];
    struct arguments arguments = {0};
    cluster->http_port = process_free_port();
    snprintf(port, sizeof(port), "%d", cluster->http_port);
    snprintf(ready, sizeof(ready), "\"workersReady\":%d", options->workers);
    log_path(log, options, "controller");
    arguments_add(&arguments, (const char *const[]){options->mlxd, "controller", "--nats", cluster->nats_url,
                                                    "--port", port, NULL});
    arguments_add(&arguments, options->controller_flags);
    process_start(&cluster->controller, "controller", log, arguments.list);
    process_wait_reply(&cluster->controller, cluster->http_port, "/health/ready", ready, READY_S, log);
}

void cluster_start(struct cluster *cluster, const struct cluster_options *options) {
    *cluster = (struct cluster){0};
    start_nats(cluster, options);
    for (int i = 0; i < options->workers && i < CLUSTER_WORKERS_MAX; i++)
        start_worker(cluster, options, i);
    start_controller(cluster, options);
}

void cluster_stop(struct cluster *cluster) {
    process_stop(&cluster->controller);
    for (int i = 0; i < CLUSTER_WORKERS_MAX; i++)
        process_stop(&cluster->workers[i]);
    process_stop(&cluster->nats);
}
