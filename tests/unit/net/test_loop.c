#include "net/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"

#include <cmocka.h>

enum { POSTERS = 4, POSTS_EACH = 5000 };

static struct loop *loop;
static int calls;
static int order[16];

static int setup(void **state) {
    (void)state;
    calls = 0;
    loop = loop_new();
    return loop ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    loop_free(loop);
    return 0;
}

static void count(void *arg) {
    (void)arg;
    calls++;
}

static void note(void *arg) {
    order[calls++] = (int)(intptr_t)arg;
}

static void stop(void *arg) {
    (void)arg;
    loop_stop(loop);
}

static void posts_run_in_their_order(void **state) {
    (void)state;
    for (intptr_t i = 0; i < 10; i++)
        assert_true(loop_post(loop, note, (void *)i));
    assert_int_equal(calls, 0);
    loop_run_once(loop, 0);
    assert_int_equal(calls, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(order[i], i);
}

struct poster {
    pthread_t thread;
    int next; /* only touched on the loop */
};
struct numbered {
    struct poster *poster;
    int number;
};

static void check_number(void *arg) {
    struct numbered *post = arg;
    assert_int_equal(post->number, post->poster->next);
    post->poster->next++;
    free(post);
    if (++calls == POSTERS * POSTS_EACH)
        loop_stop(loop);
}

static void *post_many(void *arg) {
    for (int i = 0; i < POSTS_EACH; i++) {
        struct numbered *post = malloc(sizeof *post);
        *post = (struct numbered){.poster = arg, .number = i};
        while (!loop_post(loop, check_number, post))
            ;
    }
    return NULL;
}

static void posts_of_several_threads_all_arrive_each_in_order(void **state) {
    (void)state;
    struct poster posters[POSTERS] = {0};
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(calls, POSTERS * POSTS_EACH);
}

static void a_full_mailbox_refuses(void **state) {
    (void)state;
    int accepted = 0;
    while (accepted < 1 << 20 && loop_post(loop, count, NULL))
        accepted++;
    assert_int_equal(accepted, 65536);
    while (calls < accepted)
        loop_run_once(loop, 0);
    assert_true(loop_post(loop, count, NULL));
}

static void *stop_from_thread(void *arg) {
    loop_stop(arg);
    return NULL;
}

static void another_thread_can_stop_it(void **state) {
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_from_thread, loop), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
}

static void a_stop_before_the_run_is_not_lost(void **state) {
    (void)state;
    loop_stop(loop);
    loop_run(loop);
}

static void a_timer_fires_once_and_never_early(void **state) {
    (void)state;
    struct loop_timer timer;
    assert_true(loop_timer_init(&timer, loop, count, NULL));
    for (int i = 1; i <= 5; i++) {
        int64_t begin = clock_us();
        loop_timer_arm(&timer, 7);
        while (calls < i)
            loop_run_once(loop, 1000);
        assert_true(clock_us() - begin >= 7000);
    }
    loop_run_once(loop, 10);
    assert_int_equal(calls, 5);
    loop_timer_release(&timer);
}

static struct loop_timer late;
static int64_t armed_at_us;

static void arm_after_a_long_callback(void *arg) {
    (void)arg;
    clock_sleep_us(20000);
    armed_at_us = clock_us();
    loop_timer_arm(&late, 15);
}

static void a_timer_counts_from_when_it_is_armed_not_from_the_tick(void **state) {
    (void)state;
    assert_true(loop_timer_init(&late, loop, count, NULL));
    assert_true(loop_post(loop, arm_after_a_long_callback, NULL));
    while (calls == 0)
        loop_run_once(loop, 1000);
    assert_true(clock_us() - armed_at_us >= 15000);
    loop_timer_release(&late);
}

static void arming_again_replaces_the_time_and_disarming_cancels(void **state) {
    (void)state;
    struct loop_timer timer;
    assert_true(loop_timer_init(&timer, loop, count, NULL));
    loop_timer_arm(&timer, 5);
    loop_timer_arm(&timer, 60000);
    loop_run_once(loop, 15);
    assert_int_equal(calls, 0);
    loop_timer_arm(&timer, 5);
    loop_timer_disarm(&timer);
    loop_run_once(loop, 15);
    assert_int_equal(calls, 0);
    loop_timer_release(&timer);
    loop_timer_release(&timer);
}

static struct loop_defer defer;

static void ask_twice(void *arg) {
    note(arg);
    loop_defer_ask(&defer);
    loop_defer_ask(&defer);
}

static void a_deferred_call_comes_once_behind_the_tick_that_asked(void **state) {
    (void)state;
    struct loop_timer timer;
    assert_true(loop_defer_init(&defer, loop, note, (void *)(intptr_t)99));
    assert_true(loop_timer_init(&timer, loop, note, (void *)(intptr_t)3));
    loop_timer_arm(&timer, 0);
    assert_true(loop_post(loop, ask_twice, (void *)(intptr_t)1));
    assert_true(loop_post(loop, ask_twice, (void *)(intptr_t)2));
    loop_run_once(loop, 100);
    assert_int_equal(calls, 4);
    assert_int_equal(order[3], 99);
    loop_run_once(loop, 5);
    assert_int_equal(calls, 4);
    loop_timer_release(&timer);
    loop_defer_release(&defer);
}

static int pipe_fds[2];

static void read_one(void *arg) {
    char c;
    struct loop_watch **watch = arg;
    assert_int_equal(read(pipe_fds[0], &c, 1), 1);
    if (++calls == 2) {
        loop_unwatch(*watch);
        *watch = NULL;
    }
}

static void a_watch_calls_until_it_is_dropped_even_by_itself(void **state) {
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    struct loop_watch *watch;
    watch = loop_watch_fd(loop, pipe_fds[0], read_one, &watch);
    assert_non_null(watch);
    assert_int_equal(write(pipe_fds[1], "abc", 3), 3);
    for (int i = 0; i < 4; i++)
        loop_run_once(loop, 0);
    assert_int_equal(calls, 2);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void signals_arrive_on_the_loop(void **state) {
    (void)state;
    assert_true(loop_on_signal(loop, count, NULL));
    raise(SIGTERM);
    raise(SIGINT);
    while (calls < 2)
        loop_run_once(loop, 1000);
}

static void writing_to_a_closed_pipe_does_not_kill_the_process(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    assert_int_equal(write(fds[1], "x", 1), -1);
    close(fds[1]);
}

static void waiting_for_nothing_ends_in_time(void **state) {
    (void)state;
    int64_t begin = clock_ms();
    loop_run_once(loop, 20);
    int64_t took = clock_ms() - begin;
    assert_in_range(took, 18, 1000);
    assert_true(loop_post(loop, stop, NULL));
    loop_run(loop);
}

int main(void) {
#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        LOOP_TEST(posts_run_in_their_order),
        LOOP_TEST(posts_of_several_threads_all_arrive_each_in_order),
        LOOP_TEST(a_full_mailbox_refuses),
        LOOP_TEST(another_thread_can_stop_it),
        LOOP_TEST(a_stop_before_the_run_is_not_lost),
        LOOP_TEST(a_timer_fires_once_and_never_early),
        LOOP_TEST(a_timer_counts_from_when_it_is_armed_not_from_the_tick),
        LOOP_TEST(arming_again_replaces_the_time_and_disarming_cancels),
        LOOP_TEST(a_deferred_call_comes_once_behind_the_tick_that_asked),
        LOOP_TEST(a_watch_calls_until_it_is_dropped_even_by_itself),
        LOOP_TEST(signals_arrive_on_the_loop),
        LOOP_TEST(writing_to_a_closed_pipe_does_not_kill_the_process),
        LOOP_TEST(waiting_for_nothing_ends_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
