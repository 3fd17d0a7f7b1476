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
    free(registry->gauges);
    map_release(&registry->by_id);
    *registry = (struct registry){0};
}

struct registry_worker *registry_find(const struct registry *registry, const char *id) {
    return map_find(&registry->by_id, id);
}

/* The lowest free seat; there is one, since there are as many as workers. */
static uint16_t take_seat(struct registry *registry) {
    size_t word = 0;
    while (registry->seats[word] == UINT64_MAX)
        word++;
    int bit = __builtin_ctzll(~registry->seats[word]);
    registry->seats[word] |= UINT64_C(1) << bit;
    return (uint16_t)(word * 64 + (size_t)bit);
}

static bool make_gauges(struct registry *registry) {
    if (!registry->gauges)
        registry->gauges = calloc(REGISTRY_WORKERS_MAX, sizeof(*registry->gauges));
    return registry->gauges != NULL;
}

static struct registry_worker *add_worker(struct registry *registry, const char *id) {
    if (registry->count == REGISTRY_WORKERS_MAX || !make_gauges(registry))
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
    uint16_t seat = take_seat(registry);
    worker->gauge = &registry->gauges[seat];
    *worker->gauge = (struct worker_gauge){.worker = worker, .seat = seat, .slots = 1};
    registry->workers[registry->count++] = worker;
    return worker;
}

static void set_leases(struct worker_gauge *gauge, int32_t leases) {
    gauge->leases = leases;
    gauge->load = (double)leases / gauge->slots;
}

static void forget_worker(struct registry *registry, struct registry_worker *worker) {
    for (size_t i = worker->index; i + 1 < registry->count; i++) {
        registry->workers[i] = registry->workers[i + 1];
        registry->workers[i]->index = i;
    }
    registry->count--;
    registry->version++;
    registry->seats[worker->gauge->seat / 64] &= ~(UINT64_C(1) << worker->gauge->seat % 64);
    map_take(&registry->by_id, worker->info.id);
    free(worker);
}

static void become_incarnation(struct registry *registry, struct registry_worker *worker, int64_t now_ms) {
    registry->version++;
    worker->generation = worker->gauge->generation = ++registry->generations;
    worker->first_seen_ms = now_ms;
    set_leases(worker->gauge, 0);
    worker->pace = (struct pace){0};
    worker->jobs_sent = 0;
    worker->jobs_failed = 0;
}

/* What a worker says may be absurd; what is made of it must not overflow. */
enum { JOBS_MAX = 1 << 20 };

static int32_t clamp_jobs(int64_t jobs, int32_t least) {
    return jobs < least ? least : jobs > JOBS_MAX ? JOBS_MAX : (int32_t)jobs;
}

static int32_t count_slots(const struct worker_info *info) {
    int64_t slots = 0;
    for (size_t i = 0; i < info->model_count; i++)
        slots += info->models[i].slots;
    return clamp_jobs(slots, 1);
}

static bool serves_the_same(const struct worker_info *a, const struct worker_info *b) {
    if (a->phase != b->phase || a->model_count != b->model_count)
        return false;
    for (size_t i = 0; i < a->model_count; i++) {
        const struct model_info *x = &a->models[i], *y = &b->models[i];
        if (x->state != y->state || x->context_tokens != y->context_tokens || strcmp(x->name, y->name) != 0)
            return false;
    }
    return true;
}

static void set_gauge(struct worker_gauge *gauge, const struct worker_info *info, double pace) {
    const struct worker_load *load = &info->load;
    gauge->slots = count_slots(info);
    set_leases(gauge, gauge->leases);
    /* A job of ours may be on its way there: then it looks as if there was one less of the others. */
    gauge->others = clamp_jobs((int64_t)load->running + load->queued - gauge->leases, 0);
    gauge->pace = pace;
    gauge->kv_cells = load->kv_cells_total > 0 ? load->kv_cells_total : 0;
    double used = gauge->kv_cells > 0 ? (double)load->kv_cells_used / (double)gauge->kv_cells : 0;
    gauge->kv_used = used < 0 ? 0 : used > 1 ? 1 : used;
}

static void take_info(struct registry *registry, struct registry_worker *worker,
                      const struct worker_info *info, bool same_process, int64_t now_ms) {
    if (worker->state != WORKER_ONLINE || !serves_the_same(&worker->info, info))
        registry->version++;
    if (same_process)
        pace_update(&worker->pace, &worker->info.load, &info->load, count_slots(info),
                    now_ms - worker->heartbeat_ms, now_ms);
    set_gauge(worker->gauge, info, worker->pace.tokens_per_s);
    worker->info = *info;
    worker->heartbeat_ms = now_ms;
    worker->state = WORKER_ONLINE;
}

void registry_note_breaker(struct registry_worker *worker, int64_t now_ms) {
    worker->gauge->calm = breaker_peek(&worker->breaker, now_ms) == BREAKER_ALLOWED &&
                          breaker_share(&worker->breaker, now_ms) == 100;
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
        worker->serial = worker->generation;
        breaker_init(&worker->breaker, now_ms); /* who is new to us is trusted */
        registry_note_breaker(worker, now_ms);
        change = REGISTRY_ADDED;
    } else if (strcmp(worker->info.incarnation, info->incarnation) != 0) {
        become_incarnation(registry, worker, now_ms);
        breaker_restart(&worker->breaker, &registry->config.breaker, now_ms);
        registry_note_breaker(worker, now_ms);
        change = REGISTRY_RESTARTED;
    } else if (worker->state != WORKER_ONLINE) {
        change = REGISTRY_RETURNED;
    }
    take_info(registry, worker, info, change == REGISTRY_SAME || change == REGISTRY_RETURNED, now_ms);
    if (change != REGISTRY_SAME)
        fn(change, worker, old_generation, arg);
}

/* Nothing runs on an offline worker: a new generation makes the leases on it void. */
static void go_offline(struct registry *registry, struct registry_worker *worker, int64_t now_ms,
                       registry_change_fn *fn, void *arg) {
    uint64_t old_generation = worker->generation;
    become_incarnation(registry, worker, now_ms);
    breaker_restart(&worker->breaker, &registry->config.breaker, now_ms);
    registry_note_breaker(worker, now_ms);
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
    registry->version++;
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
    lease->serial = worker->serial;
    lease->generation = worker->generation;
    set_leases(worker->gauge, worker->gauge->leases + 1);
    worker->jobs_sent++;
}

void lease_give_back(struct registry *registry, struct lease *lease) {
    struct registry_worker *worker = lease->generation ? registry_find(registry, lease->worker_id) : NULL;
    if (worker && worker->generation == lease->generation)
        set_leases(worker->gauge, worker->gauge->leases - 1);
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
