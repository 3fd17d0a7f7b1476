/* The part of a worker's info that says what it can do: capabilities of its models, hardware, skills.
 *
 *   in a model: "capabilities":["chat","tools"]
 *   in the info: "hardware":{"cpu":"...","cores":8,"memoryBytes":1,"gpus":[{"name":"...","memoryBytes":1}]},
 *                "skills":["legal"] */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "proto/worker_info.h"

void wire_append_capabilities(struct buf *out, const struct model_info *model);
void wire_append_skills(struct buf *out, const struct worker_info *info);

/* All of it may be absent. A capability that is not known here is ignored; anything else that does not fit is
 * an error that names the member. */
bool wire_take_capabilities(const json_t *object, struct model_info *model, struct error *error);
bool wire_take_skills(const json_t *root, struct worker_info *info, struct error *error);
