/* A keyed hash of bytes: who does not know the key cannot choose inputs that collide. For tables whose keys
 * come from clients and for remembering texts by 64 bits; not a signature. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t words[2]; /* from rng_u64, or from a seed in tests */
};

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with 1 and 3 rounds): about a
 * byte per CPU cycle. `data` may be NULL when `len` is 0. */
uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);
