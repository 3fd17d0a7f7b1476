/* One model of a worker: its engine, slots, queue and threads.
 *
 * Data flow: runner_submit (loop thread) -> prompt thread (template, tokenizer) -> engine thread: queue ->
 * slot
 * -> steps -> events to the job's controller, published from the engine thread, all events of a step for one
 * controller in one message. When a job is over, `on_done` is posted to the loop.
 *
 * A job is allocated, found and freed by the loop thread; in between it belongs to the runner. Cancelling
 * sets its atomic flag; the runner looks at the flag before and after tokenizing and between steps. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "engine/engine.h"
#include "net/loop.h"
#include "net/transport.h"
#include "proto/wire.h"
#include "proto/worker_info.h"
#include "worker/queue.h"
#include "worker/text_filter.h"

/* How a job ended, for the worker's counters. */
enum job_end { JOB_FINISHED, JOB_CANCELLED, JOB_FAILED };

struct job {
    struct wire_job wire;  /* owned */
    int64_t deadline_ms;   /* monotonic */
    atomic_bool cancelled; /* set by the loop thread */
    atomic_bool drop;      /* drain limit reached: answer WORKER_DRAINING */
    enum job_end end;      /* set by the runner before on_done */
    /* The runner's: */
    struct engine_prompt prompt; /* owned */
    struct queue_entry waiting;
    struct text_filter filter;
    uint64_t cancel_seen_step;
    int32_t generated; /* tokens */
    int32_t last_token;
};

struct runner;

struct runner_env {
    const struct config *config;
    const struct config_model *model;
    const char *worker_id;
    const char *incarnation;
    struct loop *loop;
    struct transport *transport;
    const struct engine_ops *engine_ops;
    void (*on_done)(struct job *job, void *arg); /* loop thread */
    void (*on_loaded)(struct runner *runner, const struct error *error,
                      void *arg); /* loop thread; NULL: ready */
    void *arg;
};

/* Starts the threads, which begin to load. */
struct runner *runner_new(const struct runner_env *env, struct error *error);
/* Stops at once and joins. Jobs inside are handed to on_done from here. Takes NULL. */
void runner_free(struct runner *runner);

/* Loop thread. Takes the job over when STATUS_OK; otherwise MODEL_NOT_LOADED, MODEL_LOAD_FAILED or
 * WORKER_OVERLOADED (slots and queue are full), and the job stays the caller's. */
MUST_USE enum status runner_submit(struct runner *runner, struct job *job, struct error *error);
void runner_cancel(struct runner *runner, struct job *job);

/* Loop thread; never waits. Adds this model's numbers to `load`. */
void runner_get_info(const struct runner *runner, struct model_info *out);
void runner_add_load(const struct runner *runner, struct worker_load *load);
