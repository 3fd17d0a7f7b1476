#include "engine/llama_prompt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

bool llama_prompt_rules_init(struct llama_prompt_rules *rules, const struct llama_vocab *vocab) {
    *rules = (struct llama_prompt_rules){.vocab = vocab, .bos = ENGINE_TOKEN_NONE};
    if (llama_vocab_get_add_bos(vocab) && llama_vocab_bos(vocab) != LLAMA_TOKEN_NULL)
        rules->bos = llama_vocab_bos(vocab);
    size_t cap = 0;
    for (int32_t token = 0; token < llama_vocab_n_tokens(vocab); token++) {
        if (!(llama_vocab_get_attr(vocab, token) & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)))
            continue;
        const char *text = llama_vocab_get_text(vocab, token);
        if (!text || !*text)
            continue;
        if (rules->marker_count == cap) {
            cap = cap ? cap * 2 : 64;
            struct llama_marker *markers = realloc(rules->markers, cap * sizeof(*markers));
            if (!markers) {
                llama_prompt_rules_release(rules);
                return false;
            }
            rules->markers = markers;
        }
        rules->markers[rules->marker_count++] = (struct llama_marker){.text = text, .len = strlen(text)};
        rules->is_marker_byte[(unsigned char)text[0]] = true;
    }
    return true;
}

void llama_prompt_rules_release(struct llama_prompt_rules *rules) {
    if (!rules)
        return;
    free(rules->markers);
    *rules = (struct llama_prompt_rules){0};
}

/* Length of the longest marker that `text` begins with, 0 without one. */
static size_t marker_at(const struct llama_prompt_rules *rules, const char *text, size_t len) {
    size_t longest = 0;
    if (!rules->is_marker_byte[(unsigned char)text[0]])
        return 0;
    for (size_t i = 0; i < rules->marker_count; i++) {
        const struct llama_marker *marker = &rules->markers[i];
        if (marker->len > longest && marker->len <= len && memcmp(marker->text, text, marker->len) == 0)
            longest = marker->len;
    }
    return longest;
}

struct token_list {
    int32_t *tokens; /* owned */
    size_t count;
    size_t cap;
};

static bool list_reserve(struct token_list *list, size_t more) {
    if (list->cap - list->count >= more)
        return true;
    size_t cap = list->count + more;
    int32_t *tokens = realloc(list->tokens, cap * sizeof(*tokens));
    if (!tokens)
        return false;
    list->tokens = tokens;
    list->cap = cap;
    return true;
}

static bool list_append_text(struct token_list *list, const struct llama_prompt_rules *rules,
                             const char *text, size_t len, bool parse_markers) {
    if (len == 0)
        return true;
    /* English has about four bytes a token; what does not fit is tokenized a second time. */
    size_t room = len / 3 + 16;
    for (int round = 0; round < 2; round++) {
        if (!list_reserve(list, room))
            return false;
        int32_t count = llama_bridge_tokenize(rules->vocab, text, len, list->tokens + list->count,
                                              (int32_t)room, parse_markers);
        if (count < 0)
            return false;
        if ((size_t)count <= room) {
            list->count += (size_t)count;
            return true;
        }
        room = (size_t)count;
    }
    return false;
}

static bool tokenize(const struct llama_prompt_rules *rules, const struct llama_bridge_text *text,
                     struct token_list *list) {
    if (!list_reserve(list, text->len / 3 + 32))
        return false;
    assert(list->tokens); /* room was asked for */
    if (rules->bos != ENGINE_TOKEN_NONE)
        list->tokens[list->count++] = rules->bos;
    size_t done = 0;
    for (size_t i = 0; i < text->client_count; i++) {
        const struct llama_bridge_span *span = &text->client[i];
        for (size_t at = span->begin; at < span->end;) {
            size_t len = marker_at(rules, text->text + at, span->end - at);
            if (len == 0) {
                at++;
                continue;
            }
            if (!list_append_text(list, rules, text->text + done, at - done, true) ||
                !list_append_text(list, rules, text->text + at, len, false))
                return false;
            at += len;
            done = at;
        }
    }
    return list_append_text(list, rules, text->text + done, text->len - done, true);
}

/* The template may write the first token too. */
static void drop_double_bos(const struct llama_prompt_rules *rules, struct token_list *list) {
    if (rules->bos == ENGINE_TOKEN_NONE || list->count < 2 || list->tokens[1] != rules->bos)
        return;
    list->count--;
    memmove(list->tokens, list->tokens + 1, list->count * sizeof(*list->tokens));
}

enum status llama_prompt_tokenize(const struct llama_prompt_rules *rules,
                                  const struct llama_bridge_text *text, int32_t context_tokens,
                                  struct engine_prompt *out, struct error *error) {
    *out = (struct engine_prompt){0};
    /* No token is that long: what is over this limit need not be tokenized to be too long. */
    if (text->len / ENGINE_PIECE_MAX >= (size_t)context_tokens)
        return error_set(error, STATUS_CONTEXT_LENGTH_EXCEEDED, "messages",
                         "the prompt has %zu bytes, far more than the model's context of %d tokens can hold",
                         text->len, context_tokens);
    struct token_list list = {0};
    if (!tokenize(rules, text, &list)) {
        free(list.tokens);
        return error_set(error, STATUS_ENGINE_ERROR, NULL, "the prompt could not be tokenized");
    }
    drop_double_bos(rules, &list);
    if (list.count >= (size_t)context_tokens) {
        free(list.tokens);
        return error_set(
            error, STATUS_CONTEXT_LENGTH_EXCEEDED, "messages",
            "the prompt has %zu tokens; the model's context is %d tokens, and one must be left for "
            "the reply",
            list.count, context_tokens);
    }
    if (list.count == 0) {
        free(list.tokens);
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "messages",
                         "the model's chat template made an empty prompt of the messages");
    }
    *out = (struct engine_prompt){.tokens = list.tokens, .count = list.count};
    return STATUS_OK;
}
