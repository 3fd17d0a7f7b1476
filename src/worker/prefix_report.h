/* What controllers are told of the beginnings of prompts that a model holds: of each block (proto/chat.h)
 * when the first sequence has it and when the last one that had it is gone. Engine thread; pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/map.h"
#include "proto/worker_info.h"

/* The blocks of one prompt. NULL: it has none, or nobody is told of it. */
struct prefix_blocks {
    size_t count;
    uint64_t hashes[];
};

/* Owned by the caller; NULL when there are none, or no memory. */
struct prefix_blocks *prefix_blocks_new(const char *model, const char *messages_json);
struct prefix_blocks *prefix_blocks_copy(const struct prefix_blocks *blocks); /* likewise; takes NULL */

struct prefix_list {
    uint64_t *hashes; /* owned */
    size_t count;
    size_t cap;
};

struct prefix_report {
    struct map held; /* hash in hexadecimal -> how many sequences, as a pointer */
    struct prefix_list came;
    struct prefix_list went;
};

void prefix_report_init(struct prefix_report *report);
void prefix_report_release(struct prefix_report *report); /* takes zeroed structs */

/* A sequence is held from now on, or no more. Take NULL. What there is no memory for is not told. */
void prefix_report_hold(struct prefix_report *report, const struct prefix_blocks *blocks);
void prefix_report_drop(struct prefix_report *report, const struct prefix_blocks *blocks);
/* As if nothing had been told yet. */
void prefix_report_repeat(struct prefix_report *report);

bool prefix_report_has_news(const struct prefix_report *report);
/* Up to `max` of each kind, which count as told; false when there is nothing. They live until the next call.
 */
MUST_USE bool prefix_report_take(struct prefix_report *report, size_t max, struct prefix_news *news);
