#include "worker/prefix_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/chat.h"

enum { KEY_MAX = 17 };

static size_t size_of(size_t count) {
    return sizeof(struct prefix_blocks) + count * sizeof(uint64_t);
}

struct prefix_blocks *prefix_blocks_new(const char *model, const char *messages_json) {
    size_t count = prefix_count(strlen(messages_json));
    struct prefix_blocks *blocks = count > 0 ? malloc(size_of(count)) : NULL;
    if (!blocks)
        return NULL;
    uint64_t hash = prefix_start(model);
    for (size_t i = 0; i < count; i++)
        blocks->hashes[i] = hash = prefix_next(hash, messages_json + i * PREFIX_BLOCK_BYTES);
    blocks->count = count;
    return blocks;
}

struct prefix_blocks *prefix_blocks_copy(const struct prefix_blocks *blocks) {
    struct prefix_blocks *copy = blocks ? malloc(size_of(blocks->count)) : NULL;
    if (copy)
        memcpy(copy, blocks, size_of(blocks->count));
    return copy;
}

bool prefix_report_init(struct prefix_report *report, size_t take_max) {
    *report = (struct prefix_report){.hashes = calloc(2 * take_max, sizeof(uint64_t)), .take_max = take_max};
    map_init(&report->blocks);
    STAILQ_INIT(&report->news);
    return report->hashes != NULL;
}

void prefix_report_release(struct prefix_report *report) {
    size_t cursor = 0;
    void *held;
    while (map_next(&report->blocks, &cursor, NULL, &held))
        free(held);
    map_release(&report->blocks);
    free(report->hashes);
    *report = (struct prefix_report){.take_max = 0};
}

static void key_of(char key[KEY_MAX], uint64_t hash) {
    snprintf(key, KEY_MAX, "%016llx", (unsigned long long)hash);
}

static void list(struct prefix_report *report, struct prefix_held *held) {
    if (held->listed)
        return;
    held->listed = true;
    STAILQ_INSERT_TAIL(&report->news, held, link);
}

/* NULL: no memory. */
static struct prefix_held *find_or_add(struct prefix_report *report, uint64_t hash) {
    char key[KEY_MAX];
    key_of(key, hash);
    struct prefix_held *held = map_find(&report->blocks, key);
    if (held || !(held = calloc(1, sizeof *held)))
        return held;
    held->hash = hash;
    if (map_put(&report->blocks, key, held))
        return held;
    free(held);
    return NULL;
}

void prefix_report_hold(struct prefix_report *report, const struct prefix_blocks *blocks) {
    for (size_t i = 0; blocks && i < blocks->count; i++) {
        struct prefix_held *held = find_or_add(report, blocks->hashes[i]);
        if (held && held->uses++ == 0)
            list(report, held);
    }
}

void prefix_report_drop(struct prefix_report *report, const struct prefix_blocks *blocks) {
    for (size_t i = 0; blocks && i < blocks->count; i++) {
        char key[KEY_MAX];
        key_of(key, blocks->hashes[i]);
        struct prefix_held *held = map_find(&report->blocks, key);
        if (held && held->uses > 0 && --held->uses == 0)
            list(report, held);
    }
}

void prefix_report_repeat(struct prefix_report *report) {
    size_t cursor = 0;
    void *value;
    while (map_next(&report->blocks, &cursor, NULL, &value)) {
        struct prefix_held *held = value;
        if (held->uses == 0)
            continue;
        held->told = false;
        list(report, held);
    }
}

bool prefix_report_has_news(const struct prefix_report *report) {
    return !STAILQ_EMPTY(&report->news);
}

static void forget(struct prefix_report *report, struct prefix_held *held) {
    char key[KEY_MAX];
    key_of(key, held->hash);
    map_take(&report->blocks, key);
    free(held);
}

bool prefix_report_take(struct prefix_report *report, struct prefix_news *news) {
    uint64_t *came = report->hashes, *gone = report->hashes + report->take_max;
    *news = (struct prefix_news){.held = came, .gone = gone};
    struct prefix_held *held;
    while ((held = STAILQ_FIRST(&report->news)) && news->held_count < report->take_max &&
           news->gone_count < report->take_max) {
        STAILQ_REMOVE_HEAD(&report->news, link);
        held->listed = false;
        if (held->uses > 0 && !held->told)
            came[news->held_count++] = held->hash;
        else if (held->uses == 0 && held->told)
            gone[news->gone_count++] = held->hash;
        held->told = held->uses > 0;
        if (held->uses == 0)
            forget(report, held);
    }
    return news->held_count + news->gone_count > 0;
}
