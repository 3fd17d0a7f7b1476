#include "route/roster.h"

#include <stdlib.h>
#include <string.h>

void rosters_release(struct rosters *rosters) {
    for (size_t i = 0; i < ROSTERS_MAX; i++)
        free(rosters->rosters[i].candidates);
    *rosters = (struct rosters){0};
}

const char *route_reason_name(enum route_reason reason) {
    static const char *const names[ROUTE_REASON_COUNT] = {
#define X(name, field, text) [ROUTE_##name] = (text),
        ROUTE_REASON_MAP(X)
#undef X
    };
    return names[reason];
}

static size_t *count_of(struct route_census *census, enum route_reason reason) {
    size_t *const counts[ROUTE_REASON_COUNT] = {
#define X(name, field, text) [ROUTE_##name] = &census->field,
        ROUTE_REASON_MAP(X)
#undef X
    };
    return counts[reason];
}

void route_keep_out(struct route_census *census, struct route_kept_outs *shown,
                    const struct registry_worker *worker, enum route_reason reason) {
    ++*count_of(census, reason);
    if (shown->count < ROUTE_SHOWN_MAX)
        shown->list[shown->count++] = (struct route_kept_out){worker, reason};
}

/* Of a model that is not loaded for whoever asks. */
static enum route_reason reason_of_state(enum model_state state) {
    switch (state) {
    case MODEL_WAITING:
    case MODEL_LOADING:
        return ROUTE_LOADING;
    case MODEL_UNLOADED:
    case MODEL_UNLOADING:
        return ROUTE_UNLOADED;
    case MODEL_FAILED:
        return ROUTE_LOAD_FAILED;
    case MODEL_READY:
    case MODEL_STATE_COUNT:
        break;
    }
    return ROUTE_REASON_COUNT;
}

/* ROUTE_REASON_COUNT: nothing keeps it out. */
static enum route_reason reason_against(const struct registry_worker *worker,
                                        const struct model_info *model) {
    if (worker->state == WORKER_OFFLINE)
        return ROUTE_OFFLINE;
    if (worker->state == WORKER_SUSPECT)
        return worker->hung ? ROUTE_HUNG : ROUTE_SUSPECT;
    if (worker->info.phase >= WORKER_PHASE_DRAINING)
        return ROUTE_DRAINING;
    return model->on_demand ? ROUTE_REASON_COUNT : reason_of_state(model->state);
}

static bool reserve(struct roster *roster, size_t count) {
    if (roster->cap >= count)
        return true;
    struct route_candidate *candidates = realloc(roster->candidates, count * sizeof(*candidates));
    if (!candidates)
        return false;
    roster->candidates = candidates;
    roster->cap = count;
    return true;
}

static void add(struct roster *roster, const struct registry_worker *worker, const struct model_info *model) {
    roster->cold += model->state != MODEL_READY;
    roster->candidates[roster->count++] =
        (struct route_candidate){.gauge = worker->gauge,
                                 .seat = worker->gauge->seat,
                                 .model = worker_model_find(worker, roster->model),
                                 .state = model->state,
                                 .context_tokens = model->context_tokens};
}

static void fill(struct roster *roster, const struct registry *registry) {
    roster->count = roster->cold = 0;
    roster->census = (struct route_census){0};
    roster->kept_out.count = 0;
    size_t met = 0;
    for (size_t seat = 0; met < registry->count; seat++) {
        if (!registry_seat_is_taken(registry, seat))
            continue;
        met++;
        const struct registry_worker *worker = registry->gauges[seat].worker;
        const struct model_info *model = registry_model(worker, roster->model);
        if (!model)
            continue;
        roster->census.serving++;
        enum route_reason reason = reason_against(worker, model);
        if (reason == ROUTE_REASON_COUNT)
            add(roster, worker, model);
        else
            route_keep_out(&roster->census, &roster->kept_out, worker, reason);
    }
    roster->version = registry->version;
}

/* That of the model, or the one that was not asked for for longest. */
static struct roster *find_place(struct rosters *rosters, const char *model) {
    struct roster *oldest = &rosters->rosters[0];
    for (size_t i = 0; i < ROSTERS_MAX; i++) {
        struct roster *roster = &rosters->rosters[i];
        if (roster->used > 0 && strcmp(roster->model, model) == 0)
            return roster;
        if (roster->used < oldest->used)
            oldest = roster;
    }
    oldest->version = 0;
    return oldest;
}

const struct roster *rosters_get(struct rosters *rosters, const struct registry *registry,
                                 const char *model) {
    struct roster *roster = find_place(rosters, model);
    if (roster->version == 0 || roster->version != registry->version) {
        if (!reserve(roster, registry->cap))
            return NULL;
        size_t len = strnlen(model, sizeof(roster->model) - 1);
        memmove(roster->model, model, len);
        roster->model[len] = '\0';
        fill(roster, registry);
    }
    roster->used = ++rosters->uses;
    return roster;
}
