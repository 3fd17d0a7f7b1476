/* What runs in the next engine step. Pure.
 *
 * Every slot that decodes gets its one token first, so that running streams never wait for a prompt. What is
 * left of the token budget goes to slots in prefill, the one that started first before the others, in chunks:
 * a prompt longer than the rest of the budget is continued in the next step. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum slot_phase { SLOT_FREE, SLOT_PREFILL, SLOT_DECODE };

struct slot_view {
    enum slot_phase phase;
    int32_t prompt_left; /* PREFILL: prompt tokens not yet computed, >= 1 */
    uint64_t started;    /* order in which slots were given out; no two slots have the same */
};

struct plan_item {
    int32_t slot;
    int32_t count; /* tokens: 1 for decode */
    bool last;     /* the prompt is complete after it (or decode): a next token is wanted */
};

/* Writes at most `slots` items to `out` and returns how many; their counts add up to at most `budget`, which
 * is
 * >= slots. Items of decoding slots come first, in slot order. */
size_t batch_plan(const struct slot_view *views, size_t slots, int32_t budget, struct plan_item *out);
