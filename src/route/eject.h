/* How far other controllers' words may take workers away. A controller that fails to reach workers believes
 * that they fail; told to all others, that would leave nobody. So such words count only up to half of a
 * model's workers, the breakers that are open here included. Pure. */
#pragma once

#include <stdbool.h>

#include "route/registry.h"

/* May the worker be ejected for all its models, or for `model` alone, because another controller says so? */
bool eject_is_allowed(const struct registry *registry, const struct registry_worker *worker,
                      const char *model);
