/* Cancels that came before their job: the subscriptions of jobs and cancels are not ordered against each
 * other, so a cancel for an unknown job is either that or too late. It is remembered for a while and applied
 * when the job comes. Bounded: the oldest is forgotten first. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "worker/job.h"

enum { EARLY_CANCELS_MAX = 64, EARLY_CANCEL_MS = 5000 };

struct early_cancels {
    struct early_cancel {
        char key[JOB_KEY_MAX];
        int64_t until_ms; /* valid before; 0: free */
    } entries[EARLY_CANCELS_MAX];
    size_t next;
};

/* `key`: see job_key. */
void early_cancels_add(struct early_cancels *cancels, const char *key, int64_t now_ms);
/* true, once, when the job was cancelled before. */
MUST_USE bool early_cancels_take(struct early_cancels *cancels, const char *key, int64_t now_ms);
