/* What is remembered of requests: numbers and names, never prompt or reply text. A record is a view of a
 * request under way, or the copy that is kept for a while after its end.
 *
 * Kept are the newest `max`, each for RECORD_KEEP_MS, in a ring in the order in which they ended; a map finds
 * them by id. A record has a fixed size; only what few requests have (failed tries, the error's sentence) is
 * allocated beside it. Pure: time is an argument. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/status.h"
#include "controller/request_table.h"
#include "proto/chat.h"
#include "proto/wire.h"
#include "route/router.h"

enum {
    RECORD_KEEP_MS = 5 * 60 * 1000,
    CLIENT_REQUEST_ID_MAX = 64,
    RECORD_MODEL_MAX = 128, /* longer names are no valid request */
};

/* A failed try. */
struct request_try {
    char worker_id[WORKER_ID_MAX + 1];
    enum status status;
    int64_t duration_ms;
};

/* As a JSON array of {worker, code, durationMs}. */
void request_tries_write(struct buf *out, const struct request_try *tries, size_t count);

/* How a request ended. X(NAME, text) */
#define REQUEST_END_MAP(X)                                               \
    X(SUCCEEDED, "succeeded")                                            \
    X(FAILED, "failed")       /* with an error, after a worker had it */ \
    X(CANCELLED, "cancelled") /* the client left */                      \
    X(REFUSED, "refused")     /* with an error, before */

enum request_end {
#define X(name, text) REQUEST_##name,
    REQUEST_END_MAP(X)
#undef X
        REQUEST_END_COUNT
};
const char *request_end_name(enum request_end end);

struct record {
    char id[WIRE_REQUEST_ID_MAX + 1];
    char client_id[CLIENT_REQUEST_ID_MAX + 1]; /* the client's own id for it, empty when it sent none */
    char model[RECORD_MODEL_MAX + 1];
    char worker_id[WORKER_ID_MAX + 1]; /* of the newest try, empty before the first */
    bool stream;
    enum request_state state;
    enum request_end end; /* in state ENDED */
    enum status outcome;  /* likewise */
    int64_t begun_wall_ms;
    int64_t duration_us; /* so far, or in all */
    uint32_t attempts;
    uint32_t timeouts;
    uint32_t breaker_trips;
    uint32_t migrations;
    int64_t waited_ms; /* in the waiting room */
    /* -1: it did not come to that. */
    int64_t queue_us;       /* of the newest try, from the job's sending until it had its slot */
    int32_t queue_position; /* of the newest try, as the worker told it when it accepted the job */
    int64_t queue_wait_ms;  /* likewise: the worker's estimate */
    int64_t first_token_us; /* from the request's arrival */
    int64_t inter_token_us; /* mean of the newest try */
    struct usage usage;
    /* The newest pick; a literal, NULL before the first. */
    const char *strategy;
    bool panic;
    uint32_t candidates;
    struct route_census census;
    struct route_explanation *explanation; /* owned in a kept record, else the request's */
    struct request_try *tries;             /* owned in a kept record, else the request's */
    size_t try_count;
    char *message; /* of the error; as `tries`; NULL when there is none */
    int64_t ended_ms;
};

struct records {
    struct record *ring; /* owned */
    size_t max;
    size_t first; /* the oldest */
    size_t count;
    struct map by_id;
    uint64_t displaced; /* before their time was over, because newer ones needed the place */
};

/* `max` may be 0. false when memory is out. */
MUST_USE bool records_init(struct records *records, size_t max);
/* Leaves it zeroed; takes NULL and zeroed structs. */
void records_release(struct records *records);

/* Keeps a copy; the oldest one makes room. Not kept when memory is out: records are only for people. */
void records_add(struct records *records, const struct record *record, int64_t now_ms);
/* Drops those that are too old. */
void records_expire(struct records *records, int64_t now_ms);

/* NULL when there is none. Valid until the next records_add or records_expire, like that of records_at. */
const struct record *records_find(const struct records *records, const char *id);
/* By age: 0 is the one that ended last; `index` below `count`. */
const struct record *records_at(const struct records *records, size_t index);

/* The state as clients of the API name it: the request's in lower case, or how it ended. */
enum { RECORD_STATE_CHARS = 16 };
void record_state_name(const struct record *record, char out[RECORD_STATE_CHARS]);
/* As a JSON object. */
void record_write(struct buf *out, const struct record *record);
