/* The options of an engine as the configuration has them; the same for the load that counts and for the trial
 * before it. */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "engine/engine.h"

/* Everything but the callbacks. The texts stay those of `config` and `model_path`. */
struct engine_options engine_options_of(const struct config *config, const char *model_path);

enum engine_cache_type engine_cache_type_of(enum cache_kind kind);

/* Whether the GPUs that the options name and count are there, as engine_choose_devices. To be asked at the
 * start, before models are loaded. `ops` may be NULL: then there is no engine that could tell. */
MUST_USE enum status engine_check_devices(const struct config *config, const struct engine_ops *ops,
                                          struct error *error);
