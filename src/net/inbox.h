/* The way in of a transport. Threads of the transport put copies of messages and news of the link into it;
 * the loop takes them out in order and calls whoever subscribed. Both transports are made of it.
 *
 * Messages are bounded: what does not fit is dropped and counted. News of the link is never dropped (it is a
 * counter, not a message), so it may overtake messages that wait. */
#pragma once

#include "net/transport.h"

struct inbox;

struct subscription {
    struct inbox *inbox;
    transport_fn *fn;
    void *arg;
    void *native; /* the transport's own handle */
    void *owner;  /* the transport, where it needs that; inbox.c does not look at it */
    struct subscription *next;
    char subject[]; /* pattern */
};

/* The link is up at first. NULL when memory or descriptors are out. */
struct inbox *inbox_new(struct loop *loop, size_t messages_max);
/* Frees what waits, and the subscriptions. Allowed inside a callback. Nothing may be put any more. */
void inbox_free(struct inbox *inbox);

/* Loop thread. The subscription is the inbox's; NULL when memory is out. Newest first in the list. */
struct subscription *inbox_subscribe(struct inbox *inbox, const char *subject, transport_fn *fn, void *arg);
void inbox_forget_newest(struct inbox *inbox);
struct subscription *inbox_subscriptions(struct inbox *inbox);
void inbox_on_link(struct inbox *inbox, transport_link_fn *fn, void *arg);
/* Loop thread. Held: everything waits until it is let go again. */
void inbox_hold(struct inbox *inbox, bool held);

/* Any thread. */
void inbox_put(const struct subscription *subscription, const struct transport_message *message);
void inbox_put_link(struct inbox *inbox, bool up);
bool inbox_link_is_up(struct inbox *inbox);

/* Any thread: what the transport sent. */
void inbox_count_out(struct inbox *inbox, enum status result, size_t len);
void inbox_stats(struct inbox *inbox, struct transport_stats *out);
