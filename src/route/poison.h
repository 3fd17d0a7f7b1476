/* The requests that killed workers: one that a client sends again must not take down two more.
 *
 * A request is remembered by a keyed hash of its model and messages, for ten minutes; other settings and the
 * session do not make it another one. Nobody who does not know the key can make an innocent request look like
 * a remembered one. The list is bounded: the oldest entry gives way.
 *
 * While the list is empty, which is nearly always, asking costs nothing; else it costs one pass over the
 * messages. No memory is allocated. Pure: time and key are arguments; times must not go back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"

enum {
    POISON_MAX = 1024,
    POISON_TTL_MS = 10 * 60 * 1000,
};

struct poison_entry {
    uint64_t hash;
    int64_t added_ms;
};

struct poison {
    struct siphash_key key;
    struct poison_entry entries[POISON_MAX]; /* the oldest first */
    size_t count;
    uint64_t added;
    uint64_t denied;
    uint64_t evicted; /* before their time, to make room */
};

void poison_init(struct poison *poison, const struct siphash_key *key);
/* The request took RETRY_WORKER_DEATHS_MAX workers with it. One that is listed already stays for another full
 * time. */
void poison_add(struct poison *poison, const char *model, const char *messages_json, int64_t now_ms);
/* Is it listed? Counts a denial when so: call it once for a request. */
bool poison_has(struct poison *poison, const char *model, const char *messages_json, int64_t now_ms);
