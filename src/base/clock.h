/* Time. Durations and timers use the monotonic clock, which never jumps; the wall clock is only for what
 * people read (timestamps, `created`). Pure code takes `now_ms` or `now_us` as an argument instead. */
#pragma once

#include <stdint.h>

int64_t clock_ms(void);      /* monotonic, milliseconds */
int64_t clock_us(void);      /* monotonic, microseconds */
int64_t clock_wall_ms(void); /* since 1970 UTC, milliseconds */
void clock_sleep_us(int64_t us);
