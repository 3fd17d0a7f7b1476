#include "cli/restart.h"

void restart_started(struct restart *restart, int64_t now_ms) {
    restart->started_ms = now_ms;
}

int64_t restart_ended(struct restart *restart, int64_t now_ms, bool hopeless) {
    if (now_ms - restart->started_ms >= RESTART_FORGIVEN_AFTER_MS)
        restart->failures = 0;
    restart->failures++;
    if (!restart->was_ready && (hopeless || restart->failures >= RESTART_FAILURES_MAX))
        return -1;
    if (restart->failures == 1)
        return 0;
    int64_t delay_ms = RESTART_DELAY_FIRST_MS;
    for (int i = 2; i < restart->failures && delay_ms < RESTART_DELAY_MAX_MS; i++)
        delay_ms *= 2;
    return delay_ms < RESTART_DELAY_MAX_MS ? delay_ms : RESTART_DELAY_MAX_MS;
}
