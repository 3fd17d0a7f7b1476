/* One model of a worker: its engine, slots, queue and threads.
 *
 * Data flow: runner_submit (loop thread) -> prompt thread (template, tokenizer) -> engine thread: queue ->
 * slot -> steps -> events to the job's controller, published from the engine thread, all events of a step for
 * one controller in one message. When a job is over, `on_done` is called on the loop thread.
 *
 * Cancelling sets the job's atomic flag; the runner looks at the flag before and after tokenizing, between
 * steps, and when a notice says so. A full runner refuses, or makes the youngest job of a lower level give
 * way, which is answered with WORKER_OVERLOADED (src/worker/admission.h). Every job that was submitted gets a
 * last event and then on_done, exactly once; runner_free is the exception: it gives no answers. */
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
    const char *checker;  /* see worker_env */
    int64_t memory_bytes; /* of the machine, or the lowest hard limit if that is less; 0: unknown */
    /* All on the loop thread. The job is the callee's. */
    void (*on_done)(struct job *job, void *arg);
    void (*on_loaded)(struct runner *runner, const struct error *error, void *arg); /* error NULL: ready */
    void (*on_stopped)(struct runner *runner, void *arg);                           /* after runner_stop */
    void *arg;
};

/* Starts the threads, which begin to load. */
struct runner *runner_new(const struct runner_env *env, struct error *error);
/* Stops at once and joins: waits for the engine step or the part of the load that runs. Jobs inside are
 * handed to on_done from here. Takes NULL. */
void runner_free(struct runner *runner);

/* All that follow: loop thread, never waiting. */

/* Ends a runner that has no jobs, or is still loading: closes the engine on its own thread and calls
 * on_stopped; on_loaded is not called any more. runner_free is all that may follow. */
void runner_stop(struct runner *runner);

/* Of a model that is ready: STATUS_OK when a job of this priority may be submitted now, for which another one
 * may have been made to give way; otherwise WORKER_OVERLOADED (slots and queue are full). May call on_done,
 * for jobs that are over. */
MUST_USE enum status runner_make_room(struct runner *runner, enum chat_priority priority,
                                      struct error *error);
/* Takes the job over. Only right after runner_make_room has said STATUS_OK for its priority. */
void runner_submit(struct runner *runner, struct job *job);
/* The job must be inside. */
void runner_cancel(struct runner *runner, struct job *job);
/* Ends the job with WORKER_DRAINING. */
void runner_drop(struct runner *runner, struct job *job);

/* Controllers that may have missed it are told again which prompts are held. */
void runner_tell_prefixes(struct runner *runner);
/* While memory is short no sequences are kept in it for prompts to come; from the end of the step that runs
 * on. */
void runner_set_short_of_memory(struct runner *runner, bool is_short);

/* Of a model that is ready, the place in the queue of a job that is submitted now, as far as one can tell: 0
 * when a slot is free, 1 for the next one that gets a slot, and so on. */
size_t runner_position(const struct runner *runner, enum chat_priority priority);

int32_t runner_load_percent(const struct runner *runner);
/* Of a model that is ready. */
const struct engine_info *runner_engine_info(const struct runner *runner);
uint32_t runner_capabilities(const struct runner *runner); /* bits, see model_capability_bit */
/* Calls of the engine that came back, so far; `busy`: there are jobs in slots, for which one is due. */
uint64_t runner_progress(const struct runner *runner, bool *busy);
/* Adds this model's numbers to `load`, but for queue_max and progress. */
void runner_add_load(struct runner *runner, int64_t now_ms, struct worker_load *load);
