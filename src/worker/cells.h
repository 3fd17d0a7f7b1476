/* How many cells of a shared KV cache are in use, when slots that were copied from each other use some of
 * them together. A slot's tokens are in cells one after the other; what two slots share is a common
 * beginning. Pure.
 *
 * A common system prompt is counted once, as it is held once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct cells {
    int32_t slots;
    int32_t *lengths; /* owned; of each slot */
    int32_t *shared;  /* owned; slots * slots: how many of the first cells two slots have in common */
    bool any_shared;  /* ever */
};

MUST_USE bool cells_init(struct cells *cells, int32_t slots); /* false: no memory */
void cells_release(struct cells *cells);                      /* takes zeroed structs */

/* The slot holds so many tokens now: some more, or only its first ones. */
void cells_set(struct cells *cells, int32_t slot, int32_t length);
/* `to` holds nothing so far, and now the first `length` tokens of `from`, in the same cells. */
void cells_copy(struct cells *cells, int32_t from, int32_t to, int32_t length);

/* Cells that the chosen slots use together; `chosen` NULL: all. O(slots^2) when some share. */
int64_t cells_used(const struct cells *cells, const bool *chosen);
/* How many of the slot's first cells one of the chosen slots, itself not counted, uses, too. */
int32_t cells_shared(const struct cells *cells, int32_t slot, const bool *chosen);
