/* The event loop of a process: one thread that owns everything it calls back into. Wraps libevent.
 *
 * Only loop_post and loop_stop may be called from other threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct loop;
struct event_base;

struct loop *loop_new(void); /* NULL when memory or descriptors are out */
void loop_free(struct loop *loop);
/* Runs until loop_stop. Callbacks run here, on the calling thread. */
void loop_run(struct loop *loop);
/* Runs what is ready and returns; waits up to `wait_ms` when nothing is. For tests. */
void loop_run_once(struct loop *loop, int64_t wait_ms);
void loop_stop(struct loop *loop);
struct event_base *loop_base(struct loop *loop);

typedef void loop_fn(void *arg);

/* Runs `fn(arg)` on the loop thread, in the order of the posts. false when the mailbox is full or memory is
 * out. Any thread. */
MUST_USE bool loop_post(struct loop *loop, loop_fn *fn, void *arg);

/* A timer that is part of the caller's object. Not armed after init; arming again replaces the time. */
struct loop_timer {
    struct loop *loop;
    void *event; /* owned */
    loop_fn *fn;
    void *arg;
};
/* false when memory is out. */
MUST_USE bool loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *arg);
void loop_timer_release(struct loop_timer *timer); /* takes zeroed structs */
void loop_timer_arm(struct loop_timer *timer, int64_t after_ms);
void loop_timer_disarm(struct loop_timer *timer);

/* Calls `fn` at the end of the current tick, once, however often it is asked for in between: where memory of
 * ended requests is freed. */
struct loop_defer {
    struct loop *loop;
    void *event; /* owned */
    loop_fn *fn;
    void *arg;
};
MUST_USE bool loop_defer_init(struct loop_defer *defer, struct loop *loop, loop_fn *fn, void *arg);
void loop_defer_release(struct loop_defer *defer);
void loop_defer_ask(struct loop_defer *defer);

/* Calls `fn` on the loop when the process gets SIGINT or SIGTERM. */
MUST_USE bool loop_on_signal(struct loop *loop, loop_fn *fn, void *arg);
/* Calls `fn` whenever `fd` is readable, until loop_unwatch. NULL when memory is out. */
struct loop_watch;
struct loop_watch *loop_watch_fd(struct loop *loop, int fd, loop_fn *fn, void *arg);
void loop_unwatch(struct loop_watch *watch);
