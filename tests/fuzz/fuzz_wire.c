/* The first byte chooses a reader (modulo 16: the digits, then : ; < = > ?), the rest is the message:
 * refused, or read; what was read is written in a form that reads and is written the same again. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads the message and writes what it said; false when it is refused. */
typedef bool rewrite_fn(const char *data, size_t len, struct buf *out, struct error *error);

static bool rewrite_job(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_job job;
    bool ok = wire_read_job(data, len, &job, error) == STATUS_OK;
    if (ok)
        wire_write_job(out, &job);
    wire_job_release(&job);
    return ok;
}

static bool rewrite_cancel(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_cancel cancel;
    if (wire_read_cancel(data, len, &cancel, error) != STATUS_OK)
        return false;
    wire_write_cancel(out, &cancel);
    return true;
}

static bool rewrite_control(const char *data, size_t len, struct buf *out, struct error *error) {
    enum wire_control_op op;
    if (wire_read_control(data, len, &op, error) != STATUS_OK)
        return false;
    wire_write_control(out, op);
    return true;
}

static void rewrite_event(const struct wire_events_source *source, const struct wire_event *event,
                          void *arg) {
    struct buf *out = arg;
    if (out->len == 0)
        wire_events_open(out, source->worker_id, source->incarnation);
    wire_events_add(out, event);
}

static bool rewrite_events(const char *data, size_t len, struct buf *out, struct error *error) {
    bool ok = wire_read_events(data, len, rewrite_event, out, error) == STATUS_OK;
    if (out->len == 0) /* there was no event that names the worker */
        wire_events_open(out, "w", "i");
    wire_events_close(out);
    return ok;
}

/* Behind white space a message is read the general way, which must say the same. */
static bool rewrite_events_both_ways(const char *data, size_t len, struct buf *out, struct error *error) {
    struct buf spaced, general;
    buf_init(&spaced, 0);
    buf_init(&general, 0);
    buf_append_char(&spaced, ' ');
    buf_append(&spaced, data, len);
    bool ok = rewrite_events(data, len, out, error);
    if (rewrite_events(spaced.data, spaced.len, &general, error) != ok || general.len != out->len ||
        memcmp(general.data, out->data, out->len) != 0)
        abort();
    buf_release(&spaced);
    buf_release(&general);
    return ok;
}

static bool rewrite_info(const char *data, size_t len, struct buf *out, struct error *error) {
    struct worker_info info;
    if (wire_read_worker_info(data, len, &info, error) != STATUS_OK)
        return false;
    wire_write_worker_info(out, &info);
    return true;
}

static bool rewrite_deregister(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_deregister deregister;
    if (wire_read_deregister(data, len, &deregister, error) != STATUS_OK)
        return false;
    wire_write_deregister(out, &deregister);
    return true;
}

static bool rewrite_subject(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_reply reply;
    char *subject = strndup(data, len), written[WIRE_SUBJECT_MAX] = "";
    wire_reply_read(&reply, subject);
    free(subject);
    switch (reply.kind) {
    case WIRE_REPLY_EVENTS:
        wire_subject_events(written, "c", reply.worker_id);
        break;
    case WIRE_REPLY_JOB:
        wire_subject_job_reply(written, "c", reply.request_id, reply.attempt);
        break;
    case WIRE_REPLY_CONTROL:
        wire_subject_control_reply(written, "c", reply.ticket);
        break;
    case WIRE_REPLY_ECHO:
        wire_subject_echo(written, "c", reply.sent_ms);
        break;
    case WIRE_REPLY_SESSIONS:
        wire_subject_all_sessions(written, "c");
        break;
    case WIRE_REPLY_UNKNOWN:
        error_set(error, STATUS_PROTOCOL_ERROR, NULL, "unknown subject");
        return false;
    }
    buf_append_str(out, written);
    return true;
}

static bool rewrite_discover(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_discover discover;
    if (wire_read_discover(data, len, &discover, error) != STATUS_OK)
        return false;
    wire_write_discover(out, discover.controller_id);
    return true;
}

static bool rewrite_controller(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_controller controller;
    if (wire_read_controller(data, len, &controller, error) != STATUS_OK)
        return false;
    wire_write_controller(out, &controller);
    return true;
}

static void rewrite_breaker(const struct wire_speaker *speaker, const struct wire_breaker *breaker,
                            void *arg) {
    struct buf *out = arg;
    if (out->len == 0)
        wire_breakers_open(out, speaker);
    wire_breakers_add(out, breaker);
}

static bool rewrite_breakers(const char *data, size_t len, struct buf *out, struct error *error) {
    bool ok = wire_read_breakers(data, len, rewrite_breaker, out, error) == STATUS_OK;
    if (out->len == 0) /* there was none that names the speaker */
        wire_breakers_open(out, &(struct wire_speaker){"c", "i"});
    wire_list_close(out);
    return ok;
}

static void rewrite_session(const struct wire_speaker *speaker, const struct wire_session *session,
                            void *arg) {
    struct buf *out = arg;
    if (out->len == 0)
        wire_sessions_open(out, speaker);
    wire_sessions_add(out, session);
}

static bool rewrite_sessions(const char *data, size_t len, struct buf *out, struct error *error) {
    bool ok = wire_read_sessions(data, len, rewrite_session, out, error) == STATUS_OK;
    if (out->len == 0)
        wire_sessions_open(out, &(struct wire_speaker){"c", "i"});
    wire_list_close(out);
    return ok;
}

static bool rewrite_lookup(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_lookup lookup;
    if (wire_read_lookup(data, len, &lookup, error) != STATUS_OK)
        return false;
    wire_write_lookup(out, &lookup);
    return true;
}

static bool rewrite_found(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_found found;
    bool ok = wire_read_found(data, len, &found, error) == STATUS_OK;
    if (ok)
        wire_write_found(out, &found);
    wire_found_release(&found);
    return ok;
}

static bool rewrite_prefixes(const char *data, size_t len, struct buf *out, struct error *error) {
    struct wire_prefixes prefixes;
    bool ok = wire_read_prefixes(data, len, &prefixes, error) == STATUS_OK;
    const struct prefix_news news = {prefixes.held, prefixes.held_count, prefixes.gone, prefixes.gone_count};
    if (ok)
        wire_write_prefixes(out, prefixes.worker_id, prefixes.incarnation, &news);
    wire_prefixes_release(&prefixes);
    return ok;
}

enum { REWRITERS = 16 };
static rewrite_fn *const rewriters[REWRITERS] = {
    rewrite_job,        rewrite_cancel,           rewrite_control,  rewrite_events,
    rewrite_info,       rewrite_deregister,       rewrite_subject,  rewrite_discover,
    rewrite_controller, rewrite_breakers,         rewrite_sessions, rewrite_lookup,
    rewrite_found,      rewrite_events_both_ways, rewrite_prefixes, rewrite_sessions};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    rewrite_fn *rewrite = rewriters[data[0] % REWRITERS];
    struct buf first, second;
    struct error error = {.status = STATUS_OK};
    buf_init(&first, 0);
    buf_init(&second, 0);
    if (rewrite((const char *)data + 1, size - 1, &first, &error)) {
        if (!rewrite(first.data, first.len, &second, &error) || first.len != second.len ||
            memcmp(first.data, second.data, first.len) != 0)
            abort();
    } else if (error.status != STATUS_PROTOCOL_ERROR || !error.message[0]) {
        abort();
    }
    buf_release(&first);
    buf_release(&second);
    return 0;
}
