#include "base/rng.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define GOLDEN UINT64_C(0x9E3779B97F4A7C15) /* 2^64 divided by the golden ratio */

enum { ID_POOL_BYTES = 1024 }; /* about 40 ids of requests */

/* The output function of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
 * 2014): a bijection in which each input bit flips about half of the output bits. */
static uint64_t scramble(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

void rng_seed(struct rng *rng, uint64_t seed) {
    rng->state = seed;
}

uint64_t rng_next(struct rng *rng) {
    rng->state += GOLDEN;
    return scramble(rng->state);
}

uint64_t rng_below(struct rng *rng, uint64_t bound) {
    assert(bound > 0);
    /* 2^64 mod bound: the numbers below it would make small results more likely. */
    uint64_t unfair = -bound % bound;
    uint64_t x;
    do {
        x = rng_next(rng);
    } while (x < unfair);
    return x % bound;
}

uint64_t rng_mix(uint64_t a, uint64_t b) {
    return scramble((scramble(a + GOLDEN) ^ b) + GOLDEN);
}

double rng_keyed_unit(uint64_t seed, uint64_t choice, uint64_t position) {
    uint64_t x = rng_mix(rng_mix(seed, choice), position);
    return (double)(x >> 11) * 0x1p-53; /* a double holds 53 bits: never rounds up to 1 */
}

void rng_bytes(void *out, size_t len) {
    char *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        at += got;
        len -= (size_t)got;
    }
}

uint64_t rng_u64(void) {
    uint64_t x;
    rng_bytes(&x, sizeof x);
    return x;
}

/* Ids are made for every request, so the kernel is asked for many of them at once; no byte is used twice. A
 * process that forks and does not exec would share what is left with its child: ours always exec. */
static unsigned char next_byte(void) {
    static _Thread_local unsigned char bytes[ID_POOL_BYTES];
    static _Thread_local size_t left;
    if (left == 0) {
        rng_bytes(bytes, sizeof bytes);
        left = sizeof bytes;
    }
    return bytes[--left];
}

void rng_id(char *out, size_t chars) {
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    size_t at = 0;
    while (at < chars) {
        unsigned char byte = next_byte();
        if (byte < 252) /* 7 * 36: the rest would favour the first characters */
            out[at++] = alphabet[byte % 36];
    }
    out[at] = '\0';
}
