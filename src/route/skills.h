/* Skills as bits: each word that some worker has is a bit of 64, so that whether a worker has all that a
 * request requires is one AND. Pure.
 *
 * A worker has a skill for a model when it is a word of its operator, a capability of the model, or "gpu" and
 * the worker has one. Words that no worker has any more give their bit to others. When all bits are taken, a
 * new word is not learned: nobody has that skill until its worker says something else or comes anew. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "proto/worker_info.h"

enum { SKILLS_KNOWN_MAX = 64 };

struct skill_table { /* zeroed: empty */
    char words[SKILLS_KNOWN_MAX][SKILL_MAX + 1];
    uint64_t taken;   /* bits whose word is set */
    uint64_t refused; /* how often a word found no bit */
};

/* The bit of the word, 0 when nobody has it. */
uint64_t skill_bit(const struct skill_table *table, const char *word);
/* The bits of all of them; false when nobody has one. */
MUST_USE bool skill_bits(const struct skill_table *table, const char *const *words, size_t count,
                         uint64_t *bits);

/* Makes sure that the worker's words have bits, as far as there are any; only words outside of `in_use`, the
 * bits of all other workers, give way. */
void skill_learn(struct skill_table *table, const struct worker_info *info, uint64_t in_use);
/* What the worker can do whatever the model is. */
uint64_t skill_bits_of_worker(const struct skill_table *table, const struct worker_info *info);
/* What the model adds to that. */
uint64_t skill_bits_of_model(const struct skill_table *table, const struct model_info *model);
