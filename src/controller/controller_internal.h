/* What the files of this folder share: the controller itself. Not for other folders. */
#pragma once

#include "base/map.h"
#include "net/http.h"
#include "proto/wire.h"
#include "route/balancer.h"
#include "route/drain_rate.h"
#include "route/expected.h"
#include "route/poison.h"
#include "route/registry.h"
#include "route/retry.h"
#include "route/retry_budget.h"
#include "route/router.h"
#include "route/session.h"
#include "route/waiting.h"

#include "controller/controller.h"
#include "controller/latency.h"
#include "controller/link_watch.h"
#include "controller/records.h"
#include "controller/request.h"

struct controller_stats {
    uint64_t requests_total;
    uint64_t requests_ended[REQUEST_END_COUNT];
    uint64_t errors[STATUS_COUNT];       /* requests that ended so */
    uint64_t failed_tries[STATUS_COUNT]; /* tries that ended so */
    uint64_t timeouts[TIMEOUT_COUNT];
    uint64_t retries;
    uint64_t migrations;
    uint64_t stale_events; /* of an older attempt, another incarnation or an unknown request */
    uint64_t gaps;         /* tokens missing in a stream */
    uint64_t malformed_messages;
    uint64_t impossible_events;
    uint64_t pauses;      /* times that this process did not run for longer than a tick */
    uint64_t probes_sent; /* jobs of our own */
    uint64_t probes_passed;
    uint64_t probes_failed; /* the others told nothing */
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    struct latency waiting;     /* in the waiting room, of each request that had to */
    struct latency queue;       /* of each try, from the job's sending until it had its slot */
    struct latency first_token; /* from the request's arrival */
    struct latency inter_token; /* the mean of each request */
    struct latency total;
};

struct probe;
TAILQ_HEAD(probe_list, probe);
struct peers;
struct query;
TAILQ_HEAD(query_list, query);

/* A walk over the active requests in which any of them may end: failing one request's try can put another one
 * out of the waiting room. Each that is there from the beginning to its turn is visited once. */
struct request_walk {
    struct request *next;
    struct request_walk *outer;
};

struct controller {
    struct controller_env env;
    const struct config *config;
    struct loop *loop;
    struct transport *transport;
    struct http_server *http;
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    int64_t started_ms;
    int64_t started_wall_ms;

    struct registry registry;
    struct balancer balancer;
    struct router router;
    struct retry_config retry;
    struct retry_budget retry_budget;
    struct session_table sessions;
    struct poison poison;
    struct expected expected;
    struct waiting_room room;
    struct loop_defer call; /* see room.h */
    struct drain_rate drain_rate;
    struct rng rng;
    struct link_watch link;
    struct loop_timer tick_timer;
    int64_t tick_due_ms;

    struct request_list active;
    struct request_walk *walks; /* over it, the innermost first */
    struct request_list ended;
    struct map by_id; /* active requests */
    size_t active_count;
    struct loop_defer reap;
    struct buf scratch; /* for one message or chunk at a time */

    struct probe_list probes; /* see probe.h */
    size_t probe_count;
    struct query_list queries;
    uint64_t tickets;
    struct peers *peers; /* owned */

    bool draining;
    int64_t drain_end_ms; /* the limit */
    struct loop_timer drain_timer;
    void (*on_drained)(void *arg);
    void *on_drained_arg;

    struct controller_stats stats;
    struct records records; /* of ended requests */
};

/* api.c */
void controller_handle_http(struct http_exchange *exchange, void *arg);
/* Answers with the error in OpenAI's shape and its HTTP status; with the shortest Retry-After when that is
 * 503.
 */
void controller_reply_error(struct http_exchange *exchange, const struct error *error);
/* The same with a context (a JSON object; NULL: none), and when to come back (0: nothing is said of it). */
void controller_reply_error_with(struct http_exchange *exchange, const struct error *error,
                                 const struct buf *context, int64_t retry_after_ms);
/* Releases the body. */
void controller_reply_json(struct http_exchange *exchange, int status, struct buf *body);
/* `what` is like "the worker". */
void controller_reply_not_found(struct http_exchange *exchange, enum status status, const char *what,
                                const char *id);
/* The client's own id for its call (X-Request-Id), NULL when it sent none or no valid one. */
const char *controller_client_id(const struct http_exchange *exchange);
void controller_http_error_body(const struct error *error, struct buf *out);

/* cluster_api.c: GET /health, /v1/models and /api/cluster/... */
void cluster_api_health(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_ready(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_models(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_model(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_status(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_workers(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_tell(struct controller *controller, struct http_exchange *exchange, const char *rest);
void cluster_api_worker(struct controller *controller, struct http_exchange *exchange, const char *rest);
/* link.c: the link to NATS */
void controller_start_link(struct controller *controller);
/* It is up and not silent: a worker that is not heard now is silent itself. */
bool controller_hears(const struct controller *controller);
/* Nothing that workers sent since then was lost or held up on our side. */
bool controller_heard_since(const struct controller *controller, int64_t since_ms);
void controller_on_link(bool up, void *arg);
void controller_on_echo(struct controller *controller, int64_t sent_ms);
/* With every tick. */
void controller_watch_link(struct controller *controller);

/* inbox.c: what comes over NATS */
MUST_USE enum status controller_subscribe(struct controller *controller);
void controller_discover(struct controller *controller);
/* One that cannot be read: counted and logged. */
void controller_note_malformed(struct controller *controller, const char *subject, const struct error *error);
void controller_tick(void *arg);
/* The worker of this lease does not answer: no new work until its next heartbeat, and others take what it
 * has. */
void controller_suspect(struct controller *controller, const struct lease *lease);

/* The worker of this lease refused a job because it is full: it gets nothing until about its next heartbeat.
 */
void controller_note_busy(struct controller *controller, const struct lease *lease);
/* It refused a job of that priority because it is short of memory: no more of those until its next heartbeat.
 */
void controller_note_short_of_memory(struct controller *controller, const struct lease *lease,
                                     enum chat_priority priority);

/* controller.c: `walk` is the caller's until controller_walk_next has returned NULL. */
void controller_walk_begin(struct controller *controller, struct request_walk *walk);
struct request *controller_walk_next(struct controller *controller, struct request_walk *walk);
/* A request is over; it is freed at the end of the tick. */
void controller_request_ended(struct controller *controller, struct request *request);
