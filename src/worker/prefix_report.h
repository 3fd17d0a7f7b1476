/* What controllers are told of the beginnings of prompts that a model holds: of each block (proto/chat.h)
 * when the first sequence has it and when the last one that had it is gone. Engine thread; pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

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

struct prefix_held {
    STAILQ_ENTRY(prefix_held) link; /* of those with news */
    uint64_t hash;
    size_t uses; /* sequences that have it */
    bool told;   /* that it is held */
    bool listed; /* is it among those with news? */
};

STAILQ_HEAD(prefix_held_list, prefix_held);

struct prefix_report {
    struct map blocks;            /* hash in hexadecimal -> struct prefix_held, owned */
    struct prefix_held_list news; /* whose use has changed since they were told of last, and maybe back */
    uint64_t *hashes;             /* owned; room for what is taken at once, twice */
    size_t take_max;
};

/* `take_max`: of each kind, most that are taken at once. false: no memory; released by the caller in any
 * case. */
MUST_USE bool prefix_report_init(struct prefix_report *report, size_t take_max);
void prefix_report_release(struct prefix_report *report); /* takes zeroed structs */

/* A sequence is held from now on, or no more. Take NULL. What there is no memory for is not told. */
void prefix_report_hold(struct prefix_report *report, const struct prefix_blocks *blocks);
void prefix_report_drop(struct prefix_report *report, const struct prefix_blocks *blocks);
/* As if nothing had been told yet. */
void prefix_report_repeat(struct prefix_report *report);

bool prefix_report_has_news(const struct prefix_report *report);
/* Some of the news, which count as told; false when there is nothing. In the order in which they came, a
 * prompt's beginning first; they live until the next call. */
MUST_USE bool prefix_report_take(struct prefix_report *report, struct prefix_news *news);
