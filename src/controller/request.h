/* A request: everything of one call of POST /v1/chat/completions, from its first byte to its last.
 *
 * Owned by the controller; made by request_begin, ended by its table (request_table.h), freed at the end of
 * the tick in which it ended. All on the loop thread. */
#pragma once

#include <sys/queue.h>

#include "net/http.h"
#include "proto/openai.h"
#include "proto/wire.h"
#include "route/router.h"

#include "controller/records.h"
#include "controller/request_table.h"

struct controller;

/* Which limit ran out. X(NAME, text) */
#define REQUEST_TIMEOUT_MAP(X)            \
    X(ACKNOWLEDGEMENT, "acknowledgement") \
    X(FIRST_TOKEN, "firstToken")          \
    X(STALL, "stall")                     \
    X(DEADLINE, "deadline")

enum request_timeout {
#define X(name, text) TIMEOUT_##name,
    REQUEST_TIMEOUT_MAP(X)
#undef X
        TIMEOUT_COUNT
};

struct request {
    TAILQ_ENTRY(request) link; /* active, then ended */
    struct controller *controller;
    struct http_exchange *exchange; /* NULL once the client has left or was answered */
    enum request_state state;

    char id[WIRE_REQUEST_ID_MAX + 1];
    struct chat_request chat;           /* owned */
    struct openai_reply reply;          /* points to id and chat.model */
    struct openai_chunk_template chunk; /* owned; made when the stream starts */
    char client_id[CLIENT_REQUEST_ID_MAX +
                   1]; /* X-Request-Id of the client, if it is one; never on the wire */
    int64_t begun_us;
    int64_t begun_wall_ms;
    int64_t deadline_ms;
    struct loop_timer deadline_timer;

    /* The current try. */
    uint32_t attempt;               /* 1..; 0 before the first */
    struct route_decision decision; /* of the newest pick */
    struct lease lease;
    struct guard_ticket ticket; /* of the breakers there, beside the lease */
    char incarnation[INCARNATION_CHARS + 1];
    uint32_t next_index;               /* of the token that must come next */
    char worker_id[WORKER_ID_MAX + 1]; /* kept when its lease is given back */
    int64_t try_begun_ms;
    int64_t sent_us;
    int64_t queue_us; /* from there until the job had its slot; -1 before */
    int64_t try_first_token_us;
    int64_t last_heard_ms;
    int64_t try_limit_ms; /* how long the worker may be silent now; 0: not limited */
    struct loop_timer try_timer;
    struct error failure;
    int64_t retry_delay_ms;

    /* Earlier tries. */
    struct route_exclusion exclusion;
    struct request_try tries[ROUTE_TRIES_MAX];
    size_t try_count;
    uint32_t timeouts;
    int64_t worker_deaths;

    /* What the client gets. */
    bool stream_started;
    bool text_shown;
    struct buf text;                /* owned; the reply so far, when it is not streamed */
    const struct wire_event *event; /* TOKEN, FINISHED: only while that event is handled */
    struct usage usage;
    enum finish_reason finish;
    int64_t first_token_us; /* when it came; 0 before */
    enum status outcome;    /* once ended */
};
TAILQ_HEAD(request_list, request);

/* Takes over `chat` (cleared) and the exchange. NULL when memory is out; then both stay the caller's. */
struct request *request_begin(struct controller *controller, struct http_exchange *exchange,
                              struct chat_request *chat);
void request_free(struct request *request);

/* The try fails with this status; copies the error. */
void request_fail_try(struct request *request, const struct error *error);

/* The actions of the table. */
enum request_event request_act_pick(struct request *request);
enum request_event request_act_send(struct request *request);
enum request_event request_act_note_accepted(struct request *request);
enum request_event request_act_note_started(struct request *request);
enum request_event request_act_show_token(struct request *request);
enum request_event request_act_finish(struct request *request);
enum request_event request_act_judge(struct request *request);
enum request_event request_act_judge_timeout(struct request *request);
enum request_event request_act_wait(struct request *request);
enum request_event request_act_reply_error(struct request *request);
enum request_event request_act_expire(struct request *request);
enum request_event request_act_abandon(struct request *request);
enum request_event request_act_stop(struct request *request);
