/* One mutex guards everything but the eventfd, for no system call is made under it: the other side would wake
 * up into a locked mutex. System calls are made only where the other side needs them: the condition is
 * signalled when the consumer waits on it, once for a wait; the eventfd is written by whoever sets
 * `announced`.
 *
 * No wake-up is lost: an item is there before its fd is written, and the consumer reads the fd before it
 * looks for items. It clears `announced` when it leaves nothing behind, so the next push writes again; else
 * it writes itself. A producer between its push and its write may find the item gone: then the fd is readable
 * once for nothing. */
#include "base/chan.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

struct chan {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    void **items; /* ring, owned */
    size_t max;
    size_t first;
    size_t count;
    uint64_t refused;
    int fd;         /* -1: none */
    bool announced; /* the fd is readable, or will be as soon as somebody's write is done */
    bool waiting;   /* the consumer sleeps on `filled` and nobody has signalled yet */
    bool woken;     /* chan_wake since the last take */
};

static void init_cond(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

struct chan *chan_new(size_t max_items, bool with_fd) {
    assert(max_items > 0);
    struct chan *chan = calloc(1, sizeof *chan);
    if (!chan)
        return NULL;
    *chan = (struct chan){.max = max_items, .fd = -1};
    chan->items = calloc(max_items, sizeof *chan->items);
    if (with_fd)
        chan->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&chan->mutex, NULL);
    init_cond(&chan->filled);
    if (!chan->items || (with_fd && chan->fd < 0)) {
        chan_free(chan, NULL);
        return NULL;
    }
    return chan;
}

static void *take_first(struct chan *chan) {
    void *item = chan->items[chan->first];
    chan->first = chan->first + 1 < chan->max ? chan->first + 1 : 0;
    chan->count--;
    return item;
}

void chan_free(struct chan *chan, void (*drop)(void *item)) {
    if (!chan)
        return;
    while (drop && chan->count > 0)
        drop(take_first(chan));
    if (chan->fd >= 0)
        close(chan->fd);
    pthread_cond_destroy(&chan->filled);
    pthread_mutex_destroy(&chan->mutex);
    free(chan->items);
    free(chan);
}

/* An eventfd that is not full neither blocks nor fails; only a signal can come between. */
static void write_fd(struct chan *chan) {
    const uint64_t one = 1;
    while (write(chan->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void read_fd(struct chan *chan) {
    uint64_t counter;
    while (read(chan->fd, &counter, sizeof counter) < 0 && errno == EINTR)
        ;
}

/* Mutex held; releases it. */
static void notify_and_unlock(struct chan *chan) {
    bool announce = chan->fd >= 0 && !chan->announced;
    bool signal = chan->waiting;
    chan->announced |= announce;
    chan->waiting = false;
    pthread_mutex_unlock(&chan->mutex);
    if (announce)
        write_fd(chan);
    if (signal)
        pthread_cond_signal(&chan->filled);
}

bool chan_push(struct chan *chan, void *item) {
    pthread_mutex_lock(&chan->mutex);
    if (chan->count == chan->max) {
        chan->refused++;
        pthread_mutex_unlock(&chan->mutex);
        return false;
    }
    size_t to_end = chan->max - chan->first;
    size_t at = chan->count < to_end ? chan->first + chan->count : chan->count - to_end;
    chan->items[at] = item;
    chan->count++;
    notify_and_unlock(chan);
    return true;
}

void chan_wake(struct chan *chan) {
    pthread_mutex_lock(&chan->mutex);
    chan->woken = true;
    notify_and_unlock(chan);
}

static bool has_reason(const struct chan *chan) {
    return chan->count > 0 || chan->woken;
}

/* Mutex held. Waits for an item or chan_wake. */
static void wait_filled(struct chan *chan, int64_t wait_us) {
    int64_t until;
    if (__builtin_add_overflow(clock_us(), wait_us, &until))
        until = INT64_MAX;
    struct timespec end = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    int result = 0;
    while (!has_reason(chan) && result == 0) {
        chan->waiting = true;
        result = wait_us < 0 ? pthread_cond_wait(&chan->filled, &chan->mutex)
                             : pthread_cond_timedwait(&chan->filled, &chan->mutex, &end);
    }
    chan->waiting = false;
}

size_t chan_take(struct chan *chan, void **out, size_t max, int64_t wait_us) {
    if (chan->fd >= 0)
        read_fd(chan);
    pthread_mutex_lock(&chan->mutex);
    if (wait_us != 0 && !has_reason(chan))
        wait_filled(chan, wait_us);
    size_t taken = 0;
    while (taken < max && chan->count > 0)
        out[taken++] = take_first(chan);
    chan->woken = false;
    chan->announced = chan->announced && chan->count > 0;
    bool announce = chan->announced;
    pthread_mutex_unlock(&chan->mutex);
    if (announce)
        write_fd(chan);
    return taken;
}

int chan_fd(const struct chan *chan) {
    return chan->fd;
}

size_t chan_count(struct chan *chan) {
    pthread_mutex_lock(&chan->mutex);
    size_t count = chan->count;
    pthread_mutex_unlock(&chan->mutex);
    return count;
}

uint64_t chan_refused(struct chan *chan) {
    pthread_mutex_lock(&chan->mutex);
    uint64_t refused = chan->refused;
    pthread_mutex_unlock(&chan->mutex);
    return refused;
}
