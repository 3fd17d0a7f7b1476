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

void prefix_report_init(struct prefix_report *report) {
    *report = (struct prefix_report){.came.count = 0};
    map_init(&report->held);
}

void prefix_report_release(struct prefix_report *report) {
    map_release(&report->held);
    free(report->came.hashes);
    free(report->went.hashes);
    *report = (struct prefix_report){.came.count = 0};
}

static void append(struct prefix_list *list, uint64_t hash) {
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        uint64_t *hashes = realloc(list->hashes, cap * sizeof *hashes);
        if (!hashes)
            return;
        list->hashes = hashes;
        list->cap = cap;
    }
    list->hashes[list->count++] = hash;
}

/* What came and went, or went and came, before anybody was told need not be told. */
static bool cancel_out(struct prefix_list *list, uint64_t hash) {
    for (size_t i = list->count; i-- > 0;) {
        if (list->hashes[i] != hash)
            continue;
        list->hashes[i] = list->hashes[--list->count];
        return true;
    }
    return false;
}

static void key_of(char key[KEY_MAX], uint64_t hash) {
    snprintf(key, KEY_MAX, "%016llx", (unsigned long long)hash);
}

void prefix_report_hold(struct prefix_report *report, const struct prefix_blocks *blocks) {
    for (size_t i = 0; blocks && i < blocks->count; i++) {
        char key[KEY_MAX];
        key_of(key, blocks->hashes[i]);
        uintptr_t uses = (uintptr_t)map_find(&report->held, key);
        bool put = map_put(&report->held, key, (void *)(uses + 1));
        if (put && uses == 0 && !cancel_out(&report->went, blocks->hashes[i]))
            append(&report->came, blocks->hashes[i]);
    }
}

void prefix_report_drop(struct prefix_report *report, const struct prefix_blocks *blocks) {
    for (size_t i = 0; blocks && i < blocks->count; i++) {
        char key[KEY_MAX];
        key_of(key, blocks->hashes[i]);
        uintptr_t uses = (uintptr_t)map_take(&report->held, key);
        if (uses > 1 && map_put(&report->held, key, (void *)(uses - 1)))
            continue;
        if (uses > 0 && !cancel_out(&report->came, blocks->hashes[i]))
            append(&report->went, blocks->hashes[i]);
    }
}

void prefix_report_repeat(struct prefix_report *report) {
    size_t cursor = 0;
    const char *key;
    void *uses;
    report->came.count = 0;
    while (map_next(&report->held, &cursor, &key, &uses))
        append(&report->came, strtoull(key, NULL, 16));
}

bool prefix_report_has_news(const struct prefix_report *report) {
    return report->came.count + report->went.count > 0;
}

static size_t take(struct prefix_list *list, size_t max, const uint64_t **out) {
    size_t count = list->count < max ? list->count : max;
    list->count -= count;
    *out = count > 0 ? list->hashes + list->count : NULL;
    return count;
}

bool prefix_report_take(struct prefix_report *report, size_t max, struct prefix_news *news) {
    news->held_count = take(&report->came, max, &news->held);
    news->gone_count = take(&report->went, max, &news->gone);
    return news->held_count + news->gone_count > 0;
}
