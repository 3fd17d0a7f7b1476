/* The C face of the one C++ file: chat templates (Jinja) by llama.cpp's common library. Exceptions end here
 * and become errors; nothing is printed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"

struct llama_model;
struct llama_vocab;
struct llama_bridge;

/* Parses the model's own chat template; a model that has none gets ChatML. NULL and MODEL_LOAD_FAILED when it
 * does not parse. */
struct llama_bridge *llama_bridge_new(const struct llama_model *model, struct error *error);
void llama_bridge_free(struct llama_bridge *bridge); /* takes NULL */

/* Whether the template writes the tools that a request brings into the prompt. */
bool llama_bridge_takes_tools(const struct llama_bridge *bridge);

struct llama_bridge_span {
    size_t begin;
    size_t end; /* one past the last byte */
};

/* A rendered prompt, and which parts of it the client wrote: there a marker of the model is just text. */
struct llama_bridge_text {
    char *text; /* owned; does not end in NUL */
    size_t len;
    struct llama_bridge_span *client; /* owned; ascending, none empty */
    size_t client_count;
};
void llama_bridge_text_release(struct llama_bridge_text *text); /* takes NULL; leaves it zeroed */

/* Renders OpenAI messages (a JSON array) into the prompt text, with the marker that starts the assistant's
 * turn. `now_s` is the time that a template may print, in local time. On success the caller releases `*out`.
 * REQUEST_VALIDATION_FAILED when the messages are not what the template can take. Reads only what never
 * changes: any thread, several at once. */
enum status llama_bridge_render(const struct llama_bridge *bridge, const char *messages_json, int64_t now_s,
                                struct llama_bridge_text *out, struct error *error);

/* llama_tokenize without the tokens that it would add around the text: a tokenizer throws on text that it
 * cannot take. Returns the count (more than `cap`: what it would have been), or -1. */
int32_t llama_bridge_tokenize(const struct llama_vocab *vocab, const char *text, size_t len, int32_t *tokens,
                              int32_t cap, bool parse_markers);

#ifdef __cplusplus
}
#endif
