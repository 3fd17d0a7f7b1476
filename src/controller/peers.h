/* The other controllers of the cluster. None leads: each tells the others what they should know, and takes
 * over what they tell. Requests are never shared; what is are breakers (route/breaker_word.h), sessions
 * (route/session.h), and questions about a request that another one has.
 *
 * Every heartbeat interval a controller says that it is there, to workers too: they end the jobs of one that
 * has fallen silent. Then, if it has heard another one lately, it tells the breakers that are not CLOSED and
 * the sessions used since the last time. A breaker that changes is told at the end of the loop's tick. A lost
 * message is made good by the next one for breakers; a session is only a hint. On the loop thread. Not for
 * other folders. */
#pragma once

#include "controller/controller_internal.h"
#include "route/stamp.h"

enum {
    PEERS_MAX = 256,
    PEER_SESSION_MESSAGES_MAX = 32, /* in one heartbeat, and for one that has started: 16384 sessions */
    PEER_SESSION_ANSWERS = 2,       /* controllers that tell a new one all sessions */
};

struct peer {
    struct wire_controller info;
    int64_t heard_ms;
    int64_t asked_ms; /* when it asked for all sessions; 0: it has them */
};

struct peers_stats {
    uint64_t sent; /* messages about breakers and sessions */
    uint64_t received;
    uint64_t malformed;
    uint64_t breakers_adopted;
    uint64_t breakers_refused;  /* more than half of a model's workers would have been ejected */
    uint64_t sessions_delayed;  /* heartbeats in which not all sessions could be told */
    uint64_t sessions_left_out; /* not told to a controller that started: too many */
    uint64_t lookups;           /* calls for which the others were asked */
    uint64_t overflows;         /* controllers beyond PEERS_MAX that were not noted */
};

struct peers {
    char incarnation[INCARNATION_CHARS + 1];
    struct stamp_clock clock;
    struct peer list[PEERS_MAX];
    size_t count;
    struct loop_timer beat;
    struct loop_defer tell; /* the breakers that have changed */
    int64_t double_told_ms; /* when it was last logged that another one has the same id */
    struct peers_stats stats;
};

/* peers.c. Subscribes and says that this controller is there; to be called before the first job is sent. */
MUST_USE enum status peers_start(struct controller *controller);
/* Says that it leaves, and frees. Takes a controller without. */
void peers_stop(struct controller *controller);
/* This one could hear nobody until now: their silence counts from here; and it says that it is there. */
void peers_forgive(struct controller *controller);
int64_t peers_next_stamp(struct controller *controller);
/* Others that were heard of within the last heartbeats: how many may answer. */
size_t peers_fresh(const struct controller *controller);
/* `"controllers":[...]`, this one first. */
void peers_write(const struct controller *controller, struct buf *out);

/* sharing.c */
/* The breaker of this worker has changed here, or an operator has spoken. */
void peers_note_breaker(struct controller *controller, struct breaker *breaker, bool by_operator);
/* The session was bound or used just now. */
void peers_note_session(struct controller *controller, const char *id);
void sharing_tell_breakers(struct controller *controller, bool all_that_are_not_closed);
void sharing_tell_sessions(struct controller *controller);
/* What it asked for when it started. */
void sharing_tell_all_sessions(struct controller *controller, const char *controller_id);
void sharing_on_breakers(const struct transport_message *message, void *controller);
void sharing_on_sessions(const struct transport_message *message, void *controller);

/* lookup.c */
/* Answers with the record that another controller has of the request, or 404. */
void lookup_request(struct controller *controller, struct http_exchange *exchange, const char *id);
/* Forgets the session everywhere, and answers. */
void lookup_drop_session(struct controller *controller, struct http_exchange *exchange, const char *id);
void lookup_on_question(const struct transport_message *message, void *controller);

/* peer_metrics.c: `,"controllers":{...}`, and for Prometheus. */
void peers_write_metrics(struct buf *out, const struct controller *controller);
void peers_expose(struct buf *out, const struct controller *controller);
