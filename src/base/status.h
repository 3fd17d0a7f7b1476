/* Every way a request, a job or a start-up can end, in one table.
 *
 * A status is what travels: in `struct error` inside a process, by name on the wire between worker and
 * controller, and as `error.code` to the client. Its row decides the HTTP status, the OpenAI error type,
 * whether another worker may be tried, and what it tells about the worker's health. Nobody compares HTTP
 * numbers or names elsewhere; docs/ERRORS.md is printed from this table. */
#pragma once

#include <stdbool.h>

/* What the end of a job says about the worker that ran it. */
enum outcome {
    OUTCOME_SUCCESS,
    OUTCOME_WORKER_FAILURE, /* its process or the way to it: counts against all that it serves */
    /* The model's engine there: counts against that model on that worker. So does a job that does not go on:
     * a worker that cannot be reached shows by its heartbeats, and one that does not take jobs is suspect at
     * once. */
    OUTCOME_MODEL_FAILURE,
    OUTCOME_NEUTRAL, /* client error, overload, cancelled, our own link: says nothing about its health */
};

/* X(NAME, http status, OpenAI error type, retryable on another worker, outcome, what it means) */
#define STATUS_MAP(X)                                                                                        \
    X(OK, 200, "", false, SUCCESS, "no error")                                                               \
    X(INVALID_JSON, 400, "invalid_request_error", false, NEUTRAL, "the body is not valid JSON")              \
    X(REQUEST_VALIDATION_FAILED, 400, "invalid_request_error", false, NEUTRAL,                               \
      "a field is missing or wrong")                                                                         \
    X(CONTEXT_LENGTH_EXCEEDED, 400, "invalid_request_error", false, NEUTRAL,                                 \
      "the prompt does not fit into the model's context")                                                    \
    X(BAD_HTTP_REQUEST, 400, "invalid_request_error", false, NEUTRAL, "the HTTP request is malformed")       \
    X(INVALID_SESSION_ID, 400, "invalid_request_error", false, NEUTRAL, "the session id is malformed")       \
    X(SESSION_NOT_FOUND, 404, "invalid_request_error", false, NEUTRAL, "no session with this id is known")   \
    X(ROUTE_NOT_FOUND, 404, "invalid_request_error", false, NEUTRAL, "no such URL")                          \
    X(MODEL_NOT_FOUND, 404, "invalid_request_error", false, NEUTRAL,                                         \
      "no worker of the cluster serves the model")                                                           \
    X(WORKER_NOT_FOUND, 404, "invalid_request_error", false, NEUTRAL, "no worker with this id is known")     \
    X(REQUEST_NOT_FOUND, 404, "invalid_request_error", false, NEUTRAL,                                       \
      "no request with this id is under way or was lately")                                                  \
    X(METHOD_NOT_ALLOWED, 405, "invalid_request_error", false, NEUTRAL,                                      \
      "the URL exists, for another method")                                                                  \
    X(REQUEST_TIMEOUT, 408, "invalid_request_error", false, NEUTRAL,                                         \
      "the client sent its request too slowly")                                                              \
    X(PAYLOAD_TOO_LARGE, 413, "invalid_request_error", false, NEUTRAL, "the body is over the limit")         \
    X(HEADERS_TOO_LARGE, 431, "invalid_request_error", false, NEUTRAL, "the request head is over the limit") \
    X(CANCELLED, 499, "invalid_request_error", false, NEUTRAL, "the client left")                            \
    X(POISON_REQUEST, 500, "server_error", false, NEUTRAL,                                                   \
      "the same request was the last that two workers did before they died")                                 \
    X(INTERNAL_ERROR, 500, "server_error", false, NEUTRAL,                                                   \
      "a defect or an exhausted resource of the controller")                                                 \
    X(ENGINE_ERROR, 500, "server_error", true, MODEL_FAILURE, "the engine failed while it ran the job")      \
    X(MODEL_LOAD_FAILED, 500, "server_error", true, NEUTRAL, "the worker could not load the model")          \
    X(PROTOCOL_ERROR, 502, "server_error", true, WORKER_FAILURE,                                             \
      "a message of the worker is malformed or out of order")                                                \
    X(ALL_RETRIES_EXHAUSTED, 502, "server_error", false, NEUTRAL, "every worker that was tried failed")      \
    X(NO_WORKERS_AVAILABLE, 503, "server_error", false, NEUTRAL, "no worker can take the request now")       \
    X(NO_HEALTHY_WORKERS, 503, "server_error", false, NEUTRAL,                                               \
      "all workers with the model are silent, offline or broken")                                            \
    X(CIRCUIT_BREAKER_OPEN, 503, "server_error", false, NEUTRAL,                                             \
      "all workers with the model have failed too often lately")                                             \
    X(WORKER_OVERLOADED, 503, "server_error", true, NEUTRAL,                                                 \
      "the worker has no room: its queue or its KV cache is full")                                           \
    X(RESOURCE_LIMIT_EXCEEDED, 503, "server_error", true, NEUTRAL,                                           \
      "the worker is short of memory, and takes no new jobs, or none of low priority")                       \
    X(WORKER_DRAINING, 503, "server_error", true, NEUTRAL,                                                   \
      "the worker is about to stop and takes no new work")                                                   \
    X(CONTROLLER_DRAINING, 503, "server_error", false, NEUTRAL, "the controller is about to stop")           \
    X(CONTROLLER_OVERLOADED, 503, "server_error", false, NEUTRAL,                                            \
      "the controller holds its maximum of requests")                                                        \
    X(MODEL_NOT_LOADED, 503, "server_error", true, NEUTRAL, "the worker does not have the model loaded")     \
    X(WORKER_UNAVAILABLE, 503, "server_error", true, NEUTRAL, "nobody answers at the worker's address")      \
    X(WORKER_OFFLINE, 503, "server_error", true, WORKER_FAILURE,                                             \
      "the worker died or fell silent while it had the job")                                                 \
    X(NATS_ERROR, 503, "server_error", true, NEUTRAL, "the controller's own link to NATS is down")           \
    X(WORKER_TIMEOUT, 504, "server_error", true, MODEL_FAILURE,                                              \
      "the worker did not take the job, or did not go on with it, in time")                                  \
    X(DEADLINE_EXCEEDED, 504, "server_error", false, NEUTRAL, "the request's total time is spent")           \
    X(CONFIG_INVALID, 500, "server_error", false, NEUTRAL, "the configuration is wrong")                     \
    X(START_FAILED, 500, "server_error", false, NEUTRAL, "a part of the process could not be started")

enum status {
#define X(name, http, type, retryable, outcome, text) STATUS_##name,
    STATUS_MAP(X)
#undef X
        STATUS_COUNT
};

/* All take any value of the enum; a value outside it is a defect and aborts. */
const char *status_name(enum status status);
int status_http(enum status status);
const char *status_api_type(enum status status);
const char *status_text(enum status status);
bool status_is_retryable(enum status status);
enum outcome status_outcome(enum status status);
bool status_is_failure(enum status status); /* of the worker or of the model there */

/* The status of that name, or `fallback` for a name that this version does not know. */
enum status status_from_name(const char *name, enum status fallback);
