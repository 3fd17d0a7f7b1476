/* Stamps: which of two words about the same thing is the newer one, when several controllers speak and none
 * leads. A stamp is greater than every stamp that its controller has seen, and follows the wall clock, so
 * that of two controllers that did not hear each other the later one wins, as far as their clocks agree (a
 * hybrid logical clock: Kulkarni, Demirbas and others, "Logical Physical Clocks", 2014). Its low bits are the
 * controller's own, so that no two are equal. Pure: the wall clock is an argument. */
#pragma once

#include <stdint.h>

enum { STAMP_NODE_BITS = 20 };
#define STAMP_MAX ((int64_t)1 << 62) /* what others may say; milliseconds of the year 2100 are below it */

struct stamp_clock {
    int64_t last; /* the greatest stamp made or seen */
    int64_t node; /* random, below 1 << STAMP_NODE_BITS */
};

void stamp_clock_init(struct stamp_clock *clock, uint64_t random);
/* 1..STAMP_MAX; greater than all before, except at STAMP_MAX, which it never leaves. */
int64_t stamp_next(struct stamp_clock *clock, int64_t wall_ms);
/* Another controller used it. */
void stamp_seen(struct stamp_clock *clock, int64_t stamp);
