#include "route/poison.h"

#include <string.h>

void poison_init(struct poison *poison, const struct siphash_key *key) {
    *poison = (struct poison){.key = *key};
}

/* The model's hash becomes part of the key for the messages: no text that is moved from the one to the other
 * gives the same pair. */
static uint64_t hash_of(const struct poison *poison, const char *model, const char *messages_json) {
    struct siphash_key key = poison->key;
    key.words[0] ^= siphash(&poison->key, model, strlen(model));
    return siphash(&key, messages_json, strlen(messages_json));
}

static void remove_entries(struct poison *poison, size_t at, size_t count) {
    poison->count -= count;
    memmove(&poison->entries[at], &poison->entries[at + count],
            (poison->count - at) * sizeof(poison->entries[0]));
}

static void expire(struct poison *poison, int64_t now_ms) {
    size_t gone = 0;
    while (gone < poison->count && now_ms - poison->entries[gone].added_ms >= POISON_TTL_MS)
        gone++;
    if (gone > 0)
        remove_entries(poison, 0, gone);
}

/* `count` when it is not there. */
static size_t index_of(const struct poison *poison, uint64_t hash) {
    size_t i = 0;
    while (i < poison->count && poison->entries[i].hash != hash)
        i++;
    return i;
}

void poison_add(struct poison *poison, const char *model, const char *messages_json, int64_t now_ms) {
    expire(poison, now_ms);
    uint64_t hash = hash_of(poison, model, messages_json);
    size_t at = index_of(poison, hash);
    if (at < poison->count) {
        remove_entries(poison, at, 1);
    } else if (poison->count == POISON_MAX) {
        remove_entries(poison, 0, 1);
        poison->evicted++;
    }
    poison->entries[poison->count++] = (struct poison_entry){.hash = hash, .added_ms = now_ms};
    poison->added++;
}

bool poison_has(struct poison *poison, const char *model, const char *messages_json, int64_t now_ms) {
    expire(poison, now_ms);
    if (poison->count == 0)
        return false;
    if (index_of(poison, hash_of(poison, model, messages_json)) == poison->count)
        return false;
    poison->denied++;
    return true;
}
