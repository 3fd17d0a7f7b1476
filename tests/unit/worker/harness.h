/* A worker's surroundings in one process: a loop, a memory bus with the worker's link and one of the
 * controllers, a record of every event, and a fake engine whose loads and steps a test can hold and let go.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"
#include "engine/engine.h"
#include "net/loop.h"
#include "net/transport.h"
#include "proto/wire.h"
#include "worker/job.h"

enum { JOBS_MAX = 64, CONTROLLERS = 3, IDS_MAX = 128 };

/* What the controllers were told about one request, "r<index>" with attempt 1. */
struct seen {
    int controller; /* whose subject the events came on; -1 before the first */
    int accepted;
    int32_t position; /* in ACCEPTED, as is the next one */
    int64_t wait_ms;
    int started;
    int ended;       /* FINISHED and FAILED */
    int first_index; /* set before: the tokens that another worker gave */
    int tokens;
    int32_t ids[IDS_MAX];     /* of the first tokens; what was shown after each: */
    size_t shown_at[IDS_MAX]; /* bytes */
    int order;                /* 1 for the job that was started first */
    int end_order;
    int32_t prompt_tokens;
    struct buf text;
    enum finish_reason finish;
    struct usage usage;
    enum status status;
    char message[512];
    char param[96];
};

struct harness {
    struct loop *loop;
    struct memory_bus *bus;
    struct transport *worker_link;
    struct transport *controller_link;
    struct config config;
    struct seen seen[JOBS_MAX];
    int starts;
    int ends;
    int messages[CONTROLLERS]; /* with events, for each controller */
    int most_events;           /* in one message */
    int message_events;        /* in the one being read, for message_controller */
    int message_controller;
};

/* Fake engine of 4 slots, a queue of 8, one model "fake". Change `config` before starting what is tested. */
void harness_init(struct harness *harness);
/* The worker or runner is gone by now. */
void harness_release(struct harness *harness);
void harness_add_model(struct harness *harness, const char *name);

/* Runs the loop until `done(arg)`; fails the test after 10 seconds. */
void harness_wait(struct harness *harness, bool (*done)(void *arg), void *arg);
/* Until so many jobs have ended, or started; until the job has so many tokens. */
void harness_wait_ends(struct harness *harness, int ends);
void harness_wait_starts(struct harness *harness, int starts);
void harness_wait_tokens(struct harness *harness, int job, int tokens);
/* Runs what is ready now. */
void harness_settle(struct harness *harness);

/* Job number `index` for controller "c0": one user message of `text`. */
struct wire_job harness_job(int index, const char *text);
void harness_set_stop(struct wire_job *job, const char *stop);
/* What the fake engine says to this job; compare before the job is handed on. */
struct buf harness_expected(const struct harness *harness, const struct wire_job *job, int32_t *tokens);

/* The engine: engine_fake_ops behind a gate. While the gate is closed, loads and steps wait for permits. */
extern const struct engine_ops gate_ops;
void gate_reset(void); /* open, no failures */
void gate_close(void);
void gate_open(void);
void gate_permit(int steps);
/* Returns when the engine thread waits at the closed gate. */
void gate_wait_arrival(void);
int gate_engines(void);     /* open */
int gate_prompts(void);     /* made */
int gate_steps(void);       /* that went through */
int gate_last_tokens(void); /* in the last of them */
/* Steps that hold an item of this slot fail as a whole, until gate_reset; -1: none. */
void gate_break_slot(int32_t slot);
/* As engine_info.pass_tokens, before an engine is open; 0 after gate_reset: the fake engine's. */
extern int32_t gate_pass_tokens;
/* Not as engine_info.can_rewind, likewise. */
extern bool gate_cannot_rewind;
void gate_fail_loads(const char *model_path);
