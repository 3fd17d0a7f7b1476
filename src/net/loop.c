/* The base runs without libevent's locks: other threads reach it only through the mailbox, a chan whose
 * eventfd the base watches. */
#include "net/loop.h"

#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>

#include "base/chan.h"

/* Bounds what other threads can queue while the loop is busy; 16 bytes a post. */
#define MAILBOX_POSTS_MAX 65536
/* Posts run in one go before sockets and timers get their turn. */
#define POSTS_PER_TURN 256

struct post {
    loop_fn *fn;
    void *arg;
};

struct loop {
    struct event_base *base; /* owned */
    struct chan *mailbox;    /* owned; struct post */
    struct event *mail;      /* owned: the mailbox is readable */
    struct event *give_up;   /* owned: the wait of loop_run_once is over */
    struct event *signals[2];
    loop_fn *signal_fn;
    void *signal_arg;
    atomic_bool stop;
};

struct loop_watch {
    struct event *event; /* owned */
    loop_fn *fn;
    void *arg;
};

static struct event_base *new_base(void) {
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    /* EARLY_CLOSE: a client that leaves is noticed without reading what it sent before. PRECISE_TIMER: the
     * default clock is coarse and lets timers fire up to 4 ms early. */
    event_config_require_features(config, EV_FEATURE_EARLY_CLOSE);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void on_mail(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct loop *loop = arg;
    void *posts[POSTS_PER_TURN];
    size_t count = chan_take(loop->mailbox, posts, POSTS_PER_TURN, 0);
    for (size_t i = 0; i < count; i++) {
        struct post post = *(struct post *)posts[i];
        free(posts[i]);
        post.fn(post.arg);
    }
}

/* That it fired is all it is for: event_base_loop returns. */
static void on_give_up(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    (void)arg;
}

struct loop *loop_new(void) {
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    /* Writing to a peer that has left must be an error of that connection, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    loop->base = new_base();
    loop->mailbox = chan_new(MAILBOX_POSTS_MAX, true);
    if (loop->base && loop->mailbox) {
        loop->mail = event_new(loop->base, chan_fd(loop->mailbox), EV_READ | EV_PERSIST, on_mail, loop);
        loop->give_up = event_new(loop->base, -1, 0, on_give_up, NULL);
    }
    if (!loop->mail || !loop->give_up || event_add(loop->mail, NULL) != 0) {
        loop_free(loop);
        return NULL;
    }
    return loop;
}

static void free_event(struct event *event) {
    if (event)
        event_free(event);
}

void loop_free(struct loop *loop) {
    if (!loop)
        return;
    free_event(loop->mail);
    free_event(loop->give_up);
    for (size_t i = 0; i < ARRAY_LEN(loop->signals); i++)
        free_event(loop->signals[i]);
    chan_free(loop->mailbox, free);
    if (loop->base)
        event_base_free(loop->base);
    free(loop);
}

/* Tick by tick instead of one event_base_loop: so a tick is always finished, with what was deferred in it. */
void loop_run(struct loop *loop) {
    while (!atomic_exchange(&loop->stop, false))
        if (event_base_loop(loop->base, EVLOOP_ONCE) < 0)
            return;
}

static struct timeval timeval_of_ms(int64_t ms) {
    if (ms < 0)
        ms = 0;
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

void loop_run_once(struct loop *loop, int64_t wait_ms) {
    if (wait_ms <= 0) {
        event_base_loop(loop->base, EVLOOP_NONBLOCK);
        return;
    }
    struct timeval wait = timeval_of_ms(wait_ms);
    event_add(loop->give_up, &wait);
    event_base_loop(loop->base, EVLOOP_ONCE);
    event_del(loop->give_up);
}

void loop_stop(struct loop *loop) {
    atomic_store(&loop->stop, true);
    chan_wake(loop->mailbox);
}

struct event_base *loop_base(struct loop *loop) {
    return loop->base;
}

bool loop_post(struct loop *loop, loop_fn *fn, void *arg) {
    struct post *post = malloc(sizeof *post);
    if (!post)
        return false;
    *post = (struct post){.fn = fn, .arg = arg};
    if (chan_push(loop->mailbox, post))
        return true;
    free(post);
    return false;
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct loop_timer *timer = arg;
    timer->fn(timer->arg);
}

bool loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *arg) {
    *timer = (struct loop_timer){.loop = loop, .fn = fn, .arg = arg};
    timer->event = event_new(loop->base, -1, 0, on_timer, timer);
    return timer->event != NULL;
}

void loop_timer_release(struct loop_timer *timer) {
    free_event(timer->event);
    *timer = (struct loop_timer){0};
}

void loop_timer_arm(struct loop_timer *timer, int64_t after_ms) {
    struct timeval after = timeval_of_ms(after_ms);
    /* The base counts from the start of the tick; a long callback would make the timer fire early. */
    event_base_update_cache_time(timer->loop->base);
    event_add(timer->event, &after);
}

void loop_timer_disarm(struct loop_timer *timer) {
    if (timer->event)
        event_del(timer->event);
}

static void on_defer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct loop_defer *defer = arg;
    defer->fn(defer->arg);
}

bool loop_defer_init(struct loop_defer *defer, struct loop *loop, loop_fn *fn, void *arg) {
    *defer = (struct loop_defer){.loop = loop, .fn = fn, .arg = arg};
    defer->event = event_new(loop->base, -1, 0, on_defer, defer);
    return defer->event != NULL;
}

void loop_defer_release(struct loop_defer *defer) {
    free_event(defer->event);
    *defer = (struct loop_defer){0};
}

/* Goes to the end of the queue of active events, which is worked off before the next look at sockets and
 * timers. A lower priority would wait for a tick without any other event: never, on a busy server. */
void loop_defer_ask(struct loop_defer *defer) {
    event_active(defer->event, EV_TIMEOUT, 0);
}

static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)number;
    (void)what;
    struct loop *loop = arg;
    loop->signal_fn(loop->signal_arg);
}

bool loop_on_signal(struct loop *loop, loop_fn *fn, void *arg) {
    static const int numbers[] = {SIGINT, SIGTERM};
    static_assert(ARRAY_LEN(numbers) == ARRAY_LEN(loop->signals), "one event a signal");
    loop->signal_fn = fn;
    loop->signal_arg = arg;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (!loop->signals[i])
            loop->signals[i] = evsignal_new(loop->base, numbers[i], on_signal, loop);
        if (!loop->signals[i] || event_add(loop->signals[i], NULL) != 0)
            return false;
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct loop_watch *watch = arg;
    watch->fn(watch->arg);
}

struct loop_watch *loop_watch_fd(struct loop *loop, int fd, loop_fn *fn, void *arg) {
    struct loop_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    *watch = (struct loop_watch){.fn = fn, .arg = arg};
    watch->event = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_readable, watch);
    if (watch->event && event_add(watch->event, NULL) == 0)
        return watch;
    loop_unwatch(watch);
    return NULL;
}

void loop_unwatch(struct loop_watch *watch) {
    if (!watch)
        return;
    free_event(watch->event);
    free(watch);
}
