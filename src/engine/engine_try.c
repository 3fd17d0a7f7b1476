#include "engine/engine_try.h"

#include <stdlib.h>

enum {
    TRY_CONTEXT_TOKENS = 1024, /* room for what a template writes by itself */
    TRY_BATCH_TOKENS = 32,
    TRY_PROMPT_TOKENS = 4, /* of the prompt are kept: more than one, because a batch takes other paths */
};

/* A template may refuse a bare message, and that is no fault of the file: any token will do then. */
static bool make_prompt(struct engine *engine, struct engine_prompt *prompt) {
    static const int32_t any = 0;
    static char messages[] = "[{\"role\":\"user\",\"content\":\"Hello\"}]";
    struct chat_request chat;
    struct error why;
    chat_request_init(&chat);
    chat.messages_json = messages;
    if (engine_make_prompt(engine, &chat, 0, prompt, &why) == STATUS_OK) {
        prompt->count = prompt->count < TRY_PROMPT_TOKENS ? prompt->count : TRY_PROMPT_TOKENS;
        return true;
    }
    engine_prompt_release(prompt);
    prompt->tokens = malloc(sizeof(any));
    if (!prompt->tokens)
        return false;
    prompt->tokens[0] = any;
    prompt->count = 1;
    return true;
}

/* Computes `count` tokens and one that follows them. */
static enum status compute(struct engine *engine, const int32_t *tokens, int32_t count, int32_t position,
                           int32_t *next, struct error *error) {
    struct engine_item item = {
        .position = position, .tokens = tokens, .count = count, .sample = true, .next = ENGINE_TOKEN_NONE};
    enum status status = engine_step(engine, &item, 1, error);
    if (status == STATUS_OK && item.status != STATUS_OK)
        status = error_set(error, item.status, NULL, "no token can be chosen from what it computes");
    *next = item.next;
    return status;
}

static enum status run(struct engine *engine, const struct engine_prompt *prompt, struct error *error) {
    struct sampling sampling;
    char piece[ENGINE_PIECE_MAX];
    int32_t next;
    int32_t count = (int32_t)prompt->count;
    sampling_init(&sampling);
    sampling.temperature = 0;
    enum status status = engine_slot_start(engine, 0, &sampling, prompt, 0);
    if (status != STATUS_OK)
        return error_set(error, status, NULL, "no memory");
    status = compute(engine, prompt->tokens, count, 0, &next, error);
    if (status == STATUS_OK && !engine_is_end(engine, next)) {
        (void)engine_piece(engine, next, piece, sizeof(piece));
        status = compute(engine, &next, 1, count, &next, error);
    }
    engine_slot_stop(engine, 0);
    return status;
}

enum status engine_try(const struct engine_ops *ops, const struct engine_options *options,
                       struct error *error) {
    struct engine_options small = *options;
    struct engine_prompt prompt = {.tokens = NULL};
    struct error why = {.status = STATUS_OK};
    small.slots = 1;
    small.batch_tokens = TRY_BATCH_TOKENS;
    small.context_tokens = TRY_CONTEXT_TOKENS;
    small.cache_tokens = 0;
    struct engine *engine = ops->open(&small, error);
    if (!engine)
        return STATUS_MODEL_LOAD_FAILED;
    enum status status = make_prompt(engine, &prompt)
                             ? run(engine, &prompt, &why)
                             : error_set(&why, STATUS_ENGINE_ERROR, NULL, "no memory");
    engine_prompt_release(&prompt);
    ops->close(engine);
    if (status == STATUS_OK)
        return STATUS_OK;
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "it does not compute: %s", why.message);
}
