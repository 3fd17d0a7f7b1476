#include "engine/fake_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

bool fake_cache_init(struct fake_cache *cache, int32_t slots, int32_t context_tokens, int32_t cells) {
    *cache = (struct fake_cache){.slots = slots, .cells = cells, .free_count = cells};
    cache->held = calloc((size_t)slots, sizeof *cache->held);
    cache->uses = calloc((size_t)cells, sizeof *cache->uses);
    cache->free = calloc((size_t)cells, sizeof *cache->free);
    if (!cache->held || !cache->uses || !cache->free)
        return false;
    for (int32_t i = 0; i < cells; i++)
        cache->free[i] = i;
    for (int32_t i = 0; i < slots; i++) {
        struct fake_held *held = &cache->held[i];
        held->tokens = calloc((size_t)context_tokens, sizeof *held->tokens);
        held->cells = calloc((size_t)context_tokens, sizeof *held->cells);
        if (!held->tokens || !held->cells)
            return false;
    }
    return true;
}

void fake_cache_release(struct fake_cache *cache) {
    for (int32_t i = 0; cache->held && i < cache->slots; i++) {
        free(cache->held[i].tokens);
        free(cache->held[i].cells);
    }
    free(cache->held);
    free(cache->uses);
    free(cache->free);
    *cache = (struct fake_cache){0};
}

uint64_t fake_cache_hash(uint64_t seen, int32_t token) {
    return rng_mix(seen, (uint64_t)token);
}

static void append(struct fake_cache *cache, struct fake_held *held, int32_t token, int32_t cell) {
    held->tokens[held->count] = token;
    held->cells[held->count++] = cell;
    held->seen = fake_cache_hash(held->seen, token);
    cache->uses[cell]++;
}

void fake_cache_add(struct fake_cache *cache, int32_t slot, int32_t token) {
    assert(cache->free_count > 0);
    append(cache, &cache->held[slot], token, cache->free[--cache->free_count]);
}

void fake_cache_trim(struct fake_cache *cache, int32_t slot, int32_t tokens) {
    struct fake_held *held = &cache->held[slot];
    while (held->count > tokens) {
        int32_t cell = held->cells[--held->count];
        if (--cache->uses[cell] == 0)
            cache->free[cache->free_count++] = cell;
    }
    held->seen = 0;
    for (int32_t i = 0; i < held->count; i++)
        held->seen = fake_cache_hash(held->seen, held->tokens[i]);
}

void fake_cache_copy(struct fake_cache *cache, int32_t from, int32_t to, int32_t tokens) {
    const struct fake_held *source = &cache->held[from];
    assert(cache->held[to].count == 0 && source->count >= tokens);
    for (int32_t i = 0; i < tokens; i++)
        append(cache, &cache->held[to], source->tokens[i], source->cells[i]);
}

bool fake_cache_save(const struct fake_cache *cache, int32_t slot, struct engine_state *out) {
    const struct fake_held *held = &cache->held[slot];
    *out = (struct engine_state){.size = (size_t)held->count * sizeof *held->tokens};
    out->bytes = out->size > 0 ? malloc(out->size) : NULL;
    if (out->bytes)
        memcpy(out->bytes, held->tokens, out->size);
    return out->bytes != NULL;
}

bool fake_cache_load(struct fake_cache *cache, int32_t slot, const struct engine_state *state) {
    size_t count = state->size / sizeof(int32_t);
    if (count > (size_t)cache->free_count)
        return false;
    for (size_t i = 0; i < count; i++) {
        int32_t token;
        memcpy(&token, state->bytes + i * sizeof token, sizeof token);
        fake_cache_add(cache, slot, token);
    }
    return true;
}
