/* Whether a request whose try has failed is tried again, and when. Pure: time and chance are arguments. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"

struct retry_config {
    bool enabled;
    int64_t max_retries;
    int64_t delay_ms; /* first delay; doubles with each try, full jitter */
    int64_t max_delay_ms;
    bool on[STATUS_COUNT]; /* which of the retryable ways to fail are followed by another try */
};

/* A failed try. */
struct retry_case {
    enum status status;    /* how it failed */
    int64_t retries;       /* done so far */
    int64_t worker_deaths; /* tries that ended with the death of the worker */
    bool text_shown;       /* the client has seen part of the reply, and nobody could go on behind it */
    int64_t remaining_ms;  /* of the request's deadline */
};

enum retry_verdict {
    RETRY_NO,
    RETRY_NOW,   /* the status tells that the worker never had the job, or refused it: another one may be free
                  */
    RETRY_LATER, /* after *delay_ms */
};

/* A request that two workers died of is not given to a third: it may be the cause. */
enum { RETRY_WORKER_DEATHS_MAX = 2 };

enum retry_verdict retry_decide(const struct retry_config *config, const struct retry_case *failed,
                                struct rng *rng, int64_t *delay_ms);
