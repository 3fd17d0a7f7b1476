#include "worker/forecast.h"

#include <stdlib.h>
#include <string.h>

enum { WHOLE = 1000 };

static int compare(const void *a, const void *b) {
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    return (left > right) - (left < right);
}

static void note(struct forecast_replies *replies, int32_t used) {
    int32_t sorted[FORECAST_REPLIES];
    replies->used[replies->count++ % FORECAST_REPLIES] = used;
    uint32_t count = replies->count < FORECAST_REPLIES ? replies->count : FORECAST_REPLIES;
    memcpy(sorted, replies->used, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    replies->expected = sorted[(count * FORECAST_PERCENT - 1) / 100];
}

void forecast_note(struct forecast *forecast, int32_t max_tokens, int32_t tokens) {
    if (max_tokens <= 0)
        note(&forecast->unlimited, tokens);
    else
        note(&forecast->limited,
             tokens < max_tokens ? (int32_t)((int64_t)tokens * WHOLE / max_tokens) : WHOLE);
}

int32_t forecast_reply(const struct forecast *forecast, int32_t max_tokens, int32_t room) {
    int64_t limit = max_tokens > 0 && max_tokens < room ? max_tokens : room;
    const struct forecast_replies *replies = max_tokens > 0 ? &forecast->limited : &forecast->unlimited;
    if (replies->count < FORECAST_LEAST)
        return (int32_t)limit;
    int64_t expected =
        max_tokens > 0 ? ((int64_t)max_tokens * replies->expected + WHOLE - 1) / WHOLE : replies->expected;
    return (int32_t)(expected < limit ? expected : limit);
}
