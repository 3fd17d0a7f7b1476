/* `load.queue` of a worker's info:
 *
 *   {"depth":[0,2,1],"oldestMs":[0,310,4000],"enqueued":911,...} */
#include "proto/wire_queue.h"
#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire_read.h"

/* The single numbers, once for writing and reading. All are from 0 to INT64_MAX, but for -1 where it stands
 * for what is not known. */
static const struct {
    const char *key;
    size_t offset;
    int64_t min;
} fields[] = {
    {"enqueued", offsetof(struct worker_queue, enqueued), 0},
    {"rejected", offsetof(struct worker_queue, rejected), 0},
    {"evicted", offsetof(struct worker_queue, evicted), 0},
    {"expired", offsetof(struct worker_queue, expired), 0},
    {"cancelled", offsetof(struct worker_queue, cancelled), 0},
    {"waitMeanMs", offsetof(struct worker_queue, wait_mean_ms), 0},
    {"waitP50Ms", offsetof(struct worker_queue, wait_p50_ms), 0},
    {"waitP99Ms", offsetof(struct worker_queue, wait_p99_ms), 0},
    {"nextWaitMs", offsetof(struct worker_queue, next_wait_ms), -1},
};

static int64_t *field_of(struct worker_queue *queue, size_t i) {
    return (int64_t *)(void *)((char *)queue + fields[i].offset);
}

void wire_append_queue_levels(struct buf *out, const char *key, const int64_t *levels) {
    buf_append_str(out, key);
    for (int level = 0; level < CHAT_PRIORITY_COUNT; level++)
        json_append_int(out, level ? "," : "[", levels[level]);
    buf_append_char(out, ']');
}

void wire_append_queue_numbers(struct buf *out, const struct worker_queue *queue) {
    struct worker_queue copy = *queue;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        json_append_str(out, ",", fields[i].key);
        json_append_int(out, ":", *field_of(&copy, i));
    }
}

void wire_append_queue(struct buf *out, const struct worker_queue *queue) {
    buf_append_str(out, ",\"queue\":{");
    wire_append_queue_levels(out, "\"depth\":", queue->depth);
    wire_append_queue_levels(out, ",\"oldestMs\":", queue->oldest_ms);
    wire_append_queue_numbers(out, queue);
    buf_append_char(out, '}');
}

static bool take_levels(const json_t *object, const char *key, int64_t max, int64_t *out,
                        struct error *error) {
    const json_t *array = json_object_get(object, key);
    if (!array)
        return true;
    size_t count = json_array_size(array);
    bool ok = json_is_array(array) && count <= CHAT_PRIORITY_COUNT;
    for (size_t i = 0; ok && i < count; i++) {
        const json_t *value = json_array_get(array, i);
        out[i] = json_integer_value(value);
        ok = json_is_integer(value) && out[i] >= 0 && out[i] <= max;
    }
    if (!ok)
        error_set(error, STATUS_PROTOCOL_ERROR, key,
                  "%s must be an array of at most %d whole numbers in their range", key, CHAT_PRIORITY_COUNT);
    return ok;
}

bool wire_take_queue(const json_t *load, struct worker_queue *queue, struct error *error) {
    const json_t *object = json_object_get(load, "queue");
    *queue = (struct worker_queue){.next_wait_ms = -1};
    if (!object)
        return true;
    if (!json_is_object(object)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "queue", "queue must be an object, not %s",
                  json_kind(object));
        return false;
    }
    if (!take_levels(object, "depth", INT32_MAX, queue->depth, error) ||
        !take_levels(object, "oldestMs", INT64_MAX, queue->oldest_ms, error))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        int64_t absent = fields[i].min;
        if (!wire_take_int_or(object, fields[i].key, fields[i].min, INT64_MAX, absent, field_of(queue, i),
                              error))
            return false;
    }
    return true;
}
