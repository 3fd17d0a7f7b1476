/* A first attempt at a model that nobody trusts yet, in a process that may die of it: opens it, renders and
 * tokenizes a prompt, computes two tokens, closes it. What a reader of the file's header cannot know shows
 * here: tensors that are missing or have the wrong shape, numbers that divide by zero, a template that does
 * not parse. Small: one slot, a short context, so that it takes little more than the weights. */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "engine/engine.h"

/* `options` as for the real load; slots and context are made smaller here. MODEL_LOAD_FAILED and the reason.
 */
MUST_USE enum status engine_try(const struct engine_ops *ops, const struct engine_options *options,
                                struct error *error);
