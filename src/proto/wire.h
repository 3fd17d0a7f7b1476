/* What controller and workers say to each other over NATS: subjects and messages. docs/PROTOCOL.md is the
 * same for people who write a worker in another language.
 *
 * All messages are JSON objects with `"v":1`; unknown fields are ignored, another version is refused.
 *
 *   worker.register                     worker -> all controllers   worker_info, at start and when asked
 *   worker.heartbeat                    worker -> all controllers   worker_info, every heartbeat interval
 *   worker.deregister                   worker -> all controllers   {workerId, incarnation}
 *   cluster.discover                    controller -> all           {controller}: register now
 *   controller.heartbeat                controller -> all           who it is, every heartbeat interval
 *   controller.breakers                 controller -> controllers   changed breakers, and those not closed
 *   controller.sessions                 controller -> controllers   sessions used since the last one
 *   controller.lookup                   controller -> controllers   who has this?, with a reply subject
 *   inference.<worker>                  controller -> worker        job, with a reply subject
 *   inference.<worker>.cancel           controller -> worker        {request, attempt}
 *   worker.<worker>.control             controller -> worker        {op}, with a reply subject
 *   reply.<controller>.events.<worker>  worker -> controller        token events of one pass of an engine
 * step reply.<controller>.job.<request>.<attempt>   NATS -> controller: "no responders" for a job
 *   reply.<controller>.control.<ticket>          worker or controller -> controller: the reply to a control
 *                                                message or a lookup
 *   reply.<controller>.sessions                  controller -> controller: all sessions, for one that started
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
    WIRE_GENERATED_MAX = 128 * 1024,
    WIRE_EVENTS_MAX = 1024,    /* events in one message */
    WIRE_TEXT_MAX = 64 * 1024, /* text of one event, bytes */
    WIRE_BREAKERS_MAX = 1024,  /* breakers in one message, about 200 bytes each */
    WIRE_SESSIONS_MAX = 512,   /* sessions in one message, about 200 bytes each */
    WIRE_LOOKUP_ID_MAX = 128,  /* bytes of what is looked up */
};

#define WIRE_SUBJECT_REGISTER   "worker.register"
#define WIRE_SUBJECT_HEARTBEAT  "worker.heartbeat"
#define WIRE_SUBJECT_DEREGISTER "worker.deregister"
#define WIRE_SUBJECT_PREFIXES   "worker.prefixes"
#define WIRE_SUBJECT_DISCOVER   "cluster.discover"

#define WIRE_SUBJECT_CONTROLLER_HEARTBEAT "controller.heartbeat"
#define WIRE_SUBJECT_BREAKERS             "controller.breakers"
#define WIRE_SUBJECT_SESSIONS             "controller.sessions"
#define WIRE_SUBJECT_LOOKUP               "controller.lookup"

/* Each writes a NUL-terminated subject into `out`, WIRE_SUBJECT_MAX bytes. */
void wire_subject_job(char *out, const char *worker_id);
void wire_subject_cancel(char *out, const char *worker_id);
void wire_subject_control(char *out, const char *worker_id);
void wire_subject_events(char *out, const char *controller_id, const char *worker_id);
void wire_subject_job_reply(char *out, const char *controller_id, const char *request_id, uint32_t attempt);
void wire_subject_control_reply(char *out, const char *controller_id, uint64_t ticket);
void wire_subject_echo(char *out, const char *controller_id, int64_t sent_ms);
void wire_subject_all_sessions(char *out, const char *controller_id);
void wire_subject_replies(char *out, const char *controller_id); /* "reply.<controller>.>" */

/* What a subject below reply.<controller> is about. */
enum wire_reply_kind {
    WIRE_REPLY_EVENTS,
    WIRE_REPLY_JOB,
    WIRE_REPLY_CONTROL,
    WIRE_REPLY_ECHO,
    WIRE_REPLY_SESSIONS,
    WIRE_REPLY_UNKNOWN,
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
    char incarnation[INCARNATION_CHARS + 1]; /* the controller's; empty: not told */
    uint32_t attempt;                        /* 1.. */
    int64_t remaining_ms;                    /* until the request's deadline, > 0 */
    int64_t now_s; /* wall clock of the request, seconds since 1970: what a chat template may print */
    struct chat_request chat;
    /* The tokens of the reply that another attempt has delivered, ids in the model's vocabulary, each >= 0:
     * the worker goes on behind them. Owned by a job that was read, else the writer's; NULL for none. */
    int32_t *generated;
    size_t generated_count; /* at most WIRE_GENERATED_MAX */
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
    int32_t position;          /* ACCEPTED: its place in the queue; 0: has a slot at once; -1: not told */
    int64_t wait_ms;           /* ACCEPTED: estimate of its wait; -1: not known */
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

/* Beginnings of prompts that a worker holds now, or no more, since its last word. */
enum { WIRE_PREFIXES_MAX = 4096 }; /* of each kind in a message */
struct wire_prefixes {
    char worker_id[WORKER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1];
    uint64_t *held; /* owned, as is `gone`; hashes, see proto/chat.h */
    size_t held_count;
    uint64_t *gone;
    size_t gone_count;
};
void wire_write_prefixes(struct buf *out, const char *worker_id, const char *incarnation,
                         const struct prefix_news *news);
/* The caller releases `prefixes`, whatever is returned. */
MUST_USE enum status wire_read_prefixes(const char *data, size_t len, struct wire_prefixes *prefixes,
                                        struct error *error);
void wire_prefixes_release(struct wire_prefixes *prefixes); /* takes NULL; leaves it zeroed */

enum wire_control_op {
    WIRE_CONTROL_STATS, /* all that the worker tells of itself; also called getWorkerStats */
    WIRE_CONTROL_DRAIN,
    WIRE_CONTROL_RESUME,      /* the end of a drain */
    WIRE_CONTROL_QUEUE_STATS, /* a part of it each, as numbers that need no sums: getQueueStats... */
    WIRE_CONTROL_BATCH_STATS,
    WIRE_CONTROL_RESOURCE_STATS,
};
void wire_write_control(struct buf *out, enum wire_control_op op);
MUST_USE enum status wire_read_control(const char *data, size_t len, enum wire_control_op *op,
                                       struct error *error);
/* Of STATS, DRAIN and RESUME it is the worker info. */
void wire_write_control_reply(struct buf *out, enum wire_control_op op, const struct worker_info *info);

struct wire_discover {
    char controller_id[WIRE_CONTROLLER_ID_MAX + 1];
};
void wire_write_discover(struct buf *out, const char *controller_id);
MUST_USE enum status wire_read_discover(const char *data, size_t len, struct wire_discover *discover,
                                        struct error *error);

/* What controllers say about themselves; their workers listen, too. LEFT is the last word: nothing that it
 * asked for is wanted any more. */
enum wire_controller_state { WIRE_CONTROLLER_READY, WIRE_CONTROLLER_DRAINING, WIRE_CONTROLLER_LEFT };
struct wire_controller {
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1]; /* new at each start of its process */
    enum wire_controller_state state;
    int64_t active_requests;
};
void wire_write_controller(struct buf *out, const struct wire_controller *controller);
MUST_USE enum status wire_read_controller(const char *data, size_t len, struct wire_controller *controller,
                                          struct error *error);
const char *wire_controller_state_name(enum wire_controller_state state); /* "ready" "draining" "left" */

/* Who speaks, in the two messages that follow. */
struct wire_speaker {
    char controller_id[WIRE_CONTROLLER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1];
};

/* A breaker's state in one controller, see route/breaker_word.h; the text of `state` is a breaker's state as
 * the API names it, and one that is not known is refused by whoever takes the word. Strings point into memory
 * of the reader or writer. */
struct wire_breaker {
    const char *worker_id;
    const char *incarnation;
    const char *model; /* NULL: the worker as a whole */
    const char *state;
    int64_t operator_stamp; /* 0..2^62, as `stamp` */
    int64_t stamp;
    int64_t remaining_ms;
    int64_t openings;         /* 0..2^31-1 */
    enum status last_failure; /* STATUS_OK: none */
};
/* Open, add (at most WIRE_BREAKERS_MAX), close. */
void wire_breakers_open(struct buf *out, const struct wire_speaker *speaker);
void wire_breakers_add(struct buf *out, const struct wire_breaker *breaker);
/* Closes either message. */
void wire_list_close(struct buf *out);
/* Calls `fn` for each in order, as wire_read_events does: nothing is called when the frame is malformed, a
 * malformed member ends the reading with an error after those before it. */
typedef void wire_breaker_fn(const struct wire_speaker *speaker, const struct wire_breaker *breaker,
                             void *arg);
MUST_USE enum status wire_read_breakers(const char *data, size_t len, wire_breaker_fn *fn, void *arg,
                                        struct error *error);

/* The newest use of a session that its controller knows of. */
struct wire_session {
    const char *id; /* 1..CHAT_SESSION_ID_MAX bytes */
    const char *worker_id;
    const char *incarnation;
    int64_t stamp; /* 1..2^62 */
    int64_t age_ms;
};
/* As for breakers, at most WIRE_SESSIONS_MAX. */
void wire_sessions_open(struct buf *out, const struct wire_speaker *speaker);
void wire_sessions_add(struct buf *out, const struct wire_session *session);
typedef void wire_session_fn(const struct wire_speaker *speaker, const struct wire_session *session,
                             void *arg);
MUST_USE enum status wire_read_sessions(const char *data, size_t len, wire_session_fn *fn, void *arg,
                                        struct error *error);

/* A question to all other controllers: each answers, also that it has not got it. */
enum wire_lookup_op {
    WIRE_LOOKUP_REQUEST,      /* the record of this request */
    WIRE_LOOKUP_DROP_SESSION, /* forget this session */
};
struct wire_lookup {
    enum wire_lookup_op op;
    char controller_id[WIRE_CONTROLLER_ID_MAX + 1]; /* who asks */
    char id[WIRE_LOOKUP_ID_MAX + 1];
    int64_t stamp; /* DROP_SESSION: when; 1..2^62 */
};
void wire_write_lookup(struct buf *out, const struct wire_lookup *lookup);
MUST_USE enum status wire_read_lookup(const char *data, size_t len, struct wire_lookup *lookup,
                                      struct error *error);

struct wire_found {
    char controller_id[WIRE_CONTROLLER_ID_MAX + 1]; /* who answers */
    bool found;
    char *record; /* owned; the record as a JSON object, NULL when there is none */
};
void wire_write_found(struct buf *out, const struct wire_found *found);
MUST_USE enum status wire_read_found(const char *data, size_t len, struct wire_found *found,
                                     struct error *error);
void wire_found_release(struct wire_found *found);
