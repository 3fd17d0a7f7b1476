/* From logits to one token. Pure: no model, no I/O, no clock.
 *
 * The token drawn at a position is a function of the logits, the parameters, the position and the reply's
 * earlier tokens alone: chance comes from the key (seed, position), so a reply that goes on elsewhere draws
 * the same.
 *
 * Order: penalties; then with temperature 0 the most likely token, equal ones by lowest id; else top_k, top_p
 * and min_p, each on the probabilities at temperature 1 that the one before has left (as llama.cpp's default
 * chain), then the draw among what is left with the temperature applied.
 *
 * Penalties follow OpenAI's formula and count the tokens of the reply, not of the prompt:
 * logit -= presence_penalty * (count > 0) + frequency_penalty * count.
 *
 * A logit that is NaN is never chosen; infinite ones are taken as the largest or smallest float. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "proto/chat.h"

enum { SAMPLER_TOKEN_NONE = -1 };

struct sampler_candidate {
    float logit;
    int32_t token;
};

/* Working memory for one call, shared by all samplers of a thread. */
struct sampler_scratch {
    struct sampler_candidate *candidates; /* owned */
    float *weights;                       /* owned; of candidates, or of blocks of the vocabulary */
    int32_t vocab;                        /* entries in each */
};

MUST_USE bool sampler_scratch_init(struct sampler_scratch *scratch, int32_t vocab); /* false: no memory */
void sampler_scratch_release(struct sampler_scratch *scratch); /* takes NULL and zeroed structs */

struct sampler_count {
    int32_t token;
    int32_t count;
};

struct sampler {
    struct sampling params;
    struct sampler_count *counts; /* owned; by token, ascending; NULL unless there are penalties */
    size_t count;                 /* distinct tokens */
    size_t cap;
};

void sampler_init(struct sampler *sampler, const struct sampling *params);
void sampler_release(struct sampler *sampler); /* takes NULL; leaves the struct zeroed */

/* Tells of a token of the reply; each exactly once, in any order. false: no memory, nothing counted. */
MUST_USE bool sampler_accept(struct sampler *sampler, int32_t token);

/* The token for `position`. Applies penalties to `logits` in place; `vocab` is at most the scratch's.
 * SAMPLER_TOKEN_NONE when every logit is NaN. Allocates nothing. */
int32_t sampler_pick(const struct sampler *sampler, struct sampler_scratch *scratch, float *logits,
                     int32_t vocab, uint64_t position);
