#include "base/chan.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"

static int places[8]; /* items are addresses in here */

static bool is_readable(const struct chan *chan) {
    struct pollfd poll_fd = {.fd = chan_fd(chan), .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static void items_come_out_in_order_around_the_ring(void **state) {
    (void)state;
    struct chan *chan = chan_new(5, false);
    size_t pushed = 0, taken = 0;
    for (int round = 0; round < 100; round++) {
        while (chan_count(chan) < (size_t)(1 + round % 5))
            assert_true(chan_push(chan, &places[pushed++ % 8]));
        void *out[3];
        size_t count = chan_take(chan, out, 3, 0);
        assert_in_range(count, 1, 3);
        for (size_t i = 0; i < count; i++)
            assert_ptr_equal(out[i], &places[taken++ % 8]);
        assert_int_equal(chan_count(chan), pushed - taken);
    }
    chan_free(chan, NULL);
}

static void a_full_queue_refuses_and_counts(void **state) {
    (void)state;
    struct chan *chan = chan_new(2, true);
    void *out[4];
    assert_true(chan_push(chan, &places[0]));
    assert_true(chan_push(chan, &places[1]));
    assert_false(chan_push(chan, &places[2]));
    assert_false(chan_push(chan, &places[2]));
    assert_int_equal(chan_refused(chan), 2);
    assert_int_equal(chan_count(chan), 2);
    assert_int_equal(chan_take(chan, out, 1, 0), 1);
    assert_true(chan_push(chan, &places[3]));
    assert_int_equal(chan_take(chan, out, 4, 0), 2);
    assert_ptr_equal(out[0], &places[1]);
    assert_ptr_equal(out[1], &places[3]);
    chan_free(chan, NULL);
}

static void an_empty_queue_gives_nothing_after_the_time_asked_for(void **state) {
    (void)state;
    struct chan *chan = chan_new(1, false);
    void *out[1];
    assert_int_equal(chan_take(chan, out, 1, 0), 0);
    int64_t before = clock_us();
    assert_int_equal(chan_take(chan, out, 1, 20000), 0);
    int64_t waited = clock_us() - before;
    assert_in_range(waited, 20000, 2000000);
    chan_free(chan, NULL);
}

static void the_fd_is_readable_exactly_while_there_is_something_to_take(void **state) {
    (void)state;
    struct chan *chan = chan_new(4, true);
    void *out[4];
    assert_false(is_readable(chan));
    assert_int_equal(chan_take(chan, out, 4, 0), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(chan_push(chan, &places[i]));
        assert_true(is_readable(chan));
    }
    assert_int_equal(chan_take(chan, out, 2, 0), 2);
    assert_true(is_readable(chan));
    assert_int_equal(chan_take(chan, out, 2, 0), 1);
    assert_false(is_readable(chan));
    chan_wake(chan);
    chan_wake(chan);
    assert_true(is_readable(chan));
    assert_int_equal(chan_take(chan, out, 4, 0), 0);
    assert_false(is_readable(chan));
    chan_free(chan, NULL);
}

static void without_fd_there_is_none(void **state) {
    (void)state;
    struct chan *chan = chan_new(1, false);
    assert_int_equal(chan_fd(chan), -1);
    chan_free(chan, NULL);
}

static void a_wake_is_remembered_for_one_take(void **state) {
    (void)state;
    struct chan *chan = chan_new(1, false);
    void *out[1];
    chan_wake(chan);
    chan_wake(chan);
    assert_int_equal(chan_take(chan, out, 1, -1), 0);
    int64_t before = clock_us();
    assert_int_equal(chan_take(chan, out, 1, 5000), 0);
    assert_true(clock_us() - before >= 5000);
    chan_free(chan, NULL);
}

struct caller {
    struct chan *chan;
    bool push; /* else wake */
};

static void *call(void *arg) {
    struct caller *caller = arg;
    if (caller->push)
        assert_true(chan_push(caller->chan, &places[0]));
    else
        chan_wake(caller->chan);
    return NULL;
}

/* The other thread needs a while to start: in most rounds the consumer waits when the call comes. */
static void a_waiting_consumer_is_woken_by_an_item_and_by_a_wake(void **state) {
    (void)state;
    const int64_t waits_us[] = {-1, INT64_MAX, 30000000};
    for (int round = 0; round < 150; round++) {
        struct caller caller = {.chan = chan_new(1, round % 2), .push = round % 5 > 1};
        void *item = NULL;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
        assert_int_equal(chan_take(caller.chan, &item, 1, waits_us[round % 3]), caller.push);
        assert_ptr_equal(item, caller.push ? &places[0] : NULL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        chan_free(caller.chan, NULL);
    }
}

static size_t dropped;

static void drop(void *item) {
    assert_ptr_equal(item, &places[2 + dropped]);
    dropped++;
}

static void freeing_hands_what_is_left_to_drop_in_order(void **state) {
    (void)state;
    void *out[2];
    dropped = 0;
    struct chan *chan = chan_new(4, true);
    for (size_t i = 0; i < 4; i++)
        assert_true(chan_push(chan, &places[i]));
    assert_int_equal(chan_take(chan, out, 2, 0), 2);
    for (size_t i = 4; i < 6; i++)
        assert_true(chan_push(chan, &places[i]));
    chan_free(chan, drop);
    assert_int_equal(dropped, 4);
    chan_free(NULL, drop);
}

enum { PRODUCERS = 4, ITEMS = 50000, CHAN_MAX = 64, TAKE_MAX = 16 };

struct producer {
    pthread_t thread;
    struct chan *chan;
    size_t number;
    uint64_t refused;
    uint32_t items[ITEMS]; /* their own numbers */
};
static struct producer producers[PRODUCERS];

static void *produce(void *arg) {
    struct producer *producer = arg;
    for (uint32_t i = 0; i < ITEMS; i++) {
        producer->items[i] = i;
        while (!chan_push(producer->chan, &producer->items[i])) {
            producer->refused++;
            sched_yield();
        }
    }
    return NULL;
}

static const struct producer *producer_of(const uint32_t *item) {
    for (size_t i = 0; i < PRODUCERS; i++) {
        if (item >= producers[i].items && item < producers[i].items + ITEMS)
            return &producers[i];
    }
    fail_msg("an item that nobody made");
    return NULL;
}

static size_t take_some(struct chan *chan, void **out, bool with_fd) {
    if (!with_fd)
        return chan_take(chan, out, TAKE_MAX, -1);
    struct pollfd poll_fd = {.fd = chan_fd(chan), .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 30000), 1);
    return chan_take(chan, out, TAKE_MAX, 0);
}

static void check_nothing_is_lost(bool with_fd) {
    struct chan *chan = chan_new(CHAN_MAX, with_fd);
    uint32_t next[PRODUCERS] = {0};
    for (size_t i = 0; i < PRODUCERS; i++) {
        producers[i].chan = chan;
        producers[i].number = i;
        producers[i].refused = 0;
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    for (size_t total = 0; total < PRODUCERS * ITEMS;) {
        void *out[TAKE_MAX];
        size_t count = take_some(chan, out, with_fd);
        assert_true(count > 0); /* nobody calls chan_wake, and the fd tells no lies */
        for (size_t i = 0; i < count; i++) {
            const uint32_t *item = out[i];
            assert_int_equal(*item, next[producer_of(item)->number]++);
        }
        total += count;
    }
    uint64_t refused = 0;
    for (size_t i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(producers[i].thread, NULL), 0);
        assert_int_equal(next[i], ITEMS);
        refused += producers[i].refused;
    }
    assert_int_equal(chan_count(chan), 0);
    assert_int_equal(chan_refused(chan), refused);
    assert_true(!with_fd || !is_readable(chan));
    chan_free(chan, NULL);
}

static void four_producers_lose_nothing_to_a_consumer_that_waits(void **state) {
    (void)state;
    check_nothing_is_lost(false);
}

static void four_producers_lose_nothing_to_a_consumer_that_watches_the_fd(void **state) {
    (void)state;
    check_nothing_is_lost(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order_around_the_ring),
        cmocka_unit_test(a_full_queue_refuses_and_counts),
        cmocka_unit_test(an_empty_queue_gives_nothing_after_the_time_asked_for),
        cmocka_unit_test(the_fd_is_readable_exactly_while_there_is_something_to_take),
        cmocka_unit_test(without_fd_there_is_none),
        cmocka_unit_test(a_wake_is_remembered_for_one_take),
        cmocka_unit_test(a_waiting_consumer_is_woken_by_an_item_and_by_a_wake),
        cmocka_unit_test(freeing_hands_what_is_left_to_drop_in_order),
        cmocka_unit_test(four_producers_lose_nothing_to_a_consumer_that_waits),
        cmocka_unit_test(four_producers_lose_nothing_to_a_consumer_that_watches_the_fd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
