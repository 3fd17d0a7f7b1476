/* The place of the least of many numbers, one by chance where several are equal. It is what least_requests
 * does for every request with a number for each worker, so it compares several at once. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

enum { LEAST_MAX = 4096 };

/* An index below `count`, which is 1..LEAST_MAX. Chance is asked once, and each of the equals is as likely.
 */
size_t least_pick(struct rng *rng, const int32_t *numbers, size_t count);
