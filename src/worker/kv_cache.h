/* What the slots of an engine hold, and which slot a prompt gets: the one where most of it is computed
 * already.
 *
 * A slot goes on holding the tokens of its last job. A new prompt takes a free slot that holds its beginning,
 * or another free slot into which that beginning is copied: from a slot, which may be running, or from
 * memory, where sequences go that had to make way (prefix_store.h). Where there is nothing of use, a slot
 * beside running ones is taken, because the engine computes neighbours in one pass; between equals the one
 * that was not used for longest. Of prompts that come together and begin alike the first one computes that
 * beginning, and the others copy it before their turn.
 *
 * In a cache that all slots share (engine_options.cache_tokens), copies between slots use the same cells, so
 * a common system prompt is held once; what free slots hold counts as free, since it makes way when cells are
 * needed; and a running sequence can be parked in memory.
 *
 * Engine thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "engine/engine.h"
#include "worker/cells.h"
#include "worker/prefix_store.h"

struct kv_config {
    bool reuse;              /* otherwise every prompt is computed from its first token on */
    size_t memory_bytes_max; /* for sequences in memory, parked ones included */
};

struct kv_slot {
    int32_t *tokens; /* of which it holds the first `count`; owned while it is free, else its job's */
    int32_t count;
    uint64_t used;                /* the cache's clock when it was used last */
    int64_t left_ms;              /* when it became free */
    bool tidy;                    /* free, and kv_cache_tidy has nothing to do for it */
    struct prefix_blocks *blocks; /* owned; of the prompt in it */
};

struct kv_cache {
    struct engine *engine;
    struct engine_info info;
    struct kv_config config;
    struct kv_slot *slots; /* owned, info.slots of them; so is the next one */
    bool *busy;
    struct cells cells;
    struct prefix_store store;
    struct prefix_report report; /* of what slots and store hold */
    uint64_t clock;
    int64_t now_ms;     /* the owner's, set before calls */
    size_t token_bytes; /* of a sequence in memory, for each token, the last time; 0: not known */
};

/* Where a prompt would go. */
enum kv_source { KV_SOURCE_OWN, KV_SOURCE_SLOT, KV_SOURCE_STORE };
struct kv_place {
    int32_t slot;
    enum kv_source source;
    int32_t from;               /* SLOT */
    struct prefix_entry *entry; /* STORE */
    int32_t held;               /* tokens of the prompt that need not be computed; the last one always must */
};

/* What a running sequence was when it was parked. */
struct kv_parked {
    struct engine_state state;    /* owned */
    struct prefix_blocks *blocks; /* owned */
    int32_t count;
};

/* It must not move afterwards. false: no memory. */
MUST_USE bool kv_cache_init(struct kv_cache *cache, struct engine *engine, const struct kv_config *config);
void kv_cache_release(struct kv_cache *cache); /* takes zeroed structs */

/* Changes nothing. false: no slot is free. */
MUST_USE bool kv_cache_find(struct kv_cache *cache, const int32_t *tokens, int32_t count,
                            struct kv_place *place);
/* Right after kv_cache_find. Makes the slot ready for engine_slot_start and returns how many of the tokens it
 * holds: place.held, or fewer when that fails. The tokens must stay where they are until kv_cache_leave.
 * Takes the blocks over. */
int32_t kv_cache_take(struct kv_cache *cache, const struct kv_place *place, int32_t *tokens,
                      struct prefix_blocks *blocks);
/* Does another slot hold so much more of the first `count` tokens of a busy one by now that it is worth
 * copying? Changes nothing. */
MUST_USE bool kv_cache_find_more(const struct kv_cache *cache, int32_t slot, int32_t count,
                                 struct kv_place *place);
/* Right after it, with the slot stopped. Returns as kv_cache_take. */
int32_t kv_cache_take_more(struct kv_cache *cache, const struct kv_place *place);
/* A step computed some more of its tokens. */
void kv_cache_grow(struct kv_cache *cache, int32_t slot, int32_t count);
/* Its job is over and stopped. Takes the tokens over. */
void kv_cache_leave(struct kv_cache *cache, int32_t slot);
/* As kv_cache_leave, but what it holds is not to be used again, and the tokens stay the caller's. */
void kv_cache_drop(struct kv_cache *cache, int32_t slot);

/* Forgets what free slots and memory hold; parked sequences stay. */
void kv_cache_clear(struct kv_cache *cache);

/* Cells in use, and those of them that running slots use. */
int64_t kv_cache_cells(const struct kv_cache *cache);
/* What a slot holds is saved when it is overwritten, and a newcomer would wait for that. So it is copied to
 * memory before, once the slot has been free for a while: here, one slot in a call. `idle`: nothing runs that
 * would be held up; otherwise large ones are left alone. false: there was nothing to do. */
bool kv_cache_tidy(struct kv_cache *cache, bool idle);
/* How long until kv_cache_tidy has something to do, while nothing runs; -1: not before a slot gets free. */
int64_t kv_cache_tidy_due_ms(const struct kv_cache *cache, int64_t now_ms);

int64_t kv_cache_busy_cells(const struct kv_cache *cache);
/* How many of the tokens that the place would hold are in cells of running slots. */
int32_t kv_cache_shared_with_busy(const struct kv_cache *cache, const struct kv_place *place);
/* Lets free slots make way until so many cells are free, if that can be, and returns how many are. */
int64_t kv_cache_reclaim(struct kv_cache *cache, int64_t cells);

/* Copies a running slot's sequence out. The caller then stops it and calls kv_cache_drop. false: there is no
 * memory for it. */
MUST_USE bool kv_cache_park(struct kv_cache *cache, int32_t slot, struct kv_parked *out);
/* The way back, into a free slot, which is returned with its tokens as after kv_cache_take; -1: there is no
 * room now, nothing has changed. */
MUST_USE int32_t kv_cache_unpark(struct kv_cache *cache, struct kv_parked *parked, int32_t *tokens);
void kv_cache_forget(struct kv_cache *cache, struct kv_parked *parked); /* it never comes back */
