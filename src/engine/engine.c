#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/items.h"

/* Unless it is asked for, a context takes no more memory than this many tokens need. */
enum { CONTEXT_TOKENS_DEFAULT_MAX = 4096 };

int64_t engine_context_tokens(const struct engine_options *options, int64_t trained) {
    int64_t tokens = options->context_tokens;
    if (tokens <= 0)
        tokens = trained > 0 && trained < CONTEXT_TOKENS_DEFAULT_MAX ? trained : CONTEXT_TOKENS_DEFAULT_MAX;
    bool is_shared = options->cache_tokens > 0; /* a job that is alone always fits into it */
    return is_shared && tokens > options->cache_tokens ? options->cache_tokens : tokens;
}

int64_t engine_cache_tokens(const struct engine_options *options, int64_t context_tokens) {
    return options->cache_tokens > 0 ? options->cache_tokens : context_tokens * options->slots;
}

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
