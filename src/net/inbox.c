#include "net/inbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/chan.h"

/* Messages delivered in one go before the rest of the loop gets its turn. */
#define MESSAGES_PER_TURN 128

struct counters {
    atomic_uint_fast64_t messages_in;
    atomic_uint_fast64_t messages_out;
    atomic_uint_fast64_t bytes_in;
    atomic_uint_fast64_t bytes_out;
    atomic_uint_fast64_t dropped_in;
    atomic_uint_fast64_t publish_failed;
};

struct inbox {
    struct loop *loop;
    struct chan *waiting; /* owned; struct letter */
    struct loop_watch *watch;
    struct subscription *subscriptions; /* owned; newest first */
    transport_link_fn *link_fn;
    void *link_arg;
    atomic_uint_fast64_t link_changes; /* even: up; so 2 changes are one reconnect */
    uint64_t link_changes_told;
    bool *freed; /* set by inbox_free while messages are being delivered */
    struct counters counters;
};

/* One allocation: subject, reply and data stand behind it, each ended with NUL. */
struct letter {
    const struct subscription *to;
    struct transport_message message;
    char text[];
};

static struct letter *copy_message(const struct subscription *to, const struct transport_message *from) {
    size_t subject_size = strlen(from->subject) + 1;
    size_t reply_size = from->reply ? strlen(from->reply) + 1 : 0;
    struct letter *letter = malloc(sizeof *letter + subject_size + reply_size + from->len + 1);
    if (!letter)
        return NULL;
    char *reply = letter->text + subject_size;
    char *data = reply + reply_size;
    memcpy(letter->text, from->subject, subject_size);
    if (reply_size > 0)
        memcpy(reply, from->reply, reply_size);
    if (from->len > 0)
        memcpy(data, from->data, from->len);
    data[from->len] = '\0';
    letter->to = to;
    letter->message = (struct transport_message){.subject = letter->text,
                                                 .reply = reply_size > 0 ? reply : NULL,
                                                 .data = data,
                                                 .len = from->len,
                                                 .no_responders = from->no_responders};
    return letter;
}

void inbox_put(const struct subscription *subscription, const struct transport_message *message) {
    struct inbox *inbox = subscription->inbox;
    struct letter *letter = copy_message(subscription, message);
    if (!letter || !chan_push(inbox->waiting, letter)) {
        free(letter);
        atomic_fetch_add(&inbox->counters.dropped_in, 1);
        return;
    }
    atomic_fetch_add(&inbox->counters.messages_in, 1);
    atomic_fetch_add(&inbox->counters.bytes_in, message->len);
}

void inbox_put_link(struct inbox *inbox, bool up) {
    if (inbox_link_is_up(inbox) == up)
        return;
    atomic_fetch_add(&inbox->link_changes, 1);
    chan_wake(inbox->waiting);
}

bool inbox_link_is_up(struct inbox *inbox) {
    return atomic_load(&inbox->link_changes) % 2 == 0;
}

/* Tells of a link that went down and up again even when both happened since the last time, but not of each
 * of several such pairs. */
static void tell_link(struct inbox *inbox, const bool *freed) {
    uint64_t changes = atomic_load(&inbox->link_changes);
    uint64_t untold = changes - inbox->link_changes_told;
    if (untold > 2)
        inbox->link_changes_told = changes - (untold % 2 == 0 ? 2 : 1);
    while (!*freed && inbox->link_changes_told != changes) {
        inbox->link_changes_told++;
        if (inbox->link_fn)
            inbox->link_fn(inbox->link_changes_told % 2 == 0, inbox->link_arg);
    }
}

static void deliver(void *arg) {
    struct inbox *inbox = arg;
    void *letters[MESSAGES_PER_TURN];
    bool freed = false;
    inbox->freed = &freed;
    size_t count = chan_take(inbox->waiting, letters, MESSAGES_PER_TURN, 0);
    tell_link(inbox, &freed);
    for (size_t i = 0; i < count; i++) {
        struct letter *letter = letters[i];
        if (!freed)
            letter->to->fn(&letter->message, letter->to->arg);
        free(letter);
    }
    if (!freed)
        inbox->freed = NULL;
}

struct inbox *inbox_new(struct loop *loop, size_t messages_max) {
    struct inbox *inbox = calloc(1, sizeof *inbox);
    if (!inbox)
        return NULL;
    inbox->loop = loop;
    inbox->waiting = chan_new(messages_max, true);
    if (inbox->waiting)
        inbox->watch = loop_watch_fd(loop, chan_fd(inbox->waiting), deliver, inbox);
    if (inbox->watch)
        return inbox;
    inbox_free(inbox);
    return NULL;
}

void inbox_free(struct inbox *inbox) {
    if (!inbox)
        return;
    if (inbox->freed)
        *inbox->freed = true;
    loop_unwatch(inbox->watch);
    chan_free(inbox->waiting, free);
    while (inbox->subscriptions)
        inbox_forget_newest(inbox);
    free(inbox);
}

struct subscription *inbox_subscribe(struct inbox *inbox, const char *subject, transport_fn *fn, void *arg) {
    size_t size = strlen(subject) + 1;
    struct subscription *subscription = malloc(sizeof *subscription + size);
    if (!subscription)
        return NULL;
    *subscription = (struct subscription){.inbox = inbox, .fn = fn, .arg = arg, .next = inbox->subscriptions};
    memcpy(subscription->subject, subject, size);
    inbox->subscriptions = subscription;
    return subscription;
}

void inbox_forget_newest(struct inbox *inbox) {
    struct subscription *subscription = inbox->subscriptions;
    inbox->subscriptions = subscription->next;
    free(subscription);
}

struct subscription *inbox_subscriptions(struct inbox *inbox) {
    return inbox->subscriptions;
}

void inbox_on_link(struct inbox *inbox, transport_link_fn *fn, void *arg) {
    inbox->link_fn = fn;
    inbox->link_arg = arg;
    inbox->link_changes_told = atomic_load(&inbox->link_changes);
}

/* When watching again fails for want of memory, the caller finds out by a transport that stays silent. */
void inbox_hold(struct inbox *inbox, bool held) {
    if (held) {
        loop_unwatch(inbox->watch);
        inbox->watch = NULL;
    } else if (!inbox->watch) {
        inbox->watch = loop_watch_fd(inbox->loop, chan_fd(inbox->waiting), deliver, inbox);
    }
}

void inbox_count_out(struct inbox *inbox, enum status result, size_t len) {
    if (result != STATUS_OK) {
        atomic_fetch_add(&inbox->counters.publish_failed, 1);
        return;
    }
    atomic_fetch_add(&inbox->counters.messages_out, 1);
    atomic_fetch_add(&inbox->counters.bytes_out, len);
}

void inbox_stats(struct inbox *inbox, struct transport_stats *out) {
    *out = (struct transport_stats){
        .messages_in = atomic_load(&inbox->counters.messages_in),
        .messages_out = atomic_load(&inbox->counters.messages_out),
        .bytes_in = atomic_load(&inbox->counters.bytes_in),
        .bytes_out = atomic_load(&inbox->counters.bytes_out),
        .dropped_in = atomic_load(&inbox->counters.dropped_in),
        .publish_failed = atomic_load(&inbox->counters.publish_failed),
        .reconnects = atomic_load(&inbox->link_changes) / 2,
    };
}
