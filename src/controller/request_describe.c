#include <string.h>

#include "base/clock.h"
#include "controller/monitoring.h"
#include "controller/room.h"

static enum request_end end_of(const struct request *request) {
    if (request->outcome == STATUS_OK)
        return REQUEST_SUCCEEDED;
    if (request->outcome == STATUS_CANCELLED)
        return REQUEST_CANCELLED;
    return request->attempt > 0 ? REQUEST_FAILED : REQUEST_REFUSED;
}

/* The time of the last token is known to the millisecond, and that of the end exactly: for a whole reply,
 * whose end comes with its last token, that is better. */
static int64_t mean_inter_token_us(const struct request *request, int64_t now_us) {
    uint32_t tokens = request->next_index - request->first_index;
    if (tokens < 2 || !request->try_first_token_us)
        return -1;
    bool whole = request->state == REQUEST_ENDED && request->outcome == STATUS_OK;
    int64_t last_us = whole ? now_us : request->last_heard_ms * 1000;
    int64_t spent_us = last_us - request->try_first_token_us;
    return spent_us > 0 ? spent_us / (tokens - 1) : 0;
}

void request_describe(struct request *request, struct record *out) {
    int64_t now_us = clock_us();
    bool failed = request->state == REQUEST_ENDED && request->outcome != STATUS_OK &&
                  request->outcome != STATUS_CANCELLED;
    *out = (struct record){
        .stream = request->chat.stream,
        .state = request->state,
        .end = end_of(request),
        .outcome = request->outcome,
        .begun_wall_ms = request->begun_wall_ms,
        .duration_us = now_us - request->begun_us,
        .attempts = request->attempt,
        .timeouts = request->timeouts,
        .breaker_trips = request->breaker_trips,
        .migrations = request->migrations,
        .waited_ms = room_waited_ms(request),
        .queue_us = request->queue_us,
        .queue_position = request->queue_position,
        .queue_wait_ms = request->queue_wait_ms,
        .first_token_us = request->first_token_us ? request->first_token_us - request->begun_us : -1,
        .inter_token_us = mean_inter_token_us(request, now_us),
        .usage = request->usage,
        .strategy = request->decision.strategy,
        .panic = request->decision.panic,
        .candidates = (uint32_t)request->decision.candidates,
        .census = request->decision.census,
        .explanation = request->decision.strategy ? &request->explanation : NULL,
        .tries = request->tries,
        .try_count = request->try_count,
        .message = failed ? request->failure.message : NULL,
    };
    if (out->usage.completion_tokens == 0) /* the worker tells it at the end */
        out->usage.completion_tokens = request->next_index;
    memcpy(out->id, request->id, sizeof(out->id));
    memcpy(out->client_id, request->client_id, sizeof(out->client_id));
    memcpy(out->worker_id, request->worker_id, sizeof(out->worker_id));
    memccpy(out->model, request->chat.model, '\0', sizeof(out->model) - 1);
}
