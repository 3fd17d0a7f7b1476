/* Messages by subject: publish, subscribe, and "no responders" when nobody listens to a request.
 *
 * Two transports stand behind this face: NATS, and one in memory for tests that run a whole cluster in one
 * process. Delivery is at most once and in order for each publisher and subscription, as in core NATS.
 *
 * Threads: publishing is allowed from any thread and never blocks longer than the write deadline. Everything
 * else belongs to the loop thread, and all callbacks run there: a transport's own threads only post to it,
 * through a bounded mailbox; what does not fit is dropped and counted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "net/loop.h"

struct transport;

struct transport_message {
    const char *subject; /* NUL-terminated */
    const char *reply;   /* NUL-terminated; NULL when the sender wants none */
    const char *data;    /* not NUL-terminated; lives only during the callback */
    size_t len;
    bool no_responders; /* the answer of the system: nobody listens to what was requested with this reply */
};
/* On the loop thread. */
typedef void transport_fn(const struct transport_message *message, void *arg);
/* On the loop thread, at each change of the link. Nothing is buffered while it is down. */
typedef void transport_link_fn(bool up, void *arg);

struct transport_stats {
    uint64_t messages_in;
    uint64_t messages_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t dropped_in; /* the mailbox was full */
    uint64_t publish_failed;
    uint64_t reconnects;
};

struct transport_ops {
    enum status (*publish)(struct transport *transport, const char *subject, const char *reply,
                           const void *data, size_t len);
    enum status (*subscribe)(struct transport *transport, const char *subject, transport_fn *fn, void *arg);
    void (*on_link)(struct transport *transport, transport_link_fn *fn, void *arg);
    bool (*is_up)(struct transport *transport);
    size_t (*max_payload)(struct transport *transport);
    void (*stats)(struct transport *transport, struct transport_stats *out);
    void (*close)(struct transport *transport);
};
struct transport {
    const struct transport_ops *ops;
};

/* Any thread. STATUS_OK, STATUS_NATS_ERROR when the link is down or the write deadline passed,
 * STATUS_PAYLOAD_TOO_LARGE. `reply` may be NULL. Takes a copy of the data. */
MUST_USE static inline enum status transport_publish(struct transport *t, const char *subject,
                                                     const char *reply, const void *data, size_t len) {
    return t->ops->publish(t, subject, reply, data, len);
}
/* `subject` may hold the wildcards `*` (one token) and `>` (the rest). Subscriptions live until close. */
MUST_USE static inline enum status transport_subscribe(struct transport *t, const char *subject,
                                                       transport_fn *fn, void *arg) {
    return t->ops->subscribe(t, subject, fn, arg);
}
/* One listener; it is not called for the state at the time of the call. */
static inline void transport_on_link(struct transport *t, transport_link_fn *fn, void *arg) {
    t->ops->on_link(t, fn, arg);
}
static inline bool transport_is_up(struct transport *t) {
    return t->ops->is_up(t);
} /* any thread */
static inline size_t transport_max_payload(struct transport *t) {
    return t->ops->max_payload(t);
}
static inline void transport_get_stats(struct transport *t, struct transport_stats *out) {
    t->ops->stats(t, out);
}
/* Flushes what was published (bounded in time), disconnects and frees. No callback comes afterwards; no other
 * thread may be publishing. Takes NULL. */
static inline void transport_close(struct transport *t) {
    if (t)
        t->ops->close(t);
}

struct nats_options {
    const char *url;         /* nats://[user:password@ | token@]host:port[,more] */
    const char *name;        /* of this client, for the server's monitoring; ASCII */
    int64_t connect_wait_ms; /* how long to try before giving up at the start */
    int64_t write_deadline_ms;
    size_t mailbox_messages; /* bound of what waits for the loop */
};
/* Connects; NULL and an error that names the URL without its password when that fails in the given time. */
struct transport *transport_nats_open(const struct nats_options *options, struct loop *loop,
                                      struct error *error);

/* A bus in memory: each transport opened on it is one client, with a loop of its own or a shared one.
 * For tests. */
struct memory_bus;
struct memory_bus *memory_bus_new(void);
void memory_bus_free(struct memory_bus *bus); /* after all its transports are closed */
struct transport *transport_memory_open(struct memory_bus *bus, struct loop *loop);
/* Link of one client down or up, as when a cable is pulled: it neither sends nor receives while down. */
void transport_memory_set_link(struct transport *transport, bool up);
/* As a process that is stopped: it stays subscribed but receives nothing until resumed, then everything. */
void transport_memory_set_frozen(struct transport *transport, bool frozen);
