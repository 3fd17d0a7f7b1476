#include "worker/prefix_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The rate is about that of the last USE_WEIGHT entries; it begins with 1, and falls below the least when 131
 * in a row were not used. */
enum { USE_WEIGHT = 32, USE_PART_LEAST = 64, TRIAL_EACH = 8 };

void prefix_store_init(struct prefix_store *store, size_t bytes_max, struct prefix_report *report) {
    *store = (struct prefix_store){.report = report, .bytes_max = bytes_max, .use_rate = 1};
    TAILQ_INIT(&store->by_use);
}

static size_t bytes_of(const struct prefix_entry *entry) {
    return sizeof *entry + (size_t)entry->count * sizeof *entry->tokens + entry->state.size;
}

static void entry_free(struct prefix_store *store, struct prefix_entry *entry) {
    prefix_report_drop(store->report, entry->blocks);
    free(entry->blocks);
    engine_state_release(&entry->state);
    free(entry->tokens);
    free(entry);
}

static void take_out(struct prefix_store *store, struct prefix_entry *entry) {
    TAILQ_REMOVE(&store->by_use, entry, link);
    store->bytes -= bytes_of(entry);
    store->count--;
}

void prefix_store_take(struct prefix_store *store, struct prefix_entry *entry) {
    if (!entry->used)
        store->use_rate += (1 - store->use_rate) / USE_WEIGHT;
    entry->used = true;
    take_out(store, entry);
}

static void drop(struct prefix_store *store, struct prefix_entry *entry) {
    take_out(store, entry);
    entry_free(store, entry);
}

void prefix_store_clear(struct prefix_store *store) {
    struct prefix_entry *next;
    for (struct prefix_entry *entry = TAILQ_FIRST(&store->by_use); entry; entry = next) {
        next = TAILQ_NEXT(entry, link);
        drop(store, entry);
    }
}

void prefix_store_close(struct prefix_store *store, bool closed) {
    store->closed = closed;
    if (closed)
        prefix_store_clear(store);
}

void prefix_store_release(struct prefix_store *store) {
    if (store->count > 0)
        prefix_store_clear(store);
    *store = (struct prefix_store){0};
}

int32_t prefix_common(const int32_t *a, int32_t a_count, const int32_t *b, int32_t b_count) {
    int32_t count = a_count < b_count ? a_count : b_count, common = 0;
    while (common < count && a[common] == b[common])
        common++;
    return common;
}

struct prefix_entry *prefix_store_find(struct prefix_store *store, const int32_t *tokens, int32_t count,
                                       int32_t *common) {
    struct prefix_entry *entry, *best = NULL;
    *common = 0;
    TAILQ_FOREACH(entry, &store->by_use, link) {
        int32_t own = prefix_common(entry->tokens, entry->count, tokens, count);
        if (own > *common) {
            *common = own;
            best = entry;
        }
    }
    return best;
}

bool prefix_store_has(struct prefix_store *store, const int32_t *tokens, int32_t count) {
    struct prefix_entry *entry;
    TAILQ_FOREACH(entry, &store->by_use, link) {
        if (entry->count >= count && memcmp(entry->tokens, tokens, (size_t)count * sizeof *tokens) == 0)
            return true;
    }
    return false;
}

static void drop_beginnings_of(struct prefix_store *store, const struct prefix_entry *longer) {
    struct prefix_entry *next;
    for (struct prefix_entry *entry = TAILQ_FIRST(&store->by_use); entry; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (prefix_common(entry->tokens, entry->count, longer->tokens, longer->count) == entry->count)
            drop(store, entry);
    }
}

bool prefix_store_fits(const struct prefix_store *store, size_t bytes) {
    return bytes <= store->bytes_max - store->reserved;
}

static bool make_room(struct prefix_store *store, size_t bytes) {
    if (!prefix_store_fits(store, bytes)) /* no entry goes for nothing */
        return false;
    struct prefix_entry *last = TAILQ_LAST(&store->by_use, prefix_entry_list);
    while (last && store->bytes + bytes > store->bytes_max) {
        struct prefix_entry *before = TAILQ_PREV(last, prefix_entry_list, link);
        drop(store, last);
        store->evicted++;
        last = before;
    }
    return true;
}

void prefix_store_put(struct prefix_store *store, struct prefix_entry *entry) {
    if (store->closed || !make_room(store, bytes_of(entry))) {
        entry_free(store, entry);
        return;
    }
    TAILQ_INSERT_HEAD(&store->by_use, entry, link);
    store->bytes += bytes_of(entry);
    store->count++;
}

void prefix_store_add(struct prefix_store *store, const int32_t *tokens, int32_t count,
                      struct engine_state *state, struct prefix_blocks *blocks) {
    struct prefix_entry *entry = calloc(1, sizeof *entry);
    int32_t *copy = malloc((size_t)count * sizeof *copy);
    if (!entry || !copy) {
        prefix_report_drop(store->report, blocks);
        free(blocks);
        free(entry);
        free(copy);
        engine_state_release(state);
        return;
    }
    memcpy(copy, tokens, (size_t)count * sizeof *copy);
    *entry = (struct prefix_entry){.tokens = copy, .count = count, .state = *state, .blocks = blocks};
    *state = (struct engine_state){0};
    store->use_rate -= store->use_rate / USE_WEIGHT;
    if (prefix_store_fits(store, bytes_of(entry)))
        drop_beginnings_of(store, entry);
    prefix_store_put(store, entry);
}

bool prefix_store_is_worth(struct prefix_store *store) {
    if (store->use_rate * USE_PART_LEAST >= 1)
        return true;
    if (store->trial++ % TRIAL_EACH == 0)
        return true;
    store->skipped++;
    return false;
}

bool prefix_store_reserve(struct prefix_store *store, size_t bytes) {
    if (!make_room(store, bytes))
        return false;
    store->bytes += bytes;
    store->reserved += bytes;
    return true;
}

void prefix_store_unreserve(struct prefix_store *store, size_t bytes) {
    assert(bytes <= store->reserved);
    store->bytes -= bytes;
    store->reserved -= bytes;
}
