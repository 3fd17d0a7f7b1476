/* Which workers hold the KV cache of which beginnings of prompts, by the hashes of proto/chat.h. (Two texts
 * with one hash only send a request to a worker that has to compute more than was hoped.) For each block the
 * index keeps its holders. No text is kept, only hashes.
 *
 * A worker tells which blocks it holds and when it holds one no more. Before it has told of a block, one that
 * was sent to it counts as held, until the worker was sent more new blocks since than its cache takes.
 * Nothing holds beyond the end of its process.
 *
 * Bounded: past max_bytes the block that was not used for longest is forgotten. Pure; `seat` and `generation`
 * are those of the registry. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "route/registry.h"

struct prefix_holder {
    uint32_t generation; /* its low bits */
    uint32_t stamp;      /* the seat's clock when it was sent there last */
    uint16_t seat;
    bool told; /* by the worker itself */
};

struct prefix_block {
    TAILQ_ENTRY(prefix_block) link; /* by last use */
    struct prefix_block *next;      /* in its bucket */
    uint64_t hash;
    struct prefix_holder *holders; /* owned, unless it is `first` */
    struct prefix_holder first;    /* most blocks have one holder */
    uint16_t count;                /* one for each seat at most */
    uint16_t cap;
};
TAILQ_HEAD(prefix_block_list, prefix_block);

struct prefix_seat {
    uint32_t generation;
    uint32_t clock; /* blocks sent that were new to it */
};

struct prefix_index {
    uint64_t seed; /* of the buckets, so that clients cannot choose what falls into one */
    size_t max_bytes;
    size_t bytes;                    /* of blocks, holders and buckets */
    size_t count;                    /* blocks */
    struct prefix_block **buckets;   /* owned */
    size_t bucket_count;             /* a power of two */
    struct prefix_block_list by_use; /* owned; the latest first */
    struct prefix_seat seats[REGISTRY_WORKERS_MAX];
};

/* The part of a request that is looked up. */
struct prefix_text {
    const char *model;
    const char *bytes;
    size_t len;
};

/* false when memory is out. */
MUST_USE bool prefix_index_init(struct prefix_index *index, size_t max_bytes, uint64_t seed);
void prefix_index_release(struct prefix_index *index);

/* The known blocks of the text from its beginning on, into `found`; returns how many. They stay valid until
 * the next prefix_index_add. */
size_t prefix_index_match(const struct prefix_index *index, const struct prefix_text *text,
                          const struct prefix_block *found[PREFIX_BLOCKS_MAX]);
/* The text was sent to this worker. When memory is out the rest of it is not noted. */
void prefix_index_add(struct prefix_index *index, const struct prefix_text *text,
                      const struct worker_gauge *worker);
/* The worker tells that it holds these blocks, or no more. */
void prefix_index_told(struct prefix_index *index, const struct prefix_news *news,
                       const struct worker_gauge *worker);
/* Whether the worker still has what makes it a holder, going by what it told, or else by what was sent
 * to it since. */
bool prefix_holder_is_fresh(const struct prefix_index *index, const struct prefix_holder *holder,
                            const struct worker_gauge *worker);
