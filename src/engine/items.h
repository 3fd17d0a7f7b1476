/* What every engine checks of a step's items before it touches anything. */
#pragma once

#include "engine/engine.h"

/* Asserts what engine_step demands of its caller: slots in range, one item for a slot, 1..batch_tokens tokens
 * together, every slot within its context. A scheduler that breaks this would mix up sequences. */
void engine_items_check(const struct engine_item *items, size_t count, int32_t slots, int32_t context_tokens,
                        int32_t batch_tokens);
/* Before a step: no next token, no error. */
void engine_items_reset(struct engine_item *items, size_t count);
