/* How fast jobs of each model end, and from that when a client that cannot be served now should come back.
 * Counted are the ends of the last ten seconds. Pure: time and chance are arguments; times must not go back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "proto/chat.h"

enum {
    DRAIN_BUCKETS = 10,
    DRAIN_BUCKET_MS = 1000,
    DRAIN_MODELS_MAX = 64, /* of more models the one that was silent for longest is forgotten */
    RETRY_AFTER_MIN_S = 1,
    RETRY_AFTER_MAX_S = 60,
};

struct drain_model {
    char model[CHAT_MODEL_NAME_MAX + 1];
    uint32_t ends[DRAIN_BUCKETS];
    size_t newest;
    int64_t newest_begin_ms;
    int64_t since_ms; /* the first end that is known */
};

struct drain_rate { /* zeroed: empty */
    struct drain_model models[DRAIN_MODELS_MAX];
    size_t count;
};

/* A job of the model has ended by itself: another one may take its place. */
void drain_rate_note(struct drain_rate *rate, const char *model, int64_t now_ms);
/* Jobs a second; 0 when none has ended in the last ten seconds. */
double drain_rate_per_s(struct drain_rate *rate, const char *model, int64_t now_ms);

/* In ms, from RETRY_AFTER_MIN_S to RETRY_AFTER_MAX_S: the time in which `ahead` jobs end, and up to a quarter
 * more by chance, so that those who were refused together do not come back together. Without a known rate
 * each job ahead is taken to need ten seconds. */
int64_t drain_rate_retry_after_ms(struct drain_rate *rate, const char *model, size_t ahead, int64_t now_ms,
                                  struct rng *rng);
