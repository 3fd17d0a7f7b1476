/* How long a reply will be, from how long those before it were: what is asked for (max_tokens) is a limit
 * that most replies do not reach, and a KV cache that has room for all limits stands empty for the most part.
 * Pure.
 *
 * Remembered are the newest FORECAST_REPLIES, those with a limit by their part of it, the others by their
 * tokens; the forecast is what FORECAST_PERCENT of them stayed within. Until FORECAST_LEAST are known, and
 * whenever replies use what they may, it is the limit itself. */
#pragma once

#include <stdint.h>

enum { FORECAST_REPLIES = 64, FORECAST_LEAST = 8, FORECAST_PERCENT = 90 };

struct forecast_replies {
    int32_t used[FORECAST_REPLIES]; /* a ring */
    uint32_t count;                 /* ever */
    int32_t expected;
};

struct forecast {                      /* zeroed: knows nothing */
    struct forecast_replies limited;   /* thousandths of the limit */
    struct forecast_replies unlimited; /* tokens */
};

/* A reply was over after `tokens`; `max_tokens` <= 0: none was asked for. */
void forecast_note(struct forecast *forecast, int32_t max_tokens, int32_t tokens);
/* Tokens that a reply will have, at most `room`, which is what the context leaves for it. */
int32_t forecast_reply(const struct forecast *forecast, int32_t max_tokens, int32_t room);
