/* A worker in the surroundings of harness.h, what it tells of itself, and jobs for it. */
#pragma once

#include "harness.h"
#include "kernel_tree.h"
#include "worker/worker.h"

struct worker_rig {
    struct harness harness;
    struct worker *worker;
    int registrations;
    int heartbeats;
    int deregistrations;
    int replies;
    struct buf told;         /* the latest reply to "reply.c0.told" */
    struct worker_info info; /* the latest that was published */
    struct wire_deregister deregister;
    int ends_at_deregistration;
    int drained;
    int failed;
    struct kernel_tree tree; /* what the worker sees of the machine, when a test wants it to look */
    const char *system_root;
};
extern struct worker_rig w;

int worker_rig_setup(void **state);
int worker_rig_teardown(void **state);

/* As "w1"; starts it; both; until it is ready. */
void new_worker(void);
void start_worker(void);
void begin(void);
void begin_ready(void);
/* Ready, and job 0 has a slot, with its first step at the closed gate. */
void begin_at_gate(const char *text);
void on_drained(void *arg); /* counts in w.drained */

/* Until a counter of `w` has reached the value. */
void wait_count(const int *counter, int value);
/* Until it has told of this phase. */
void wait_phase(enum worker_phase phase);

/* From the controller. send_job takes the job's content over. */
void send_to_worker(const char *subject, const char *reply, const void *data, size_t len);
void send_job(struct wire_job *job);
void send_text(int index, const char *model, const char *text);
void send_cancel(int index);
void send_control(enum wire_control_op op); /* the answer counts in w.replies */
struct wire_job job_for(int index, const char *model, const char *text);

/* As it is now, not as it was told. */
struct worker_info info_now(void);
struct model_info model_now(size_t index);
void wait_state(size_t index, enum model_state state);
/* A job leaves the worker's books right after its last event was sent. */
void wait_accounted(void);

/* The only refused job; the job's text is the engine's. */
void check_refused(int index, enum status status);
void check_text(int index, const char *model, const char *text);

/* Of the machine of 100 MiB in w.tree. */
void use_memory(int percent);
