/* The models of a worker: loads them when they are wanted, unloads them when another one needs the room
 * (src/worker/model_table.h decides), and takes the jobs for them. A job for a model that is not ready waits
 * in the model's line (src/worker/load_line.h) until it is; if the load fails, its time is over, or the
 * worker drains, it ends here, without having been in a runner.
 *
 * All on the loop thread, never waiting for an engine; models_free joins the runners' threads. */
#pragma once

#include "base/attr.h"
#include "worker/runner.h"

struct models;

/* All of it must outlive the models. */
struct models_env {
    struct runner_env runner; /* without model and callbacks */
    /* A job is over that a runner had, or that waited; it is the callee's. `error`: one that waited, and this
     * is its answer; NULL: a runner has given the answer. */
    void (*on_done)(struct job *job, const struct error *error, void *arg);
    void (*on_change)(void *arg); /* the state of a model is another one */
    /* Bytes that may be taken now; in `own`, those that are not mapped from files. INT64_MAX: not known. */
    int64_t (*memory_room)(int64_t *own, void *arg);
    bool has_gpu; /* with memory of its own */
    void *arg;
};

struct models *models_new(const struct models_env *env); /* NULL: no memory */
/* Reads the headers of the configured models, and begins to load. */
void models_start(struct models *models);
/* Jobs inside runners come back through on_done. Takes NULL. */
void models_free(struct models *models);

size_t models_count(const struct models *models);
/* An index below models_count, or models_count when it is not known. Valid until the next tick of the loop.
 */
size_t models_find(const struct models *models, const char *name);
const char *models_name(const struct models *models, size_t index);
enum model_state models_state(const struct models *models, size_t index);

/* STATUS_OK when a job of this priority may be submitted now, for which another one may have been made to
 * give way; otherwise MODEL_NOT_LOADED, MODEL_LOAD_FAILED or WORKER_OVERLOADED. */
MUST_USE enum status models_make_room(struct models *models, size_t index, enum chat_priority priority,
                                      struct error *error);
/* Where a job that is submitted now stands, as runner_position; behind all that wait for the load. */
size_t models_position(const struct models *models, size_t index, enum chat_priority priority);
/* Takes the job over. Only right after models_make_room has said STATUS_OK for its priority. */
void models_submit(struct models *models, size_t index, struct job *job);
/* The job must be inside. It may be over when these return. */
void models_cancel(struct models *models, struct job *job);
void models_drop(struct job *job); /* ends it with WORKER_DRAINING; after models_drain */

/* The worker drains: nothing is loaded any more, and what waits for a load is answered now. */
void models_drain(struct models *models);
/* It does not after all: models are loaded again when wanted. */
void models_resume(struct models *models);

/* Memory is short, or is not any more. SOFT: engines free what they keep for prompts to come, and idle models
 * are unloaded but for the one that was used last; HARD: that one, too. Pinned models stay, and so do all
 * where nothing is loaded on demand. Until it is OK again models that become idle go as well, and nothing
 * more is warmed. */
void models_on_pressure(struct models *models, enum resource_level level);
/* Controllers that may have missed it are told again which prompts are held. */
void models_tell_prefixes(struct models *models);

bool models_may_come(const struct models *models); /* folders are looked at for new files */
bool models_are_warm(const struct models *models); /* nothing is left to be loaded from the start on */
/* Fills in the models and their memory, and adds their numbers to the load. */
void models_get_info(struct models *models, int64_t now_ms, struct worker_info *out);
