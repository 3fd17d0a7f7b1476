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
#include "base/siphash.h"

enum { CAP_MIN = 16 };

struct map_entry {
    char *key; /* owned; NULL: free; `tombstone`: was removed */
    void *value;
    uint64_t hash;
};

static char tombstone[1];
static struct siphash_key hash_key;
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void hash_key_make(void) {
    hash_key.words[0] = rng_u64();
    hash_key.words[1] = rng_u64();
}

static uint64_t hash_of(const char *key) {
    pthread_once(&hash_key_once, hash_key_make);
    return siphash(&hash_key, key, strlen(key));
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
