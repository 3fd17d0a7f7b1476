/* When a child process that ended by itself is started again. Pure: the time is an argument.
 *
 * The first restart comes at once, then after 100 ms, 200 ms, ... up to 10 s; a child that stayed up for 30 s
 * begins anew. A child that was never ready is not worth many tries: a wrong configuration does not mend. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    RESTART_DELAY_FIRST_MS = 100,
    RESTART_DELAY_MAX_MS = 10000,
    RESTART_FORGIVEN_AFTER_MS = 30000,
    RESTART_FAILURES_MAX = 5, /* in a row, before it was ever ready */
};

struct restart {
    int64_t started_ms;
    int failures; /* in a row */
    bool was_ready;
};

void restart_started(struct restart *restart, int64_t now_ms);
/* The child ended. Returns after how many milliseconds to start it again, or -1 to give up. `hopeless`: it
 * said that the configuration is wrong. */
int64_t restart_ended(struct restart *restart, int64_t now_ms, bool hopeless);
