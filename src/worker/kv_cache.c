#include "worker/kv_cache.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/wire.h"

/* Copying a sequence takes far less time for each token than computing it, but all of it is copied. So it
 * must be a few tokens at least, and of what is copied not too little may be of use. */
enum { COPY_LEAST = 32, COPY_TIMES = 8 };

enum {
    TIDY_AFTER_MS = 1000, /* whoever goes on at once finds the slot as it was */
    TIDY_BUSY_MB = 16,    /* takes some milliseconds, in which nothing else runs */
    TIDY_PART = 2,        /* of the memory, for all slots together: the rest is for what is in no slot */
};

bool kv_cache_init(struct kv_cache *cache, struct engine *engine, const struct kv_config *config) {
    *cache = (struct kv_cache){.engine = engine, .config = *config};
    engine->ops->info(engine, &cache->info);
    bool can_report = prefix_report_init(&cache->report, WIRE_PREFIXES_MAX);
    prefix_store_init(&cache->store, config->memory_bytes_max, &cache->report);
    cache->slots = calloc((size_t)cache->info.slots, sizeof *cache->slots);
    cache->busy = calloc((size_t)cache->info.slots, sizeof *cache->busy);
    if (cells_init(&cache->cells, cache->info.slots) && can_report && cache->slots && cache->busy)
        return true;
    kv_cache_release(cache);
    return false;
}

void kv_cache_release(struct kv_cache *cache) {
    for (int32_t i = 0; cache->slots && i < cache->info.slots; i++) {
        free(cache->slots[i].blocks);
        if (!cache->busy || !cache->busy[i])
            free(cache->slots[i].tokens);
    }
    free(cache->slots);
    free(cache->busy);
    cells_release(&cache->cells);
    prefix_store_release(&cache->store);
    prefix_report_release(&cache->report);
    *cache = (struct kv_cache){0};
}

static int32_t common_with(const struct kv_cache *cache, int32_t slot, const int32_t *tokens, int32_t count) {
    return prefix_common(cache->slots[slot].tokens, cache->slots[slot].count, tokens, count);
}

/* The slot that holds the longest beginning of the tokens, of those that are free, or busy, or of all but
 * one; -1 when none holds any. */
enum holder { HOLDER_FREE, HOLDER_BUSY, HOLDER_ANY };
static int32_t find_holder(const struct kv_cache *cache, enum holder kind, int32_t except,
                           const int32_t *tokens, int32_t count, int32_t *common) {
    int32_t best = -1;
    *common = 0;
    for (int32_t i = 0; i < cache->info.slots; i++) {
        bool fits = i != except && (kind == HOLDER_ANY || cache->busy[i] == (kind == HOLDER_BUSY));
        int32_t own = fits ? common_with(cache, i, tokens, count) : 0;
        if (own > *common) {
            *common = own;
            best = i;
        }
    }
    return best;
}

/* With a cache for each slot the engine computes in one pass only those that are side by side. How much a
 * free slot does for that, the less the more: it is in a small gap between busy ones, or in a larger one, or
 * at their end, or apart; and within a gap it leaves the rest in one piece. */
static int32_t distance(const struct kv_cache *cache, int32_t slot) {
    int32_t slots = cache->info.slots, first = slot, last = slot;
    if (cache->info.cache_is_shared)
        return 0;
    while (first > 0 && !cache->busy[first - 1])
        first--;
    while (last + 1 < slots && !cache->busy[last + 1])
        last++;
    bool between = first > 0 && last + 1 < slots;
    bool beside = (slot == first && first > 0) || (slot == last && last + 1 < slots);
    return 2 * (between ? last - first : slots) + !beside;
}

/* Whether `a` should be given up before `b`, both free slots: the one that is nearer to the busy ones; then
 * one that holds nothing, or the one that was not used for longest. */
static bool is_better_idle(const struct kv_cache *cache, int32_t a, int32_t b) {
    int32_t distance_a = distance(cache, a), distance_b = distance(cache, b);
    if (distance_a != distance_b)
        return distance_a < distance_b;
    if ((cache->slots[a].count == 0) != (cache->slots[b].count == 0))
        return cache->slots[a].count == 0;
    return cache->slots[a].used < cache->slots[b].used;
}

/* A free slot other than `except`; -1 when there is none. */
static int32_t find_idle(const struct kv_cache *cache, int32_t except) {
    int32_t best = -1;
    for (int32_t i = 0; i < cache->info.slots; i++) {
        if (!cache->busy[i] && i != except && (best < 0 || is_better_idle(cache, i, best)))
            best = i;
    }
    return best;
}

/* `moved`: how many tokens are copied to have `common` of use. */
static bool is_worth(int32_t common, int32_t moved) {
    return common >= COPY_LEAST && (int64_t)common * COPY_TIMES >= moved;
}

/* Takes the copy from another slot, if that is better than what the place is so far. */
static void consider_slot(const struct kv_cache *cache, struct kv_place *place, int32_t from,
                          int32_t common) {
    if (from < 0 || common <= place->held)
        return;
    int32_t moved = cache->info.cache_is_shared ? common : cache->slots[from].count;
    if (is_worth(common - place->held, moved))
        *place =
            (struct kv_place){.slot = place->slot, .source = KV_SOURCE_SLOT, .from = from, .held = common};
}

static void consider_store(struct kv_cache *cache, struct kv_place *place, const int32_t *tokens,
                           int32_t count) {
    int32_t common;
    struct prefix_entry *entry = prefix_store_find(&cache->store, tokens, count, &common);
    if (entry && common > place->held && is_worth(common - place->held, entry->count))
        *place =
            (struct kv_place){.slot = place->slot, .source = KV_SOURCE_STORE, .entry = entry, .held = common};
}

/* Which free slot, by what free slots hold. */
static void choose_slot(const struct kv_cache *cache, struct kv_place *place, const int32_t *tokens,
                        int32_t count) {
    int32_t common;
    int32_t holder = find_holder(cache, HOLDER_FREE, -1, tokens, count, &common);
    int32_t other = holder >= 0 ? find_idle(cache, holder) : -1;
    if (holder >= 0 && (common * 2 >= cache->slots[holder].count || other < 0)) {
        place->slot = holder;
        place->held = common;
        return;
    }
    /* Who would take only the smaller part of what a slot holds leaves it for others of its kind. */
    if (common >= COPY_LEAST)
        place->slot = other;
    place->held = common_with(cache, place->slot, tokens, count);
    if (common >= COPY_LEAST)
        consider_slot(cache, place, holder, common);
}

bool kv_cache_find(struct kv_cache *cache, const int32_t *tokens, int32_t count, struct kv_place *place) {
    int32_t common;
    *place = (struct kv_place){.slot = find_idle(cache, -1)};
    if (place->slot < 0 || !cache->config.reuse)
        return place->slot >= 0;
    count--; /* the last one is computed in any case, for what follows it */
    choose_slot(cache, place, tokens, count);
    int32_t busy = find_holder(cache, HOLDER_BUSY, -1, tokens, count, &common);
    consider_slot(cache, place, busy, common);
    consider_store(cache, place, tokens, count);
    return true;
}

/* What a slot holds is held by another one, too, or is in memory. */
static bool is_elsewhere(struct kv_cache *cache, int32_t slot) {
    const struct kv_slot *own = &cache->slots[slot];
    for (int32_t i = 0; i < cache->info.slots; i++) {
        if (i != slot && common_with(cache, i, own->tokens, own->count) == own->count)
            return true;
    }
    return prefix_store_has(&cache->store, own->tokens, own->count);
}

static size_t bytes_of(const struct kv_cache *cache, int32_t slot) {
    return cache->token_bytes * (size_t)cache->slots[slot].count;
}

/* Before a free slot forgets what is behind its first `kept` tokens. */
static void save(struct kv_cache *cache, int32_t slot, int32_t kept) {
    struct kv_slot *own = &cache->slots[slot];
    struct engine_state state;
    if (!cache->config.reuse || cache->config.memory_bytes_max == 0 || cache->store.closed ||
        own->count - kept < COPY_LEAST || is_elsewhere(cache, slot) ||
        !prefix_store_fits(&cache->store, bytes_of(cache, slot)) || !prefix_store_is_worth(&cache->store) ||
        !engine_slot_save(cache->engine, slot, &state))
        return;
    struct prefix_blocks *blocks = prefix_blocks_copy(own->blocks);
    prefix_report_hold(&cache->report, blocks);
    cache->token_bytes = state.size / (size_t)own->count;
    prefix_store_add(&cache->store, own->tokens, own->count, &state, blocks);
}

static void set_count(struct kv_cache *cache, int32_t slot, int32_t count) {
    cache->slots[slot].count = count;
    cells_set(&cache->cells, slot, count);
}

/* The slot holds the prompt of these blocks now, or NULL: none. */
static void set_blocks(struct kv_cache *cache, int32_t slot, struct prefix_blocks *blocks) {
    prefix_report_hold(&cache->report, blocks);
    prefix_report_drop(&cache->report, cache->slots[slot].blocks);
    free(cache->slots[slot].blocks);
    cache->slots[slot].blocks = blocks;
}

/* The engine's word on what a slot holds then. */
static int32_t trim(struct kv_cache *cache, int32_t slot, int32_t tokens) {
    if (cache->slots[slot].count != tokens)
        set_count(cache, slot, engine_slot_trim(cache->engine, slot, tokens));
    return cache->slots[slot].count;
}

static void empty(struct kv_cache *cache, int32_t slot) {
    trim(cache, slot, 0);
    set_blocks(cache, slot, NULL);
}

static void copy_from_slot(struct kv_cache *cache, const struct kv_place *place) {
    trim(cache, place->slot, 0);
    int32_t copied = engine_slot_copy(cache->engine, place->from, place->slot, place->held);
    if (cache->info.cache_is_shared && copied > 0)
        cells_copy(&cache->cells, place->from, place->slot, copied);
    set_count(cache, place->slot, copied);
}

static bool load(struct kv_cache *cache, int32_t slot, const struct engine_state *state, int32_t count) {
    trim(cache, slot, 0);
    if (cache->info.cache_is_shared && kv_cache_reclaim(cache, count) < count)
        return false;
    bool loaded = engine_slot_load(cache->engine, slot, state);
    set_count(cache, slot, loaded ? count : 0);
    return loaded;
}

int32_t kv_cache_take(struct kv_cache *cache, const struct kv_place *place, int32_t *tokens,
                      struct prefix_blocks *blocks) {
    struct kv_slot *slot = &cache->slots[place->slot];
    assert(!cache->busy[place->slot]);
    if (place->source == KV_SOURCE_STORE)
        prefix_store_take(&cache->store, place->entry);
    save(cache, place->slot, place->source == KV_SOURCE_OWN ? place->held : 0);
    cache->busy[place->slot] = true; /* so that it does not make way for itself */
    switch (place->source) {
    case KV_SOURCE_OWN:
        break;
    case KV_SOURCE_SLOT:
        copy_from_slot(cache, place);
        break;
    case KV_SOURCE_STORE:
        load(cache, place->slot, &place->entry->state, place->entry->count);
        prefix_store_put(&cache->store, place->entry);
        break;
    }
    if (slot->count > place->held)
        trim(cache, place->slot, place->held);
    free(slot->tokens);
    slot->tokens = tokens;
    slot->used = ++cache->clock;
    set_blocks(cache, place->slot, blocks);
    return slot->count;
}

bool kv_cache_find_more(const struct kv_cache *cache, int32_t slot, int32_t count, struct kv_place *place) {
    const struct kv_slot *own = &cache->slots[slot];
    assert(cache->busy[slot]);
    *place = (struct kv_place){.slot = slot, .held = own->count};
    if (!cache->config.reuse || count - 1 - own->count < COPY_LEAST)
        return false;
    int32_t common, from = find_holder(cache, HOLDER_ANY, slot, own->tokens, count - 1, &common);
    consider_slot(cache, place, from, common);
    return place->source == KV_SOURCE_SLOT;
}

int32_t kv_cache_take_more(struct kv_cache *cache, const struct kv_place *place) {
    copy_from_slot(cache, place);
    return cache->slots[place->slot].count;
}

void kv_cache_grow(struct kv_cache *cache, int32_t slot, int32_t count) {
    assert(cache->busy[slot]);
    set_count(cache, slot, cache->slots[slot].count + count);
}

void kv_cache_leave(struct kv_cache *cache, int32_t slot) {
    assert(cache->busy[slot]);
    cache->busy[slot] = false;
    cache->slots[slot].used = ++cache->clock;
    cache->slots[slot].left_ms = cache->now_ms;
    cache->slots[slot].tidy = false;
    if (!cache->config.reuse)
        empty(cache, slot);
}

void kv_cache_drop(struct kv_cache *cache, int32_t slot) {
    assert(cache->busy[slot]);
    cache->busy[slot] = false;
    cache->slots[slot].tokens = NULL;
    engine_slot_trim(cache->engine, slot, 0); /* a step that failed may have left more than was counted */
    set_count(cache, slot, 0);
    set_blocks(cache, slot, NULL);
}

/* Of those that take no more bytes the one that has been free for longest; -1: none. */
static int32_t find_untidy(const struct kv_cache *cache, size_t bytes_max) {
    int32_t found = -1;
    for (int32_t i = 0; i < cache->info.slots; i++) {
        const struct kv_slot *slot = &cache->slots[i];
        if (!cache->busy[i] && !slot->tidy && slot->count > 0 && bytes_of(cache, i) <= bytes_max &&
            (found < 0 || slot->left_ms < cache->slots[found].left_ms))
            found = i;
    }
    return found;
}

static int64_t tidy_in_ms(const struct kv_cache *cache, int32_t slot, int64_t now_ms) {
    int64_t left_ms = cache->slots[slot].left_ms + TIDY_AFTER_MS - now_ms;
    return left_ms > 0 ? left_ms : 0;
}

int64_t kv_cache_tidy_due_ms(const struct kv_cache *cache, int64_t now_ms) {
    int32_t slot = find_untidy(cache, SIZE_MAX);
    return slot >= 0 ? tidy_in_ms(cache, slot, now_ms) : -1;
}

bool kv_cache_tidy(struct kv_cache *cache, bool idle) {
    int32_t slot = find_untidy(cache, idle ? SIZE_MAX : (size_t)TIDY_BUSY_MB << 20);
    if (slot < 0 || tidy_in_ms(cache, slot, cache->now_ms) > 0)
        return false;
    if (bytes_of(cache, slot) <= cache->config.memory_bytes_max / TIDY_PART / (size_t)cache->info.slots)
        save(cache, slot, 0);
    cache->slots[slot].tidy = true;
    return true;
}

int64_t kv_cache_busy_cells(const struct kv_cache *cache) {
    return cells_used(&cache->cells, cache->busy);
}

int64_t kv_cache_cells(const struct kv_cache *cache) {
    return cells_used(&cache->cells, NULL);
}

int32_t kv_cache_shared_with_busy(const struct kv_cache *cache, const struct kv_place *place) {
    if (place->source == KV_SOURCE_STORE)
        return 0;
    int32_t from = place->source == KV_SOURCE_SLOT ? place->from : place->slot;
    int32_t shared = cache->busy[from] ? place->held : cells_shared(&cache->cells, from, cache->busy);
    return shared < place->held ? shared : place->held;
}

void kv_cache_clear(struct kv_cache *cache) {
    for (int32_t i = 0; i < cache->info.slots; i++) {
        if (!cache->busy[i])
            empty(cache, i);
    }
    prefix_store_clear(&cache->store);
}

static int32_t find_longest_unused(const struct kv_cache *cache) {
    int32_t found = -1;
    for (int32_t i = 0; i < cache->info.slots; i++) {
        if (!cache->busy[i] && cache->slots[i].count > 0 &&
            (found < 0 || cache->slots[i].used < cache->slots[found].used))
            found = i;
    }
    return found;
}

int64_t kv_cache_reclaim(struct kv_cache *cache, int64_t cells) {
    for (;;) {
        int64_t free_cells = cache->info.cache_tokens - kv_cache_cells(cache);
        int32_t slot = free_cells < cells ? find_longest_unused(cache) : -1;
        if (slot < 0)
            return free_cells;
        save(cache, slot, 0);
        empty(cache, slot);
    }
}

bool kv_cache_park(struct kv_cache *cache, int32_t slot, struct kv_parked *out) {
    *out = (struct kv_parked){.count = cache->slots[slot].count};
    if (!engine_slot_save(cache->engine, slot, &out->state))
        return false;
    cache->token_bytes = out->count > 0 ? out->state.size / (size_t)out->count : cache->token_bytes;
    if (!prefix_store_reserve(&cache->store, out->state.size)) {
        engine_state_release(&out->state);
        return false;
    }
    out->blocks = cache->slots[slot].blocks;
    cache->slots[slot].blocks = NULL;
    return true;
}

void kv_cache_forget(struct kv_cache *cache, struct kv_parked *parked) {
    prefix_store_unreserve(&cache->store, parked->state.size);
    engine_state_release(&parked->state);
    prefix_report_drop(&cache->report, parked->blocks);
    free(parked->blocks);
    parked->blocks = NULL;
}

int32_t kv_cache_unpark(struct kv_cache *cache, struct kv_parked *parked, int32_t *tokens) {
    int32_t slot = find_idle(cache, -1);
    if (slot < 0)
        return -1;
    save(cache, slot, 0);
    if (!load(cache, slot, &parked->state, parked->count)) {
        set_blocks(cache, slot, NULL);
        return -1;
    }
    cache->busy[slot] = true;
    free(cache->slots[slot].tokens);
    cache->slots[slot].tokens = tokens;
    cache->slots[slot].used = ++cache->clock;
    set_blocks(cache, slot, prefix_blocks_copy(parked->blocks));
    kv_cache_forget(cache, parked);
    return slot;
}
