/* cnats runs its callbacks on threads of its own, one a subscription and one for news of connections. They do
 * nothing but put copies into the inbox. Closing waits until the last of them has ended, because neither
 * natsConnection_Close nor natsConnection_Destroy does. */
#include <limits.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/inbox.h"
#include "net/subject.h"

#define URLS_MAX               16
#define CONNECT_ATTEMPT_MS_MAX 2000
#define CONNECT_PAUSE_MS       100
#define RECONNECT_WAIT_MS      250
#define RECONNECT_JITTER_MS    100
/* Two pings without an answer: a cut link is noticed within 15 s. */
#define PING_INTERVAL_MS 5000
#define PINGS_OUT_MAX    2
#define CLOSE_FLUSH_MS   500
/* The library frees messages on one more thread, and every message handed back wakes it. So they go back
 * together, as many as this, or when they hold so many bytes. */
#define SPENT_MAX       32
#define SPENT_BYTES_MAX (256 << 10)
/* What a subscription's thread has not yet copied; it is only ever behind for a moment. */
#define PENDING_BYTES_MAX (512 << 20)

struct nats_transport {
    struct transport transport; /* first: a transport of this kind is one of these */
    natsConnection *connection;
    struct inbox *inbox; /* owned */
    atomic_bool closing;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    size_t callbacks_open; /* under mutex: subscriptions and the connection, which may still call back */
    /* Copied messages, of the one thread that delivers. */
    natsMsg *spent[SPENT_MAX];
    size_t spent_count;
    size_t spent_bytes;
};

static struct nats_transport *nats_of(struct transport *transport) {
    return (struct nats_transport *)transport;
}

static void callback_opened(struct nats_transport *t) {
    pthread_mutex_lock(&t->mutex);
    t->callbacks_open++;
    pthread_mutex_unlock(&t->mutex);
}

static void callback_ended(void *arg) {
    struct nats_transport *t = arg;
    pthread_mutex_lock(&t->mutex);
    t->callbacks_open--;
    /* Signalled under the mutex: whoever waits frees it next. */
    pthread_cond_signal(&t->ended);
    pthread_mutex_unlock(&t->mutex);
}

static void destroy_spent(struct nats_transport *t) {
    while (t->spent_count > 0)
        natsMsg_Destroy(t->spent[--t->spent_count]);
    t->spent_bytes = 0;
}

static void keep_spent(struct nats_transport *t, natsMsg *msg) {
    t->spent[t->spent_count++] = msg;
    t->spent_bytes += (size_t)natsMsg_GetDataLength(msg);
    if (t->spent_count == SPENT_MAX || t->spent_bytes > SPENT_BYTES_MAX)
        destroy_spent(t);
}

static void on_message(natsConnection *connection, natsSubscription *native, natsMsg *msg, void *arg) {
    (void)connection;
    (void)native;
    const struct subscription *subscription = arg;
    struct transport_message message = {.subject = natsMsg_GetSubject(msg),
                                        .reply = natsMsg_GetReply(msg),
                                        .data = natsMsg_GetData(msg),
                                        .len = (size_t)natsMsg_GetDataLength(msg),
                                        .no_responders = natsMsg_IsNoResponders(msg)};
    inbox_put(subscription, &message);
    keep_spent(subscription->owner, msg);
}

static void on_disconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct nats_transport *t = arg;
    inbox_put_link(t->inbox, false);
}

static void on_reconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct nats_transport *t = arg;
    inbox_put_link(t->inbox, true);
}

/* The last callback of a connection. When nobody asked for it, the server has refused our credentials. */
static void on_closed(natsConnection *connection, void *arg) {
    (void)connection;
    struct nats_transport *t = arg;
    inbox_put_link(t->inbox, false);
    if (!atomic_load(&t->closing))
        log_error("NATS connection closed for good; it will not be tried again");
    callback_ended(t);
}

/* The library would print it. What is dropped shows in the statistics, what fails in the return value. */
static void on_error(natsConnection *connection, natsSubscription *native, natsStatus status, void *arg) {
    (void)connection;
    (void)native;
    (void)arg;
    log_debug("NATS client error", F_STR("error", natsStatus_GetText(status)));
}

static bool may_publish(struct nats_transport *t) {
    return inbox_link_is_up(t->inbox) && natsConnection_Status(t->connection) == NATS_CONN_STATUS_CONNECTED;
}

static enum status publish(struct nats_transport *t, const char *subject, const char *reply, const void *data,
                           size_t len) {
    if (!subject_is_valid(subject) || (reply && !subject_is_valid(reply)))
        return STATUS_INTERNAL_ERROR;
    if (!may_publish(t))
        return STATUS_NATS_ERROR;
    int64_t max = natsConnection_GetMaxPayload(t->connection);
    if (len > INT_MAX || (max > 0 && len > (uint64_t)max))
        return STATUS_PAYLOAD_TOO_LARGE;
    natsStatus result = reply ? natsConnection_PublishRequest(t->connection, subject, reply, data, (int)len)
                              : natsConnection_Publish(t->connection, subject, data, (int)len);
    return result == NATS_OK ? STATUS_OK : STATUS_NATS_ERROR;
}

static enum status nats_publish(struct transport *transport, const char *subject, const char *reply,
                                const void *data, size_t len) {
    struct nats_transport *t = nats_of(transport);
    enum status status = publish(t, subject, reply, data, len);
    inbox_count_out(t->inbox, status, len);
    return status;
}

static natsStatus subscribe_native(struct nats_transport *t, struct subscription *subscription) {
    natsSubscription *native = NULL;
    subscription->owner = t;
    natsStatus result =
        natsConnection_Subscribe(&native, t->connection, subscription->subject, on_message, subscription);
    if (result != NATS_OK)
        return result;
    subscription->native = native;
    callback_opened(t);
    result = natsSubscription_SetOnCompleteCB(native, callback_ended, t);
    if (result != NATS_OK)
        callback_ended(t);
    else
        result = natsSubscription_SetPendingLimits(native, INT_MAX, PENDING_BYTES_MAX);
    return result;
}

/* A subscription that failed halfway stays in the inbox until close, silent at worst. */
static enum status nats_subscribe(struct transport *transport, const char *subject, transport_fn *fn,
                                  void *arg) {
    struct nats_transport *t = nats_of(transport);
    struct subscription *subscription = inbox_subscribe(t->inbox, subject, fn, arg);
    if (!subscription)
        return STATUS_INTERNAL_ERROR;
    return subscribe_native(t, subscription) == NATS_OK ? STATUS_OK : STATUS_NATS_ERROR;
}

static void nats_on_link(struct transport *transport, transport_link_fn *fn, void *arg) {
    inbox_on_link(nats_of(transport)->inbox, fn, arg);
}

static bool nats_is_up(struct transport *transport) {
    return inbox_link_is_up(nats_of(transport)->inbox);
}

static size_t nats_max_payload(struct transport *transport) {
    int64_t max = natsConnection_GetMaxPayload(nats_of(transport)->connection);
    return max > 0 ? (size_t)max : 0;
}

static void nats_stats(struct transport *transport, struct transport_stats *out) {
    struct nats_transport *t = nats_of(transport);
    inbox_stats(t->inbox, out);
    for (struct subscription *s = inbox_subscriptions(t->inbox); s; s = s->next) {
        int64_t dropped = 0;
        if (s->native && natsSubscription_GetDropped(s->native, &dropped) == NATS_OK)
            out->dropped_in += (uint64_t)dropped;
    }
}

static void wait_for_callbacks(struct nats_transport *t) {
    pthread_mutex_lock(&t->mutex);
    while (t->callbacks_open > 0)
        pthread_cond_wait(&t->ended, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

/* Also for one that never connected. */
static void free_nats(struct nats_transport *t) {
    for (struct subscription *s = t->inbox ? inbox_subscriptions(t->inbox) : NULL; s; s = s->next)
        natsSubscription_Destroy(s->native);
    natsConnection_Destroy(t->connection);
    destroy_spent(t);
    inbox_free(t->inbox);
    pthread_cond_destroy(&t->ended);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

static void nats_close(struct transport *transport) {
    struct nats_transport *t = nats_of(transport);
    atomic_store(&t->closing, true);
    if (may_publish(t))
        natsConnection_FlushTimeout(t->connection, CLOSE_FLUSH_MS);
    natsConnection_Close(t->connection);
    wait_for_callbacks(t);
    free_nats(t);
}

static const struct transport_ops nats_ops = {
    .publish = nats_publish,
    .subscribe = nats_subscribe,
    .on_link = nats_on_link,
    .is_up = nats_is_up,
    .max_payload = nats_max_payload,
    .stats = nats_stats,
    .close = nats_close,
};

static struct nats_transport *new_nats(struct loop *loop, size_t mailbox_messages) {
    struct nats_transport *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->transport.ops = &nats_ops;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->ended, NULL);
    t->inbox = inbox_new(loop, mailbox_messages);
    if (t->inbox)
        return t;
    free_nats(t);
    return NULL;
}

/* The first failure of a row of settings is kept. */
static void set(natsStatus *result, natsStatus next) {
    if (*result == NATS_OK)
        *result = next;
}

static natsStatus set_servers(natsOptions *native, const char *urls) {
    const char *list[URLS_MAX];
    int count = 0;
    char *copy = strdup(urls);
    if (!copy)
        return NATS_NO_MEMORY;
    char *rest = copy;
    for (char *url = strsep(&rest, ","); url && count < URLS_MAX; url = strsep(&rest, ","))
        if (*url)
            list[count++] = url;
    natsStatus result = count > 0 ? natsOptions_SetServers(native, list, count) : NATS_INVALID_ARG;
    free(copy);
    return result;
}

static natsStatus set_options(natsOptions *native, const struct nats_options *options,
                              struct nats_transport *t) {
    natsStatus result = set_servers(native, options->url);
    set(&result, natsOptions_SetName(native, options->name));
    /* Without it each message waits about a millisecond for the library's flusher. */
    set(&result, natsOptions_SetSendAsap(native, true));
    /* Without it a publish blocks for ever on a stopped server. */
    set(&result, natsOptions_SetWriteDeadline(native, options->write_deadline_ms));
    /* One thread delivers the messages of all subscriptions, in the order in which the server sent them: with
     * a thread for each, a worker's good-bye could overtake its last tokens. */
    set(&result, nats_SetMessageDeliveryPoolSize(1));
    set(&result, natsOptions_UseGlobalMessageDelivery(native, true));
    set(&result, natsOptions_SetMaxReconnect(native, -1));
    set(&result, natsOptions_SetReconnectWait(native, RECONNECT_WAIT_MS));
    set(&result, natsOptions_SetReconnectJitter(native, RECONNECT_JITTER_MS, RECONNECT_JITTER_MS));
    /* Nothing is replayed: what was meant for the time before the cut is wrong after it. 0 would mean 8 MB.
     */
    set(&result, natsOptions_SetReconnectBufSize(native, 1));
    set(&result, natsOptions_SetPingInterval(native, PING_INTERVAL_MS));
    set(&result, natsOptions_SetMaxPingsOut(native, PINGS_OUT_MAX));
    set(&result, natsOptions_SetDisconnectedCB(native, on_disconnected, t));
    set(&result, natsOptions_SetReconnectedCB(native, on_reconnected, t));
    set(&result, natsOptions_SetClosedCB(native, on_closed, t));
    set(&result, natsOptions_SetErrorHandler(native, on_error, t));
    return result;
}

/* Wrong credentials and unreadable URLs do not get better by waiting. */
static bool is_worth_retrying(natsStatus result) {
    return result != NATS_CONNECTION_AUTH_FAILED && result != NATS_INVALID_ARG;
}

static natsStatus connect_until(struct nats_transport *t, natsOptions *native, int64_t wait_ms) {
    int64_t until = clock_ms() + wait_ms;
    while (true) {
        int64_t left = until - clock_ms();
        int64_t attempt_ms = left < 1 ? 1 : left;
        if (attempt_ms > CONNECT_ATTEMPT_MS_MAX)
            attempt_ms = CONNECT_ATTEMPT_MS_MAX;
        natsStatus result = natsOptions_SetTimeout(native, attempt_ms);
        if (result == NATS_OK)
            result = natsConnection_Connect(&t->connection, native);
        if (result == NATS_OK || !is_worth_retrying(result) || clock_ms() + CONNECT_PAUSE_MS >= until)
            return result;
        clock_sleep_us(CONNECT_PAUSE_MS * 1000);
    }
}

/* Each URL of the list without what stands before its '@'. */
static void append_without_secrets(struct buf *out, const char *urls) {
    while (*urls) {
        size_t len = strcspn(urls, ",");
        const char *scheme_end = memmem(urls, len, "://", 3);
        const char *host = scheme_end ? scheme_end + 3 : urls;
        buf_append(out, urls, (size_t)(host - urls));
        const char *at = memrchr(host, '@', len - (size_t)(host - urls));
        if (at)
            host = at + 1;
        buf_append(out, host, (size_t)(urls + len - host));
        urls += len;
        if (*urls)
            buf_append_char(out, *urls++);
    }
}

static void set_error(struct error *error, const char *urls, natsStatus result) {
    struct buf shown;
    buf_init(&shown, ERROR_MESSAGE_MAX);
    append_without_secrets(&shown, urls);
    error_set(error, STATUS_NATS_ERROR, NULL, "cannot connect to NATS at %.*s: %s", (int)shown.len,
              shown.len > 0 ? shown.data : "", natsStatus_GetText(result));
    buf_release(&shown);
}

struct transport *transport_nats_open(const struct nats_options *options, struct loop *loop,
                                      struct error *error) {
    natsOptions *native = NULL;
    struct nats_transport *t = new_nats(loop, options->mailbox_messages);
    natsStatus result = t ? natsOptions_Create(&native) : NATS_NO_MEMORY;
    set(&result, result == NATS_OK ? set_options(native, options, t) : result);
    set(&result, result == NATS_OK ? connect_until(t, native, options->connect_wait_ms) : result);
    natsOptions_Destroy(native);
    if (result == NATS_OK) {
        callback_opened(t);
        return &t->transport;
    }
    set_error(error, options->url, result);
    if (t)
        free_nats(t);
    return NULL;
}
