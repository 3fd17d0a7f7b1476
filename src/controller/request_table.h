/* The life of a request as one table: (state, event) -> action, next state.
 *
 * Everything that can happen to a request is an event; callbacks only turn into events. The action of a row
 * runs after the state has changed; one that can go two ways returns the event that names the way, which is
 * looked up in the new state, and so on until an action returns EVENT_NONE. Every pair of state and event has
 * a row: what may come late is ignored by name, what cannot come at all is impossible by name, counted and
 * logged. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* X(NAME, what it means) */
#define REQUEST_STATE_MAP(X)                                              \
    X(NEW, "read and valid; nothing is sent")                             \
    X(ROUTING, "a worker is being chosen")                                \
    X(WAITING, "no worker can take it now; it waits in the waiting room") \
    X(SENT, "the job is sent; the worker has not said anything")          \
    X(ACCEPTED, "the job waits or its prompt is computed")                \
    X(STREAMING, "tokens come")                                           \
    X(JUDGING, "the try has failed; is there another one?")               \
    X(BACKOFF, "waits before the next try")                               \
    X(ENDED, "answered or abandoned; its memory is freed at the end of the tick")

/* X(NAME, where it comes from) */
#define REQUEST_EVENT_MAP(X)                                                                        \
    X(START, "the HTTP handler")                                                                    \
    X(PICKED, "action pick: a worker is chosen and leased")                                         \
    X(NO_WORKER, "action pick: none is eligible; action wait_for_worker: the waiting room is full") \
    X(MUST_WAIT, "action pick: none can take it now")                                               \
    X(CALLED, "the waiting room: a worker may be free")                                             \
    X(EVICTED, "the waiting room: its place is given to a request of higher priority")              \
    X(WAIT_OVER, "timer of the try: it has waited for long enough")                                 \
    X(ACCEPTED, "worker: the job is in its queue")                                                  \
    X(STARTED, "worker: the job has a slot")                                                        \
    X(TOKEN, "worker: the next token")                                                              \
    X(FINISHED, "worker: the reply is complete")                                                    \
    X(TRY_FAILED, "worker, registry, NATS or action send: this try will not succeed")               \
    X(TIMED_OUT, "timer of the try: the worker did not go on in time")                              \
    X(RETRY_NOW, "action judge")                                                                    \
    X(RETRY_LATER, "action judge")                                                                  \
    X(GIVE_UP, "action judge")                                                                      \
    X(RETRY_DUE, "timer of the try: the delay is over")                                             \
    X(DEADLINE, "timer of the request: its total time is spent")                                    \
    X(CLIENT_GONE, "HTTP: the client has left")                                                     \
    X(STOP, "the controller drains and its limit is reached")

enum request_state {
#define X(name, text) REQUEST_##name,
    REQUEST_STATE_MAP(X)
#undef X
        REQUEST_STATE_COUNT
};

enum request_event {
    EVENT_NONE = -1,
#define X(name, text) EVENT_##name,
    REQUEST_EVENT_MAP(X)
#undef X
        EVENT_COUNT
};

struct request;
typedef enum request_event request_action_fn(struct request *request);

enum request_row_kind {
    ROW_IMPOSSIBLE, /* a defect if it comes */
    ROW_IGNORE,     /* may come late */
    ROW_GO,
};

struct request_row {
    enum request_row_kind kind;
    enum request_state next;   /* ROW_GO */
    request_action_fn *action; /* ROW_GO; may be NULL */
    const char *action_name;
};

const struct request_row *request_row(enum request_state state, enum request_event event);
const char *request_state_name(enum request_state state);
const char *request_event_name(enum request_event event);

/* Runs the event and all that follow from it. */
void request_dispatch(struct request *request, enum request_event event);
