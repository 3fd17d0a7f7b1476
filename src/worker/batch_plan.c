#include "worker/batch_plan.h"

#include <assert.h>

/* The slot in prefill that started first of those that started at `from` or later; -1 when there is none. */
static int32_t next_prefill(const struct slot_view *views, size_t slots, uint64_t from) {
    int32_t found = -1;
    for (size_t i = 0; i < slots; i++) {
        if (views[i].phase != SLOT_PREFILL || views[i].started < from)
            continue;
        if (found < 0 || views[i].started < views[found].started)
            found = (int32_t)i;
    }
    return found;
}

size_t batch_plan(const struct slot_view *views, size_t slots, int32_t budget, struct plan_item *out) {
    assert(budget >= 0 && (size_t)budget >= slots);
    size_t count = 0;
    for (size_t i = 0; i < slots; i++) {
        if (views[i].phase == SLOT_DECODE)
            out[count++] = (struct plan_item){.slot = (int32_t)i, .count = 1, .last = true};
    }
    budget -= (int32_t)count;
    uint64_t from = 0;
    while (budget > 0) {
        int32_t slot = next_prefill(views, slots, from);
        if (slot < 0)
            break;
        int32_t left = views[slot].prompt_left;
        int32_t tokens = left < budget ? left : budget;
        out[count++] = (struct plan_item){.slot = slot, .count = tokens, .last = tokens == left};
        budget -= tokens;
        from = views[slot].started + 1;
    }
    return count;
}
