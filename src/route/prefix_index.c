#include "route/prefix_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "proto/chat.h"

enum {
    BUCKETS_MIN = 1024,
    BYTES_PER_TOKEN = 3, /* of JSON, about */
};

bool prefix_index_init(struct prefix_index *index, size_t max_bytes, uint64_t seed) {
    *index = (struct prefix_index){.seed = seed, .max_bytes = max_bytes, .bucket_count = BUCKETS_MIN};
    TAILQ_INIT(&index->by_use);
    index->buckets = calloc(index->bucket_count, sizeof(*index->buckets));
    index->bytes = index->bucket_count * sizeof(*index->buckets);
    return index->buckets != NULL;
}

static size_t bytes_of(const struct prefix_block *block) {
    return sizeof(*block) + (block->cap > 1 ? block->cap * sizeof(*block->holders) : 0);
}

static void free_block(struct prefix_block *block) {
    if (block->cap > 1)
        free(block->holders);
    free(block);
}

void prefix_index_release(struct prefix_index *index) {
    struct prefix_block *block;
    while ((block = TAILQ_FIRST(&index->by_use))) {
        TAILQ_REMOVE(&index->by_use, block, link);
        free_block(block);
    }
    free(index->buckets);
    *index = (struct prefix_index){0};
}

/* The table. */

static struct prefix_block **bucket_of(const struct prefix_index *index, uint64_t hash) {
    return &index->buckets[rng_mix(index->seed, hash) & (index->bucket_count - 1)];
}

static struct prefix_block *find(const struct prefix_index *index, uint64_t hash) {
    struct prefix_block *block = *bucket_of(index, hash);
    while (block && block->hash != hash)
        block = block->next;
    return block;
}

static void forget(struct prefix_index *index, struct prefix_block *block) {
    struct prefix_block **at = bucket_of(index, block->hash);
    while (*at != block)
        at = &(*at)->next;
    *at = block->next;
    TAILQ_REMOVE(&index->by_use, block, link);
    index->bytes -= bytes_of(block);
    index->count--;
    free_block(block);
}

/* Makes room by forgetting what was not used for longest, except `keep`. */
static bool make_room(struct prefix_index *index, size_t bytes, const struct prefix_block *keep) {
    struct prefix_block *last = TAILQ_LAST(&index->by_use, prefix_block_list);
    while (index->bytes + bytes > index->max_bytes) {
        if (!last || last == keep)
            return false;
        struct prefix_block *before = TAILQ_PREV(last, prefix_block_list, link);
        forget(index, last);
        last = before;
    }
    return true;
}

/* Twice the buckets, as long as they take up a small part of the room; if not, chains get longer. */
static void grow_buckets(struct prefix_index *index) {
    size_t count = index->bucket_count * 2;
    size_t more = index->bucket_count * sizeof(*index->buckets);
    if (index->count < index->bucket_count || more > index->max_bytes / 8)
        return;
    struct prefix_block **buckets = calloc(count, sizeof(*buckets));
    if (!buckets)
        return;
    free(index->buckets);
    index->buckets = buckets;
    index->bucket_count = count;
    index->bytes += more;
    struct prefix_block *block;
    TAILQ_FOREACH(block, &index->by_use, link) {
        struct prefix_block **bucket = bucket_of(index, block->hash);
        block->next = *bucket;
        *bucket = block;
    }
}

static struct prefix_block *make(struct prefix_index *index, uint64_t hash) {
    grow_buckets(index);
    struct prefix_block *block = make_room(index, sizeof(*block), NULL) ? calloc(1, sizeof(*block)) : NULL;
    if (!block)
        return NULL;
    block->hash = hash;
    block->holders = &block->first;
    block->cap = 1;
    struct prefix_block **bucket = bucket_of(index, hash);
    block->next = *bucket;
    *bucket = block;
    TAILQ_INSERT_HEAD(&index->by_use, block, link);
    index->bytes += bytes_of(block);
    index->count++;
    return block;
}

/* Holders. */

static bool grow_holders(struct prefix_index *index, struct prefix_block *block) {
    uint16_t cap = (uint16_t)(block->cap == 1 ? 4 : block->cap * 2);
    assert(cap > block->cap); /* there are far fewer seats than that */
    size_t more = cap * sizeof(*block->holders) - (bytes_of(block) - sizeof(*block));
    struct prefix_holder *holders = make_room(index, more, block) ? malloc(cap * sizeof(*holders)) : NULL;
    if (!holders)
        return false;
    memcpy(holders, block->holders, block->count * sizeof(*holders));
    if (block->cap > 1)
        free(block->holders);
    block->holders = holders;
    block->cap = cap;
    index->bytes += more;
    return true;
}

/* The seat's holder, with whoever had the seat before; NULL when there is none. */
static struct prefix_holder *find_holder(const struct prefix_block *block, uint16_t seat) {
    for (size_t i = 0; i < block->count; i++)
        if (block->holders[i].seat == seat)
            return &block->holders[i];
    return NULL;
}

static void hold(struct prefix_index *index, struct prefix_block *block, const struct worker_gauge *worker,
                 bool told) {
    struct prefix_seat *seat = &index->seats[worker->seat];
    struct prefix_holder *holder = find_holder(block, worker->seat);
    bool has_it = holder && prefix_holder_is_fresh(index, holder, worker);
    if (!holder && block->count == block->cap && !grow_holders(index, block))
        return;
    if (!holder)
        holder = &block->holders[block->count++];
    seat->clock += !has_it && !told;
    *holder = (struct prefix_holder){.generation = (uint32_t)worker->generation,
                                     .stamp = seat->clock,
                                     .seat = worker->seat,
                                     .told = told || (has_it && holder->told)};
}

bool prefix_holder_is_fresh(const struct prefix_index *index, const struct prefix_holder *holder,
                            const struct worker_gauge *worker) {
    const struct prefix_seat *seat = &index->seats[worker->seat];
    if (holder->generation != (uint32_t)worker->generation || seat->generation != holder->generation)
        return false;
    int64_t cells = worker->kv_cells; /* 0: unknown */
    return holder->told || cells <= 0 ||
           seat->clock - holder->stamp <= cells * BYTES_PER_TOKEN / PREFIX_BLOCK_BYTES;
}

size_t prefix_index_match(const struct prefix_index *index, const struct prefix_text *text,
                          const struct prefix_block *found[PREFIX_BLOCKS_MAX]) {
    uint64_t hash = prefix_start(text->model);
    size_t count = prefix_count(text->len);
    for (size_t i = 0; i < count; i++) {
        hash = prefix_next(hash, text->bytes + i * PREFIX_BLOCK_BYTES);
        found[i] = find(index, hash);
        if (!found[i])
            return i;
    }
    return count;
}

static void start_seat(struct prefix_index *index, const struct worker_gauge *worker) {
    struct prefix_seat *seat = &index->seats[worker->seat];
    if (seat->generation != (uint32_t)worker->generation)
        *seat = (struct prefix_seat){.generation = (uint32_t)worker->generation};
}

/* From the end to the beginning: so the beginning is always used later and forgotten later than what follows
 * it, and a known block has known ones before it. */
static void hold_all(struct prefix_index *index, const uint64_t *hashes, size_t count,
                     const struct worker_gauge *worker, bool told) {
    for (size_t i = count; i-- > 0;) {
        struct prefix_block *block = find(index, hashes[i]);
        if (block) {
            TAILQ_REMOVE(&index->by_use, block, link);
            TAILQ_INSERT_HEAD(&index->by_use, block, link);
        } else if (!(block = make(index, hashes[i]))) {
            return;
        }
        hold(index, block, worker, told);
    }
}

void prefix_index_add(struct prefix_index *index, const struct prefix_text *text,
                      const struct worker_gauge *worker) {
    uint64_t hashes[PREFIX_BLOCKS_MAX];
    uint64_t hash = prefix_start(text->model);
    size_t count = prefix_count(text->len);
    start_seat(index, worker);
    for (size_t i = 0; i < count; i++)
        hashes[i] = hash = prefix_next(hash, text->bytes + i * PREFIX_BLOCK_BYTES);
    hold_all(index, hashes, count, worker, false);
}

void prefix_index_told(struct prefix_index *index, const struct prefix_news *news,
                       const struct worker_gauge *worker) {
    start_seat(index, worker);
    for (size_t i = 0; i < news->gone_count; i++) {
        struct prefix_block *block = find(index, news->gone[i]);
        struct prefix_holder *holder = block ? find_holder(block, worker->seat) : NULL;
        if (holder)
            *holder = block->holders[--block->count];
    }
    hold_all(index, news->held, news->held_count, worker, true);
}
