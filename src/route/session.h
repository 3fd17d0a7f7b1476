/* Which worker a conversation went to last: its next turn finds the earlier ones in that worker's KV cache.
 *
 * A session is a hint: the router may take another worker at any time, and the session then moves there. It
 * lives for its time to live after the last use. The table holds a fixed number of sessions and forgets the
 * one used longest ago to make room; so a session that is gone costs a prefill, never a request.
 *
 * Several controllers share their sessions: each use gets a stamp (route/stamp.h), and of two words about a
 * session the one with the greater stamp counts, that it was dropped too. What is dropped is remembered for
 * the last few, so that a word from before, which comes late, does not bring it back.
 *
 * All memory is taken by session_table_init. Each call is O(1), session_purge_worker O(sessions purged).
 * Pure: time and the hash key are arguments; times must not go back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "base/siphash.h"
#include "proto/chat.h"
#include "proto/worker_info.h"

enum {
    SESSIONS_MAX = 1000000,  /* about 310 bytes each */
    SESSION_DROPS_KEPT = 64, /* words come late by seconds, and few sessions are dropped in that time */
};

struct session {
    char id[CHAT_SESSION_ID_MAX + 1];
    char worker_id[WORKER_ID_MAX + 1];
    uint64_t generation; /* of the worker's incarnation (route/registry.h) */
    int64_t used_ms;
    int64_t stamp; /* of the newest use that is shared; 0: none */
    bool untold;   /* in the queue of those whose use other controllers are still to be told */
    TAILQ_ENTRY(session) in_untold;
    TAILQ_ENTRY(session) by_use;
    LIST_ENTRY(session) in_bucket; /* of its id; the free list too */
    LIST_ENTRY(session) in_worker; /* bucket of its generation */
};
TAILQ_HEAD(session_queue, session);
LIST_HEAD(session_list, session);

/* `active` + expired + evicted + purged + dropped = created. */
struct session_stats {
    size_t active; /* held now; session_expire makes it exact */
    uint64_t created;
    uint64_t hits;
    uint64_t misses;
    uint64_t moved; /* bound to another worker or incarnation than before */
    uint64_t expired;
    uint64_t evicted; /* before their time, to make room */
    uint64_t purged;  /* with their worker */
    uint64_t dropped; /* by the client */
    uint64_t adopted; /* words of other controllers that were taken over */
};

struct session_config {
    int64_t ttl_ms; /* > 0 */
    size_t max;     /* 1..SESSIONS_MAX */
};

/* What one controller tells another about a session; nothing is owned. */
struct session_word {
    const char *id;
    const char *worker_id;
    uint64_t generation; /* as numbered here */
    int64_t used_ms;
    int64_t stamp;
};

struct session_drop {
    uint64_t id_hash; /* of the id */
    int64_t stamp;    /* 0: free */
};

struct session_table {
    struct session_config config;
    struct siphash_key key;
    struct session *slots; /* owned; `max`, the first `slots_used` of which were ever used */
    size_t slots_used;
    struct session_list free;
    struct session_list *by_id;         /* owned; `buckets` */
    struct session_list *by_generation; /* owned; `buckets` */
    size_t buckets;                     /* a power of two */
    struct session_queue by_use;        /* the one used longest ago first: in order of expiry, too */
    struct session_queue untold;        /* in the order of their uses */
    struct session_drop drops[SESSION_DROPS_KEPT];
    size_t next_drop;
    struct session_stats stats;
};

/* 1 to CHAT_SESSION_ID_MAX characters of [A-Za-z0-9_.:-]; false for NULL. */
bool session_id_is_valid(const char *id);

/* false when memory is out; the table is then released. Its sessions point into it: it must not move. */
MUST_USE bool session_table_init(struct session_table *table, const struct session_config *config,
                                 const struct siphash_key *key);
/* Leaves the struct zeroed; takes NULL and zeroed structs. */
void session_table_release(struct session_table *table);

/* The session, whose time to live begins again, or NULL. Valid until the next call with this table. Counts a
 * hit or a miss: call it once for a request. */
const struct session *session_find(struct session_table *table, const char *id, int64_t now_ms);
/* The session belongs to this worker from now on; creates, renews or moves it. Does nothing when the id is
 * not valid. `worker_id` has at most WORKER_ID_MAX bytes and is not the table's own. */
void session_bind(struct session_table *table, const char *id, const char *worker_id, uint64_t generation,
                  int64_t now_ms);
/* The client is done with it; uses up to `stamp`, and up to the newest that is known here, are forgotten:
 * they do not bring it back. false when there was none. */
bool session_drop(struct session_table *table, const char *id, int64_t stamp, int64_t now_ms);

/* It was used here just now; does nothing when it is not in the table. */
void session_stamp(struct session_table *table, const char *id, int64_t stamp, int64_t now_ms);
/* Takes the next one whose use is still to be told out of their queue; NULL: there is none. Valid until the
 * next call with this table. */
const struct session *session_take_untold(struct session_table *table);
/* Another controller's word. false when what is known here is newer, or the id is not valid. `worker_id` as
 * for session_bind. O(sessions used here since then). */
bool session_adopt(struct session_table *table, const struct session_word *word, int64_t now_ms);

/* This incarnation is gone and its cache with it. Returns how many sessions it had. */
size_t session_purge_worker(struct session_table *table, uint64_t generation);
/* Time has passed: removes what has expired. Only makes room and counts exact; find never returns an expired
 * session. */
void session_expire(struct session_table *table, int64_t now_ms);
