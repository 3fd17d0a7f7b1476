#include "worker/wait_times.h"

void wait_times_add(struct wait_times *times, int64_t waited_ms, int64_t now_ms) {
    int64_t turn = now_ms / WAIT_TIMES_TURN_MS;
    if (turn > times->turn) {
        if (turn == times->turn + 1)
            times->older = times->newer;
        else
            hist_clear(&times->older);
        hist_clear(&times->newer);
        times->turn = turn;
    }
    hist_add(&times->newer, waited_ms > 0 ? (uint64_t)waited_ms : 0);
}

struct wait_summary wait_times_summary(const struct wait_times *times, int64_t now_ms) {
    int64_t age = now_ms / WAIT_TIMES_TURN_MS - times->turn;
    struct hist all = {.total = 0};
    if (age <= 1)
        hist_merge(&all, &times->newer);
    if (age <= 0)
        hist_merge(&all, &times->older);
    return (struct wait_summary){
        .mean_ms = (int64_t)(hist_mean(&all) + 0.5),
        .p50_ms = (int64_t)hist_percentile(&all, 50),
        .p99_ms = (int64_t)hist_percentile(&all, 99),
    };
}
