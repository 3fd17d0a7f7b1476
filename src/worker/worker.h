/* A worker: takes jobs from controllers, runs them in continuous batches, and tells how it is.
 *
 * Life: worker_new subscribes; worker_start loads the models (on threads of their own), registers, and beats.
 * worker_drain ends it: nothing new is taken, what runs is finished inside the limit, then it deregisters and
 * calls back. worker_free stops the threads. Then another one may be made in the same process, with the same
 * id and on a new transport; it has an incarnation of its own. The phases are in proto/worker_info.h.
 *
 * Threads: the loop thread owns the worker and its table of jobs; each model has a runner with two threads,
 * one that renders and tokenizes prompts, one (the engine thread) that owns queue, slots and engine. The loop
 * thread reads the runners' state from atomics only, so heartbeats and statistics never wait for an engine.
 */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "engine/engine.h"
#include "net/loop.h"
#include "net/transport.h"
#include "proto/worker_info.h"

struct worker;

/* All of it must outlive the worker. */
struct worker_env {
    const struct config *config; /* .worker, .models, .discovery */
    const char *id;              /* wire_is_token */
    struct loop *loop;
    struct transport *transport;
    const struct engine_ops *engine_ops;
    const char *system_root; /* see worker/resource_watch.h; NULL: memory is not looked at */
    const char *checker;     /* mlxd, for worker/model_check.h; NULL: the engine reads no files */
};

struct worker *worker_new(const struct worker_env *env, struct error *error);
/* Begins to load. A model that cannot be loaded is reported in worker_info (MODEL_FAILED) and in the log.
 * When none of those that are to be loaded at the start could be, and there are no others, `on_failed` is
 * called on the loop thread. */
void worker_start(struct worker *worker, void (*on_failed)(void *arg), void *arg);
/* `on_drained` is called once on the loop thread, when nothing runs any more and the deregistration is sent;
 * at the latest after `limit_ms`, when what still runs has been answered with WORKER_DRAINING. */
void worker_drain(struct worker *worker, int64_t limit_ms, void (*on_drained)(void *arg), void *arg);
/* Ends a drain that nobody is to be called back of: the worker registers, if it had said good-bye, and takes
 * jobs again. false: it is about to stop for good, and goes on with that. */
bool worker_resume(struct worker *worker);
/* Stops at once (jobs under way get no answer), joins the threads, frees. The subscriptions live as long as
 * the transport: close it before the loop runs again. Takes NULL. */
void worker_free(struct worker *worker);

void worker_get_info(struct worker *worker, struct worker_info *out);
