#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/items.h"

void engine_prompt_release(struct engine_prompt *prompt) {
    if (!prompt)
        return;
    free(prompt->tokens);
    *prompt = (struct engine_prompt){0};
}

void engine_state_release(struct engine_state *state) {
    if (!state)
        return;
    free(state->bytes);
    *state = (struct engine_state){0};
}

void engine_items_check(const struct engine_item *items, size_t count, int32_t slots, int32_t context_tokens,
                        int32_t batch_tokens) {
    int64_t tokens = 0;
    assert(count <= (size_t)slots);
    for (size_t i = 0; i < count; i++) {
        assert(items[i].slot >= 0 && items[i].slot < slots);
        assert(items[i].count >= 1 && items[i].position >= 0);
        assert((int64_t)items[i].position + items[i].count <= context_tokens);
        for (size_t j = 0; j < i; j++)
            assert(items[j].slot != items[i].slot);
        tokens += items[i].count;
    }
    assert(tokens <= batch_tokens);
}

void engine_items_reset(struct engine_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        items[i].next = ENGINE_TOKEN_NONE;
        items[i].status = STATUS_OK;
    }
}
