/* One attempt at a request, as it goes through a worker.
 *
 * A job is allocated, found and freed by the loop thread. From runner_submit until on_done it belongs to the
 * runner; the loop thread then only reads `key` and the head of `wire`, which never change, and sets the
 * atomics. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "engine/engine.h"
#include "proto/wire.h"
#include "worker/admission.h"
#include "worker/notices.h"
#include "worker/prefix_report.h"
#include "worker/queue.h"
#include "worker/text_filter.h"

enum { JOB_KEY_MAX = WIRE_REQUEST_ID_MAX + 12 };

/* How a job ended, for the worker's counters. */
enum job_end { JOB_FINISHED, JOB_CANCELLED, JOB_EXPIRED, JOB_FAILED };

struct runner;

struct job {
    struct wire_job wire;  /* owned */
    char key[JOB_KEY_MAX]; /* "request/attempt" */
    int64_t since_ms;      /* when it came; monotonic, as the next one */
    int64_t deadline_ms;
    atomic_bool cancelled; /* set by the loop thread */
    atomic_bool drop;      /* likewise: the drain limit is reached */
    atomic_bool answered;  /* likewise: it got its last event from the loop thread, nothing may follow */
    _Atomic uint64_t cancel_step; /* the runner's count of steps when the cancel came */
    struct runner *runner;        /* the loop thread's: where it was submitted */
    struct notice *notice;        /* likewise; held until on_done */
    struct admission_entry admission;
    int64_t started_ms; /* when it got a slot, -1: never; valid from on_done on, as the next one */
    enum job_end end;
    /* The runner's: */
    struct engine_prompt prompt;  /* owned, until its slot has it; the reply so far at its end */
    struct prefix_blocks *blocks; /* owned, until its slot has them */
    struct queue_entry waiting;
    struct text_filter filter; /* from the start of its slot on */
    int32_t held;              /* tokens of the prompt that were there already when it got a slot */
};

/* Takes the content of `wire` over, which is then zeroed. NULL when memory is out. */
struct job *job_new(struct wire_job *wire, int64_t now_ms);
void job_free(struct job *job); /* takes NULL */

/* Tokens of the request alone, and those of the reply so far, the one that ends the model's turn not
 * included.
 */
static inline int32_t job_prompt_tokens(const struct job *job) {
    return (int32_t)(job->prompt.count - job->prompt.reply);
}
static inline int32_t job_reply_tokens(const struct job *job) {
    return (int32_t)job->prompt.reply;
}

/* How a job ends that failed with this status. */
enum job_end job_end_of(enum status status);

void job_key(char out[JOB_KEY_MAX], const char *request_id, uint32_t attempt);

/* STATUS_OK while the job should go on; otherwise why not: CANCELLED, WORKER_DRAINING, WORKER_OVERLOADED (it
 * gave way to another one) or DEADLINE_EXCEEDED, with a sentence in `error`. Any thread. */
MUST_USE enum status job_check(const struct job *job, int64_t now_ms, struct error *error);
