#include "worker/model_table.h"

#include <assert.h>
#include <string.h>

enum {
    RETRY_DOUBLINGS_MAX = 5,
    HOLD_MS_MAX = 5000, /* memory may be there again soon, but not for each of many requests */
};

size_t model_table_add(struct model_table *table, int64_t bytes) {
    assert(table->count < WORKER_MODELS_MAX);
    table->entries[table->count] = (struct model_entry){.bytes = bytes, .used_ms = -1};
    return table->count++;
}

void model_table_remove(struct model_table *table, size_t index) {
    struct model_entry *entry = &table->entries[index];
    assert(entry->jobs == 0 && (entry->state == MODEL_UNLOADED || entry->state == MODEL_FAILED));
    table->count--;
    memmove(entry, entry + 1, (table->count - index) * sizeof(*entry));
}

bool model_table_is_held(const struct model_entry *entry, int64_t now_ms) {
    return entry->state == MODEL_UNLOADED && now_ms < entry->hold_ms;
}

static bool is_due(const struct model_entry *entry, int64_t now_ms) {
    return !model_table_is_held(entry, now_ms) && (entry->state != MODEL_FAILED || now_ms >= entry->retry_ms);
}

bool model_table_takes_jobs(const struct model_table *table, size_t index, int64_t now_ms) {
    return table->config.on_demand && is_due(&table->entries[index], now_ms);
}

enum status model_table_check(const struct model_table *table, size_t index, int64_t now_ms,
                              struct error *error) {
    const struct model_entry *entry = &table->entries[index];
    if (entry->state == MODEL_READY || model_table_takes_jobs(table, index, now_ms))
        return STATUS_OK;
    if (table->config.on_demand && model_table_is_held(entry, now_ms))
        return error_set(error, STATUS_RESOURCE_LIMIT_EXCEEDED, NULL,
                         "there is no memory to load it; that is not tried again for %lld ms",
                         (long long)(entry->hold_ms - now_ms));
    if (entry->state != MODEL_FAILED)
        return error_set(error, STATUS_MODEL_NOT_LOADED, NULL,
                         "it is %s, and this worker loads no model on demand",
                         model_state_name(entry->state));
    if (!table->config.on_demand || entry->retry_ms == INT64_MAX)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "it could not be loaded");
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                     "it could not be loaded and is not tried again for %lld ms",
                     (long long)(entry->retry_ms - now_ms));
}

void model_table_job_came(struct model_table *table, size_t index, int64_t now_ms) {
    table->entries[index].jobs++;
    table->entries[index].used_ms = now_ms;
}

void model_table_job_went(struct model_table *table, size_t index, int64_t now_ms) {
    assert(table->entries[index].jobs > 0);
    table->entries[index].jobs--;
    table->entries[index].used_ms = now_ms;
}

static bool takes_memory(const struct model_entry *entry) {
    return entry->state == MODEL_LOADING || entry->state == MODEL_READY || entry->state == MODEL_UNLOADING;
}

bool model_table_is_idle(const struct model_entry *entry) {
    return entry->state == MODEL_READY && entry->jobs == 0;
}

static int64_t add_bytes(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

typedef bool entry_fn(const struct model_entry *entry);

static int64_t sum_bytes(const struct model_table *table, entry_fn *counts) {
    int64_t sum = 0;
    for (size_t i = 0; i < table->count; i++)
        sum = add_bytes(sum, counts(&table->entries[i]) ? table->entries[i].bytes : 0);
    return sum;
}

int64_t model_table_bytes(const struct model_table *table) {
    return sum_bytes(table, takes_memory);
}

static bool comes(const struct model_entry *entry) {
    return entry->state == MODEL_LOADING;
}

int64_t model_table_loading_bytes(const struct model_table *table) {
    return sum_bytes(table, comes);
}

bool model_table_is_unloading(const struct model_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].state == MODEL_UNLOADING)
            return true;
    }
    return false;
}

/* What is not there any more when all that goes is gone. */
static bool stays(const struct model_entry *entry) {
    return entry->state == MODEL_LOADING || entry->state == MODEL_READY;
}

/* What is there even when all idle ones are gone. */
static bool must_stay(const struct model_entry *entry) {
    return stays(entry) && (entry->pinned || !model_table_is_idle(entry));
}

static bool is_there_for_ever(const struct model_entry *entry) {
    return stays(entry) && entry->pinned;
}

int64_t model_table_pinned_bytes(const struct model_table *table) {
    return sum_bytes(table, is_there_for_ever);
}

static bool fits_beside(const struct model_table *table, int64_t bytes, entry_fn *others) {
    return table->config.bytes_max == 0 ||
           add_bytes(sum_bytes(table, others), bytes) <= table->config.bytes_max;
}

/* The idle one that was used longest ago; count: there is none. */
static size_t find_victim(const struct model_table *table) {
    size_t victim = table->count;
    for (size_t i = 0; i < table->count; i++) {
        const struct model_entry *entry = &table->entries[i];
        if (!model_table_is_idle(entry) || entry->pinned)
            continue;
        if (victim == table->count || entry->used_ms < table->entries[victim].used_ms)
            victim = i;
    }
    return victim;
}

static bool is_newest(const struct model_table *table, size_t index) {
    for (size_t i = 0; i < table->count; i++) {
        const struct model_entry *other = &table->entries[i];
        if (i != index && stays(other) && other->used_ms >= table->entries[index].used_ms)
            return false;
    }
    return true;
}

size_t model_table_find_spare(const struct model_table *table, bool keep_newest) {
    size_t spare = find_victim(table);
    bool may_go = spare < table->count && table->config.on_demand;
    return may_go && !(keep_newest && is_newest(table, spare)) ? spare : table->count;
}

void model_table_stop_warming(struct model_table *table) {
    for (size_t i = 0; i < table->count && table->config.on_demand; i++) {
        if (table->entries[i].state != MODEL_LOADING)
            table->entries[i].warm = false;
    }
}

static void update_wish(struct model_entry *entry, int64_t now_ms) {
    bool wanted = entry->jobs > 0 || entry->warm;
    if (entry->state == MODEL_WAITING && !wanted) {
        entry->state = MODEL_UNLOADED;
    } else if (wanted &&
               (entry->state == MODEL_UNLOADED || (entry->state == MODEL_FAILED && entry->jobs > 0))) {
        entry->state = MODEL_WAITING;
        entry->wanted_ms = now_ms;
    }
}

static bool comes_before(const struct model_entry *a, const struct model_entry *b) {
    if ((a->jobs > 0) != (b->jobs > 0))
        return a->jobs > 0;
    if (a->jobs == 0 && a->turn != b->turn)
        return a->turn < b->turn;
    return a->wanted_ms < b->wanted_ms; /* of equals the one with the lower index */
}

/* The next of those that wait, behind `last`, by who wants it and for how long; count: no more. */
static size_t next_waiting(const struct model_table *table, const bool *seen) {
    size_t next = table->count;
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].state != MODEL_WAITING || seen[i])
            continue;
        if (next == table->count || comes_before(&table->entries[i], &table->entries[next]))
            next = i;
    }
    return next;
}

static bool is_loading(const struct model_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].state == MODEL_LOADING)
            return true;
    }
    return false;
}

/* One that nobody has asked for yet. */
static struct model_step step_for_warm(const struct model_table *table, struct model_entry *entry,
                                       size_t index) {
    if (!table->config.warm_parallel && is_loading(table))
        return (struct model_step){.move = MODEL_STAY};
    if (fits_beside(table, entry->bytes, takes_memory))
        return (struct model_step){MODEL_LOAD, index};
    if (fits_beside(table, entry->bytes, stays))
        return (struct model_step){.move = MODEL_STAY}; /* something is about to go */
    entry->warm = false;
    entry->state = MODEL_UNLOADED;
    return (struct model_step){MODEL_LEAVE_COLD, index};
}

static int64_t impatient_from_ms(const struct model_table *table, const struct model_entry *entry) {
    return table->config.patience_ms > 0 ? entry->wanted_ms + table->config.patience_ms : INT64_MAX;
}

/* From when on it makes way though it has jobs. */
static int64_t yields_from_ms(const struct model_table *table, const struct model_entry *entry) {
    int64_t patience_ms = table->config.patience_ms;
    if (entry->state != MODEL_READY || entry->pinned || patience_ms == 0)
        return INT64_MAX;
    return entry->loaded_ms + (entry->load_ms > patience_ms ? entry->load_ms : patience_ms);
}

/* Is there room for it when all have made way that do? */
static bool fits_after_all(const struct model_table *table, const struct model_entry *entry, int64_t now_ms) {
    int64_t sum = entry->bytes;
    for (size_t i = 0; i < table->count; i++) {
        const struct model_entry *other = &table->entries[i];
        if (must_stay(other) && yields_from_ms(table, other) > now_ms)
            sum = add_bytes(sum, other->bytes);
    }
    return sum <= table->config.bytes_max;
}

/* An idle one, or else of those that make way the one that was loaded longest ago; count: there is none. */
static size_t find_yielding(const struct model_table *table, int64_t now_ms) {
    size_t found = find_victim(table);
    bool idle = found < table->count;
    for (size_t i = 0; i < table->count && !idle; i++) {
        const struct model_entry *entry = &table->entries[i];
        if (yields_from_ms(table, entry) <= now_ms &&
            (found == table->count || entry->loaded_ms < table->entries[found].loaded_ms))
            found = i;
    }
    return found;
}

/* The first of those that wait for room. */
static struct model_step step_for_first(const struct model_table *table, const struct model_entry *entry,
                                        size_t index, int64_t now_ms) {
    if (fits_beside(table, entry->bytes, takes_memory))
        return (struct model_step){MODEL_LOAD, index};
    if (fits_beside(table, entry->bytes, stays))
        return (struct model_step){.move = MODEL_STAY}; /* something is about to go */
    if (fits_beside(table, entry->bytes, must_stay))
        return (struct model_step){MODEL_UNLOAD, find_victim(table)};
    if (impatient_from_ms(table, entry) <= now_ms && fits_after_all(table, entry, now_ms))
        return (struct model_step){MODEL_UNLOAD, find_yielding(table, now_ms)};
    return (struct model_step){.move = MODEL_STAY};
}

/* Whether it takes nothing of what `first` waits for. */
static bool leaves_room(const struct model_table *table, const struct model_entry *entry,
                        const struct model_entry *first, int64_t now_ms) {
    int64_t both = add_bytes(entry->bytes, first->bytes);
    bool is_served = fits_beside(table, first->bytes, stays) || impatient_from_ms(table, first) <= now_ms;
    return fits_beside(table, entry->bytes, takes_memory) && (!is_served || fits_beside(table, both, stays));
}

/* `first`: who waits for room before it; NULL: nobody. */
static struct model_step step_for_jobs(const struct model_table *table, const struct model_entry *entry,
                                       size_t index, const struct model_entry *first, int64_t now_ms) {
    if (!fits_beside(table, entry->bytes, is_there_for_ever))
        return (struct model_step){MODEL_GIVE_UP, index};
    if (!first)
        return step_for_first(table, entry, index, now_ms);
    return leaves_room(table, entry, first, now_ms) ? (struct model_step){MODEL_LOAD, index}
                                                    : (struct model_step){.move = MODEL_STAY};
}

struct model_step model_table_next(struct model_table *table, int64_t now_ms) {
    for (size_t i = 0; i < table->count; i++)
        update_wish(&table->entries[i], now_ms);
    bool seen[WORKER_MODELS_MAX] = {false};
    const struct model_entry *first = NULL;
    size_t index;
    while ((index = next_waiting(table, seen)) < table->count) {
        struct model_entry *entry = &table->entries[index];
        struct model_step step = entry->jobs > 0 ? step_for_jobs(table, entry, index, first, now_ms)
                                                 : step_for_warm(table, entry, index);
        if (step.move != MODEL_STAY)
            return step;
        if (!first && entry->jobs > 0)
            first = entry;
        seen[index] = true;
    }
    return (struct model_step){.move = MODEL_STAY};
}

static bool is_being_warmed(const struct model_entry *entry) {
    return entry->state == MODEL_LOADING && entry->warm;
}

size_t model_table_take_late(struct model_table *table, int64_t now_ms) {
    for (size_t i = 0; i < table->count; i++) {
        struct model_entry *entry = &table->entries[i];
        if (!is_being_warmed(entry) || now_ms - entry->began_ms < table->config.warm_limit_ms)
            continue;
        entry->warm = false;
        return i;
    }
    return table->count;
}

int64_t model_table_late_ms(const struct model_table *table) {
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < table->count; i++) {
        const struct model_entry *entry = &table->entries[i];
        int64_t late_ms = entry->began_ms + table->config.warm_limit_ms;
        if (is_being_warmed(entry) && late_ms < next_ms)
            next_ms = late_ms;
    }
    return next_ms;
}

int64_t model_table_patience_ms(const struct model_table *table, int64_t now_ms) {
    int64_t next_ms = INT64_MAX;
    bool waits = false;
    for (size_t i = 0; i < table->count; i++) {
        const struct model_entry *entry = &table->entries[i];
        bool waiting = entry->state == MODEL_WAITING && entry->jobs > 0;
        int64_t from_ms = waiting ? impatient_from_ms(table, entry) : yields_from_ms(table, entry);
        waits = waits || waiting;
        if (from_ms > now_ms && from_ms < next_ms)
            next_ms = from_ms;
    }
    return waits ? next_ms : INT64_MAX;
}

void model_table_loading(struct model_table *table, size_t index, int64_t now_ms) {
    table->entries[index].state = MODEL_LOADING;
    table->entries[index].began_ms = now_ms;
}

void model_table_loaded(struct model_table *table, size_t index, int64_t bytes, int64_t now_ms) {
    struct model_entry *entry = &table->entries[index];
    entry->state = MODEL_READY;
    entry->bytes = bytes;
    entry->warm = false;
    entry->failures = 0;
    entry->loads++;
    entry->load_ms = now_ms - entry->began_ms;
    entry->loaded_ms = now_ms;
    entry->used_ms = now_ms;
}

void model_table_failed(struct model_table *table, size_t index, bool for_ever, int64_t now_ms) {
    struct model_entry *entry = &table->entries[index];
    int doublings = entry->failures < RETRY_DOUBLINGS_MAX ? entry->failures : RETRY_DOUBLINGS_MAX;
    entry->state = MODEL_FAILED;
    entry->warm = false;
    entry->failures++;
    entry->load_failures++;
    entry->retry_ms = for_ever ? INT64_MAX : now_ms + table->config.retry_delay_ms * (1 << doublings);
}

void model_table_refused(struct model_table *table, size_t index, int64_t now_ms) {
    struct model_entry *entry = &table->entries[index];
    int64_t delay_ms = table->config.retry_delay_ms;
    entry->warm = false;
    entry->hold_ms = now_ms + (delay_ms < HOLD_MS_MAX ? delay_ms : HOLD_MS_MAX);
}

void model_table_unloading(struct model_table *table, size_t index) {
    struct model_entry *entry = &table->entries[index];
    entry->unloads += entry->state == MODEL_READY;
    entry->state = MODEL_UNLOADING;
    entry->warm = false;
}

void model_table_unloaded(struct model_table *table, size_t index) {
    table->entries[index].state = MODEL_UNLOADED;
}

void model_table_renew(struct model_table *table, size_t index, int64_t bytes) {
    struct model_entry *entry = &table->entries[index];
    assert(!takes_memory(entry));
    entry->bytes = bytes;
    entry->failures = 0;
    if (entry->state == MODEL_FAILED)
        entry->state = MODEL_UNLOADED;
}
