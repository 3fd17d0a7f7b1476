/* Whether an idle engine begins at once or waits a moment, so that its first step has more than one job.
 *
 * Once the first job has come, the engine waits until there are `min_jobs`, for at most `timeout_ms`. If
 * `adaptive` is set it waits no longer than twice the time in which the missing ones should come, after the
 * gaps between jobs so far; and not at all when that is more than the timeout: rare jobs are not held up in
 * vain.
 *
 * Whatever `min_jobs` is, it waits for jobs that are on their way: whose prompts are being made, those which
 * clients are likely to send that have just got the last token of a reply, and those that may follow on two
 * which came together. Of clients in lockstep, as those of a batch run, one would else always be ahead: its
 * prompt is computed by itself while the others come, and so it is done and back first the next time. That
 * wait is short next to what the first job's prompt takes, and does not happen where jobs come at random:
 * there two seldom come together, and replies seldom end together, with no other running, just before a job
 * comes.
 *
 * An engine that runs never waits: new jobs join its next step. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch_gate_config {
    size_t min_jobs;
    int64_t timeout_ms;
    bool adaptive;
};

struct batch_gate {
    struct batch_gate_config config;
    size_t slots;
    bool holds;
    int64_t held_ms;    /* since when */
    int64_t arrived_ms; /* the newest job; -1: none yet */
    bool rush;          /* it came right after the one before it */
    double gap_ms;      /* between two jobs, recent ones count most; < 0: not known */
    size_t missing;     /* clients that have just been served and have not come back */
    int64_t served_ms;
    int64_t waited_ms; /* all waits together */
};

/* What an idle engine knows of jobs. */
struct batch_gate_jobs {
    size_t waiting;  /* ready to begin */
    size_t coming;   /* their prompts are being made */
    int64_t cost_ms; /* to compute the prompt of the next one, about; 0: not known, or nobody is expected */
};

/* `slots`: jobs that a step can have; no wait for more. */
void batch_gate_init(struct batch_gate *gate, const struct batch_gate_config *config, size_t slots);
/* A job has come; `idle`: the engine has nothing to do but the jobs that wait. */
void batch_gate_note(struct batch_gate *gate, bool idle, int64_t now_ms);
/* A reply was finished. */
void batch_gate_served(struct batch_gate *gate, int64_t now_ms);
/* Is it likely that more come at once? Only then cost_ms is of interest. */
bool batch_gate_expects(const struct batch_gate *gate, size_t coming);
/* How long to wait for more beside the ones that wait, of which there is one at least; 0: begin. */
int64_t batch_gate_wait_ms(const struct batch_gate *gate, const struct batch_gate_jobs *jobs, int64_t now_ms);
/* The engine has begun, or nobody waits any more. */
void batch_gate_open(struct batch_gate *gate, int64_t now_ms);
