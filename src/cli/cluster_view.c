#include "cli/cluster_view.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether `id` is `<prefix>-<n>` with n in 1..workers. */
static bool is_ours(const char *id, const char *prefix, int64_t workers) {
    size_t len = strlen(prefix);
    if (strncmp(id, prefix, len) != 0 || id[len] != '-')
        return false;
    char *end;
    long number = strtol(id + len + 1, &end, 10);
    return end != id + len + 1 && *end == '\0' && number >= 1 && number <= workers;
}

static struct cluster_view_model *find_model(struct cluster_view *view, const char *name) {
    for (size_t i = 0; i < view->model_count; i++) {
        if (strcmp(view->models[i].name, name) == 0)
            return &view->models[i];
    }
    return NULL;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Returns how many of the worker's models are not on their way to be loaded. */
static size_t add_models(struct cluster_view *view, const json_t *models) {
    size_t settled = 0;
    size_t at;
    const json_t *model;
    json_array_foreach(models, at, model) {
        struct cluster_view_model *known = find_model(view, text_of(model, "name"));
        const char *state = text_of(model, "state");
        if (!known)
            continue;
        bool ready = strcmp(state, model_state_name(MODEL_READY)) == 0;
        bool failed = strcmp(state, model_state_name(MODEL_FAILED)) == 0;
        known->workers_ready += ready;
        known->workers_failed += failed;
        known->workers_on_demand += !failed && json_is_true(json_object_get(model, "onDemand"));
        bool comes = strcmp(state, model_state_name(MODEL_WAITING)) == 0 ||
                     strcmp(state, model_state_name(MODEL_LOADING)) == 0;
        settled += !comes;
    }
    return settled;
}

static void add_worker(struct cluster_view *view, const json_t *worker, const char *prefix, int64_t workers) {
    if (!is_ours(text_of(worker, "workerId"), prefix, workers))
        return;
    const char *status = text_of(worker, "status");
    size_t settled = add_models(view, json_object_get(worker, "models"));
    bool works = strcmp(status, "online") == 0 || strcmp(status, "degraded") == 0;
    if (works && settled == view->model_count)
        view->workers_ready++;
    else if (works || strcmp(status, "warming") == 0)
        view->workers_loading++;
}

bool cluster_view_read(const char *json, size_t len, const char *prefix, const struct config *config,
                       struct cluster_view *out) {
    *out = (struct cluster_view){.model_count = config->model_count};
    for (size_t i = 0; i < config->model_count; i++)
        snprintf(out->models[i].name, sizeof out->models[i].name, "%s", config->models[i].name);
    json_t *list = json_loadb(json, len, 0, NULL);
    bool is_list = json_is_array(list);
    size_t at;
    const json_t *worker;
    json_array_foreach(list, at, worker) {
        add_worker(out, worker, prefix, config->serve.workers);
    }
    json_decref(list);
    return is_list;
}

int64_t cluster_view_controllers(const char *json, size_t len) {
    json_t *root = json_loadb(json, len, 0, NULL);
    size_t count = json_array_size(json_object_get(root, "controllers"));
    json_decref(root);
    return (int64_t)count;
}
