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
    TAILQ_INIT(&table->untold);
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

static uint64_t hash_of_id(const struct session_table *table, const char *id) {
    return siphash(&table->key, id, strlen(id));
}

static struct session_list *bucket_of_id(struct session_table *table, const char *id) {
    return &table->by_id[hash_of_id(table, id) & (table->buckets - 1)];
}

/* Generations are given out one by one: no client chooses them, and neighbours fall into different buckets.
 */
static struct session_list *bucket_of_generation(struct session_table *table, uint64_t generation) {
    return &table->by_generation[generation & (table->buckets - 1)];
}

static bool has_expired(const struct session_table *table, const struct session *session, int64_t now_ms) {
    return now_ms - session->used_ms >= table->config.ttl_ms;
}

static void forget_untold(struct session_table *table, struct session *session) {
    if (session->untold)
        TAILQ_REMOVE(&table->untold, session, in_untold);
    session->untold = false;
}

/* Each removal is counted by the reason that the caller gives. */
static void remove_session(struct session_table *table, struct session *session, uint64_t *reason) {
    forget_untold(table, session);
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

/* Into its place by the time of its use, which is most often the last one. */
static void enqueue(struct session_table *table, struct session *session, int64_t used_ms) {
    struct session *before = TAILQ_LAST(&table->by_use, session_queue);
    while (before && before->used_ms > used_ms)
        before = TAILQ_PREV(before, session_queue, by_use);
    session->used_ms = used_ms;
    if (before)
        TAILQ_INSERT_AFTER(&table->by_use, before, session, by_use);
    else
        TAILQ_INSERT_HEAD(&table->by_use, session, by_use);
}

static void renew(struct session_table *table, struct session *session, int64_t used_ms) {
    TAILQ_REMOVE(&table->by_use, session, by_use);
    enqueue(table, session, used_ms);
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

static struct session *create(struct session_table *table, const char *id, const char *worker_id,
                              uint64_t generation, int64_t used_ms, int64_t now_ms) {
    struct session *session = take_slot(table, now_ms);
    memcpy(session->id, id, strlen(id) + 1);
    session->stamp = 0;
    session->untold = false;
    attach(table, session, worker_id, generation);
    LIST_INSERT_HEAD(bucket_of_id(table, id), session, in_bucket);
    enqueue(table, session, used_ms);
    table->stats.active++;
    table->stats.created++;
    return session;
}

static struct session *bind_session(struct session_table *table, const char *id, const char *worker_id,
                                    uint64_t generation, int64_t used_ms, int64_t now_ms) {
    struct session *session = look_up(table, id, now_ms);
    if (!session)
        return create(table, id, worker_id, generation, used_ms, now_ms);
    renew(table, session, used_ms > session->used_ms ? used_ms : session->used_ms);
    if (session->generation == generation) /* unique over all workers */
        return session;
    LIST_REMOVE(session, in_worker);
    attach(table, session, worker_id, generation);
    table->stats.moved++;
    return session;
}

void session_bind(struct session_table *table, const char *id, const char *worker_id, uint64_t generation,
                  int64_t now_ms) {
    if (session_id_is_valid(id))
        bind_session(table, id, worker_id, generation, now_ms, now_ms);
}

static struct session_drop *find_drop(struct session_table *table, uint64_t id_hash) {
    for (size_t i = 0; i < SESSION_DROPS_KEPT; i++)
        if (table->drops[i].stamp > 0 && table->drops[i].id_hash == id_hash)
            return &table->drops[i];
    return NULL;
}

static void remember_drop(struct session_table *table, const char *id, int64_t stamp) {
    uint64_t id_hash = hash_of_id(table, id);
    struct session_drop *drop = find_drop(table, id_hash);
    if (!drop) {
        drop = &table->drops[table->next_drop];
        table->next_drop = (table->next_drop + 1) % SESSION_DROPS_KEPT;
        *drop = (struct session_drop){.id_hash = id_hash};
    }
    if (stamp > drop->stamp)
        drop->stamp = stamp;
}

bool session_drop(struct session_table *table, const char *id, int64_t stamp, int64_t now_ms) {
    if (!session_id_is_valid(id))
        return false;
    struct session *session = look_up(table, id, now_ms);
    remember_drop(table, id, session && session->stamp > stamp ? session->stamp : stamp);
    if (session)
        remove_session(table, session, &table->stats.dropped);
    return session;
}

void session_stamp(struct session_table *table, const char *id, int64_t stamp, int64_t now_ms) {
    struct session *session = look_up(table, id, now_ms);
    if (!session)
        return;
    forget_untold(table, session);
    session->stamp = stamp;
    session->untold = true;
    TAILQ_INSERT_TAIL(&table->untold, session, in_untold);
}

const struct session *session_take_untold(struct session_table *table) {
    struct session *session = TAILQ_FIRST(&table->untold);
    if (session)
        forget_untold(table, session);
    return session;
}

bool session_adopt(struct session_table *table, const struct session_word *word, int64_t now_ms) {
    struct session *session = look_up(table, word->id, now_ms);
    if (!session_id_is_valid(word->id) || (session && session->stamp >= word->stamp) ||
        now_ms - word->used_ms >= table->config.ttl_ms)
        return false;
    const struct session_drop *drop = find_drop(table, hash_of_id(table, word->id));
    if (drop && drop->stamp >= word->stamp)
        return false;
    session = bind_session(table, word->id, word->worker_id, word->generation, word->used_ms, now_ms);
    forget_untold(table, session);
    session->stamp = word->stamp;
    table->stats.adopted++;
    return true;
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
