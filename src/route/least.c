/* Three walks: the least; how many times each block has it; the block and the place in it that chance names.
 * None has a branch on a number, which could not be predicted. */
#include "route/least.h"

#include <string.h>

enum { LANES = 4, BLOCK = 64 };

typedef int32_t lanes __attribute__((vector_size(LANES * sizeof(int32_t))));

static lanes read_lanes(const int32_t *at) {
    lanes read;
    memcpy(&read, at, sizeof(read));
    return read;
}

static lanes lesser(lanes a, lanes b) {
    lanes less = a < b; /* all bits, or none */
    return (a & less) | (b & ~less);
}

static int32_t find_least(const int32_t *numbers, size_t count) {
    int32_t least = numbers[0];
    size_t i = 0;
    if (count >= 2 * LANES) {
        lanes even = read_lanes(numbers), odd = read_lanes(numbers + LANES);
        for (i = 2 * LANES; i + 2 * LANES <= count; i += 2 * LANES) {
            even = lesser(read_lanes(numbers + i), even);
            odd = lesser(read_lanes(numbers + i + LANES), odd);
        }
        even = lesser(even, odd);
        for (size_t lane = 0; lane < LANES; lane++)
            least = even[lane] < least ? even[lane] : least;
    }
    for (; i < count; i++)
        least = numbers[i] < least ? numbers[i] : least;
    return least;
}

static uint32_t count_equal(const int32_t *numbers, size_t count, int32_t wanted) {
    lanes all = {wanted, wanted, wanted, wanted};
    lanes found = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        found -= read_lanes(numbers + i) == all;
    uint32_t sum = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        sum += (uint32_t)found[lane];
    for (; i < count; i++)
        sum += numbers[i] == wanted;
    return sum;
}

static size_t block_len(size_t count, size_t block) {
    return count - block * BLOCK < BLOCK ? count - block * BLOCK : BLOCK;
}

size_t least_pick(struct rng *rng, const int32_t *numbers, size_t count) {
    int32_t least = find_least(numbers, count);
    uint32_t equals[LEAST_MAX / BLOCK] = {0};
    uint64_t sum = 0;
    for (size_t block = 0; block * BLOCK < count; block++) {
        equals[block] = count_equal(numbers + block * BLOCK, block_len(count, block), least);
        sum += equals[block];
    }
    int64_t skip = (int64_t)rng_below(rng, sum);
    size_t block = 0;
    for (; skip >= equals[block]; block++)
        skip -= equals[block];
    size_t at = block * BLOCK;
    for (;; at++) {
        skip -= numbers[at] == least;
        if (skip < 0)
            return at;
    }
}
