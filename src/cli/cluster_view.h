/* What the controller's list of workers says about the workers of this supervisor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "config/config.h"
#include "proto/worker_info.h"

struct cluster_view_model {
    char name[129];
    int workers_ready; /* that have it loaded */
    int workers_failed;
    int workers_on_demand; /* that would load it for a request */
};

struct cluster_view {
    int workers_ready;                                   /* take requests and load no model any more */
    int workers_loading;                                 /* are there, but load */
    struct cluster_view_model models[CONFIG_MODELS_MAX]; /* in the order of the configuration */
    size_t model_count;
};

/* Reads the answer of GET /api/cluster/workers. Only workers named `<prefix>-<1..workers>` count. false when
 * it is something else. */
MUST_USE bool cluster_view_read(const char *json, size_t len, const char *prefix, const struct config *config,
                                struct cluster_view *out);

/* Reads the answer of GET /api/cluster/status: the controllers that whoever answers knows, itself included. 0
 * when it is something else. */
MUST_USE int64_t cluster_view_controllers(const char *json, size_t len);
