/* How many retries the whole controller may make: when workers fail because they are overloaded, tries that
 * follow tries would make it worse.
 *
 * Each request deposits a part of a retry, and each second a few more come for free, so that a quiet cluster
 * can retry too. A retry takes one. What is not taken lapses after a while, so that a calm hour does not pay
 * for a storm. In any span of time, therefore:
 *
 *   retries <= percent of its requests + floor_per_s * its seconds + what was held when it began
 *
 * (its seconds rounded up by less than one slice), and what is held is never more than RETRY_BUDGET_HELD_MAX,
 * nor than what `ttl_ms` can deposit. Pure: time is an argument; a time before an earlier one counts as that.
 * Every call is O(1). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum {
    RETRY_BUDGET_SLICES = 10,     /* deposits lapse slice by slice, after 0.9 to 1 of ttl_ms */
    RETRY_BUDGET_HELD_MAX = 1000, /* retries; about what the loss of one large worker asks for */
};

struct retry_budget_config {
    int64_t percent;     /* retries for each 100 requests, 0..100 */
    int64_t floor_per_s; /* retries, 0..100 */
    int64_t ttl_ms;      /* 1000..600000 */
};

/* 20 % and 2/s over 10 s: the usual fifth, with a lower floor than services with cheap requests have, because
 * each retry here computes a prompt again. */
extern const struct retry_budget_config retry_budget_default;

struct retry_budget {
    struct retry_budget_config config;
    int64_t slice_ms;
    int64_t slice_begin_ms;             /* of the newest */
    size_t newest;                      /* its index */
    int64_t cents[RETRY_BUDGET_SLICES]; /* what is left of each slice's deposits, in hundredths of a retry */
    int64_t held_cents;                 /* their sum */
    uint64_t requests;
    uint64_t granted;
    uint64_t suppressed; /* retries asked for in vain */
};

void retry_budget_init(struct retry_budget *budget, const struct retry_budget_config *config, int64_t now_ms);
/* A request has come (not a retry). */
void retry_budget_request(struct retry_budget *budget, int64_t now_ms);
/* May a retry be made? Takes it from the budget when so. */
MUST_USE bool retry_budget_withdraw(struct retry_budget *budget, int64_t now_ms);
/* Retries that could be made now. */
int64_t retry_budget_held(struct retry_budget *budget, int64_t now_ms);
