#include "base/siphash.h"

#include <string.h>

static uint64_t rotate(uint64_t word, int bits) {
    return (word << bits) | (word >> (64 - bits));
}

static void mix_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void absorb(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    mix_round(v);
    v[0] ^= word;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len) {
    uint64_t v[4] = {
        key->words[0] ^ UINT64_C(0x736f6d6570736575),
        key->words[1] ^ UINT64_C(0x646f72616e646f6d),
        key->words[0] ^ UINT64_C(0x6c7967656e657261),
        key->words[1] ^ UINT64_C(0x7465646279746573),
    };
    const unsigned char *at = data;
    uint64_t word;
    size_t left = len;
    for (; left >= sizeof word; left -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        absorb(v, word);
    }
    word = 0;
    if (left > 0)
        memcpy(&word, at, left);
    absorb(v, word | (uint64_t)len << 56);
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        mix_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
