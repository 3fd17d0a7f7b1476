/* Random numbers: a small seeded generator for decisions that tests replay, a keyed function for sampling
 * (same key, same number, so that a job can go on elsewhere without moving state), and the kernel's
 * randomness for ids and credentials. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct rng {
    uint64_t state;
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);                  /* splitmix64 */
uint64_t rng_below(struct rng *rng, uint64_t bound); /* 0..bound-1 without bias; bound > 0 */

/* A uniform number in [0, 1) that is a function of its three keys alone. */
double rng_keyed_unit(uint64_t seed, uint64_t choice, uint64_t position);
uint64_t rng_mix(uint64_t a, uint64_t b); /* a good 64-bit hash of two words */

/* Fills `out` from the kernel; aborts when the kernel has none (it always has). */
void rng_bytes(void *out, size_t len);
uint64_t rng_u64(void);
/* Writes `chars` random characters of [0-9a-z] and a NUL: `out` holds chars + 1 bytes. */
void rng_id(char *out, size_t chars);
