#include "base/clock.h"

#include <errno.h>
#include <time.h>

static int64_t now_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_ms(void) {
    return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_us(void) {
    return now_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void) {
    return now_us(CLOCK_REALTIME) / 1000;
}

void clock_sleep_us(int64_t us) {
    if (us <= 0)
        return;
    /* Until a point in time, so that signals do not make the sleep longer. */
    int64_t until = clock_us() + us;
    struct timespec end = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
        ;
}
