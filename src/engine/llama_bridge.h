/* The C face of the one C++ file: chat templates (Jinja) by llama.cpp's common library. Exceptions end here
 * and become errors. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct llama_model;
struct llama_bridge;

/* Parses the model's own chat template. NULL and MODEL_LOAD_FAILED when it has none or it does not parse. */
struct llama_bridge *llama_bridge_new(const struct llama_model *model, struct error *error);
void llama_bridge_free(struct llama_bridge *bridge);

/* Renders OpenAI messages (a JSON array) into the prompt text, with the marker that starts the assistant's
 * turn. `now_s` is the time that a template may print. On success `*out` is the caller's, freed with free().
 * Reads only what never changes: any thread, several at once. */
enum status llama_bridge_render(const struct llama_bridge *bridge, const char *messages_json, int64_t now_s,
                                char **out, size_t *out_len, struct error *error);

#ifdef __cplusplus
}
#endif
