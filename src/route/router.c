#include "route/router.h"

#include <stdlib.h>
#include <string.h>

void route_exclude(struct route_exclusion *exclusion, uint64_t serial, uint64_t generation) {
    if (exclusion->count == ROUTE_TRIES_MAX)
        return;
    exclusion->tried[exclusion->count].serial = serial;
    exclusion->tried[exclusion->count].generation = generation;
    exclusion->count++;
}

void router_init(struct router *router, struct registry *registry, struct balancer *balancer) {
    *router = (struct router){.registry = registry, .balancer = balancer};
}

void router_release(struct router *router) {
    if (!router)
        return;
    rosters_release(&router->rosters);
    free(router->candidates);
    *router = (struct router){0};
}

static bool reserve_candidates(struct router *router) {
    if (router->cap >= router->registry->count)
        return true;
    size_t cap = router->registry->cap;
    struct route_candidate *candidates = realloc(router->candidates, cap * sizeof(*candidates));
    if (!candidates)
        return false;
    router->candidates = candidates;
    router->cap = cap;
    return true;
}

static enum status status_of(const struct route_census *census) {
    size_t away = census->offline + census->suspect + census->load_failed + census->excluded + census->broken;
    if (census->broken == census->serving)
        return STATUS_CIRCUIT_BREAKER_OPEN;
    return away == census->serving ? STATUS_NO_HEALTHY_WORKERS : STATUS_NO_WORKERS_AVAILABLE;
}

static void explain(const struct router *router, const char *model, const struct route_census *census,
                    struct error *error) {
    if (router->registry->count == 0) {
        error_set(error, STATUS_NO_WORKERS_AVAILABLE, NULL, "no worker has registered yet");
    } else if (census->serving == 0) {
        error_set(error, STATUS_MODEL_NOT_FOUND, "model",
                  "the model \"%s\" does not exist here; GET /v1/models lists those that do", model);
    } else {
        error_set(
            error, status_of(census), NULL,
            "none of the %zu workers with the model \"%s\" can take the request now: %zu still loading it, "
            "%zu failed to load it, %zu draining, %zu suspect, %zu offline, %zu already tried, %zu left "
            "alone "
            "by their circuit breaker",
            census->serving, model, census->loading, census->load_failed, census->draining, census->suspect,
            census->offline, census->excluded, census->broken);
    }
}

typedef bool keep_fn(const struct router *router, const struct registry_worker *worker, const void *arg);

/* Keeps those of the first `count` candidates that `keep` says, in order; how many they are. */
static size_t filter(struct router *router, size_t count, keep_fn *keep, const void *arg) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (keep(router, router->candidates[i].gauge->worker, arg))
            router->candidates[kept++] = router->candidates[i];
    return kept;
}

/* As filter, but all stay when none would. */
static size_t prefer(struct router *router, size_t count, keep_fn *keep, const void *arg) {
    for (size_t i = 0; i < count; i++)
        if (keep(router, router->candidates[i].gauge->worker, arg))
            return filter(router, count, keep, arg);
    return count;
}

static bool is_untried_incarnation(const struct router *router UNUSED, const struct registry_worker *worker,
                                   const void *arg) {
    const struct route_exclusion *exclusion = arg;
    for (size_t i = 0; i < exclusion->count; i++)
        if (exclusion->tried[i].generation == worker->generation)
            return false;
    return true;
}

static bool is_untried(const struct router *router UNUSED, const struct registry_worker *worker,
                       const void *arg) {
    const struct route_exclusion *exclusion = arg;
    for (size_t i = 0; i < exclusion->count; i++)
        if (exclusion->tried[i].serial == worker->serial)
            return false;
    return true;
}

struct breaker_view {
    bool panic;
    int64_t now_ms;
};

static bool breaker_lets_through(const struct router *router UNUSED, const struct registry_worker *worker,
                                 const void *arg) {
    const struct breaker_view *view = arg;
    return breaker_may_use(breaker_peek(&worker->breaker, view->now_ms), view->panic);
}

/* A worker whose breaker has just closed takes few jobs at first. */
static bool has_share_left(const struct router *router UNUSED, const struct registry_worker *worker,
                           const void *arg) {
    const struct breaker_view *view = arg;
    int64_t share = breaker_share(&worker->breaker, view->now_ms);
    int64_t allowed = worker->gauge->slots * share / 100;
    return share == 100 || worker->gauge->leases < (allowed > 1 ? allowed : 1);
}

/* Of those that the operator has not shut out himself. */
static bool is_panic(const struct router *router, size_t count, int64_t now_ms) {
    size_t live = 0, ejected = 0;
    for (size_t i = 0; i < count; i++) {
        const struct breaker *breaker = &router->candidates[i].gauge->worker->breaker;
        if (breaker_peek(breaker, now_ms) == BREAKER_FORBIDDEN)
            continue;
        live++;
        ejected += breaker_is_ejected(breaker);
    }
    return breaker_panic(ejected, live);
}

static int64_t first_probe_ms(const struct router *router, size_t count, int64_t now_ms) {
    int64_t least = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t remaining = breaker_remaining_ms(&router->candidates[i].gauge->worker->breaker, now_ms);
        if (remaining > 0 && (least == 0 || remaining < least))
            least = remaining;
    }
    return least;
}

/* A copy that can be filtered. */
static size_t copy_roster(struct router *router, const struct roster *roster) {
    if (roster->count > 0)
        memcpy(router->candidates, roster->candidates, roster->count * sizeof(*router->candidates));
    return roster->count;
}

/* No breaker has anything to say, which is what most requests find: one walk instead of five. */
static bool all_are_calm(const struct router *router, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!router->candidates[i].gauge->calm)
            return false;
    return true;
}

static size_t collect_candidates(struct router *router, const struct roster *roster,
                                 const struct route_exclusion *exclusion, int64_t now_ms,
                                 struct route_decision *decision) {
    struct route_census *census = &decision->census;
    size_t live = copy_roster(router, roster);
    *census = roster->census;
    if (exclusion->count == 0 && all_are_calm(router, live))
        return live;
    struct breaker_view view = {.panic = is_panic(router, live, now_ms), .now_ms = now_ms};
    decision->panic = view.panic;
    size_t untried = filter(router, live, is_untried_incarnation, exclusion);
    census->excluded = live - untried;
    decision->retry_after_ms = first_probe_ms(router, untried, now_ms);
    size_t usable = filter(router, untried, breaker_lets_through, &view);
    census->broken = untried - usable;
    usable = prefer(router, usable, is_untried, exclusion);
    return prefer(router, usable, has_share_left, &view);
}

static size_t choose(struct router *router, const struct route_request *request, size_t count,
                     struct route_decision *decision) {
    for (size_t i = 0; request->session_generation && i < count; i++) {
        if (router->candidates[i].gauge->generation == request->session_generation) {
            decision->strategy = "session";
            return i;
        }
    }
    return router->balancer->ops->pick(router->balancer, request, router->candidates, count,
                                       &decision->score);
}

struct registry_worker *router_pick(struct router *router, const struct route_request *request,
                                    const struct route_exclusion *exclusion, int64_t now_ms,
                                    struct route_decision *decision, struct error *error) {
    *decision = (struct route_decision){.strategy = router->balancer->ops->name};
    const struct roster *roster = rosters_get(&router->rosters, router->registry, request->model);
    if (!roster || !reserve_candidates(router)) {
        error_set(error, STATUS_INTERNAL_ERROR, NULL, "out of memory");
        return NULL;
    }
    size_t count = collect_candidates(router, roster, exclusion, now_ms, decision);
    decision->candidates = count;
    if (count == 0) {
        explain(router, request->model, &decision->census, error);
        return NULL;
    }
    struct registry_worker *worker =
        router->candidates[choose(router, request, count, decision)].gauge->worker;
    memcpy(decision->worker_id, worker->info.id, sizeof(decision->worker_id));
    return worker;
}
