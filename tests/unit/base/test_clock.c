#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "base/clock.h"

static void clock_never_goes_back(void **state) {
    (void)state;
    int64_t last_us = clock_us();
    for (int i = 0; i < 100000; i++) {
        int64_t now_us = clock_us();
        assert_true(now_us >= last_us);
        last_us = now_us;
    }
}

static void clock_ms_and_us_are_one_clock(void **state) {
    (void)state;
    int64_t before_us = clock_us();
    int64_t now_ms = clock_ms();
    int64_t after_us = clock_us();
    assert_true(before_us / 1000 <= now_ms && now_ms <= after_us / 1000);
}

static void clock_wall_ms_is_the_time_of_day(void **state) {
    (void)state;
    int64_t before = (int64_t)time(NULL);
    int64_t wall_ms = clock_wall_ms();
    int64_t after = (int64_t)time(NULL);
    /* time() may read a coarser clock, which is behind by a tick. */
    assert_true(wall_ms / 1000 >= before && wall_ms / 1000 <= after + 1);
}

static void clock_sleep_lasts_at_least_its_time(void **state) {
    (void)state;
    int64_t start_us = clock_us();
    clock_sleep_us(3000);
    assert_true(clock_us() - start_us >= 3000);
    clock_sleep_us(0);
    clock_sleep_us(-1);
}

static volatile sig_atomic_t signals;

static void on_signal(int number) {
    (void)number;
    signals++;
}

static void clock_sleep_goes_on_after_signals(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old;
    sigaction(SIGALRM, &action, &old);
    signals = 0;
    struct itimerval every_2ms = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000};
    setitimer(ITIMER_REAL, &every_2ms, NULL);
    int64_t start_us = clock_us();
    clock_sleep_us(30000);
    int64_t slept_us = clock_us() - start_us;
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_true(signals > 0);
    assert_true(slept_us >= 30000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_never_goes_back),
        cmocka_unit_test(clock_ms_and_us_are_one_clock),
        cmocka_unit_test(clock_wall_ms_is_the_time_of_day),
        cmocka_unit_test(clock_sleep_lasts_at_least_its_time),
        cmocka_unit_test(clock_sleep_goes_on_after_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
