/* Weights of workers, by patterns of their id or host name. An entry that is a worker's id counts first, else
 * the first one, in the order added, whose pattern fits the id or the host name; without any it is 1. In a
 * pattern `*` stands for any text, also none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum { WEIGHTS_MAX = 256, WEIGHT_ONE = 1000 }; /* in thousandths */

struct weight_rule {
    char *pattern; /* owned */
    uint32_t thousandths;
};

struct weights {               /* zeroed: none */
    struct weight_rule *rules; /* owned */
    size_t count;
};

void weights_release(struct weights *weights); /* leaves it zeroed */
/* false when there are WEIGHTS_MAX or memory is out. */
MUST_USE bool weights_add(struct weights *weights, const char *pattern, uint32_t thousandths);
uint32_t weights_find(const struct weights *weights, const char *id, const char *hostname);
bool weights_pattern_fits(const char *pattern, const char *text);
