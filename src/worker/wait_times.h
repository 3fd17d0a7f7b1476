/* How long jobs waited for a slot, of the last one to two minutes. Pure: time is an argument and must not go
 * back. */
#pragma once

#include <stdint.h>

#include "base/hist.h"

enum { WAIT_TIMES_TURN_MS = 60000 };

struct wait_times {           /* zeroed: empty */
    struct hist newer, older; /* in ms; each of one minute */
    int64_t turn;             /* the number of the newer one */
};

struct wait_summary { /* all 0 when nobody waited */
    int64_t mean_ms;
    int64_t p50_ms;
    int64_t p99_ms;
};

void wait_times_add(struct wait_times *times, int64_t waited_ms, int64_t now_ms);
struct wait_summary wait_times_summary(const struct wait_times *times, int64_t now_ms);
