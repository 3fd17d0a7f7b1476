/* What a worker knows of its queues from the jobs that are over: how long they waited, how they left, and how
 * fast the others get on. The loop thread's; time is an argument and must not go back. */
#pragma once

#include <stdint.h>

#include "proto/worker_info.h"
#include "route/drain_rate.h"
#include "worker/job.h"
#include "worker/wait_times.h"

struct queue_report { /* zeroed: empty */
    struct wait_times waits;
    struct drain_rate ends; /* of jobs that had a slot */
    int64_t expired;        /* while they waited; so is the next one */
    int64_t cancelled;
};

/* The job is over; its runner has given it back. */
void queue_report_note(struct queue_report *report, const struct job *job, int64_t now_ms);
/* How long until a job of the model gets its slot that has to let `position` others end; -1: not known, since
 * none has ended in the last ten seconds. */
int64_t queue_report_wait_ms(struct queue_report *report, const char *model, size_t position, int64_t now_ms);
/* Adds what is known here: expired, cancelled, the waits. */
void queue_report_add(const struct queue_report *report, int64_t now_ms, struct worker_queue *out);
