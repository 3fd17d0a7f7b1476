/* Which models of a worker should be in memory: the state of each, and what is to be done next.
 *
 * A model is wanted while there are jobs for it, or because it is to be warm at the start. Those that jobs
 * want are loaded as soon as there is room, the one that waits for longest first; for room the idle model
 * that was used longest ago is unloaded, never one that is being loaded, or a pinned one. One with jobs is
 * left alone until somebody has waited for `patience_ms`; then those that were loaded longest ago make way:
 * they finish the jobs they have, and new ones wait for them to come back. Each is left for at least that
 * time, and for as long as its load took, so that models which are always wanted take turns. Who waits behind
 * one that waits for room goes first if it needs nobody's room, nor what will be free for the other. Those
 * that are only to be warm are loaded in turn, never make another one leave, and stay unloaded when there is
 * no room for them.
 *
 * All of it is the loop thread's. Pure: no I/O, time is an argument. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "proto/worker_info.h"

struct model_entry {
    enum model_state state;
    bool pinned;
    bool warm;         /* wanted from the start; until it is loaded, failed, too late, or finds no room */
    size_t turn;       /* of those to be warm the lowest is the first */
    int32_t jobs;      /* inside, or waiting for it */
    int64_t bytes;     /* that it takes, or would take; 0: not known, and counted as nothing */
    int64_t wanted_ms; /* WAITING: since when */
    int64_t began_ms;  /* LOADING: likewise */
    int64_t loaded_ms; /* READY: likewise */
    int64_t load_ms;   /* how long the newest load took */
    int64_t used_ms;   /* when it was loaded, or a job came or ended; -1: never */
    int64_t retry_ms;  /* FAILED: when jobs may make it try again; INT64_MAX: not as it is */
    int64_t hold_ms;   /* UNLOADED: jobs make it be loaded only from then on, because there was no memory */
    int32_t failures;  /* in a row */
    int64_t loads;     /* since the start, as the next two */
    int64_t unloads;
    int64_t load_failures;
};

struct model_table_config {
    int64_t bytes_max;      /* of all that is loaded; 0: no bound */
    bool on_demand;         /* jobs make the worker load models */
    bool warm_parallel;     /* those to be warm are loaded all at once */
    int64_t warm_limit_ms;  /* how long the load of each of them may take */
    int64_t patience_ms;    /* of jobs whose model finds no room beside busy ones; 0: without end */
    int64_t retry_delay_ms; /* after a load failed; doubled for each one that follows, to 32 times */
};

struct model_table { /* zeroed but for config: empty */
    struct model_table_config config;
    struct model_entry entries[WORKER_MODELS_MAX];
    size_t count;
};

/* Adds an unloaded one; there must be room for it. Returns its index. */
size_t model_table_add(struct model_table *table, int64_t bytes);
/* The ones behind it move up. It must be UNLOADED or FAILED, without jobs. */
void model_table_remove(struct model_table *table, size_t index);

/* May a job for it come in? STATUS_OK, also when it must be loaded first; MODEL_NOT_LOADED,
 * RESOURCE_LIMIT_EXCEEDED or MODEL_LOAD_FAILED and why; of a failed one the sentence ends before its reason.
 */
MUST_USE enum status model_table_check(const struct model_table *table, size_t index, int64_t now_ms,
                                       struct error *error);
/* Would a job for it come in though it is not ready? */
bool model_table_takes_jobs(const struct model_table *table, size_t index, int64_t now_ms);
void model_table_job_came(struct model_table *table, size_t index, int64_t now_ms);
void model_table_job_went(struct model_table *table, size_t index, int64_t now_ms);

enum model_move {
    MODEL_STAY,
    MODEL_LOAD,       /* this one: then model_table_loading */
    MODEL_UNLOAD,     /* this one, which may have jobs to finish: then model_table_unloading */
    MODEL_LEAVE_COLD, /* this one, which was to be warm, has found no room: so it is already */
    MODEL_GIVE_UP,    /* this one can never have the room: then model_table_failed, for ever */
};
struct model_step {
    enum model_move move;
    size_t index;
};
/* Brings the states up to date with what is wanted. To be repeated until it says MODEL_STAY. */
struct model_step model_table_next(struct model_table *table, int64_t now_ms);

/* One that was to be warm by now; its index, or `count`: none. It counts as one that is not to be warm any
 * more. */
size_t model_table_take_late(struct model_table *table, int64_t now_ms);
/* When the next one is due; INT64_MAX: there is none. */
int64_t model_table_late_ms(const struct model_table *table);
/* When, after now, a busy model may have to make way; INT64_MAX: nobody waits for that. */
int64_t model_table_patience_ms(const struct model_table *table, int64_t now_ms);

/* An idle model to be unloaded because memory is short, the one that was used longest ago; `count`: none.
 * Not a pinned one, with `keep_newest` not the one that was used last, and none at all where jobs could not
 * make it come back. */
size_t model_table_find_spare(const struct model_table *table, bool keep_newest);
/* Those that were to be warm and are not being loaded yet are not to be any more, if jobs can make the worker
 * load them. */
void model_table_stop_warming(struct model_table *table);

/* It happens. */
void model_table_loading(struct model_table *table, size_t index, int64_t now_ms);
void model_table_loaded(struct model_table *table, size_t index, int64_t bytes, int64_t now_ms);
void model_table_failed(struct model_table *table, size_t index, bool for_ever, int64_t now_ms);
/* There was no memory for it. */
void model_table_refused(struct model_table *table, size_t index, int64_t now_ms);
void model_table_unloading(struct model_table *table, size_t index); /* or it gives up loading */
void model_table_unloaded(struct model_table *table, size_t index);
/* Its file is another one: it takes `bytes` now, and what failed may be tried again. Not while it is loaded.
 */
void model_table_renew(struct model_table *table, size_t index, int64_t bytes);

int64_t model_table_bytes(const struct model_table *table);         /* of all that is loaded, comes or goes */
int64_t model_table_loading_bytes(const struct model_table *table); /* of what comes */
bool model_table_is_unloading(const struct model_table *table);     /* something goes */
/* Of those that are loaded or being loaded and stay for ever. */
int64_t model_table_pinned_bytes(const struct model_table *table);
bool model_table_is_idle(const struct model_entry *entry);                 /* READY without jobs */
bool model_table_is_held(const struct model_entry *entry, int64_t now_ms); /* see hold_ms */
