/* Whether an idle engine begins at once or waits a moment, so that its first step has more than one job.
 *
 * Once the first job has come, the engine waits until there are `min_jobs`, for at most `timeout_ms`. If
 * `adaptive` is set it waits no longer than twice the time in which the missing ones should come, after the
 * gaps between jobs so far; and not at all when that is more than the timeout: rare jobs are not held up in
 * vain. An engine that runs never waits: new jobs join its next step. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch_gate_config {
    size_t min_jobs; /* 1: never waits */
    int64_t timeout_ms;
    bool adaptive;
};

struct batch_gate {
    struct batch_gate_config config;
    bool holds;
    int64_t held_ms;    /* since when */
    int64_t arrived_ms; /* the newest job; -1: none yet */
    double gap_ms;      /* between two jobs, recent ones count most; < 0: not known */
};

void batch_gate_init(struct batch_gate *gate, const struct batch_gate_config *config);
/* A job has come; `idle`: the engine has nothing to do but the jobs that wait. */
void batch_gate_note(struct batch_gate *gate, bool idle, int64_t now_ms);
/* How long to wait for more beside the `waiting` ones; 0: begin. */
int64_t batch_gate_wait_ms(const struct batch_gate *gate, size_t waiting, int64_t now_ms);
/* The engine has begun, or nobody waits any more. */
void batch_gate_open(struct batch_gate *gate);
