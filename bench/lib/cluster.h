/* A cluster of real processes for a benchmark: nats-server, one controller, fake workers worker-0,
 * worker-1... that serve the model "bench". On free loopback ports, logs in one folder; all of it ends with
 * us. */
#pragma once

#include "lib/process.h"

enum { CLUSTER_WORKERS_MAX = 64, CLUSTER_PATH_MAX = 4096 };

struct cluster_options {
    const char *mlxd;
    const char *nats_server; /* path of the program */
    const char *log_dir;
    int workers;
    const char *const *controller_flags; /* further ones, ended by NULL; may be NULL */
    const char *const *worker_flags;
};

struct cluster {
    struct process nats, controller, workers[CLUSTER_WORKERS_MAX];
    int http_port;
    char nats_url[64];
};

/* Returns when all workers are ready; exits on failure. */
void cluster_start(struct cluster *cluster, const struct cluster_options *options);
void cluster_stop(struct cluster *cluster);
