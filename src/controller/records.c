#include "controller/records.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json_write.h"

static const char *const end_names[REQUEST_END_COUNT] = {
#define X(name, text) [REQUEST_##name] = (text),
    REQUEST_END_MAP(X)
#undef X
};

const char *request_end_name(enum request_end end) {
    return end_names[end];
}

bool records_init(struct records *records, size_t max) {
    *records = (struct records){.max = max};
    map_init(&records->by_id);
    /* Zeroed pages cost nothing until a record is written to them. */
    records->ring = max > 0 ? calloc(max, sizeof(*records->ring)) : NULL;
    return max == 0 || records->ring;
}

static void free_owned(struct record *record) {
    free(record->tries);
    free(record->message);
    free(record->explanation);
}

static void drop_oldest(struct records *records) {
    struct record *record = &records->ring[records->first];
    map_take(&records->by_id, record->id);
    free_owned(record);
    *record = (struct record){0};
    records->first = (records->first + 1) % records->max;
    records->count--;
}

void records_release(struct records *records) {
    if (!records)
        return;
    while (records->count > 0)
        drop_oldest(records);
    free(records->ring);
    map_release(&records->by_id);
    *records = (struct records){0};
}

/* NULL for nothing, and when memory is out. */
static void *copy_of(const void *from, size_t size) {
    void *copy = from && size > 0 ? malloc(size) : NULL;
    if (copy)
        memcpy(copy, from, size);
    return copy;
}

/* false: nothing is left allocated. */
static bool copy_record(struct record *to, const struct record *from) {
    *to = *from;
    to->tries = copy_of(from->tries, from->try_count * sizeof(*from->tries));
    to->message = from->message ? strdup(from->message) : NULL;
    to->explanation = copy_of(from->explanation, sizeof(*from->explanation));
    if ((!to->tries && from->try_count > 0) || (!to->message && from->message) ||
        (!to->explanation && from->explanation)) {
        free_owned(to);
        return false;
    }
    return true;
}

void records_add(struct records *records, const struct record *record, int64_t now_ms) {
    if (records->max == 0)
        return;
    records_expire(records, now_ms);
    if (records->count == records->max) {
        drop_oldest(records);
        records->displaced++;
    }
    struct record *place = &records->ring[(records->first + records->count) % records->max];
    if (!copy_record(place, record))
        return;
    place->ended_ms = now_ms;
    records->count++;
    if (!map_put(&records->by_id, place->id, place)) {
        free_owned(place);
        records->count--;
    }
}

void records_expire(struct records *records, int64_t now_ms) {
    while (records->count > 0 && now_ms - records->ring[records->first].ended_ms >= RECORD_KEEP_MS)
        drop_oldest(records);
}

const struct record *records_find(const struct records *records, const char *id) {
    return map_find(&records->by_id, id);
}

const struct record *records_at(const struct records *records, size_t index) {
    return &records->ring[(records->first + records->count - 1 - index) % records->max];
}

void record_state_name(const struct record *record, char out[RECORD_STATE_CHARS]) {
    const char *name =
        record->state == REQUEST_ENDED ? request_end_name(record->end) : request_state_name(record->state);
    size_t i = 0;
    for (; name[i] && i < RECORD_STATE_CHARS - 1; i++)
        out[i] = (char)tolower((unsigned char)name[i]);
    out[i] = '\0';
}

static void write_text(struct buf *out, const char *key, const char *text) {
    if (text && text[0])
        json_append_str(out, key, text);
    else
        buf_printf(out, "%snull", key);
}

static void write_count(struct buf *out, const char *key, int64_t count) {
    if (count >= 0) {
        json_append_int(out, key, count);
        return;
    }
    buf_append_str(out, key);
    buf_append_str(out, "null");
}

static void write_ms(struct buf *out, const char *key, int64_t us) {
    if (us >= 0)
        buf_printf(out, "%s%.3f", key, (double)us / 1000);
    else
        buf_printf(out, "%snull", key);
}

void request_tries_write(struct buf *out, const struct request_try *tries, size_t count) {
    buf_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        json_append_str(out, i ? ",{\"worker\":" : "{\"worker\":", tries[i].worker_id);
        json_append_str(out, ",\"code\":", status_name(tries[i].status));
        json_append_int(out, ",\"durationMs\":", tries[i].duration_ms);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void write_error(struct buf *out, const struct record *record) {
    if (record->state != REQUEST_ENDED || record->outcome == STATUS_OK) {
        buf_append_str(out, ",\"finalError\":null");
        return;
    }
    json_append_str(out, ",\"finalError\":{\"code\":", status_name(record->outcome));
    json_append_str(out, ",\"message\":", record->message ? record->message : status_text(record->outcome));
    buf_append_char(out, '}');
}

/* Some of the workers by name: the chosen one, its rivals with their scores, and why others were left out. */
static void write_explanation(struct buf *out, const struct route_explanation *explanation) {
    buf_append_str(out, ",\"scores\":[");
    for (size_t i = 0; i < explanation->candidate_count; i++) {
        json_append_str(out, i ? ",{\"worker\":" : "{\"worker\":", explanation->candidates[i].worker_id);
        buf_printf(out, ",\"score\":%.6g}", explanation->candidates[i].score);
    }
    buf_append_str(out, "],\"leftOut\":[");
    for (size_t i = 0; i < explanation->kept_out_count; i++) {
        json_append_str(out, i ? ",{\"worker\":" : "{\"worker\":", explanation->kept_out[i].worker_id);
        json_append_str(out, ",\"reason\":", route_reason_name(explanation->kept_out[i].reason));
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void write_routing(struct buf *out, const struct record *record) {
    const struct route_census *census = &record->census;
    const struct {
        const char *reason;
        size_t count;
    } kept_out[] = {
#define X(name, field, text) {(text), census->field},
        ROUTE_REASON_MAP(X)
#undef X
    };
    if (!record->strategy) {
        buf_append_str(out, ",\"routing\":null");
        return;
    }
    json_append_str(out, ",\"routing\":{\"strategy\":", record->strategy);
    buf_printf(out, ",\"candidates\":%u,\"serving\":%zu,\"panic\":%s,\"excluded\":{", record->candidates,
               census->serving, record->panic ? "true" : "false");
    for (size_t i = 0; i < ARRAY_LEN(kept_out); i++)
        buf_printf(out, "%s\"%s\":%zu", i ? "," : "", kept_out[i].reason, kept_out[i].count);
    buf_append_char(out, '}');
    if (record->explanation)
        write_explanation(out, record->explanation);
    buf_append_char(out, '}');
}

void record_write(struct buf *out, const struct record *record) {
    char state[RECORD_STATE_CHARS];
    record_state_name(record, state);
    json_append_str(out, "{\"requestId\":", record->id);
    write_text(out, ",\"clientRequestId\":", record->client_id);
    json_append_str(out, ",\"model\":", record->model);
    buf_printf(out, ",\"stream\":%s", record->stream ? "true" : "false");
    json_append_str(out, ",\"state\":", state);
    json_append_int(out, ",\"startTime\":", record->begun_wall_ms);
    if (record->state == REQUEST_ENDED)
        json_append_int(out, ",\"endTime\":", record->begun_wall_ms + record->duration_us / 1000);
    else
        buf_append_str(out, ",\"endTime\":null");
    write_ms(out, ",\"durationMs\":", record->duration_us);
    json_append_int(out, ",\"retryCount\":", record->attempts > 1 ? (int64_t)record->attempts - 1 : 0);
    write_text(out, ",\"selectedWorker\":", record->worker_id);
    buf_append_str(out, ",\"failedWorkers\":");
    request_tries_write(out, record->tries, record->try_count);
    json_append_int(out, ",\"migrations\":", record->migrations);
    json_append_int(out, ",\"circuitBreakerTrips\":", record->breaker_trips);
    json_append_int(out, ",\"timeouts\":", record->timeouts);
    write_error(out, record);
    json_append_int(out, ",\"waitedMs\":", record->waited_ms);
    write_ms(out, ",\"queueMs\":", record->queue_us);
    write_count(out, ",\"queuePosition\":", record->queue_position);
    write_count(out, ",\"queueEstimateMs\":", record->queue_wait_ms);
    write_ms(out, ",\"firstTokenMs\":", record->first_token_us);
    write_ms(out, ",\"interTokenMs\":", record->inter_token_us);
    json_append_int(out, ",\"promptTokens\":", record->usage.prompt_tokens);
    json_append_int(out, ",\"completionTokens\":", record->usage.completion_tokens);
    json_append_int(out, ",\"cachedTokens\":", record->usage.cached_tokens);
    write_routing(out, record);
    buf_append_char(out, '}');
}
