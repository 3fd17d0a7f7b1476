/* What controller and workers say to each other over NATS: subjects and messages. docs/PROTOCOL.md is the
 * same for people who write a worker in another language.
 *
 * All messages are JSON objects with `"v":1`; unknown fields are ignored, another version is refused.
 *
 *   worker.register                     worker -> all controllers   worker_info, at start and when asked
 *   worker.heartbeat                    worker -> all controllers   worker_info, every heartbeat interval
 *   worker.deregister                   worker -> all controllers   {workerId, incarnation}
 *   cluster.discover                    controller -> all workers   {controller}: register now
 *   inference.<worker>                  controller -> worker        job, with a reply subject
 *   inference.<worker>.cancel           controller -> worker        {request, attempt}
 *   worker.<worker>.control             controller -> worker        {op}, with a reply subject
 *   reply.<controller>.events.<worker>  worker -> controller        token events of one engine step
 *   reply.<controller>.job.<request>.<attempt>   NATS -> controller: "no responders" for a job
 *   reply.<controller>.control.<ticket>          worker -> controller: the reply to a control message
 *
 * Reading allocates; the matching release frees. Readers take any bytes, never crash, and refuse what is
 * malformed, too long or out of range with STATUS_PROTOCOL_ERROR. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "proto/chat.h"
#include "proto/worker_info.h"

enum {
    WIRE_VERSION = 1,
    WIRE_SUBJECT_MAX = 256,
    WIRE_REQUEST_ID_MAX = 64, /* [A-Za-z0-9_-]+: it is a subject token */
    WIRE_CONTROLLER_ID_MAX = CONTROLLER_ID_MAX,
    WIRE_EVENTS_MAX = 1024,    /* events in one message */
    WIRE_TEXT_MAX = 64 * 1024, /* text of one event, bytes */
};

#define WIRE_SUBJECT_REGISTER   "worker.register"
#define WIRE_SUBJECT_HEARTBEAT  "worker.heartbeat"
#define WIRE_SUBJECT_DEREGISTER "worker.deregister"
#define WIRE_SUBJECT_DISCOVER   "cluster.discover"

/* Each writes a NUL-terminated subject into `out`, WIRE_SUBJECT_MAX bytes. */
void wire_subject_job(char *out, const char *worker_id);
void wire_subject_cancel(char *out, const char *worker_id);
void wire_subject_control(char *out, const char *worker_id);
void wire_subject_events(char *out, const char *controller_id, const char *worker_id);
void wire_subject_job_reply(char *out, const char *controller_id, const char *request_id, uint32_t attempt);
void wire_subject_control_reply(char *out, const char *controller_id, uint64_t ticket);
void wire_subject_echo(char *out, const char *controller_id, int64_t sent_ms);
void wire_subject_replies(char *out, const char *controller_id); /* "reply.<controller>.>" */

/* What a subject below reply.<controller> is about. */
enum wire_reply_kind {
    WIRE_REPLY_EVENTS,
    WIRE_REPLY_JOB,
    WIRE_REPLY_CONTROL,
    WIRE_REPLY_ECHO,
    WIRE_REPLY_UNKNOWN
};
struct wire_reply {
    enum wire_reply_kind kind;
    char worker_id[WORKER_ID_MAX + 1];        /* EVENTS */
    char request_id[WIRE_REQUEST_ID_MAX + 1]; /* JOB */
    uint32_t attempt;                         /* JOB */
    uint64_t ticket;                          /* CONTROL */
    int64_t sent_ms;                          /* ECHO */
};
void wire_reply_read(struct wire_reply *out, const char *subject);

/* true when `text` can be a subject token of ours: 1..max bytes of [A-Za-z0-9_-]. */
bool wire_is_token(const char *text, size_t max);

/* A job: one attempt at a request. */
struct wire_job {
    char request_id[WIRE_REQUEST_ID_MAX + 1];
    char controller_id[WIRE_CONTROLLER_ID_MAX + 1];
    uint32_t attempt;     /* 1.. */
    int64_t remaining_ms; /* until the request's deadline, > 0 */
    int64_t now_s;        /* wall clock of the request, seconds since 1970: what a chat template may print */
    struct chat_request chat;
};
void wire_write_job(struct buf *out, const struct wire_job *job);
MUST_USE enum status wire_read_job(const char *data, size_t len, struct wire_job *job, struct error *error);
void wire_job_release(struct wire_job *job);

struct wire_cancel {
    char request_id[WIRE_REQUEST_ID_MAX + 1];
    uint32_t attempt;
};
void wire_write_cancel(struct buf *out, const struct wire_cancel *cancel);
MUST_USE enum status wire_read_cancel(const char *data, size_t len, struct wire_cancel *cancel,
                                      struct error *error);

/* One thing that happened to a job. `index` counts the tokens of the reply from 0: TOKEN carries exactly one
 * token; its text is what may be shown now, possibly empty (a character or a possible stop string is not
 * complete) and possibly text of earlier tokens. FINISHED may carry text that was held back. */
enum wire_event_kind {
    WIRE_EVENT_ACCEPTED, /* the job waits or runs */
    WIRE_EVENT_STARTED,  /* it has a slot; prefill begins; `prompt_tokens` is known */
    WIRE_EVENT_TOKEN,
    WIRE_EVENT_FINISHED, /* the last event: finish, usage */
    WIRE_EVENT_FAILED,   /* the last event: status, message */
};
struct wire_event {
    enum wire_event_kind kind;
    const char *request_id; /* points into memory of the reader or writer */
    uint32_t attempt;
    uint32_t index;   /* TOKEN: this token's; FINISHED: how many there were */
    int32_t token;    /* TOKEN: the id in the model's vocabulary */
    const char *text; /* TOKEN, FINISHED: UTF-8, never cut in a character; need not end in NUL */
    size_t text_len;
    int32_t prompt_tokens;     /* STARTED */
    enum finish_reason finish; /* FINISHED */
    struct usage usage;        /* FINISHED */
    enum status status;        /* FAILED */
    const char *message;       /* FAILED */
    const char *param;         /* FAILED; may be NULL */
};

/* Events of one worker for one controller: open, add..., close. About 90 bytes for a token. */
void wire_events_open(struct buf *out, const char *worker_id, const char *incarnation);
void wire_events_add(struct buf *out, const struct wire_event *event);
void wire_events_close(struct buf *out);

/* Calls `fn` for each event in order; the event and its strings live only during the call. Nothing is called
 * when the frame itself is malformed; a malformed event ends the reading with an error after those before it.
 */
struct wire_events_source {
    char worker_id[WORKER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1];
};
typedef void wire_event_fn(const struct wire_events_source *source, const struct wire_event *event,
                           void *arg);
MUST_USE enum status wire_read_events(const char *data, size_t len, wire_event_fn *fn, void *arg,
                                      struct error *error);

void wire_write_worker_info(struct buf *out, const struct worker_info *info);
/* The info as API clients see it: camelCase fields of the wire without the envelope. `extra` (may be NULL) is
 * appended inside the object: `,"leases":3`. */
void wire_write_worker_object(struct buf *out, const struct worker_info *info, const char *status,
                              const char *extra);
MUST_USE enum status wire_read_worker_info(const char *data, size_t len, struct worker_info *info,
                                           struct error *error);

struct wire_deregister {
    char worker_id[WORKER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1];
};
void wire_write_deregister(struct buf *out, const struct wire_deregister *deregister);
MUST_USE enum status wire_read_deregister(const char *data, size_t len, struct wire_deregister *deregister,
                                          struct error *error);

enum wire_control_op { WIRE_CONTROL_STATS, WIRE_CONTROL_DRAIN };
void wire_write_control(struct buf *out, enum wire_control_op op);
MUST_USE enum status wire_read_control(const char *data, size_t len, enum wire_control_op *op,
                                       struct error *error);

void wire_write_discover(struct buf *out, const char *controller_id);
