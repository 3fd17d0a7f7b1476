#include "controller/latency.h"

#define MS 1000ull
#define S  1000000ull

const uint64_t latency_bounds_us[LATENCY_BOUNDS] = {
    MS / 2, 1 * MS,    5 * MS / 2, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS,
    1 * S,  5 * S / 2, 5 * S,      10 * S, 20 * S,  30 * S,  60 * S,  120 * S,  300 * S};

void latency_add(struct latency *latency, int64_t us) {
    if (us < 0)
        return;
    hist_add(&latency->us, (uint64_t)us);
    for (int i = 0; i < LATENCY_BOUNDS; i++) {
        if ((uint64_t)us <= latency_bounds_us[i]) {
            latency->counts[i]++;
            return;
        }
    }
}
