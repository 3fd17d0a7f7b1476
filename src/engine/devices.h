/* Which of the GPUs there are a model goes to, and whether the options fit to them. Pure: the list is an
 * argument. */
#pragma once

#include <stddef.h>

#include "base/attr.h"
#include "base/error.h"
#include "engine/engine.h"

/* Those that a model goes to, as indexes into `gpus` (at most ENGINE_DEVICES_MAX of them are looked at) in
 * the order of tensor_split and main_gpu, and how many. With options->devices it is those, in that order;
 * otherwise all, except that integrated ones are left out beside others.
 *
 * CONFIG_INVALID when one that is asked for is not there (the sentence lists what there is), when
 * tensor_split has not one number for each, or main_gpu points behind the last one. */
MUST_USE enum status engine_choose_devices(const struct engine_options *options,
                                           const struct engine_gpu *gpus, size_t count,
                                           size_t chosen[ENGINE_DEVICES_MAX], size_t *chosen_count,
                                           struct error *error);
