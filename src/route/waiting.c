#include "route/waiting.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void waiting_init(struct waiting_room *room, const struct waiting_config *config) {
    assert(config->aging_ms > 0);
    *room = (struct waiting_room){.config = *config};
    map_init(&room->by_model);
    TAILQ_INIT(&room->lines);
    for (int c = 0; c < CHAT_PRIORITY_COUNT; c++)
        TAILQ_INIT(&room->classes[c]);
}

void waiting_release(struct waiting_room *room) {
    if (!room)
        return;
    assert(room->count == 0);
    map_release(&room->by_model);
    *room = (struct waiting_room){0};
}

static struct waiting_line *make_line(struct waiting_room *room, const char *model) {
    struct waiting_line *line = calloc(1, sizeof(*line));
    if (!line || !map_put(&room->by_model, model, line)) {
        free(line);
        return NULL;
    }
    strncpy(line->model, model, sizeof(line->model) - 1);
    for (int c = 0; c < CHAT_PRIORITY_COUNT; c++)
        TAILQ_INIT(&line->classes[c]);
    TAILQ_INSERT_TAIL(&room->lines, line, link);
    return line;
}

static void drop_line(struct waiting_room *room, struct waiting_line *line) {
    map_take(&room->by_model, line->model);
    TAILQ_REMOVE(&room->lines, line, link);
    free(line);
}

/* What a class has beyond the part of the room that is its own. */
static size_t beyond_own(size_t used, size_t room_max) {
    size_t own = room_max / WAITING_OWN_PART;
    return used > own ? used - own : 0;
}

/* Would it fit if all that must give way to it were gone? */
static bool can_fit(const struct waiting_room *room, const struct waiter *waiter) {
    const struct waiting_config *config = &room->config;
    size_t count = room->count, bytes = room->bytes;
    for (int c = (int)waiter->priority + 1; c < CHAT_PRIORITY_COUNT; c++) {
        count -= beyond_own(room->class_count[c], config->requests_max);
        bytes -= beyond_own(room->class_bytes[c], config->bytes_max);
    }
    return count < config->requests_max && waiter->bytes <= config->bytes_max - bytes;
}

/* Of the lowest priority that has more than its own of what the room has too little of. */
static struct waiter *next_to_go(const struct waiting_room *room) {
    const struct waiting_config *config = &room->config;
    bool crowded = room->count > config->requests_max;
    for (int c = CHAT_PRIORITY_COUNT - 1; c > 0; c--) {
        if (crowded ? beyond_own(room->class_count[c], config->requests_max) > 0
                    : beyond_own(room->class_bytes[c], config->bytes_max) > 0)
            return TAILQ_LAST(&room->classes[c], waiter_queue);
    }
    assert(false); /* can_fit has counted them */
    return NULL;
}

/* Both queues are in order of arrival; nearly everybody goes to the end. */
static void insert(struct waiting_room *room, struct waiting_line *line, struct waiter *waiter) {
    enum chat_priority class = waiter->priority;
    struct waiter *before = TAILQ_LAST(&line->classes[class], waiter_queue);
    while (before && before->since_ms > waiter->since_ms)
        before = TAILQ_PREV(before, waiter_queue, in_line);
    if (before)
        TAILQ_INSERT_AFTER(&line->classes[class], before, waiter, in_line);
    else
        TAILQ_INSERT_HEAD(&line->classes[class], waiter, in_line);
    before = TAILQ_LAST(&room->classes[class], waiter_queue);
    while (before && before->since_ms > waiter->since_ms)
        before = TAILQ_PREV(before, waiter_queue, in_class);
    if (before)
        TAILQ_INSERT_AFTER(&room->classes[class], before, waiter, in_class);
    else
        TAILQ_INSERT_HEAD(&room->classes[class], waiter, in_class);
    waiter->line = line;
    line->count++;
    line->picky_count += waiter->picky;
    room->class_count[class]++;
    room->class_bytes[class] += waiter->bytes;
    room->count++;
    room->bytes += waiter->bytes;
}

bool waiting_enter(struct waiting_room *room, struct waiter *waiter, const char *model,
                   waiting_evict_fn *evict, void *arg) {
    assert(!waiter->line);
    struct waiting_line *line = NULL;
    if (can_fit(room, waiter)) {
        line = map_find(&room->by_model, model);
        line = line ? line : make_line(room, model);
    }
    if (!line) {
        room->stats.refused++;
        return false;
    }
    insert(room, line, waiter);
    room->stats.entered++;
    while (room->count > room->config.requests_max || room->bytes > room->config.bytes_max) {
        struct waiter *evicted = next_to_go(room);
        waiting_leave(room, evicted);
        room->stats.evicted++;
        evict(evicted, arg);
    }
    return true;
}

void waiting_make_picky(struct waiter *waiter) {
    waiter->line->picky_count += !waiter->picky;
    waiter->picky = true;
}

/* The first of each class is its oldest. */
static struct waiter *oldest_of(struct waiter *const *firsts) {
    struct waiter *oldest = NULL;
    for (int c = 0; c < CHAT_PRIORITY_COUNT; c++)
        if (firsts[c] && (!oldest || firsts[c]->since_ms < oldest->since_ms))
            oldest = firsts[c];
    return oldest;
}

static struct waiter *oldest_in(const struct waiting_line *line) {
    struct waiter *firsts[CHAT_PRIORITY_COUNT];
    for (int c = 0; c < CHAT_PRIORITY_COUNT; c++)
        firsts[c] = TAILQ_FIRST(&line->classes[c]);
    return oldest_of(firsts);
}

void waiting_leave(struct waiting_room *room, struct waiter *waiter) {
    struct waiting_line *line = waiter->line;
    enum chat_priority class = waiter->priority;
    if (!line)
        return;
    waiter->line = NULL;
    TAILQ_REMOVE(&line->classes[class], waiter, in_line);
    TAILQ_REMOVE(&room->classes[class], waiter, in_class);
    line->picky_count -= waiter->picky;
    room->class_count[class]--;
    room->class_bytes[class] -= waiter->bytes;
    room->count--;
    room->bytes -= waiter->bytes;
    if (--line->count == 0)
        drop_line(room, line);
}

size_t waiting_count(const struct waiting_room *room, const char *model) {
    const struct waiting_line *line = room->count > 0 ? map_find(&room->by_model, model) : NULL;
    return line ? line->count : 0;
}

/* 0 is the highest; below it are those that have aged past it. */
static int64_t rank(const struct waiting_room *room, const struct waiter *waiter, int64_t now_ms) {
    int64_t waited_ms = now_ms > waiter->since_ms ? now_ms - waiter->since_ms : 0;
    return (int64_t)waiter->priority - waited_ms / room->config.aging_ms;
}

static bool is_oldests_turn(const struct waiting_line *line) {
    return line->overtaken >= WAITING_OVERTAKEN_MAX;
}

void waiting_note_served(struct waiting_room *room, const char *model, int64_t since_ms) {
    struct waiting_line *line = room->count > 0 ? map_find(&room->by_model, model) : NULL;
    if (!line)
        return;
    line->overtaken = since_ms > oldest_in(line)->since_ms ? line->overtaken + 1 : 0;
}

bool waiting_has_before(const struct waiting_room *room, const char *model, enum chat_priority priority,
                        bool picky, int64_t now_ms) {
    const struct waiting_line *line = room->count > 0 ? map_find(&room->by_model, model) : NULL;
    if (line && !picky && line->picky_count == line->count)
        return false;
    if (line && is_oldests_turn(line) && (picky || !oldest_in(line)->picky))
        return true;
    for (int c = 0; line && c < CHAT_PRIORITY_COUNT; c++) {
        const struct waiter *first = TAILQ_FIRST(&line->classes[c]);
        if (first && rank(room, first, now_ms) <= (int64_t)priority)
            return true;
    }
    return false;
}

void waiting_walk_begin(struct waiting_walk *walk, const struct waiting_room *room,
                        const struct waiting_line *line, int64_t now_ms) {
    *walk = (struct waiting_walk){.room = room, .now_ms = now_ms, .oldest_first = is_oldests_turn(line)};
    for (int c = 0; c < CHAT_PRIORITY_COUNT; c++)
        walk->next[c] = TAILQ_FIRST(&line->classes[c]);
}

static struct waiter *first_in_rank(const struct waiting_walk *walk) {
    struct waiter *best = NULL;
    int64_t best_rank = 0;
    for (int c = 0; c < CHAT_PRIORITY_COUNT; c++) {
        struct waiter *waiter = walk->next[c];
        if (!waiter)
            continue;
        int64_t its_rank = rank(walk->room, waiter, walk->now_ms);
        if (best && (its_rank > best_rank || (its_rank == best_rank && waiter->since_ms >= best->since_ms)))
            continue;
        best = waiter;
        best_rank = its_rank;
    }
    return best;
}

struct waiter *waiting_walk_next(struct waiting_walk *walk) {
    struct waiter *next = walk->oldest_first ? oldest_of(walk->next) : first_in_rank(walk);
    walk->oldest_first = false;
    if (next)
        walk->next[next->priority] = TAILQ_NEXT(next, in_line);
    return next;
}
