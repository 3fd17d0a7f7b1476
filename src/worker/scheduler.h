/* Continuous batching: which jobs are in the slots of one engine, and what each step does for them.
 *
 * One turn: end what is cancelled or too late, give free slots to waiting jobs in the order of the queue, run
 * one step over all slots (batch_plan), in passes after each of which its tokens become events, which are
 * published at once or, for a moment, wait for the next ones. In a KV cache that all slots share a job gets a
 * slot when there will be cells for it (kv_admission.c), and when there are none after all one job is parked
 * in memory until there are. Everything here belongs to the engine thread; other threads read `struct
 * runner_stats`. Flags of jobs in slots are looked at in every turn, those of jobs that wait only when
 * scheduler_look_at says so: nothing searches the queue.
 *
 * Every job that is added comes out through `done` exactly once, after its last event was published or, when
 * the link is down, was lost: nothing runs on for a controller that cannot be reached. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "engine/engine.h"
#include "worker/batch_gate.h"
#include "worker/batch_plan.h"
#include "worker/emit.h"
#include "worker/forecast.h"
#include "worker/job.h"
#include "worker/kv_cache.h"
#include "worker/log_gate.h"
#include "worker/queue.h"

/* What the loop thread may know of a runner at any time. All accesses are relaxed: they are numbers for
 * people and for routing, nothing is ordered by them. */
struct runner_stats {
    _Atomic int32_t load_percent;
    _Atomic int32_t running;                      /* slots in use */
    _Atomic int32_t waiting[CHAT_PRIORITY_COUNT]; /* jobs submitted that have no slot yet, by level */
    _Atomic int32_t parked;          /* jobs whose sequence is in memory, because the cache is full */
    _Atomic int64_t kv_cells_used;   /* by jobs in slots */
    _Atomic int64_t kv_cells_cached; /* held for prompts to come */
    _Atomic int64_t cache_bytes;     /* of sequences in memory */
    _Atomic uint64_t cache_evicted;  /* of them, for want of room */
    _Atomic uint64_t cache_skipped;  /* not copied, because copies were not used */
    _Atomic uint64_t cached_tokens;  /* of prompts: need not be computed */
    _Atomic uint64_t cache_hits;     /* jobs with such tokens */
    _Atomic uint64_t parks;
    _Atomic uint64_t handed_back; /* jobs, because the cache is full */
    _Atomic uint64_t progress;    /* calls of the engine that came back */
    _Atomic uint64_t steps;
    _Atomic uint64_t prompt_tokens;
    _Atomic uint64_t generated_tokens;
    _Atomic uint64_t batch_sequences;
    _Atomic uint64_t batch_wait_ms; /* of the idle engine, for more jobs */
    _Atomic uint32_t batch_max;
    _Atomic uint32_t cancel_steps_max;
};
#define STAT_ADD(field, n) atomic_fetch_add_explicit(&(field), (n), memory_order_relaxed)
#define STAT_SET(field, n) atomic_store_explicit(&(field), (n), memory_order_relaxed)
#define STAT_GET(field)    atomic_load_explicit(&(field), memory_order_relaxed)

struct slot {
    struct job *job; /* NULL: free */
    uint64_t started;
    bool lost;    /* events of this job could not be published */
    bool alone;   /* to copy the beginning of its prompt has failed */
    bool spoiled; /* the engine may hold more than was counted, and cannot take it back */
};

/* A job that had a slot and waits for one again. */
struct parked_job {
    struct slot slot; /* as it was */
    struct kv_parked kv;
    int64_t since_ms;
};

struct scheduler_env {
    struct engine *engine;
    struct runner_stats *stats;
    struct transport *transport;
    const char *worker_id;
    const char *incarnation;
    size_t jobs_max; /* most jobs inside at a time */
    int64_t aging_ms;
    struct batch_gate_config batching;
    struct kv_config kv;
    int64_t park_max_ms;        /* a job that is parked for longer is handed back */
    int64_t max_pause_ms;       /* of a step, for prompts beside what decodes, about; 0: no bound */
    int64_t stream_interval_ms; /* tokens wait at most so long for the next ones, to go out with them */
    void (*done)(struct job *job, void *arg);
    void *arg;
};

struct scheduler {
    struct scheduler_env env;
    struct engine_info info;
    struct emitter emitter;
    struct queue queue;
    struct batch_gate gate;
    struct kv_cache cache;
    struct forecast forecast;
    struct parked_job *parked; /* owned, room for info.slots */
    int32_t parked_count;
    struct slot *slots; /* owned, info.slots of them; so are the next three */
    struct slot_view *views;
    struct plan_item *plan;
    struct engine_item *items;
    struct job **ended; /* owned, jobs_max: wait for their last event to be published */
    size_t ended_count;
    double prompt_token_us; /* how long one takes, lately; 0: not known yet */
    uint64_t starts;
    int32_t active;
    const struct job *heavy; /* of the step that runs: its prompt is the most of it */
    int64_t now_ms;          /* of this turn */
    int64_t told_ms;         /* when controllers were told last of the prompts that are held */
    struct buf text;         /* of one event */
    int64_t held_us;         /* since when events wait to be published; 0: none do */
    bool urgent;             /* one of them goes out at once */
    int64_t step_us;         /* how long the last step took */
    struct log_gate lost_gate;
};

/* false when memory is out. */
MUST_USE bool scheduler_init(struct scheduler *scheduler, const struct scheduler_env *env);
/* Hands all jobs to `done`, without events. Takes zeroed structs. */
void scheduler_release(struct scheduler *scheduler);

/* Takes a job over whose prompt is made. */
void scheduler_add(struct scheduler *scheduler, struct job *job, int64_t now_ms);
/* A flag of the job, which was added, was set: ends it if it waits. */
void scheduler_look_at(struct scheduler *scheduler, struct job *job, int64_t now_ms);
/* How long there is nothing to do unless something is added or looked at: -1 for ever, since no slot is in
 * use and nobody waits; 0 not at all. */
int64_t scheduler_wait_ms(struct scheduler *scheduler, int64_t now_ms);
void scheduler_turn(struct scheduler *scheduler, int64_t now_ms);
/* Nothing is kept for prompts to come any more, and controllers are told so at once. */
void scheduler_forget_prefixes(struct scheduler *scheduler);
/* During engine_step, on its thread: whether nobody waits any more for most of what is being computed. */
bool scheduler_should_abort(const struct scheduler *scheduler);

/* Between scheduler.c, step.c and kv_admission.c. */

static inline int32_t scheduler_held(const struct scheduler *scheduler, const struct slot *slot) {
    return scheduler->cache.slots[slot - scheduler->slots].count;
}

/* The newest token of the reply is all that is left to compute. */
static inline bool scheduler_decodes(const struct scheduler *scheduler, const struct slot *slot) {
    const struct job *job = slot->job;
    return scheduler_held(scheduler, slot) == (int32_t)job->prompt.count - 1 && job->prompt.reply > 0;
}

/* The next turn ends it. */
static inline bool scheduler_is_unwanted(const struct job *job) {
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed) ||
           atomic_load_explicit(&job->drop, memory_order_relaxed);
}

void scheduler_emit(struct scheduler *scheduler, const struct job *job, struct wire_event event);
/* The job has no slot and is not in the queue any more: it goes out with the events of this pass. */
void scheduler_end_job(struct scheduler *scheduler, struct job *job, enum job_end end);
/* Publishes the events so far, unless they may wait, and hands out the jobs that are over. */
void scheduler_hand_out(struct scheduler *scheduler);
/* So many tokens of its prompt need not be computed; < 0: they must be after all. */
void scheduler_count_held(struct scheduler *scheduler, struct job *job, int32_t tokens);
/* Takes the job out of the slot. `keep`: what it has computed may be of use for others. */
void scheduler_free_slot(struct scheduler *scheduler, struct slot *slot, bool keep);
/* The slot's job is over and its last event, if any, is added: frees the slot. */
void scheduler_end_slot(struct scheduler *scheduler, struct slot *slot, enum job_end end);
void scheduler_emit_failed(struct scheduler *scheduler, const struct job *job, const struct error *error);
void scheduler_fail_slot(struct scheduler *scheduler, struct slot *slot, const struct error *error);
/* Brings the text of a job that goes on elsewhere to where it was, without an event for it; ends the job when
 * what was generated is already the whole reply. */
void scheduler_replay(struct scheduler *scheduler, struct slot *slot);
/* Fills in the views of all slots. */
void scheduler_look(struct scheduler *scheduler);
/* One engine step over the slots in use, and what follows from it. */
void scheduler_step(struct scheduler *scheduler);

/* Will there be cells for the job, which is not in a slot, until it is over? */
bool scheduler_has_room(const struct scheduler *scheduler, const struct job *job,
                        const struct kv_place *place);
/* Looks at all slots (views) and tells the most tokens that the next step can take: at least one for each
 * slot that decodes, for which jobs may have made way. 0: there is no job any more. */
int32_t scheduler_step_budget(struct scheduler *scheduler);
/* The cache is full: the youngest job of the lowest level in a slot, there being one, is parked, or handed
 * back if it is the only one or there is no memory for it. */
void scheduler_make_way(struct scheduler *scheduler);
/* Ends parked jobs that are over; gives slots to others as far as there is room. true: none is left. */
bool scheduler_resume_parked(struct scheduler *scheduler);
/* Ends the parked job without an event. */
void scheduler_end_parked(struct scheduler *scheduler, int32_t index, enum job_end end);
