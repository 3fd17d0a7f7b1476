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
#include "route/waiting.h"

#include "controller/migration.h"
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
    int64_t total_limit_ms;
    int64_t deadline_ms;
    struct loop_timer deadline_timer;

    /* In the waiting room, see room.h. */
    struct waiter waiter;
    int64_t wait_begun_ms; /* while it waits */
    int64_t wait_left_ms;  /* until it has waited for long enough, given why no worker could take it */
    int64_t waited_ms;     /* before; see room_waited_ms */

    /* The current try. */
    uint32_t attempt;                     /* 1..; 0 before the first */
    struct route_decision decision;       /* of the newest pick */
    struct route_explanation explanation; /* likewise */
    struct lease lease;
    struct guard_ticket ticket; /* of the breakers there, beside the lease */
    char incarnation[INCARNATION_CHARS + 1];
    uint32_t next_index;               /* of the token that must come next */
    uint32_t first_index;              /* of the first token that this try is to give */
    char worker_id[WORKER_ID_MAX + 1]; /* kept when its lease is given back */
    int64_t try_begun_ms;
    int64_t sent_us;
    int64_t queue_us;       /* from there until the job had its slot; -1 before */
    int32_t queue_position; /* on the worker, when it accepted the job; -1: not told */
    int64_t queue_wait_ms;  /* the worker's estimate then; likewise */
    int64_t try_first_token_us;
    int64_t last_heard_ms;
    int64_t try_limit_ms; /* how long the worker may be silent now; 0: not limited */
    int64_t try_due_ms;   /* when the timer was to run out, for the limit on silence */
    struct loop_timer try_timer;
    struct error failure;
    int64_t retry_delay_ms;

    bool session_found;          /* it was looked up */
    uint64_t session_generation; /* of the worker that its session belonged to then; 0: none */

    /* Earlier tries. */
    struct route_exclusion exclusion;
    struct request_try tries[ROUTE_TRIES_MAX];
    size_t try_count;
    uint32_t timeouts;
    uint32_t breaker_trips; /* circuit breakers that its failed tries opened */
    struct migration migration;
    uint32_t migrations; /* tries that went on behind what the client had seen */
    int64_t worker_deaths;
    int64_t refusals; /* by workers that were full */

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
                              struct chat_request *chat, int64_t total_limit_ms);
void request_free(struct request *request);

/* The try fails with this status; copies the error. */
void request_fail_try(struct request *request, const struct error *error);

/* For the files that hold its actions. */

/* From now on the worker may be silent for at most this long; 0: as long as the request lives. */
void request_limit_silence(struct request *request, int64_t limit_ms);
void request_cancel_job(struct request *request);
void request_note_timeout(struct request *request, enum request_timeout timeout);
/* The client has seen text, and what another worker needs to go on behind it is known. */
bool request_can_migrate(const struct request *request);
/* Where the next request of its session should go. */
void request_bind_session(struct request *request);
/* Gives back what it holds; it is freed at the end of the tick. */
void request_end_with(struct request *request, enum status outcome);

/* The actions of the table. */
enum request_event request_act_pick(struct request *request);
enum request_event request_act_wait_for_worker(struct request *request);
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
