/* What worker.c (life, heartbeat, drain) and inbox.c (messages) share. All of it is the loop thread's. */
#pragma once

#include "base/map.h"
#include "worker/early_cancels.h"
#include "worker/emit.h"
#include "worker/log_gate.h"
#include "worker/models.h"
#include "worker/queue_report.h"
#include "worker/resource_watch.h"
#include "worker/watch.h"
#include "worker/worker.h"

struct worker {
    struct worker_env env;
    char incarnation[INCARNATION_CHARS + 1];
    char hostname[65];
    int64_t started_ms;
    struct worker_hardware hardware;
    char skills[WORKER_SKILLS_MAX][SKILL_MAX + 1];
    size_t skill_count;
    struct models *models; /* owned */
    bool warm;             /* what it was to load at the start is loaded, or has failed */
    struct map jobs;       /* key -> struct job, owned */
    struct emitter emitter;
    bool emit_lost; /* set by the emitter when a message could not be published */
    struct early_cancels early_cancels;
    struct log_gate invalid_gate;
    struct watch watch;
    int64_t looked_ms; /* when it last looked who has fallen silent */
    struct queue_report queue_report;
    struct resource_watch resources;
    /* For worker_load. */
    uint64_t jobs_accepted;
    uint64_t jobs_finished;
    uint64_t jobs_cancelled;
    uint64_t jobs_failed;
    uint64_t jobs_rejected;
    uint64_t jobs_orphaned;
    /* Life. */
    enum worker_phase phase;
    bool limit_reached; /* of the drain */
    bool stops;         /* at the end of the drain, so it cannot resume */
    bool failed;        /* no model could be loaded, and nobody was told yet */
    struct loop_timer heartbeat;
    struct loop_timer drain_timer;
    struct loop_defer tell; /* calls on_drained and on_failed, where the caller may free the worker */
    void (*on_drained)(void *arg);
    void *on_drained_arg;
    void (*on_failed)(void *arg);
    void *on_failed_arg;
};

/* inbox.c */
MUST_USE enum status worker_subscribe(struct worker *worker, struct error *error);

/* worker.c */
bool worker_is_draining(const struct worker *worker); /* or has stopped */
void worker_register(struct worker *worker);
/* The controller is gone: nobody waits for its jobs, but for those of the process that took its place, which
 * may have come before its first word (`but`; NULL: there is none). */
void worker_drop_orphans(struct worker *worker, const char *controller_id, const char *but);
void worker_take_back(struct worker *worker, struct job *job); /* it is over */
