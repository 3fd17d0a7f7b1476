#include "worker/job.h"

#include <stdio.h>
#include <stdlib.h>

struct job *job_new(struct wire_job *wire, int64_t now_ms) {
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->wire = *wire;
    *wire = (struct wire_job){0};
    job_key(job->key, job->wire.request_id, job->wire.attempt);
    int64_t left_ms = job->wire.remaining_ms;
    job->since_ms = now_ms;
    job->started_ms = -1;
    job->deadline_ms = left_ms < INT64_MAX - now_ms ? now_ms + left_ms : INT64_MAX;
    job->end = JOB_FAILED; /* unless it gets further */
    atomic_init(&job->cancelled, false);
    atomic_init(&job->drop, false);
    atomic_init(&job->answered, false);
    atomic_init(&job->cancel_step, 0);
    return job;
}

void job_free(struct job *job) {
    if (!job)
        return;
    wire_job_release(&job->wire);
    engine_prompt_release(&job->prompt);
    free(job->blocks);
    text_filter_release(&job->filter);
    free(job);
}

enum job_end job_end_of(enum status status) {
    if (status == STATUS_CANCELLED)
        return JOB_CANCELLED;
    return status == STATUS_DEADLINE_EXCEEDED ? JOB_EXPIRED : JOB_FAILED;
}

void job_key(char out[JOB_KEY_MAX], const char *request_id, uint32_t attempt) {
    snprintf(out, JOB_KEY_MAX, "%s/%u", request_id, attempt);
}

enum status job_check(const struct job *job, int64_t now_ms, struct error *error) {
    if (atomic_load_explicit(&job->cancelled, memory_order_acquire))
        return error_set(error, STATUS_CANCELLED, NULL, "the request was cancelled");
    if (atomic_load_explicit(&job->drop, memory_order_acquire))
        return error_set(error, STATUS_WORKER_DRAINING, NULL,
                         "the worker stops and its drain limit is reached");
    if (admission_is_evicted(&job->admission))
        return error_set(error, STATUS_WORKER_OVERLOADED, NULL,
                         "the queue is full, and the job gave way to one of higher priority");
    if (now_ms >= job->deadline_ms)
        return error_set(error, STATUS_DEADLINE_EXCEEDED, NULL,
                         "the request's time was spent on the worker, after %d tokens",
                         job_reply_tokens(job));
    return STATUS_OK;
}
