#include "route/drain_rate.h"

#include <string.h>

enum { MS_PER_S = 1000, SPREAD = 4 /* a quarter */ };

static struct drain_model *find_model(struct drain_rate *rate, const char *model) {
    for (size_t i = 0; i < rate->count; i++)
        if (strcmp(rate->models[i].model, model) == 0)
            return &rate->models[i];
    return NULL;
}

static struct drain_model *add_model(struct drain_rate *rate, const char *model, int64_t now_ms) {
    struct drain_model *place = &rate->models[0];
    if (rate->count < DRAIN_MODELS_MAX)
        place = &rate->models[rate->count++];
    for (size_t i = 1; i < rate->count && place->model[0]; i++)
        if (rate->models[i].newest_begin_ms < place->newest_begin_ms)
            place = &rate->models[i];
    *place = (struct drain_model){.newest_begin_ms = now_ms, .since_ms = now_ms};
    strncpy(place->model, model, sizeof(place->model) - 1);
    return place;
}

static void turn(struct drain_model *model, int64_t now_ms) {
    int64_t turns = (now_ms - model->newest_begin_ms) / DRAIN_BUCKET_MS;
    if (turns <= 0)
        return;
    for (int64_t i = 0; i < turns && i < DRAIN_BUCKETS; i++) {
        model->newest = (model->newest + 1) % DRAIN_BUCKETS;
        model->ends[model->newest] = 0;
    }
    model->newest_begin_ms += turns * DRAIN_BUCKET_MS;
}

void drain_rate_note(struct drain_rate *rate, const char *name, int64_t now_ms) {
    struct drain_model *model = find_model(rate, name);
    if (!model)
        model = add_model(rate, name, now_ms);
    turn(model, now_ms);
    model->ends[model->newest]++;
}

double drain_rate_per_s(struct drain_rate *rate, const char *name, int64_t now_ms) {
    struct drain_model *model = find_model(rate, name);
    if (!model)
        return 0;
    turn(model, now_ms);
    uint64_t ends = 0;
    for (size_t i = 0; i < DRAIN_BUCKETS; i++)
        ends += model->ends[i];
    /* The buckets before the newest one are whole; a model that is new has fewer of them. */
    int64_t span_ms = (DRAIN_BUCKETS - 1) * DRAIN_BUCKET_MS + now_ms - model->newest_begin_ms;
    int64_t known_ms = now_ms - model->since_ms;
    if (known_ms < span_ms)
        span_ms = known_ms;
    if (span_ms < DRAIN_BUCKET_MS)
        span_ms = DRAIN_BUCKET_MS;
    return (double)ends * MS_PER_S / (double)span_ms;
}

static int64_t clamp_ms(double ms) {
    if (ms <= RETRY_AFTER_MIN_S * MS_PER_S)
        return RETRY_AFTER_MIN_S * MS_PER_S;
    return ms >= RETRY_AFTER_MAX_S * MS_PER_S ? RETRY_AFTER_MAX_S * MS_PER_S : (int64_t)ms;
}

int64_t drain_rate_retry_after_ms(struct drain_rate *rate, const char *model, size_t ahead, int64_t now_ms,
                                  struct rng *rng) {
    if (ahead == 0)
        return RETRY_AFTER_MIN_S * MS_PER_S;
    double per_s = drain_rate_per_s(rate, model, now_ms);
    /* When nothing ended in all that time, one job takes that long at least. */
    double each_ms = per_s > 0 ? MS_PER_S / per_s : DRAIN_BUCKETS * DRAIN_BUCKET_MS;
    int64_t base_ms = clamp_ms((double)ahead * each_ms);
    int64_t spread_ms = (int64_t)rng_below(rng, (uint64_t)(base_ms / SPREAD) + 1);
    return clamp_ms((double)(base_ms + spread_ms));
}
