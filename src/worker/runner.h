/* One model of a worker: its engine, slots, queue and threads.
 *
 * Data flow: runner_submit (loop thread) -> prompt thread (template, tokenizer) -> engine thread: queue ->
 * slot
 * -> steps -> events to the job's controller, published from the engine thread, all events of a step for one
 * controller in one message. When a job is over, `on_done` is called on the loop thread.
 *
 * Cancelling sets the job's atomic flag; the runner looks at the flag before and after tokenizing and between
 * steps. Every job that was submitted gets a last event and then on_done, exactly once; runner_free is the
 * exception: it gives no answers. */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "engine/engine.h"
#include "net/loop.h"
#include "net/transport.h"
#include "proto/worker_info.h"
#include "worker/job.h"

struct runner;

/* All of it must outlive the runner. */
struct runner_env {
    const struct config *config;
    const struct config_model *model;
    const char *worker_id;
    const char *incarnation;
    struct loop *loop;
    struct transport *transport;
    const struct engine_ops *engine_ops;
    const char *checker; /* see worker_env */
    /* Both on the loop thread. The job is the callee's. */
    void (*on_done)(struct job *job, void *arg);
    void (*on_loaded)(struct runner *runner, const struct error *error, void *arg); /* error NULL: ready */
    void *arg;
};

/* Starts the threads, which begin to load. */
struct runner *runner_new(const struct runner_env *env, struct error *error);
/* Stops at once and joins: waits for the engine step or the part of the load that runs. Jobs inside are
 * handed to on_done from here. Takes NULL. */
void runner_free(struct runner *runner);

/* All that follow: loop thread, never waiting. */

/* STATUS_OK when a job may be submitted now; otherwise MODEL_NOT_LOADED, MODEL_LOAD_FAILED or
 * WORKER_OVERLOADED (slots and queue are full). May call on_done, for jobs that are over. */
MUST_USE enum status runner_check(struct runner *runner, struct error *error);
/* Takes the job over. Only right after runner_check has said STATUS_OK. */
void runner_submit(struct runner *runner, struct job *job);
/* The job must be inside. */
void runner_cancel(struct runner *runner, struct job *job);
/* Ends the job with WORKER_DRAINING. */
void runner_drop(struct runner *runner, struct job *job);

enum engine_cache_type runner_cache_type(enum cache_kind kind);

/* As it is written in the configuration. */
const char *runner_model(const struct runner *runner);
void runner_get_info(const struct runner *runner, struct model_info *out);
/* Adds this model's numbers to `load`. */
void runner_add_load(const struct runner *runner, struct worker_load *load);
