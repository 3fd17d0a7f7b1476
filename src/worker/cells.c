#include "worker/cells.h"

#include <assert.h>
#include <stdlib.h>

bool cells_init(struct cells *cells, int32_t slots) {
    size_t count = (size_t)slots;
    *cells = (struct cells){.slots = slots,
                            .lengths = calloc(count, sizeof *cells->lengths),
                            .shared = calloc(count * count, sizeof *cells->shared)};
    if (cells->lengths && cells->shared)
        return true;
    cells_release(cells);
    return false;
}

void cells_release(struct cells *cells) {
    free(cells->lengths);
    free(cells->shared);
    *cells = (struct cells){0};
}

static int32_t *shared_of(const struct cells *cells, int32_t a, int32_t b) {
    return &cells->shared[(size_t)a * (size_t)cells->slots + (size_t)b];
}

static void share(struct cells *cells, int32_t a, int32_t b, int32_t length) {
    *shared_of(cells, a, b) = *shared_of(cells, b, a) = length;
}

void cells_set(struct cells *cells, int32_t slot, int32_t length) {
    cells->lengths[slot] = length;
    for (int32_t other = 0; other < cells->slots; other++) {
        if (*shared_of(cells, slot, other) > length)
            share(cells, slot, other, length);
    }
}

void cells_copy(struct cells *cells, int32_t from, int32_t to, int32_t length) {
    assert(from != to && cells->lengths[to] == 0 && length <= cells->lengths[from]);
    cells->lengths[to] = length;
    cells->any_shared = true;
    for (int32_t other = 0; other < cells->slots; other++) {
        int32_t common = other == from ? length : *shared_of(cells, from, other);
        if (other != to)
            share(cells, to, other, common < length ? common : length);
    }
}

static int32_t shared_with(const struct cells *cells, int32_t slot, const bool *chosen, int32_t end) {
    int32_t most = 0;
    for (int32_t other = 0; cells->any_shared && other < end; other++) {
        int32_t common = *shared_of(cells, slot, other);
        if (other != slot && (!chosen || chosen[other]) && common > most)
            most = common;
    }
    return most;
}

int32_t cells_shared(const struct cells *cells, int32_t slot, const bool *chosen) {
    return shared_with(cells, slot, chosen, cells->slots);
}

/* The slots' cells are paths from the root of a tree: each adds what it does not share with any before it. */
int64_t cells_used(const struct cells *cells, const bool *chosen) {
    int64_t used = 0;
    for (int32_t slot = 0; slot < cells->slots; slot++) {
        if (!chosen || chosen[slot])
            used += cells->lengths[slot] - shared_with(cells, slot, chosen, slot);
    }
    return used;
}
