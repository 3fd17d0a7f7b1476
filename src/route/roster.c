#include "route/roster.h"

#include <stdlib.h>
#include <string.h>

void rosters_release(struct rosters *rosters) {
    for (size_t i = 0; i < ROSTERS_MAX; i++)
        free(rosters->rosters[i].candidates);
    *rosters = (struct rosters){0};
}

static bool can_serve(const struct registry_worker *worker, const struct model_info *model,
                      struct route_census *census) {
    census->serving++;
    if (worker->state == WORKER_OFFLINE)
        return census->offline++, false;
    if (worker->state == WORKER_SUSPECT)
        return census->suspect++, false;
    if (worker->info.phase == WORKER_PHASE_DRAINING)
        return census->draining++, false;
    if (model->state == MODEL_LOADING)
        return census->loading++, false;
    if (model->state == MODEL_FAILED)
        return census->load_failed++, false;
    return true;
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

static void fill(struct roster *roster, const struct registry *registry) {
    roster->count = 0;
    roster->census = (struct route_census){0};
    for (size_t i = 0; i < registry->count; i++) {
        const struct registry_worker *worker = registry->workers[i];
        const struct model_info *model = registry_model(worker, roster->model);
        if (model && can_serve(worker, model, &roster->census))
            roster->candidates[roster->count++] =
                (struct route_candidate){.gauge = worker->gauge, .context_tokens = model->context_tokens};
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
