#include "worker/admission.h"

void admission_init(struct admission *admission, const struct admission_config *config) {
    *admission = (struct admission){.config = *config};
    for (int level = 0; level < CHAT_PRIORITY_COUNT; level++)
        TAILQ_INIT(&admission->levels[level]);
}

static void unlist(struct admission *admission, struct admission_entry *entry) {
    if (entry->listed)
        TAILQ_REMOVE(&admission->levels[entry->level], entry, link);
    entry->listed = false;
}

static bool has_started(const struct admission_entry *entry) {
    return atomic_load_explicit(&entry->hold, memory_order_acquire) == ADMISSION_STARTED;
}

static bool take_hold(struct admission_entry *entry, enum admission_hold hold) {
    enum admission_hold waits = ADMISSION_WAITS;
    return atomic_compare_exchange_strong_explicit(&entry->hold, &waits, hold, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* Those found to have started leave the list, so each is met here only once. */
static struct admission_entry *evict_youngest(struct admission *admission, int level) {
    struct admission_list *list = &admission->levels[level];
    struct admission_entry *entry;
    while ((entry = TAILQ_LAST(list, admission_list))) {
        unlist(admission, entry);
        if (take_hold(entry, ADMISSION_EVICTED))
            return entry;
    }
    return NULL;
}

static struct admission_entry *evict_below(struct admission *admission, int level) {
    struct admission_entry *entry = NULL;
    for (int below = CHAT_PRIORITY_COUNT - 1; below > level && !entry; below--)
        entry = evict_youngest(admission, below);
    return entry;
}

static bool has_place(const struct admission *admission) {
    return admission->present < admission->config.present_max;
}

bool admission_is_full(const struct admission *admission) {
    const struct admission_config *config = &admission->config;
    return !has_place(admission) || admission->inside >= config->slots + config->depth;
}

bool admission_make_room(struct admission *admission, int level, struct admission_entry **evicted) {
    *evicted = NULL;
    if (!admission_is_full(admission))
        return true;
    if (has_place(admission) && admission->config.evict)
        *evicted = evict_below(admission, level);
    if (!*evicted) {
        admission->refused++;
        return false;
    }
    admission->inside--;
    admission->evicted++;
    return true;
}

void admission_enter(struct admission *admission, struct admission_entry *entry) {
    TAILQ_INSERT_TAIL(&admission->levels[entry->level], entry, link);
    entry->listed = true;
    admission->inside++;
    admission->present++;
    admission->entered++;
}

void admission_leave(struct admission *admission, struct admission_entry *entry) {
    unlist(admission, entry);
    admission->present--;
    if (!admission_is_evicted(entry))
        admission->inside--;
}

int64_t admission_oldest_ms(struct admission *admission, int level) {
    struct admission_entry *entry;
    while ((entry = TAILQ_FIRST(&admission->levels[level])) && has_started(entry))
        unlist(admission, entry);
    return entry ? entry->since_ms : -1;
}

bool admission_start(struct admission_entry *entry) {
    return take_hold(entry, ADMISSION_STARTED);
}

bool admission_is_evicted(const struct admission_entry *entry) {
    return atomic_load_explicit(&entry->hold, memory_order_acquire) == ADMISSION_EVICTED;
}
