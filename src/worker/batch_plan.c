#include "worker/batch_plan.h"

#include <assert.h>

/* Of what is left for prompts, the part of the short ones; and how much shorter than the first prompt they
 * are. */
enum { SHORT_SHARE = 2, SHORT_TIMES = 2 };

/* The prompts of a plan, as items in the order in which they started. */
struct prompts {
    const struct slot_view *views;
    struct plan_item *items;
    size_t count;
};

static int32_t left_of(const struct prompts *prompts, size_t i) {
    return prompts->views[prompts->items[i].slot].prompt_left - prompts->items[i].count;
}

static void insert(struct prompts *prompts, int32_t slot) {
    const struct slot_view *views = prompts->views;
    size_t at = prompts->count++;
    for (; at > 0 && views[prompts->items[at - 1].slot].started > views[slot].started; at--)
        prompts->items[at] = prompts->items[at - 1];
    prompts->items[at] = (struct plan_item){.slot = slot};
}

static int32_t give(struct prompts *prompts, size_t i, int32_t budget) {
    int32_t left = left_of(prompts, i);
    int32_t tokens = left < budget ? left : budget;
    prompts->items[i].count += tokens;
    return tokens;
}

/* The one with the least left that has got nothing yet; 0, the first prompt, when none is short enough. */
static size_t next_short(const struct prompts *prompts) {
    size_t found = 0;
    int32_t most = left_of(prompts, 0) / SHORT_TIMES;
    for (size_t i = 1; i < prompts->count; i++) {
        if (prompts->items[i].count > 0 || left_of(prompts, i) > most)
            continue;
        if (found == 0 || left_of(prompts, i) < left_of(prompts, found))
            found = i;
    }
    return found;
}

static void share(struct prompts *prompts, int32_t budget) {
    int32_t for_short = budget / SHORT_SHARE;
    size_t i;
    while (for_short > 0 && (i = next_short(prompts)) > 0) {
        int32_t tokens = give(prompts, i, for_short);
        for_short -= tokens;
        budget -= tokens;
    }
    for (i = 0; i < prompts->count; i++)
        budget -= give(prompts, i, budget);
}

/* Takes out those that got nothing, and returns how many are left. */
static size_t pack(struct prompts *prompts) {
    size_t kept = 0;
    for (size_t i = 0; i < prompts->count; i++) {
        if (prompts->items[i].count == 0)
            continue;
        prompts->items[kept++] = prompts->items[i];
    }
    return kept;
}

size_t batch_plan(const struct slot_view *views, size_t slots, int32_t budget, struct plan_item *out) {
    size_t decoding = 0;
    for (size_t i = 0; i < slots; i++) {
        if (views[i].phase == SLOT_DECODE)
            out[decoding++] = (struct plan_item){.slot = (int32_t)i, .count = 1};
    }
    assert(budget >= 0 && (size_t)budget >= decoding);
    struct prompts prompts = {.views = views, .items = out + decoding};
    for (size_t i = 0; i < slots; i++) {
        if (views[i].phase == SLOT_PREFILL)
            insert(&prompts, (int32_t)i);
    }
    if (prompts.count > 0)
        share(&prompts, budget - (int32_t)decoding);
    return decoding + pack(&prompts);
}

static bool goes_before(const struct plan_item *a, const struct plan_item *b,
                        const struct batch_pass_rule *rule) {
    if (rule->even && (a->count == 1) != (b->count == 1))
        return b->count == 1;
    return a->count < b->count;
}

void batch_sort(struct plan_item *items, size_t count, const struct batch_pass_rule *rule) {
    for (size_t i = 1; i < count; i++) {
        struct plan_item item = items[i];
        size_t at = i;
        for (; at > 0 && goes_before(&item, &items[at - 1], rule); at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* Where only equal lengths go together, and those there are need several passes, each gets as many. */
static size_t pass_most(const struct plan_item *items, size_t count, const struct batch_pass_rule *rule) {
    size_t alike = 1, most = (size_t)(rule->tokens / items[0].count);
    if (!rule->even || most <= 1)
        return count;
    while (alike < count && items[alike].count == items[0].count)
        alike++;
    size_t passes = (alike + most - 1) / most;
    return (alike + passes - 1) / passes;
}

size_t batch_pass(const struct plan_item *items, size_t count, const struct batch_pass_rule *rule) {
    int32_t tokens = items[0].count;
    size_t size = 1, most = pass_most(items, count, rule);
    for (; size < count; size++) {
        bool decode = items[0].count == 1 && items[size].count == 1;
        bool fits = size < most && tokens + items[size].count <= rule->tokens &&
                    (!rule->even || items[size].count == items[0].count);
        if (!decode && !fits)
            break;
        tokens += items[size].count;
    }
    return size;
}
