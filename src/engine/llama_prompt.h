/* From the rendered prompt text to tokens.
 *
 * Text of the template becomes the model's control tokens where it spells them. Text of the client never
 * does: where a message contains a marker such as <|im_start|>, the prompt is cut around it and the marker is
 * tokenized as plain text. Everything else is tokenized in one piece, so that ordinary prompts get exactly
 * the tokens that the model was trained on. (A template that cuts up or rewrites a message can lose track of
 * where its text came from; then a marker in it counts as the template's.) */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/llama_bridge.h"

struct llama_marker {
    const char *text; /* the vocabulary's */
    size_t len;
};

/* What tokenizing needs of a vocabulary; never changes after init. */
struct llama_prompt_rules {
    const struct llama_vocab *vocab; /* the model's, which must outlive this */
    struct llama_marker *markers;    /* owned */
    size_t marker_count;
    bool is_marker_byte[256]; /* a marker begins with it */
    int32_t bos;              /* the token every prompt begins with, or ENGINE_TOKEN_NONE */
};

MUST_USE bool llama_prompt_rules_init(struct llama_prompt_rules *rules, const struct llama_vocab *vocab);
void llama_prompt_rules_release(struct llama_prompt_rules *rules); /* takes NULL and zeroed structs */

/* CONTEXT_LENGTH_EXCEEDED when there are `context_tokens` or more. On success the caller releases `out`. */
MUST_USE enum status llama_prompt_tokenize(const struct llama_prompt_rules *rules,
                                           const struct llama_bridge_text *text, int32_t context_tokens,
                                           struct engine_prompt *out, struct error *error);
