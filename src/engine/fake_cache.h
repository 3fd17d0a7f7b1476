/* The KV cache of the fake engine: which tokens each slot holds, in which cells. Cells are counted as a real
 * cache's are, so that one that all slots share runs full at the same point. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "engine/engine.h"

struct fake_held {
    int32_t count;   /* tokens: the next position */
    uint64_t seen;   /* hash of them, see fake_cache_hash */
    int32_t *tokens; /* owned, as is the next one: room for context_tokens */
    int32_t *cells;  /* where they are; several slots may use one cell */
};

struct fake_cache {
    int32_t slots;
    int32_t cells;
    struct fake_held *held; /* owned, as are the next ones; one for each slot */
    int32_t *uses;          /* of each cell: by how many slots */
    int32_t *free;          /* a stack of cells */
    int32_t free_count;
};

/* false: no memory; released by the caller in any case. */
MUST_USE bool fake_cache_init(struct fake_cache *cache, int32_t slots, int32_t context_tokens, int32_t cells);
void fake_cache_release(struct fake_cache *cache); /* takes zeroed structs */

uint64_t fake_cache_hash(uint64_t seen, int32_t token);

/* There must be a free cell. */
void fake_cache_add(struct fake_cache *cache, int32_t slot, int32_t token);
void fake_cache_trim(struct fake_cache *cache, int32_t slot, int32_t tokens);
/* `to` must hold nothing. */
void fake_cache_copy(struct fake_cache *cache, int32_t from, int32_t to, int32_t tokens);
MUST_USE bool fake_cache_save(const struct fake_cache *cache, int32_t slot, struct engine_state *out);
/* The slot must hold nothing. false: too few free cells. */
MUST_USE bool fake_cache_load(struct fake_cache *cache, int32_t slot, const struct engine_state *state);
