/* Linear probing in a table whose size is a power of two. A removed entry becomes a tombstone only when
 * another entry follows it, so tables whose keys come and go do not fill with tombstones. Entries never move
 * except in `rebuild`, which only map_put calls: that is what makes map_take safe during a walk. */
#include "base/map.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { CAP_MIN = 16 };

struct map_entry {
    char *key; /* owned; NULL: free; `tombstone`: was removed */
    void *value;
    uint64_t hash;
};

static char tombstone[1];
static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void hash_key_make(void) {
    hash_key[0] = rng_u64();
    hash_key[1] = rng_u64();
}

static uint64_t rotate(uint64_t word, int bits) {
    return (word << bits) | (word >> (64 - bits));
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_absorb(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with 1 and 3 rounds). */
static uint64_t hash_of(const char *key) {
    pthread_once(&hash_key_once, hash_key_make);
    uint64_t v[4] = {
        hash_key[0] ^ UINT64_C(0x736f6d6570736575),
        hash_key[1] ^ UINT64_C(0x646f72616e646f6d),
        hash_key[0] ^ UINT64_C(0x6c7967656e657261),
        hash_key[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t len = strlen(key);
    uint64_t word;
    size_t at = 0;
    for (; len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, key + at, sizeof word);
        sip_absorb(v, word);
    }
    word = 0;
    memcpy(&word, key + at, len - at);
    sip_absorb(v, word | (uint64_t)len << 56);
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool is_live(const struct map_entry *entry) {
    return entry->key && entry->key != tombstone;
}

void map_init(struct map *map) {
    *map = (struct map){0};
}

void map_release(struct map *map) {
    if (!map)
        return;
    for (size_t i = 0; i < map->cap; i++) {
        if (is_live(&map->entries[i]))
            free(map->entries[i].key);
    }
    free(map->entries);
    map_init(map);
}

/* At least 30% of the table is free, so the probe always ends. */
static struct map_entry *entry_of(const struct map *map, const char *key, uint64_t hash) {
    if (map->count == 0)
        return NULL;
    for (size_t i = hash & (map->cap - 1); map->entries[i].key; i = (i + 1) & (map->cap - 1)) {
        struct map_entry *entry = &map->entries[i];
        if (entry->hash == hash && is_live(entry) && strcmp(entry->key, key) == 0)
            return entry;
    }
    return NULL;
}

void *map_find(const struct map *map, const char *key) {
    const struct map_entry *entry = map->count ? entry_of(map, key, hash_of(key)) : NULL;
    return entry ? entry->value : NULL;
}

/* For a key that is not in the table: reuses the first tombstone of its probe. */
static void insert(struct map *map, struct map_entry fresh) {
    size_t i = fresh.hash & (map->cap - 1);
    while (is_live(&map->entries[i]))
        i = (i + 1) & (map->cap - 1);
    if (!map->entries[i].key)
        map->used++;
    map->entries[i] = fresh;
    map->count++;
}

/* Into a table that the live entries fill by half at most; so it also shrinks. */
static bool rebuild(struct map *map) {
    struct map next = {.cap = CAP_MIN};
    while ((map->count + 1) * 2 > next.cap)
        next.cap *= 2;
    next.entries = calloc(next.cap, sizeof *next.entries);
    if (!next.entries)
        return false;
    for (size_t i = 0; i < map->cap; i++) {
        if (is_live(&map->entries[i]))
            insert(&next, map->entries[i]);
    }
    free(map->entries);
    *map = next;
    return true;
}

bool map_put(struct map *map, const char *key, void *value) {
    assert(value);
    uint64_t hash = hash_of(key);
    struct map_entry *entry = entry_of(map, key, hash);
    if (entry) {
        entry->value = value;
        return true;
    }
    char *copy = strdup(key);
    if (!copy)
        return false;
    if ((map->used + 1) * 10 > map->cap * 7 && !rebuild(map)) {
        free(copy);
        return false;
    }
    insert(map, (struct map_entry){.key = copy, .value = value, .hash = hash});
    return true;
}

/* Nothing follows a free entry in a probe, so tombstones right before it are needless too. */
static void free_backwards(struct map *map, size_t i) {
    do {
        map->entries[i] = (struct map_entry){0};
        map->used--;
        i = (i - 1) & (map->cap - 1);
    } while (map->entries[i].key == tombstone);
}

void *map_take(struct map *map, const char *key) {
    struct map_entry *entry = map->count ? entry_of(map, key, hash_of(key)) : NULL;
    if (!entry)
        return NULL;
    void *value = entry->value;
    free(entry->key);
    *entry = (struct map_entry){.key = tombstone};
    map->count--;
    size_t i = (size_t)(entry - map->entries);
    if (!map->entries[(i + 1) & (map->cap - 1)].key)
        free_backwards(map, i);
    return value;
}

bool map_next(const struct map *map, size_t *cursor, const char **key, void **value) {
    while (*cursor < map->cap) {
        const struct map_entry *entry = &map->entries[(*cursor)++];
        if (!is_live(entry))
            continue;
        if (key)
            *key = entry->key;
        *value = entry->value;
        return true;
    }
    return false;
}
