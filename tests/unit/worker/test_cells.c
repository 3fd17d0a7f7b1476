#include "worker/cells.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

enum { SLOTS = 5, LENGTH_MAX = 40, CELLS_MAX = 20000 };

/* Which cell each token of each slot is in; every new token gets a new one. */
struct model {
    int32_t cells[SLOTS][LENGTH_MAX];
    int32_t lengths[SLOTS];
    int32_t next;
};

static int64_t count(const struct model *model, const bool *chosen) {
    static bool used[CELLS_MAX];
    int64_t sum = 0;
    memset(used, 0, sizeof used);
    for (int slot = 0; slot < SLOTS; slot++) {
        for (int i = 0; chosen[slot] && i < model->lengths[slot]; i++) {
            sum += !used[model->cells[slot][i]];
            used[model->cells[slot][i]] = true;
        }
    }
    return sum;
}

static int32_t shared(const struct model *model, int slot, const bool *chosen) {
    int32_t most = 0;
    for (int other = 0; other < SLOTS; other++) {
        int32_t common = 0;
        while (other != slot && chosen[other] && common < model->lengths[slot] &&
               common < model->lengths[other] && model->cells[slot][common] == model->cells[other][common])
            common++;
        most = common > most ? common : most;
    }
    return most;
}

static void change(struct model *model, struct cells *cells, struct rng *rng) {
    int slot = (int)rng_below(rng, SLOTS), other = (int)rng_below(rng, SLOTS);
    int32_t length = (int32_t)rng_below(rng, LENGTH_MAX + 1);
    if (model->lengths[slot] == 0 && other != slot && model->lengths[other] > 0) {
        length = 1 + length % model->lengths[other];
        memcpy(model->cells[slot], model->cells[other], (size_t)length * sizeof(int32_t));
        cells_copy(cells, other, slot, length);
    } else {
        if (rng_below(rng, 3) == 0)
            length = 0;
        for (int32_t i = model->lengths[slot]; i < length; i++)
            model->cells[slot][i] = model->next++;
        cells_set(cells, slot, length);
    }
    model->lengths[slot] = length;
}

static void counts_are_those_of_a_list_of_cells_after_any_history(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        struct model model = {.next = 0};
        struct cells cells;
        rng_seed(&rng, seed);
        assert_true(cells_init(&cells, SLOTS));
        for (int i = 0; i < 200; i++) {
            bool chosen[SLOTS], all[SLOTS] = {true, true, true, true, true};
            change(&model, &cells, &rng);
            for (int slot = 0; slot < SLOTS; slot++)
                chosen[slot] = rng_below(&rng, 2) > 0;
            assert_int_equal(cells_used(&cells, chosen), count(&model, chosen));
            assert_int_equal(cells_used(&cells, NULL), count(&model, all));
            for (int slot = 0; slot < SLOTS; slot++)
                assert_int_equal(cells_shared(&cells, slot, chosen), shared(&model, slot, chosen));
        }
        cells_release(&cells);
    }
}

static void a_common_beginning_counts_once(void **state) {
    (void)state;
    struct cells cells;
    assert_true(cells_init(&cells, 3));
    cells_set(&cells, 0, 1000);
    cells_copy(&cells, 0, 1, 1000);
    cells_copy(&cells, 1, 2, 1000);
    cells_set(&cells, 1, 1010);
    cells_set(&cells, 2, 1005);
    assert_int_equal(cells_used(&cells, NULL), 1015);
    cells_set(&cells, 0, 0);
    assert_int_equal(cells_used(&cells, NULL), 1015);
    cells_set(&cells, 1, 0);
    assert_int_equal(cells_used(&cells, NULL), 1005);
    cells_release(&cells);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_those_of_a_list_of_cells_after_any_history),
        cmocka_unit_test(a_common_beginning_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
