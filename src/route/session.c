#include "route/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool is_id_char(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == ':' || c == '-';
}

bool session_id_is_valid(const char *id) {
    if (!id)
        return false;
    size_t len = 0;
    while (len < CHAT_SESSION_ID_MAX && is_id_char(id[len]))
        len++;
    return len > 0 && id[len] == '\0';
}

/* At least as many as sessions, so that a bucket holds one on average. */
static size_t buckets_for(size_t max) {
    size_t buckets = 1;
    while (buckets < max)
        buckets *= 2;
    return buckets;
}

bool session_table_init(struct session_table *table, const struct session_config *config,
                        const struct siphash_key *key) {
    assert(config->ttl_ms > 0 && config->max >= 1 && config->max <= SESSIONS_MAX);
    *table = (struct session_table){.config = *config, .key = *key, .buckets = buckets_for(config->max)};
    TAILQ_INIT(&table->by_use);
    table->slots = calloc(config->max, sizeof(*table->slots));
    table->by_id = calloc(table->buckets, sizeof(*table->by_id));
    table->by_generation = calloc(table->buckets, sizeof(*table->by_generation));
    if (table->slots && table->by_id && table->by_generation)
        return true;
    session_table_release(table);
    return false;
}

void session_table_release(struct session_table *table) {
    if (!table)
        return;
    free(table->slots);
    free(table->by_id);
    free(table->by_generation);
    *table = (struct session_table){0};
}

static struct session_list *bucket_of_id(struct session_table *table, const char *id) {
    return &table->by_id[siphash(&table->key, id, strlen(id)) & (table->buckets - 1)];
}

/* Generations are given out one by one: no client chooses them, and neighbours fall into different buckets.
 */
static struct session_list *bucket_of_generation(struct session_table *table, uint64_t generation) {
    return &table->by_generation[generation & (table->buckets - 1)];
}

static bool has_expired(const struct session_table *table, const struct session *session, int64_t now_ms) {
    return now_ms - session->used_ms >= table->config.ttl_ms;
}

/* Each removal is counted by the reason that the caller gives. */
static void remove_session(struct session_table *table, struct session *session, uint64_t *reason) {
    TAILQ_REMOVE(&table->by_use, session, by_use);
    LIST_REMOVE(session, in_bucket);
    LIST_REMOVE(session, in_worker);
    LIST_INSERT_HEAD(&table->free, session, in_bucket);
    table->stats.active--;
    (*reason)++;
}

/* The one that is alive; an expired one is removed. */
static struct session *look_up(struct session_table *table, const char *id, int64_t now_ms) {
    if (!session_id_is_valid(id))
        return NULL;
    struct session *session;
    LIST_FOREACH(session, bucket_of_id(table, id), in_bucket) {
        if (strcmp(session->id, id) == 0)
            break;
    }
    if (session && has_expired(table, session, now_ms)) {
        remove_session(table, session, &table->stats.expired);
        return NULL;
    }
    return session;
}

static void renew(struct session_table *table, struct session *session, int64_t now_ms) {
    session->used_ms = now_ms;
    TAILQ_REMOVE(&table->by_use, session, by_use);
    TAILQ_INSERT_TAIL(&table->by_use, session, by_use);
}

const struct session *session_find(struct session_table *table, const char *id, int64_t now_ms) {
    struct session *session = look_up(table, id, now_ms);
    if (!session) {
        table->stats.misses++;
        return NULL;
    }
    table->stats.hits++;
    renew(table, session, now_ms);
    return session;
}

static struct session *take_slot(struct session_table *table, int64_t now_ms) {
    if (table->stats.active == table->config.max) {
        struct session *oldest = TAILQ_FIRST(&table->by_use);
        remove_session(table, oldest,
                       has_expired(table, oldest, now_ms) ? &table->stats.expired : &table->stats.evicted);
    }
    struct session *session = LIST_FIRST(&table->free);
    if (session)
        LIST_REMOVE(session, in_bucket);
    else
        session = &table->slots[table->slots_used++];
    return session;
}

static void attach(struct session_table *table, struct session *session, const char *worker_id,
                   uint64_t generation) {
    assert(strlen(worker_id) <= WORKER_ID_MAX);
    memcpy(session->worker_id, worker_id, strlen(worker_id) + 1);
    session->generation = generation;
    LIST_INSERT_HEAD(bucket_of_generation(table, generation), session, in_worker);
}

static void create(struct session_table *table, const char *id, const char *worker_id, uint64_t generation,
                   int64_t now_ms) {
    struct session *session = take_slot(table, now_ms);
    memcpy(session->id, id, strlen(id) + 1);
    session->used_ms = now_ms;
    attach(table, session, worker_id, generation);
    LIST_INSERT_HEAD(bucket_of_id(table, id), session, in_bucket);
    TAILQ_INSERT_TAIL(&table->by_use, session, by_use);
    table->stats.active++;
    table->stats.created++;
}

void session_bind(struct session_table *table, const char *id, const char *worker_id, uint64_t generation,
                  int64_t now_ms) {
    if (!session_id_is_valid(id))
        return;
    struct session *session = look_up(table, id, now_ms);
    if (!session) {
        create(table, id, worker_id, generation, now_ms);
        return;
    }
    renew(table, session, now_ms);
    if (session->generation == generation) /* unique over all workers */
        return;
    LIST_REMOVE(session, in_worker);
    attach(table, session, worker_id, generation);
    table->stats.moved++;
}

bool session_drop(struct session_table *table, const char *id, int64_t now_ms) {
    struct session *session = look_up(table, id, now_ms);
    if (session)
        remove_session(table, session, &table->stats.dropped);
    return session;
}

size_t session_purge_worker(struct session_table *table, uint64_t generation) {
    size_t purged = 0;
    struct session *session = LIST_FIRST(bucket_of_generation(table, generation));
    while (session) {
        struct session *next = LIST_NEXT(session, in_worker);
        if (session->generation == generation) {
            remove_session(table, session, &table->stats.purged);
            purged++;
        }
        session = next;
    }
    return purged;
}

void session_expire(struct session_table *table, int64_t now_ms) {
    struct session *oldest;
    while ((oldest = TAILQ_FIRST(&table->by_use)) && has_expired(table, oldest, now_ms))
        remove_session(table, oldest, &table->stats.expired);
}
