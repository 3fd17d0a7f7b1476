/* The bus has one mutex. It guards the list of clients, their subscriptions and links; delivering happens
 * outside of it, in each client's inbox. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "net/inbox.h"
#include "net/subject.h"

/* What our nats-server is configured to (max_payload). */
#define PAYLOAD_BYTES_MAX  ((size_t)8 << 20)
#define INBOX_MESSAGES_MAX 65536

struct memory_bus {
    pthread_mutex_t mutex;
    struct memory_client *clients;
};

struct memory_client {
    struct transport transport; /* first: a transport of this kind is one of these */
    struct memory_bus *bus;
    struct memory_client *next;
    struct inbox *inbox; /* owned */
};

static struct memory_client *client_of(struct transport *transport) {
    return (struct memory_client *)transport;
}

/* Bus locked. */
static size_t deliver_to(struct memory_client *client, const struct transport_message *message) {
    size_t found = 0;
    if (!inbox_link_is_up(client->inbox))
        return 0;
    for (struct subscription *s = inbox_subscriptions(client->inbox); s; s = s->next) {
        if (!subject_matches(s->subject, message->subject))
            continue;
        inbox_put(s, message);
        found++;
    }
    return found;
}

/* Bus locked. Nobody listens: tells the first of the sender's own subscriptions that waits for the reply. */
static void answer_no_responders(struct memory_client *client, const char *reply) {
    struct transport_message message = {.subject = reply, .data = "", .no_responders = true};
    for (struct subscription *s = inbox_subscriptions(client->inbox); s; s = s->next) {
        if (!subject_matches(s->subject, reply))
            continue;
        inbox_put(s, &message);
        return;
    }
}

/* Bus locked. */
static enum status send_all(struct memory_client *client, const struct transport_message *message) {
    size_t found = 0;
    if (!inbox_link_is_up(client->inbox))
        return STATUS_NATS_ERROR;
    for (struct memory_client *to = client->bus->clients; to; to = to->next)
        found += deliver_to(to, message);
    if (found == 0 && message->reply)
        answer_no_responders(client, message->reply);
    return STATUS_OK;
}

static enum status memory_publish(struct transport *transport, const char *subject, const char *reply,
                                  const void *data, size_t len) {
    struct memory_client *client = client_of(transport);
    enum status status = STATUS_OK;
    if (len > PAYLOAD_BYTES_MAX)
        status = STATUS_PAYLOAD_TOO_LARGE;
    else if (!subject_is_valid(subject) || (reply && !subject_is_valid(reply)))
        status = STATUS_INTERNAL_ERROR;
    if (status == STATUS_OK) {
        struct transport_message message = {.subject = subject, .reply = reply, .data = data, .len = len};
        pthread_mutex_lock(&client->bus->mutex);
        status = send_all(client, &message);
        pthread_mutex_unlock(&client->bus->mutex);
    }
    inbox_count_out(client->inbox, status, len);
    return status;
}

static enum status memory_subscribe(struct transport *transport, const char *subject, transport_fn *fn,
                                    void *arg) {
    struct memory_client *client = client_of(transport);
    pthread_mutex_lock(&client->bus->mutex);
    bool added = inbox_subscribe(client->inbox, subject, fn, arg) != NULL;
    pthread_mutex_unlock(&client->bus->mutex);
    return added ? STATUS_OK : STATUS_INTERNAL_ERROR;
}

static void memory_on_link(struct transport *transport, transport_link_fn *fn, void *arg) {
    inbox_on_link(client_of(transport)->inbox, fn, arg);
}

static bool memory_is_up(struct transport *transport) {
    return inbox_link_is_up(client_of(transport)->inbox);
}

static size_t memory_max_payload(struct transport *transport) {
    (void)transport;
    return PAYLOAD_BYTES_MAX;
}

static void memory_stats(struct transport *transport, struct transport_stats *out) {
    inbox_stats(client_of(transport)->inbox, out);
}

static void memory_close(struct transport *transport) {
    struct memory_client *client = client_of(transport);
    pthread_mutex_lock(&client->bus->mutex);
    struct memory_client **at = &client->bus->clients;
    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    pthread_mutex_unlock(&client->bus->mutex);
    inbox_free(client->inbox);
    free(client);
}

static const struct transport_ops memory_ops = {
    .publish = memory_publish,
    .subscribe = memory_subscribe,
    .on_link = memory_on_link,
    .is_up = memory_is_up,
    .max_payload = memory_max_payload,
    .stats = memory_stats,
    .close = memory_close,
};

struct memory_bus *memory_bus_new(void) {
    struct memory_bus *bus = calloc(1, sizeof *bus);
    if (bus)
        pthread_mutex_init(&bus->mutex, NULL);
    return bus;
}

void memory_bus_free(struct memory_bus *bus) {
    if (!bus)
        return;
    pthread_mutex_destroy(&bus->mutex);
    free(bus);
}

struct transport *transport_memory_open(struct memory_bus *bus, struct loop *loop) {
    struct memory_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    *client = (struct memory_client){.transport.ops = &memory_ops, .bus = bus};
    client->inbox = inbox_new(loop, INBOX_MESSAGES_MAX);
    if (!client->inbox) {
        free(client);
        return NULL;
    }
    pthread_mutex_lock(&bus->mutex);
    client->next = bus->clients;
    bus->clients = client;
    pthread_mutex_unlock(&bus->mutex);
    return &client->transport;
}

void transport_memory_set_link(struct transport *transport, bool up) {
    struct memory_client *client = client_of(transport);
    pthread_mutex_lock(&client->bus->mutex);
    inbox_put_link(client->inbox, up);
    pthread_mutex_unlock(&client->bus->mutex);
}

void transport_memory_set_frozen(struct transport *transport, bool frozen) {
    inbox_hold(client_of(transport)->inbox, frozen);
}
