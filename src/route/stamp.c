#include "route/stamp.h"

#define STEP ((int64_t)1 << STAMP_NODE_BITS)

void stamp_clock_init(struct stamp_clock *clock, uint64_t random) {
    *clock = (struct stamp_clock){.node = (int64_t)(random & (uint64_t)(STEP - 1))};
}

int64_t stamp_next(struct stamp_clock *clock, int64_t wall_ms) {
    int64_t tick = clock->last / STEP + 1;
    if (wall_ms > tick)
        tick = wall_ms;
    if (tick >= STAMP_MAX / STEP)
        clock->last = STAMP_MAX;
    else
        clock->last = tick * STEP + clock->node;
    return clock->last;
}

void stamp_seen(struct stamp_clock *clock, int64_t stamp) {
    if (stamp > clock->last)
        clock->last = stamp < STAMP_MAX ? stamp : STAMP_MAX;
}
