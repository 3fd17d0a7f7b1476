/* What models.c (life, jobs), models_load.c (loading, unloading) and models_info.c (what is told) share. All
 * of it is the loop thread's. */
#pragma once

#include "worker/load_line.h"
#include "worker/model_facts.h"
#include "worker/model_scan.h"
#include "worker/model_table.h"
#include "worker/models.h"

/* What there is of a model beside its entry in the table. */
struct model {
    struct models *models;
    size_t index;               /* in the table, too */
    struct config_model source; /* its texts are owned */
    struct model_stamp stamp;   /* of the file, if `source.found` */
    bool gone;                  /* the file is not there any more: it goes when nothing runs on it */
    bool changed;               /* there is another file under its path, whose turn comes then */
    bool reload;                /* it was loaded when that was found */
    struct model_facts facts;
    struct runner *runner; /* owned; NULL while nothing is loaded */
    int32_t inside;        /* jobs of ours that the runner has */
    bool runner_ended;     /* it has nothing to do any more, and waits to be freed */
    uint64_t progress;     /* the runner's, when that of all was counted last */
    struct load_line line;
    struct error why; /* of the newest load, if it failed */
};

struct models {
    struct models_env env;
    struct model_table table;
    struct model *list[WORKER_MODELS_MAX]; /* owned */
    struct loop_defer settle;
    struct loop_timer timer; /* the earliest deadline of the jobs that wait, and of pre-warming */
    struct model_scan *scan; /* owned; NULL: folders are not looked at again */
    struct worker_load past; /* of runners that are gone, as far as it counts what was */
    uint64_t progress;       /* counts up when all that have jobs in slots have computed something */
    enum resource_level pressure;
    bool draining;
    bool needs_memory; /* a load waits until less is used, which need not change the level */
};

static inline struct model_entry *model_entry_of(struct model *model) {
    return &model->models->table.entries[model->index];
}
static inline const struct config *models_config(const struct models *models) {
    return models->env.runner.config;
}

/* models.c */

/* A job that was in the model's line and is out of it ends; what `error` says is its answer. */
void model_end_waiting(struct model *model, struct job *job, const struct error *error);
/* All that are in the line. */
void model_end_line(struct model *model, const struct error *error);
void models_arm_timer(struct models *models);
/* NULL: no memory, and it is logged. Takes the texts of `source` over. */
struct model *models_add(struct models *models, struct config_model *source, const struct model_facts *facts);
/* To be warm and to stay, if pre_warming.models says so. */
void model_pin_if_named(struct model *model);
/* Out of the table and freed; it has no jobs and no runner. */
void models_remove(struct models *models, struct model *model);

/* models_load.c */

void models_settle(void *models);
/* It takes longer than one may that is to be warm; goes on if somebody waits for it. */
void model_stop_warming(struct model *model);

/* It may have jobs in its runner: these are finished first. */
void model_unload(struct model *model);
/* Into the runner, which has made room. */
void model_submit(struct model *model, struct job *job);

/* models_files.c */

/* Brings what is known to what lies in the folders now. */
void models_take_scan(void *models);
/* What of that can be done now: true if something was. */
bool models_follow_files(struct models *models);

/* models_info.c */

/* Adds what counts what was, not what is. */
void models_add_counters(struct worker_load *to, const struct worker_load *from);
/* Adds how often it was loaded and unloaded, and could not be. */
void models_add_loads(const struct model_entry *entry, struct worker_load *load);
