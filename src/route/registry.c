#include "route/registry.h"

#include <stdlib.h>
#include <string.h>

void registry_init(struct registry *registry, const struct registry_config *config) {
    *registry = (struct registry){.config = *config};
    map_init(&registry->by_id);
}

void registry_release(struct registry *registry) {
    if (!registry)
        return;
    for (size_t i = 0; i < registry->count; i++)
        free(registry->workers[i]);
    free(registry->workers);
    map_release(&registry->by_id);
    *registry = (struct registry){0};
}

struct registry_worker *registry_find(const struct registry *registry, const char *id) {
    return map_find(&registry->by_id, id);
}

static struct registry_worker *add_worker(struct registry *registry, const char *id) {
    if (registry->count == REGISTRY_WORKERS_MAX)
        return NULL;
    if (registry->count == registry->cap) {
        size_t cap = registry->cap ? registry->cap * 2 : 16;
        struct registry_worker **workers = realloc(registry->workers, cap * sizeof(*workers));
        if (!workers)
            return NULL;
        registry->workers = workers;
        registry->cap = cap;
    }
    struct registry_worker *worker = calloc(1, sizeof(*worker));
    if (!worker || !map_put(&registry->by_id, id, worker)) {
        free(worker);
        return NULL;
    }
    worker->index = registry->count;
    registry->workers[registry->count++] = worker;
    return worker;
}

static void forget_worker(struct registry *registry, struct registry_worker *worker) {
    for (size_t i = worker->index; i + 1 < registry->count; i++) {
        registry->workers[i] = registry->workers[i + 1];
        registry->workers[i]->index = i;
    }
    registry->count--;
    map_take(&registry->by_id, worker->info.id);
    free(worker);
}

static void become_incarnation(struct registry *registry, struct registry_worker *worker, int64_t now_ms) {
    worker->generation = ++registry->generations;
    worker->first_seen_ms = now_ms;
    worker->leases = 0;
    worker->jobs_sent = 0;
    worker->jobs_failed = 0;
}

void registry_update(struct registry *registry, const struct worker_info *info, int64_t now_ms,
                     registry_change_fn *fn, void *arg) {
    struct registry_worker *worker = registry_find(registry, info->id);
    enum registry_change change = REGISTRY_SAME;
    uint64_t old_generation = worker ? worker->generation : 0;
    if (!worker) {
        worker = add_worker(registry, info->id);
        if (!worker) {
            fn(REGISTRY_FULL, NULL, 0, arg);
            return;
        }
        become_incarnation(registry, worker, now_ms);
        change = REGISTRY_ADDED;
    } else if (strcmp(worker->info.incarnation, info->incarnation) != 0) {
        become_incarnation(registry, worker, now_ms);
        change = REGISTRY_RESTARTED;
    } else if (worker->state != WORKER_ONLINE) {
        change = REGISTRY_RETURNED;
    }
    worker->info = *info;
    worker->heartbeat_ms = now_ms;
    worker->state = WORKER_ONLINE;
    if (change != REGISTRY_SAME)
        fn(change, worker, old_generation, arg);
}

/* Nothing runs on an offline worker: a new generation makes the leases on it void. */
static void go_offline(struct registry *registry, struct registry_worker *worker, int64_t now_ms,
                       registry_change_fn *fn, void *arg) {
    uint64_t old_generation = worker->generation;
    become_incarnation(registry, worker, now_ms);
    worker->state = WORKER_OFFLINE;
    fn(REGISTRY_LOST, worker, old_generation, arg);
}

void registry_leave(struct registry *registry, const char *id, const char *incarnation, int64_t now_ms,
                    registry_change_fn *fn, void *arg) {
    struct registry_worker *worker = registry_find(registry, id);
    if (worker && worker->state != WORKER_OFFLINE && strcmp(worker->info.incarnation, incarnation) == 0)
        go_offline(registry, worker, now_ms, fn, arg);
}

void registry_unreachable(struct registry *registry, const struct registry_worker *worker,
                          registry_change_fn *fn, void *arg) {
    struct registry_worker *known = registry->workers[worker->index];
    if (known->state != WORKER_ONLINE)
        return;
    known->state = WORKER_SUSPECT;
    fn(REGISTRY_SUSPECTED, known, known->generation, arg);
}

void registry_tick(struct registry *registry, int64_t now_ms, registry_change_fn *fn, void *arg) {
    for (size_t i = registry->count; i-- > 0;) {
        struct registry_worker *worker = registry->workers[i];
        int64_t silent_ms = now_ms - worker->heartbeat_ms;
        if (worker->state == WORKER_OFFLINE) {
            if (silent_ms >= registry->config.forget_after_ms)
                forget_worker(registry, worker);
        } else if (silent_ms >= registry->config.offline_after_ms) {
            go_offline(registry, worker, now_ms, fn, arg);
        } else if (silent_ms >= registry->config.suspect_after_ms) {
            registry_unreachable(registry, worker, fn, arg);
        }
    }
}

void lease_take(struct registry_worker *worker, struct lease *lease) {
    memcpy(lease->worker_id, worker->info.id, sizeof(lease->worker_id));
    lease->generation = worker->generation;
    worker->leases++;
    worker->jobs_sent++;
}

void lease_give_back(struct registry *registry, struct lease *lease) {
    struct registry_worker *worker = lease->generation ? registry_find(registry, lease->worker_id) : NULL;
    if (worker && worker->generation == lease->generation)
        worker->leases--;
    *lease = (struct lease){0};
}

const struct model_info *registry_model(const struct registry_worker *worker, const char *model) {
    for (size_t i = 0; i < worker->info.model_count; i++)
        if (strcmp(worker->info.models[i].name, model) == 0)
            return &worker->info.models[i];
    return NULL;
}

const char *worker_state_name(const struct registry_worker *worker) {
    switch (worker->state) {
    case WORKER_OFFLINE:
        return "offline";
    case WORKER_SUSPECT:
        return "suspect";
    case WORKER_ONLINE:
        break;
    }
    switch (worker->info.phase) {
    case WORKER_PHASE_LOADING:
        return "warming";
    case WORKER_PHASE_READY:
        return "online";
    case WORKER_PHASE_DRAINING:
        return "draining";
    }
    return "offline";
}
