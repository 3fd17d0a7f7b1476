#include "route/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BYTES_OF_MIB = 1024 * 1024,
    MEMORY_TEXT_MAX = WORKER_ID_MAX + 128, /* three numbers and the words around them */
};

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
    size_t away = census->offline + census->suspect + census->hung + census->load_failed + census->excluded +
                  census->broken;
    if (census->full + census->busy > 0)
        return STATUS_WORKER_OVERLOADED;
    if (census->short_of_memory > 0)
        return STATUS_RESOURCE_LIMIT_EXCEEDED;
    if (census->broken == census->serving)
        return STATUS_CIRCUIT_BREAKER_OPEN;
    if (census->unloaded == census->serving)
        return STATUS_MODEL_NOT_LOADED;
    return away == census->serving ? STATUS_NO_HEALTHY_WORKERS : STATUS_NO_WORKERS_AVAILABLE;
}

static const char *sentence_of(enum status status) {
    if (status == STATUS_WORKER_OVERLOADED)
        return "every worker that could take the request is full";
    return status == STATUS_RESOURCE_LIMIT_EXCEEDED
               ? "every worker that could take the request is short of memory"
               : "no worker can take the request now";
}

/* " (w1: 900 MiB used...": the numbers that the worker told last; nothing when it told none, or when only a
 * refusal says that it is short of memory. */
static void tell_memory(const struct registry_worker *worker, char *out, size_t size) {
    const struct worker_resources *resources = &worker->info.resources;
    if (resources->level == RESOURCE_OK || resources->memory_used == 0)
        return;
    snprintf(out, size, " (%s: %lld MiB used, soft limit %lld, hard limit %lld, by %s)", worker->info.id,
             (long long)(resources->memory_used / BYTES_OF_MIB),
             (long long)(resources->soft_limit / BYTES_OF_MIB),
             (long long)(resources->hard_limit / BYTES_OF_MIB), resource_signal_name(resources->signal));
}

static void tell_reasons(const struct router *router, const char *model, const struct route_census *census,
                         struct error *error) {
    enum status status = status_of(census);
    char memory[MEMORY_TEXT_MAX] = "";
    if (status == STATUS_RESOURCE_LIMIT_EXCEEDED && router->short_of_memory)
        tell_memory(router->short_of_memory, memory, sizeof(memory));
    error_set(
        error, status, NULL,
        "%s%s: of the %zu workers with the model \"%s\" %zu full, %zu busy, %zu short of memory, %zu still "
        "loading it, %zu have it unloaded and do not load it now, %zu failed to load it, %zu draining, %zu "
        "suspect, %zu hung, %zu offline, %zu already "
        "tried, %zu left alone by their circuit breaker",
        sentence_of(status), memory, census->serving, model, census->full, census->busy,
        census->short_of_memory, census->loading, census->unloaded, census->load_failed, census->draining,
        census->suspect, census->hung, census->offline, census->excluded, census->broken);
}

/* How many of the known workers with the model have the skills, whatever else keeps them out. */
static size_t count_skilled(const struct registry *registry, const struct route_request *request) {
    uint64_t wanted;
    size_t count = 0;
    if (!skill_bits(&registry->skills, request->required_skills, request->required_skill_count, &wanted))
        return 0;
    for (size_t i = 0; i < registry->count; i++) {
        const struct worker_model *model = worker_model_find(registry->workers[i], request->model);
        count += model && (model->skills & wanted) == wanted;
    }
    return count;
}

static void tell_skills(const struct router *router, const struct route_request *request,
                        const struct route_census *census, struct error *error) {
    char words[CHAT_SKILLS_MAX * (SKILL_MAX + 1) + 1] = "";
    size_t len = 0;
    for (size_t i = 0; i < request->required_skill_count; i++)
        len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", i ? "," : "",
                                request->required_skills[i]);
    size_t skilled = count_skilled(router->registry, request);
    if (skilled == 0)
        error_set(error, status_of(census), NULL,
                  "none of the %zu workers with the model \"%s\" that are known has the required skills: %s",
                  census->serving, request->model, words);
    else
        error_set(
            error, status_of(census), NULL,
            "no worker with the required skills can take the request now: %zu of the %zu with the model "
            "\"%s\" have them, %zu are full or busy; %s",
            skilled, census->serving, request->model, census->full + census->busy, words);
}

static void tell_why(const struct router *router, const struct route_request *request,
                     const struct route_census *census, struct error *error) {
    const char *model = request->model;
    if (router->registry->count == 0)
        error_set(error, STATUS_NO_WORKERS_AVAILABLE, NULL, "no worker has registered yet");
    else if (census->serving == 0)
        error_set(error, STATUS_MODEL_NOT_FOUND, "model",
                  "the model \"%s\" does not exist here; GET /v1/models lists those that do", model);
    else if (census->unskilled > 0)
        tell_skills(router, request, census, error);
    else
        tell_reasons(router, model, census, error);
}

/* How soon a worker can begin, the best first. */
enum warmth { WARM, WARMING, COLD };

/* One pick through all the reasons that may keep a live worker out. */
struct sieve {
    struct router *router;
    const struct route_exclusion *exclusion;
    struct route_decision *decision;
    int64_t now_ms;
    bool uneasy; /* one of those that are left is not easy: it may have to prove itself, or starts slowly */
    enum chat_priority priority;
    uint64_t skills;    /* required */
    bool unheard_of;    /* one of them is no worker's */
    enum warmth warmth; /* of those that are left, the best */
    int64_t room_bytes; /* likewise */
};

static bool lacks_skills(const struct sieve *sieve, const struct route_candidate *candidate) {
    return sieve->unheard_of ||
           (sieve->skills != 0 && (candidate->model->skills & sieve->skills) != sieve->skills);
}

static bool was_tried(const struct route_exclusion *exclusion, uint64_t generation) {
    for (size_t i = 0; i < exclusion->count; i++)
        if (exclusion->tried[i].generation == generation)
            return true;
    return false;
}

/* Whatever its incarnation was. */
static bool was_tried_ever(const struct route_exclusion *exclusion, uint64_t serial) {
    for (size_t i = 0; i < exclusion->count; i++)
        if (exclusion->tried[i].serial == serial)
            return true;
    return false;
}

static void note_wait(struct route_decision *decision, int64_t wait_ms) {
    if (wait_ms > 0 && (decision->retry_after_ms == 0 || wait_ms < decision->retry_after_ms))
        decision->retry_after_ms = wait_ms;
}

/* What is behind the gauge is far away in memory, for each worker: it is looked at only when the gauge says
 * that there is something to see. */
static struct guard guard_of(const struct route_candidate *candidate) {
    return worker_guard(candidate->gauge->worker, candidate->model);
}

/* ROUTE_REASON_COUNT: nothing does. */
static enum route_reason reason_against(struct sieve *sieve, const struct route_candidate *candidate) {
    struct route_decision *decision = sieve->decision;
    if (lacks_skills(sieve, candidate))
        return ROUTE_UNSKILLED;
    if (was_tried(sieve->exclusion, candidate->gauge->generation))
        return ROUTE_TRIED;
    if (candidate->gauge->easy)
        return ROUTE_REASON_COUNT;
    if (!resource_level_admits(candidate->gauge->resources, sieve->priority))
        return ROUTE_MEMORY;
    const struct registry_worker *worker = candidate->gauge->worker;
    if (candidate->gauge->calm && candidate->model->calm)
        return candidate->model->full ? ROUTE_FULL : ROUTE_REASON_COUNT;
    struct guard guard = guard_of(candidate);
    note_wait(decision, guard_remaining_ms(&guard, sieve->now_ms));
    if (!breaker_may_use(guard_peek(&guard, sieve->now_ms), decision->panic))
        return ROUTE_BREAKER;
    if (candidate->model->full)
        return ROUTE_FULL;
    int64_t busy_ms = registry_busy_ms(worker, sieve->now_ms);
    note_wait(decision, busy_ms);
    return busy_ms > 0 ? ROUTE_BUSY : ROUTE_REASON_COUNT;
}

/* From the roster into the router's list those that may take the request; how many they are. */
static size_t sift(struct sieve *sieve, const struct roster *roster) {
    struct router *router = sieve->router;
    size_t kept = 0;
    for (size_t i = 0; i < roster->count; i++) {
        const struct route_candidate *candidate = &roster->candidates[i];
        enum route_reason reason = reason_against(sieve, candidate);
        if (reason == ROUTE_REASON_COUNT) {
            sieve->uneasy |= !candidate->gauge->easy;
            router->candidates[kept++] = *candidate;
        } else {
            route_keep_out(&sieve->decision->census, &router->kept_out, candidate->gauge->worker, reason);
            if (reason == ROUTE_MEMORY && !router->short_of_memory)
                router->short_of_memory = candidate->gauge->worker;
        }
    }
    return kept;
}

typedef bool keep_fn(const struct sieve *sieve, const struct route_candidate *candidate);

static bool is_new_to_request(const struct sieve *sieve, const struct route_candidate *candidate) {
    return !was_tried_ever(sieve->exclusion, candidate->gauge->worker->serial);
}

static bool is_proven(const struct sieve *sieve, const struct route_candidate *candidate) {
    if (candidate->gauge->easy)
        return true;
    struct guard guard = guard_of(candidate);
    return guard_peek(&guard, sieve->now_ms) == BREAKER_ALLOWED;
}

static bool is_below_share(const struct breaker *breaker, int32_t leases, int32_t slots, int64_t now_ms) {
    int64_t share = breaker_share(breaker, now_ms);
    int64_t allowed = slots * share / 100;
    return share == 100 || leases < (allowed > 1 ? allowed : 1);
}

/* A worker or a model whose breaker has just closed takes few jobs at first. */
static bool has_share_left(const struct sieve *sieve, const struct route_candidate *candidate) {
    const struct worker_gauge *gauge = candidate->gauge;
    const struct worker_model *model = candidate->model;
    if (gauge->easy)
        return true;
    return is_below_share(&gauge->worker->breaker, gauge->leases, gauge->slots, sieve->now_ms) &&
           is_below_share(&model->breaker, model->leases, model->slots, sieve->now_ms);
}

/* Of the router's first `count` candidates only those that `keep` says, in order; all when none would stay.
 */
static size_t prefer(struct sieve *sieve, size_t count, keep_fn *keep, enum route_reason reason) {
    struct route_candidate *candidates = sieve->router->candidates;
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted += keep(sieve, &candidates[i]);
    if (wanted == 0 || wanted == count)
        return count;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (keep(sieve, &candidates[i]))
            candidates[kept++] = candidates[i];
        else
            route_keep_out(&sieve->decision->census, &sieve->router->kept_out, candidates[i].gauge->worker,
                           reason);
    }
    return kept;
}

/* Where a job of ours waits the model is being loaded, though no heartbeat says so yet. One that only waits
 * for room there is better loaded elsewhere. */
static enum warmth warmth_of(const struct route_candidate *candidate) {
    if (candidate->state == MODEL_READY)
        return WARM;
    if (candidate->state == MODEL_WAITING)
        return COLD;
    return candidate->state == MODEL_LOADING || candidate->model->leases > 0 ? WARMING : COLD;
}

/* For models; without a bound it is as much as anybody has. */
static int64_t room_bytes_of(const struct route_candidate *candidate) {
    const struct worker_info *info = &candidate->gauge->worker->info;
    if (info->models_bytes_max == 0)
        return INT64_MAX;
    return info->models_bytes < info->models_bytes_max ? info->models_bytes_max - info->models_bytes : 0;
}

static bool is_warmest(const struct sieve *sieve, const struct route_candidate *candidate) {
    return warmth_of(candidate) == sieve->warmth;
}

static bool has_most_room(const struct sieve *sieve, const struct route_candidate *candidate) {
    return room_bytes_of(candidate) == sieve->room_bytes;
}

/* Where the model is ready; else where it is being loaded; else where there is most room for it. */
static size_t prefer_warm(struct sieve *sieve, size_t count) {
    const struct route_candidate *candidates = sieve->router->candidates;
    sieve->warmth = COLD;
    for (size_t i = 0; i < count; i++) {
        enum warmth warmth = warmth_of(&candidates[i]);
        sieve->warmth = warmth < sieve->warmth ? warmth : sieve->warmth;
    }
    count = prefer(sieve, count, is_warmest, ROUTE_COLD);
    if (sieve->warmth != COLD)
        return count;
    sieve->room_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t bytes = room_bytes_of(&candidates[i]);
        sieve->room_bytes = bytes > sieve->room_bytes ? bytes : sieve->room_bytes;
    }
    return prefer(sieve, count, has_most_room, ROUTE_COLD);
}

/* Of those that the operator has not shut out himself. */
static bool is_panic(const struct roster *roster, int64_t now_ms) {
    size_t live = 0, ejected = 0;
    for (size_t i = 0; i < roster->count; i++) {
        if (roster->candidates[i].gauge->easy) {
            live++;
            continue;
        }
        struct guard guard = guard_of(&roster->candidates[i]);
        if (guard_peek(&guard, now_ms) == BREAKER_FORBIDDEN)
            continue;
        live++;
        ejected += guard_is_ejected(&guard);
    }
    return breaker_panic(ejected, live);
}

/* Who may take the request, in router->eligible. Most requests find that nothing has a say but the strategy:
 * then it chooses from the roster as it is. */
static bool find_eligible(struct sieve *sieve, const struct roster *roster) {
    struct router *router = sieve->router;
    struct route_decision *decision = sieve->decision;
    decision->census = roster->census;
    router->kept_out = roster->kept_out;
    router->eligible = roster->candidates;
    router->eligible_count = roster->count;
    bool any_will_do = !sieve->unheard_of && sieve->skills == 0;
    if (any_will_do && sieve->exclusion->count == 0 && router->registry->uneasy == 0 && roster->cold == 0)
        return true;
    if (!reserve_candidates(router))
        return false;
    decision->panic = is_panic(roster, sieve->now_ms);
    size_t count = sift(sieve, roster);
    if (sieve->exclusion->count > 0)
        count = prefer(sieve, count, is_new_to_request, ROUTE_TRIED);
    if (sieve->uneasy && router->own_probes && !decision->panic)
        count = prefer(sieve, count, is_proven, ROUTE_BREAKER);
    if (roster->cold > 0)
        count = prefer_warm(sieve, count);
    if (sieve->uneasy)
        count = prefer(sieve, count, has_share_left, ROUTE_SLOW_START);
    router->eligible = router->candidates;
    router->eligible_count = count;
    return true;
}

static size_t choose(struct router *router, const struct route_request *request,
                     struct route_decision *decision) {
    for (size_t i = 0; request->session_generation && i < router->eligible_count; i++) {
        if (router->eligible[i].gauge->generation == request->session_generation) {
            decision->strategy = "session";
            return i;
        }
    }
    return router->balancer->ops->pick(router->balancer, request, router->eligible, router->eligible_count,
                                       &decision->score);
}

struct registry_worker *router_pick(struct router *router, const struct route_request *request,
                                    const struct route_exclusion *exclusion, int64_t now_ms,
                                    struct route_decision *decision, struct error *error) {
    *decision = (struct route_decision){.strategy = router->balancer->ops->name};
    router->eligible_count = router->kept_out.count = 0;
    router->short_of_memory = NULL;
    const struct roster *roster = rosters_get(&router->rosters, router->registry, request->model);
    struct sieve sieve = {.router = router,
                          .exclusion = exclusion,
                          .decision = decision,
                          .now_ms = now_ms,
                          .priority = request->priority};
    sieve.unheard_of = !skill_bits(&router->registry->skills, request->required_skills,
                                   request->required_skill_count, &sieve.skills);
    if (!roster || !find_eligible(&sieve, roster)) {
        error_set(error, STATUS_INTERNAL_ERROR, NULL, "out of memory");
        return NULL;
    }
    decision->candidates = router->eligible_count;
    if (router->eligible_count == 0) {
        tell_why(router, request, &decision->census, error);
        return NULL;
    }
    router->chosen = choose(router, request, decision);
    struct registry_worker *worker = router->eligible[router->chosen].gauge->worker;
    memcpy(decision->worker_id, worker->info.id, sizeof(decision->worker_id));
    return worker;
}

void router_explain(const struct router *router, const struct route_request *request,
                    struct route_explanation *out) {
    *out = (struct route_explanation){.kept_out_count = router->kept_out.count};
    size_t asked[ROUTE_SHOWN_MAX];
    double scores[ROUTE_SHOWN_MAX];
    size_t count = 0;
    if (router->eligible_count > 0)
        asked[count++] = router->chosen;
    for (size_t i = 0; i < router->eligible_count && count < ROUTE_SHOWN_MAX; i++)
        if (i != router->chosen)
            asked[count++] = i;
    if (count > 0)
        router->balancer->ops->score(router->balancer, request, router->eligible, router->eligible_count,
                                     asked, count, scores);
    for (size_t i = 0; i < count; i++) {
        memcpy(out->candidates[i].worker_id, router->eligible[asked[i]].gauge->worker->info.id,
               sizeof(out->candidates[i].worker_id));
        out->candidates[i].score = scores[i];
    }
    out->candidate_count = count;
    for (size_t i = 0; i < out->kept_out_count; i++) {
        memcpy(out->kept_out[i].worker_id, router->kept_out.list[i].worker->info.id,
               sizeof(out->kept_out[i].worker_id));
        out->kept_out[i].reason = router->kept_out.list[i].reason;
    }
}
