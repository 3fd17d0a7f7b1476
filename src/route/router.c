#include "route/router.h"

#include <stdlib.h>
#include <string.h>

void route_exclude(struct route_exclusion *exclusion, uint64_t generation) {
    if (exclusion->count < ROUTE_TRIES_MAX)
        exclusion->generations[exclusion->count++] = generation;
}

void router_init(struct router *router, struct registry *registry, struct balancer *balancer) {
    *router = (struct router){.registry = registry, .balancer = balancer};
}

void router_release(struct router *router) {
    if (!router)
        return;
    free(router->candidates);
    *router = (struct router){0};
}

static bool is_excluded(const struct route_exclusion *exclusion, uint64_t generation) {
    for (size_t i = 0; i < exclusion->count; i++)
        if (exclusion->generations[i] == generation)
            return true;
    return false;
}

/* How many workers were kept out, by reason. */
struct census {
    size_t serving, offline, suspect, draining, loading, load_failed, excluded;
};

static bool is_eligible(const struct registry_worker *worker, const char *model,
                        const struct route_exclusion *exclusion, struct census *census) {
    const struct model_info *info = registry_model(worker, model);
    if (!info)
        return false;
    census->serving++;
    if (worker->state == WORKER_OFFLINE)
        return census->offline++, false;
    if (worker->state == WORKER_SUSPECT)
        return census->suspect++, false;
    if (worker->info.phase == WORKER_PHASE_DRAINING)
        return census->draining++, false;
    if (info->state == MODEL_LOADING)
        return census->loading++, false;
    if (info->state == MODEL_FAILED)
        return census->load_failed++, false;
    if (is_excluded(exclusion, worker->generation))
        return census->excluded++, false;
    return true;
}

static bool reserve_candidates(struct router *router) {
    if (router->cap >= router->registry->count)
        return true;
    size_t cap = router->registry->cap;
    struct registry_worker **candidates = realloc(router->candidates, cap * sizeof(*candidates));
    if (!candidates)
        return false;
    router->candidates = candidates;
    router->cap = cap;
    return true;
}

static void explain(const struct router *router, const char *model, const struct census *census,
                    struct error *error) {
    if (router->registry->count == 0) {
        error_set(error, STATUS_NO_WORKERS_AVAILABLE, NULL, "no worker has registered yet");
    } else if (census->serving == 0) {
        error_set(error, STATUS_MODEL_NOT_FOUND, "model",
                  "the model \"%s\" does not exist here; GET /v1/models lists those that do", model);
    } else {
        error_set(
            error, STATUS_NO_WORKERS_AVAILABLE, NULL,
            "none of the %zu workers with the model \"%s\" can take the request now: %zu still loading it, "
            "%zu failed to load it, %zu draining, %zu suspect, %zu offline, %zu already tried",
            census->serving, model, census->loading, census->load_failed, census->draining, census->suspect,
            census->offline, census->excluded);
    }
}

struct registry_worker *router_pick(struct router *router, const char *model,
                                    const struct route_exclusion *exclusion, struct error *error) {
    if (!reserve_candidates(router)) {
        error_set(error, STATUS_INTERNAL_ERROR, NULL, "out of memory");
        return NULL;
    }
    struct census census = {0};
    size_t count = 0;
    for (size_t i = 0; i < router->registry->count; i++) {
        struct registry_worker *worker = router->registry->workers[i];
        if (is_eligible(worker, model, exclusion, &census))
            router->candidates[count++] = worker;
    }
    if (count == 0) {
        explain(router, model, &census, error);
        return NULL;
    }
    return router->candidates[router->balancer->ops->pick(router->balancer, router->candidates, count)];
}
