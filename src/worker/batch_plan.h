/* What runs in the next step, and in which passes over the model. Pure.
 *
 * Every slot that decodes gets its one token first, so that running streams never wait for a prompt. What is
 * left of the token budget goes to slots in prefill, in chunks: a prompt longer than its share is continued
 * in the next step.
 *
 * Half of it is for short prompts, the shortest first: those that have at most half as much left as the one
 * that started first. So a short prompt that comes behind a long one gets its first token after a step or two
 * and not after the long one's last. All the rest goes to the prompts in the order in which they started. So
 * the first one gets at least half in every step, takes at most twice its time however many short ones come,
 * and each of the others becomes the first one at some time. Prompts of about the same length run one after
 * the other: sharing would make the first ones later and the last one not sooner. */
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
};

/* Writes at most `slots` items to `out` and returns how many; their counts add up to at most `budget`, which
 * is enough for all that decode. Items of decoding slots come first, in slot order, then those of prompts in
 * the order in which they started. */
size_t batch_plan(const struct slot_view *views, size_t slots, int32_t budget, struct plan_item *out);

/* How an engine goes over its model. */
struct batch_pass_rule {
    int32_t tokens; /* up to so many, a pass takes little longer than with one */
    bool even;      /* sequences are in one pass only if each has the same number of tokens */
};

/* The order of a step's passes: the shorter prompts first. What has one token, since it decodes, comes last
 * where it would not share a pass with a prompt anyway, so that first tokens do not wait for it; it waits for
 * the prompts of one step in either order. */
void batch_sort(struct plan_item *items, size_t count, const struct batch_pass_rule *rule);
/* How many of the sorted items, of which there is one at least, the engine should compute before the others.
 * What decodes goes together. Prompts go together only while that takes little longer: one after the other
 * each has its first token sooner, and the last one not later. Those of one length that are too many for one
 * pass are spread over as many passes evenly: a last one by itself would be the least efficient, and the
 * first ones would wait for longer. */
size_t batch_pass(const struct plan_item *items, size_t count, const struct batch_pass_rule *rule);
