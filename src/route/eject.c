#include "route/eject.h"

#include <string.h>

static bool serves(const struct registry_worker *worker, const char *model) {
    const struct model_info *info = registry_model(worker, model);
    return worker->state == WORKER_ONLINE && info && info->state == MODEL_READY;
}

static bool is_forced_open(const struct breaker *breaker) {
    return breaker->state == BREAKER_FORCED_OPEN;
}

/* The panic rule of the router, as it would be with one more. */
static bool leaves_enough(const struct registry *registry, const struct registry_worker *worker,
                          const char *model) {
    size_t live = 1, ejected = 1;
    for (size_t i = 0; i < registry->count; i++) {
        struct registry_worker *other = registry->workers[i];
        if (other == worker || !serves(other, model))
            continue;
        const struct guard guard = worker_guard(other, worker_model_find(other, model));
        if (is_forced_open(guard.worker) || is_forced_open(guard.model))
            continue;
        live++;
        ejected += guard_is_ejected(&guard);
    }
    return !breaker_panic(ejected, live);
}

bool eject_is_allowed(const struct registry *registry, const struct registry_worker *worker,
                      const char *model) {
    for (size_t i = 0; i < worker->info.model_count; i++) {
        const char *name = worker->info.models[i].name;
        if ((!model || strcmp(model, name) == 0) && !leaves_enough(registry, worker, name))
            return false;
    }
    return true;
}
