/* A hash table from strings to pointers (open addressing, keyed hash so that a client cannot choose
 * collisions). Keys are copied; values belong to the caller. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct map_entry;

struct map {
    struct map_entry *entries; /* owned */
    size_t cap;
    size_t count; /* keys held */
    size_t used;  /* entries that are not free, tombstones too */
};

void map_init(struct map *map);
/* Frees the table and its keys, not the values. Leaves the struct zeroed; takes NULL. */
void map_release(struct map *map);

void *map_find(const struct map *map, const char *key);
/* Adds or replaces. false only when memory is out; then nothing changed. `value` must not be NULL. */
MUST_USE bool map_put(struct map *map, const char *key, void *value);
/* Removes the key and returns its value, NULL when there was none. */
void *map_take(struct map *map, const char *key);

/* Walks all entries: start with *cursor = 0, ends with false. During a walk only map_take of the key just
 * returned is allowed. `key` may be NULL; it stays owned by the map. */
bool map_next(const struct map *map, size_t *cursor, const char **key, void **value);
