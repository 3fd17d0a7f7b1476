#include "lib/nats_load.h"

#include <nats/nats.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "lib/sample.h"
#include "proto/wire.h"

#define OWN_ID             "bench-load"
#define RESPONDER_SUBJECT  "bench.echo"
#define PLAIN_REPLY_PREFIX "bench.reply."

enum {
    SILENCE_MS = 10 * 1000,
    CONNECT_MS = 10 * 1000,
    JOB_MS = 60 * 1000,
    REPLY_BYTES_MAX = 64 * 1024,
    PENDING_BYTES_MAX = 256 << 20,
};

struct load {
    const struct nats_load_options *options;
    struct nats_load_result *result;
    natsConnection *connection;
    natsSubscription *replies;
    struct buf message;
    int64_t sent_ns[NATS_LOAD_IN_FLIGHT_MAX]; /* by place */
    int64_t sent;
    int busy;
    int64_t end_ns;
};

static void check(natsStatus status, const char *what) {
    if (status == NATS_OK)
        return;
    fprintf(stderr, "NATS: %s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

static natsConnection *connect_to(const char *url) {
    natsOptions *options = NULL;
    natsConnection *connection = NULL;
    check(natsOptions_Create(&options), "options");
    check(natsOptions_SetURL(options, url), "url");
    check(natsOptions_SetSendAsap(options, true), "options");
    natsStatus status = NATS_TIMEOUT;
    for (int64_t end = clock_ms() + CONNECT_MS; status != NATS_OK && clock_ms() < end;) {
        status = natsConnection_Connect(&connection, options);
        if (status != NATS_OK)
            clock_sleep_us(20 * 1000);
    }
    check(status, url);
    natsOptions_Destroy(options);
    return connection;
}

/* A new id for each: the worker may not have forgotten the last one yet. Its first number is the place. */
static void publish_job(struct load *load, int place) {
    struct wire_job job = {.controller_id = OWN_ID, .attempt = 1, .remaining_ms = JOB_MS};
    char subject[WIRE_SUBJECT_MAX], worker[32];
    union {
        const char *constant;
        char *text;
    } messages = {load->options->body};
    snprintf(job.request_id, sizeof(job.request_id), "%d-%lld", place, (long long)load->sent);
    snprintf(worker, sizeof(worker), "worker-%d", place % load->options->workers);
    chat_request_init(&job.chat);
    job.chat.model = (char[]){"bench"};
    job.chat.messages_json = messages.text;
    job.chat.max_tokens = 1;
    wire_subject_job(subject, worker);
    buf_clear(&load->message);
    wire_write_job(&load->message, &job);
    check(natsConnection_PublishRequest(load->connection, subject, "reply." OWN_ID ".job.x.1",
                                        load->message.data, (int)load->message.len),
          "publish");
}

static void publish_plain(struct load *load, int place) {
    char reply[32];
    snprintf(reply, sizeof(reply), PLAIN_REPLY_PREFIX "%d", place);
    check(natsConnection_PublishRequest(load->connection, RESPONDER_SUBJECT, reply, load->options->body,
                                        (int)strlen(load->options->body)),
          "publish");
}

static void send_next(struct load *load, int place) {
    int64_t now_ns = sample_now_ns();
    if (load->sent == load->options->requests || now_ns >= load->end_ns)
        return;
    load->sent++;
    load->busy++;
    load->sent_ns[place] = now_ns;
    if (load->options->workers > 0)
        publish_job(load, place);
    else
        publish_plain(load, place);
}

static void end_one(struct load *load, long place, bool failed) {
    if (place < 0 || place >= load->options->in_flight)
        return;
    load->busy--;
    load->result->requests++;
    load->result->errors += failed;
    hist_add(&load->result->ns, (uint64_t)(sample_now_ns() - load->sent_ns[place]));
    send_next(load, (int)place);
}

/* Events are found by their text: reading them as JSON is work of the controller's, not of the bus. */
static void take_events(struct load *load, const char *data) {
    static const char begin[] = "{\"k\":\"";
    static const char id[] = "\",\"r\":\"";
    for (const char *at = data; (at = strstr(at, begin)); at++) {
        char kind = at[sizeof(begin) - 1];
        const char *place = at + sizeof(begin);
        if ((kind == 'f' || kind == 'e') && strncmp(place, id, sizeof(id) - 1) == 0)
            end_one(load, strtol(place + sizeof(id) - 1, NULL, 10), kind == 'e');
    }
}

static void take_message(struct load *load, natsMsg *message) {
    if (natsMsg_IsNoResponders(message)) {
        fprintf(stderr, "NATS: nobody answers on the subject of the load\n");
        exit(1);
    }
    if (load->options->workers > 0)
        take_events(load, natsMsg_GetData(message));
    else
        end_one(load, strtol(natsMsg_GetSubject(message) + sizeof(PLAIN_REPLY_PREFIX) - 1, NULL, 10), false);
}

static void run(struct load *load) {
    for (int i = 0; i < load->options->in_flight; i++)
        send_next(load, i);
    while (load->busy > 0) {
        natsMsg *message = NULL;
        check(natsSubscription_NextMsg(&message, load->replies, SILENCE_MS), "waiting for replies");
        take_message(load, message);
        natsMsg_Destroy(message);
    }
}

void nats_load_run(const struct nats_load_options *options, struct nats_load_result *result) {
    static struct load load;
    if (options->in_flight < 1 || options->in_flight > NATS_LOAD_IN_FLIGHT_MAX) {
        fprintf(stderr, "load: 1 to %d in flight\n", NATS_LOAD_IN_FLIGHT_MAX);
        exit(2);
    }
    *result = (struct nats_load_result){0};
    load = (struct load){.options = options, .result = result, .connection = connect_to(options->url)};
    buf_init(&load.message, 0);
    char subject[WIRE_SUBJECT_MAX] = PLAIN_REPLY_PREFIX "*";
    if (options->workers > 0)
        wire_subject_replies(subject, OWN_ID);
    check(natsConnection_SubscribeSync(&load.replies, load.connection, subject), "subscribe");
    check(natsConnection_Flush(load.connection), "flush");
    int64_t begun_ns = sample_now_ns();
    load.end_ns = begun_ns + options->limit_ms * 1000000;
    run(&load);
    result->seconds = (double)(sample_now_ns() - begun_ns) / 1e9;
    natsSubscription_Destroy(load.replies);
    natsConnection_Destroy(load.connection);
    buf_release(&load.message);
}

struct responder {
    const char *url;
    size_t reply_bytes;
    int ready_fd;
    char reply[REPLY_BYTES_MAX];
};

static void on_request(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *arg) {
    const struct responder *responder = arg;
    (void)subscription;
    if (natsMsg_GetReply(message))
        natsConnection_Publish(connection, natsMsg_GetReply(message), responder->reply,
                               (int)responder->reply_bytes);
    natsMsg_Destroy(message);
}

static void respond(void *arg) {
    struct responder *responder = arg;
    natsSubscription *subscription = NULL;
    natsConnection *connection = connect_to(responder->url);
    check(natsConnection_Subscribe(&subscription, connection, RESPONDER_SUBJECT, on_request, responder),
          "subscribe");
    check(natsSubscription_SetPendingLimits(subscription, -1, PENDING_BYTES_MAX), "limits");
    check(natsConnection_Flush(connection), "flush");
    if (write(responder->ready_fd, "r", 1) != 1)
        exit(1);
    while (true)
        pause();
}

void nats_responder_start(struct process *process, const char *url, size_t reply_bytes) {
    static struct responder responder;
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        exit(1);
    responder =
        (struct responder){.url = url,
                           .reply_bytes = reply_bytes < REPLY_BYTES_MAX ? reply_bytes : REPLY_BYTES_MAX,
                           .ready_fd = ends[1]};
    memset(responder.reply, 'x', responder.reply_bytes);
    process_fork(process, "NATS responder", respond, &responder);
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 1) {
        fprintf(stderr, "the NATS responder did not start\n");
        exit(1);
    }
    close(ends[0]);
}
