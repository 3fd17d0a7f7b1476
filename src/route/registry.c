#include "route/registry.h"

#include <stdlib.h>
#include <string.h>

void registry_init(struct registry *registry, const struct registry_config *config) {
    *registry = (struct registry){.config = *config};
    map_init(&registry->by_id);
}

static void free_worker(struct registry_worker *worker) {
    if (worker)
        free(worker->models);
    free(worker);
}

void registry_release(struct registry *registry) {
    if (!registry)
        return;
    for (size_t i = 0; i < registry->count; i++)
        free_worker(registry->workers[i]);
    free(registry->workers);
    free(registry->gauges);
    free(registry->loads);
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

bool registry_seat_is_taken(const struct registry *registry, size_t seat) {
    return registry->seats[seat / 64] >> seat % 64 & 1;
}

static bool make_gauges(struct registry *registry) {
    if (!registry->gauges)
        registry->gauges = calloc(REGISTRY_WORKERS_MAX, sizeof(*registry->gauges));
    if (!registry->loads)
        registry->loads = calloc(REGISTRY_WORKERS_MAX, sizeof(*registry->loads));
    return registry->gauges && registry->loads;
}

static void set_leases(struct worker_gauge *gauge, int32_t leases) {
    gauge->leases = leases;
    gauge->load = (double)leases / gauge->slots;
    double most = (double)INT32_MAX / REGISTRY_LOAD_ONE;
    double load = gauge->load < most ? gauge->load : most;
    gauge->worker->registry->loads[gauge->seat] = (int32_t)(load * REGISTRY_LOAD_ONE);
}

/* To be called after whatever may change whether anything but a strategy has a say about the worker. */
static void reckon(struct registry_worker *worker) {
    size_t uneasy = 0;
    for (size_t i = 0; i < worker->info.model_count; i++) {
        struct worker_model *model = &worker->models[i];
        model->full = model->leases + worker->gauge->others >= model->room;
        uneasy +=
            model->full || !model->calm || !worker->gauge->calm || worker->gauge->resources != RESOURCE_OK;
    }
    worker->gauge->easy = worker->state == WORKER_ONLINE && uneasy == 0;
    if (worker->state != WORKER_ONLINE)
        uneasy = 0;
    worker->registry->uneasy += uneasy - worker->uneasy;
    worker->uneasy = uneasy;
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
    free_worker(worker);
}

static void become_incarnation(struct registry *registry, struct registry_worker *worker, int64_t now_ms) {
    registry->version++;
    worker->generation = worker->gauge->generation = ++registry->generations;
    worker->first_seen_ms = now_ms;
    set_leases(worker->gauge, 0);
    worker->busy_until_ms = 0;
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
    for (size_t i = 0; i < info->model_count; i++) {
        enum model_state state = info->models[i].state;
        bool takes_none = state == MODEL_UNLOADED || state == MODEL_UNLOADING;
        slots += takes_none ? 0 : info->models[i].slots;
    }
    return clamp_jobs(slots, 1);
}

static bool has_the_same_skills(const struct worker_info *a, const struct worker_info *b) {
    bool same =
        a->skill_count == b->skill_count && (a->hardware.gpu_count > 0) == (b->hardware.gpu_count > 0);
    for (size_t i = 0; same && i < a->skill_count; i++)
        same = strcmp(a->skills[i], b->skills[i]) == 0;
    return same;
}

static bool serves_the_same(const struct worker_info *a, const struct worker_info *b) {
    if (a->phase != b->phase || a->model_count != b->model_count || !has_the_same_skills(a, b))
        return false;
    for (size_t i = 0; i < a->model_count; i++) {
        const struct model_info *x = &a->models[i], *y = &b->models[i];
        if (x->state != y->state || x->on_demand != y->on_demand || x->context_tokens != y->context_tokens ||
            x->capabilities != y->capabilities || strcmp(x->name, y->name) != 0)
            return false;
    }
    return true;
}

static bool names_the_same(const struct worker_info *a, const struct worker_info *b) {
    bool same = a->model_count == b->model_count;
    for (size_t i = 0; same && i < a->model_count; i++)
        same = strcmp(a->models[i].name, b->models[i].name) == 0;
    return same;
}

/* The engine is another one than what `known` (may be NULL) tells of. It is trusted, since the worker's
 * breaker finds out whether the new process works; only what the operator said stays. */
static void begin_model(struct registry *registry, struct worker_model *model,
                        const struct worker_model *known, int64_t now_ms) {
    enum breaker_state state = known ? known->breaker.state : BREAKER_CLOSED;
    *model = (struct worker_model){.serial = ++registry->model_serials, .skills = known ? known->skills : 0};
    breaker_init(&model->breaker, now_ms);
    if (state == BREAKER_FORCED_OPEN || state == BREAKER_FORCED_CLOSED)
        breaker_force(&model->breaker, state);
    if (known)
        breaker_keep_stamps(&model->breaker, &known->breaker);
}

/* Makes the worker's list of models that of the info; in the same process those that stay keep their leases.
 * false when memory is out; nothing has changed then. */
static bool take_models(struct registry_worker *worker, const struct worker_info *info, bool same_process,
                        int64_t now_ms) {
    if (same_process && names_the_same(&worker->info, info))
        return true;
    struct worker_model *models = calloc(info->model_count + 1, sizeof(*models));
    if (!models)
        return false;
    for (size_t i = 0; i < info->model_count; i++) {
        const struct worker_model *known = worker_model_find(worker, info->models[i].name);
        if (known && same_process)
            models[i] = *known;
        else
            begin_model(worker->registry, &models[i], known, now_ms);
    }
    free(worker->models);
    worker->models = models;
    return true;
}

/* Jobs that may wait on the worker beside those that run. */
static int64_t queue_room(const struct registry_config *config, const struct worker_load *load) {
    int64_t most = load->queue_max > 0 ? load->queue_max : 0;
    return most < config->queued_per_worker_max ? most : config->queued_per_worker_max;
}

static void set_rooms(struct registry_worker *worker, const struct worker_info *info) {
    for (size_t i = 0; i < info->model_count; i++) {
        struct worker_model *model = &worker->models[i];
        model->slots = clamp_jobs(info->models[i].slots, 1);
        model->room = clamp_jobs(model->slots + queue_room(&worker->registry->config, &info->load), 1);
    }
}

/* What a heartbeat tells about progress counts only beside one that came not long before it. */
static void watch_progress(struct registry_worker *worker, const struct worker_load *load, bool same_process,
                           int64_t now_ms) {
    const struct registry_config *config = &worker->registry->config;
    const struct worker_load *before = &worker->info.load;
    if (!same_process || now_ms - worker->heartbeat_ms >= config->suspect_after_ms || load->running <= 0 ||
        before->running <= 0 || load->progress != before->progress)
        worker->progress_ms = now_ms;
    worker->hung = config->hung_after_ms > 0 && now_ms - worker->progress_ms >= config->hung_after_ms;
}

/* Only what the worker itself counts for others: jobs of ours come and go between two heartbeats. */
static int64_t count_others(const struct worker_info *info, const char *controller_id) {
    int64_t jobs = 0;
    for (size_t i = 0; i < info->client_count; i++)
        if (!controller_id || strcmp(info->clients[i].controller_id, controller_id) != 0)
            jobs += info->clients[i].jobs;
    return jobs;
}

static void set_gauge(struct worker_gauge *gauge, const struct worker_info *info, const char *controller_id,
                      double pace) {
    const struct worker_load *load = &info->load;
    gauge->slots = count_slots(info);
    set_leases(gauge, gauge->leases);
    gauge->others = clamp_jobs(count_others(info, controller_id), 0);
    gauge->resources = info->resources.level;
    gauge->pace = pace;
    gauge->kv_cells = load->kv_cells_total > 0 ? load->kv_cells_total : 0;
    double used = gauge->kv_cells > 0 ? (double)load->kv_cells_used / (double)gauge->kv_cells : 0;
    gauge->kv_used = used < 0 ? 0 : used > 1 ? 1 : used;
}

static void set_skills(struct registry *registry, struct registry_worker *worker,
                       const struct worker_info *info) {
    uint64_t in_use = 0;
    for (size_t i = 0; i < registry->count; i++)
        in_use |= registry->workers[i] == worker ? 0 : registry->workers[i]->gauge->skills;
    skill_learn(&registry->skills, info, in_use);
    uint64_t own = skill_bits_of_worker(&registry->skills, info);
    worker->gauge->skills = own;
    for (size_t i = 0; i < info->model_count; i++) {
        worker->models[i].skills = own | skill_bits_of_model(&registry->skills, &info->models[i]);
        worker->gauge->skills |= worker->models[i].skills;
    }
}

static void take_info(struct registry *registry, struct registry_worker *worker,
                      const struct worker_info *info, bool same_process, int64_t now_ms) {
    watch_progress(worker, &info->load, same_process, now_ms);
    enum worker_state state = worker->hung ? WORKER_SUSPECT : WORKER_ONLINE;
    if (!same_process || worker->state != state || !serves_the_same(&worker->info, info)) {
        registry->version++;
        set_skills(registry, worker, info);
    }
    if (same_process)
        pace_update(&worker->pace, &worker->info.load, &info->load, count_slots(info),
                    now_ms - worker->heartbeat_ms, now_ms);
    set_gauge(worker->gauge, info, registry->config.controller_id, worker->pace.tokens_per_s);
    set_rooms(worker, info);
    worker->info = *info;
    worker->heartbeat_ms = now_ms;
    worker->forgiven_ms = 0;
    worker->state = state;
    reckon(worker);
}

int64_t registry_busy_ms(const struct registry_worker *worker, int64_t now_ms) {
    return worker->busy_until_ms > now_ms ? worker->busy_until_ms - now_ms : 0;
}

static bool is_calm(const struct breaker *breaker, int64_t now_ms) {
    return breaker_peek(breaker, now_ms) == BREAKER_ALLOWED && breaker_share(breaker, now_ms) == 100;
}

void registry_note_breakers(struct registry_worker *worker, int64_t now_ms) {
    worker->breakers_calm = is_calm(&worker->breaker, now_ms);
    worker->gauge->calm = worker->breakers_calm && registry_busy_ms(worker, now_ms) == 0;
    for (size_t i = 0; i < worker->info.model_count; i++) {
        worker->models[i].calm = is_calm(&worker->models[i].breaker, now_ms);
        worker->breakers_calm &= worker->models[i].calm;
    }
    reckon(worker);
}

void registry_note_busy(struct registry_worker *worker, int64_t until_ms) {
    if (until_ms <= worker->busy_until_ms)
        return;
    worker->busy_until_ms = until_ms;
    worker->gauge->calm = false;
    reckon(worker);
}

void registry_note_short_of_memory(struct registry_worker *worker, enum chat_priority priority) {
    enum resource_level level = priority == CHAT_PRIORITY_LOW ? RESOURCE_SOFT : RESOURCE_HARD;
    if (worker->gauge->resources >= level)
        return;
    worker->gauge->resources = level;
    reckon(worker);
}

/* Without memory for it the heartbeat is as good as lost; there will be others. */
static enum registry_change update_known(struct registry *registry, struct registry_worker *worker,
                                         const struct worker_info *info, int64_t now_ms) {
    bool same_process = strcmp(worker->info.incarnation, info->incarnation) == 0;
    enum worker_state old_state = worker->state;
    if (!take_models(worker, info, same_process, now_ms))
        return REGISTRY_SAME;
    if (!same_process) {
        become_incarnation(registry, worker, now_ms);
        breaker_restart(&worker->breaker, &registry->config.breaker, now_ms);
    }
    take_info(registry, worker, info, same_process, now_ms);
    registry_note_breakers(worker, now_ms);
    if (!same_process)
        return REGISTRY_RESTARTED;
    if (worker->state == old_state)
        return REGISTRY_SAME;
    return worker->state == WORKER_ONLINE ? REGISTRY_RETURNED : REGISTRY_SUSPECTED;
}

static bool reserve_worker(struct registry *registry) {
    if (registry->count < registry->cap)
        return true;
    size_t cap = registry->cap ? registry->cap * 2 : 16;
    struct registry_worker **workers = realloc(registry->workers, cap * sizeof(*workers));
    if (!workers)
        return false;
    registry->workers = workers;
    registry->cap = cap;
    return true;
}

static struct registry_worker *add_worker(struct registry *registry, const struct worker_info *info,
                                          int64_t now_ms) {
    if (registry->count == REGISTRY_WORKERS_MAX || !make_gauges(registry) || !reserve_worker(registry))
        return NULL;
    struct registry_worker *worker = calloc(1, sizeof(*worker));
    if (worker)
        worker->registry = registry;
    if (!worker || !take_models(worker, info, false, now_ms) ||
        !map_put(&registry->by_id, info->id, worker)) {
        free_worker(worker);
        return NULL;
    }
    worker->index = registry->count;
    uint16_t seat = take_seat(registry);
    worker->gauge = &registry->gauges[seat];
    *worker->gauge = (struct worker_gauge){.worker = worker, .seat = seat, .slots = 1};
    registry->workers[registry->count++] = worker;
    return worker;
}

/* NULL: there is no room. */
static struct registry_worker *register_worker(struct registry *registry, const struct worker_info *info,
                                               int64_t now_ms) {
    struct registry_worker *worker = add_worker(registry, info, now_ms);
    if (!worker)
        return NULL;
    become_incarnation(registry, worker, now_ms);
    worker->serial = worker->generation;
    breaker_init(&worker->breaker, now_ms); /* who is new to us is trusted */
    take_info(registry, worker, info, false, now_ms);
    registry_note_breakers(worker, now_ms);
    return worker;
}

void registry_update(struct registry *registry, const struct worker_info *info, int64_t now_ms,
                     registry_change_fn *fn, void *arg) {
    struct registry_worker *worker = registry_find(registry, info->id);
    if (worker) {
        uint64_t old_generation = worker->generation;
        enum registry_change change = update_known(registry, worker, info, now_ms);
        if (change != REGISTRY_SAME)
            fn(change, worker, old_generation, arg);
    } else {
        worker = register_worker(registry, info, now_ms);
        fn(worker ? REGISTRY_ADDED : REGISTRY_FULL, worker, 0, arg);
    }
}

/* Nothing runs on an offline worker: a new generation makes the leases on it void. */
static void go_offline(struct registry *registry, struct registry_worker *worker, int64_t now_ms,
                       registry_change_fn *fn, void *arg) {
    uint64_t old_generation = worker->generation;
    become_incarnation(registry, worker, now_ms);
    for (size_t i = 0; i < worker->info.model_count; i++) {
        const struct worker_model old = worker->models[i];
        begin_model(registry, &worker->models[i], &old, now_ms);
    }
    breaker_restart(&worker->breaker, &registry->config.breaker, now_ms);
    worker->state = WORKER_OFFLINE;
    worker->hung = false;
    registry_note_breakers(worker, now_ms);
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
    reckon(known);
    fn(REGISTRY_SUSPECTED, known, known->generation, arg);
}

void registry_forgive(struct registry *registry, int64_t lag_ms) {
    for (size_t i = 0; i < registry->count; i++)
        registry->workers[i]->forgiven_ms += lag_ms;
}

void registry_tick(struct registry *registry, int64_t now_ms, registry_change_fn *fn, void *arg) {
    for (size_t i = registry->count; i-- > 0;) {
        struct registry_worker *worker = registry->workers[i];
        int64_t silent_ms = now_ms - worker->heartbeat_ms - worker->forgiven_ms;
        registry_note_breakers(worker, now_ms);
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

static struct worker_model *model_by_serial(const struct registry_worker *worker, uint64_t serial) {
    for (size_t i = 0; i < worker->info.model_count; i++)
        if (worker->models[i].serial == serial)
            return &worker->models[i];
    return NULL;
}

struct worker_model *lease_model(const struct registry *registry, const struct lease *lease) {
    struct registry_worker *worker = lease->generation ? registry_find(registry, lease->worker_id) : NULL;
    bool holds = worker && worker->generation == lease->generation;
    return holds ? model_by_serial(worker, lease->model) : NULL;
}

void lease_take(struct registry_worker *worker, const char *model, struct lease *lease) {
    struct worker_model *served = worker_model_find(worker, model);
    memcpy(lease->worker_id, worker->info.id, sizeof(lease->worker_id));
    lease->serial = worker->serial;
    lease->generation = worker->generation;
    lease->model = served ? served->serial : 0;
    set_leases(worker->gauge, worker->gauge->leases + 1);
    if (served)
        served->leases++;
    reckon(worker);
    worker->jobs_sent++;
}

void lease_give_back(struct registry *registry, struct lease *lease) {
    struct registry_worker *worker = lease->generation ? registry_find(registry, lease->worker_id) : NULL;
    if (worker && worker->generation == lease->generation) {
        struct worker_model *served = model_by_serial(worker, lease->model);
        set_leases(worker->gauge, worker->gauge->leases - 1);
        if (served)
            served->leases--;
        reckon(worker);
    }
    *lease = (struct lease){0};
}

static size_t model_index(const struct registry_worker *worker, const char *model) {
    size_t at = 0;
    while (at < worker->info.model_count && strcmp(worker->info.models[at].name, model) != 0)
        at++;
    return at;
}

const struct model_info *registry_model(const struct registry_worker *worker, const char *model) {
    size_t at = model_index(worker, model);
    return at < worker->info.model_count ? &worker->info.models[at] : NULL;
}

struct worker_model *worker_model_find(const struct registry_worker *worker, const char *model) {
    size_t at = model_index(worker, model);
    return at < worker->info.model_count ? &worker->models[at] : NULL;
}

struct guard worker_guard(struct registry_worker *worker, struct worker_model *model) {
    return (struct guard){.worker = &worker->breaker, .model = model ? &model->breaker : NULL};
}

enum state_name { ONLINE, DEGRADED, WARMING, DRAINING, SUSPECT, OFFLINE };

const char *const worker_state_names[WORKER_STATE_NAMES] = {
    [ONLINE] = "online",     [DEGRADED] = "degraded", [WARMING] = "warming",
    [DRAINING] = "draining", [SUSPECT] = "suspect",   [OFFLINE] = "offline"};

static bool has_all_it_should(const struct registry_worker *worker) {
    for (size_t i = 0; i < worker->info.model_count; i++)
        if (worker->info.models[i].state == MODEL_FAILED)
            return false;
    return worker->breakers_calm;
}

static enum state_name phase_name(const struct registry_worker *worker) {
    switch (worker->info.phase) {
    case WORKER_PHASE_INITIALIZING:
    case WORKER_PHASE_CONNECTING:
    case WORKER_PHASE_REGISTERING:
    case WORKER_PHASE_LOADING:
        return WARMING;
    case WORKER_PHASE_READY:
        return has_all_it_should(worker) ? ONLINE : DEGRADED;
    case WORKER_PHASE_DRAINING:
    case WORKER_PHASE_STOPPED:
    case WORKER_PHASE_COUNT:
        break;
    }
    return DRAINING;
}

const char *worker_state_name(const struct registry_worker *worker) {
    switch (worker->state) {
    case WORKER_ONLINE:
        return worker_state_names[phase_name(worker)];
    case WORKER_SUSPECT:
        return worker_state_names[SUSPECT];
    case WORKER_OFFLINE:
        break;
    }
    return worker_state_names[OFFLINE];
}
