/* Control messages, and what a worker answers them with.
 *
 *   {"v":1,"op":"stats"} */
#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire.h"
#include "proto/wire_queue.h"
#include "proto/wire_read.h"
#include "proto/wire_resources.h"

/* Of several names of an operation the first is written. */
static const struct {
    const char *name;
    enum wire_control_op op;
} names[] = {
    {"stats", WIRE_CONTROL_STATS},
    {"drain", WIRE_CONTROL_DRAIN},
    {"resume", WIRE_CONTROL_RESUME},
    {"getWorkerStats", WIRE_CONTROL_STATS},
    {"getQueueStats", WIRE_CONTROL_QUEUE_STATS},
    {"getBatchStats", WIRE_CONTROL_BATCH_STATS},
    {"getResourceStats", WIRE_CONTROL_RESOURCE_STATS},
};

void wire_write_control(struct buf *out, enum wire_control_op op) {
    size_t i = 0;
    while (names[i].op != op)
        i++;
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"op\":", names[i].name);
    buf_append_char(out, '}');
}

enum status wire_read_control(const char *data, size_t len, enum wire_control_op *op, struct error *error) {
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    const json_t *name = json_object_get(root, "op");
    size_t found = 0;
    while (found < ARRAY_LEN(names) && !json_is_text(name, names[found].name))
        found++;
    json_decref(root);
    if (found == ARRAY_LEN(names))
        return error_set(error, STATUS_PROTOCOL_ERROR, "op",
                         "op must be stats, drain, resume, getWorkerStats, getQueueStats, getBatchStats "
                         "or getResourceStats");
    *op = names[found].op;
    return STATUS_OK;
}

static const char *word_of(bool value) {
    return value ? "true" : "false";
}

static void open_reply(struct buf *out, const struct worker_info *info) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"workerId\":", info->id);
    json_append_str(out, ",\"incarnation\":", info->incarnation);
}

/* None of its models takes another job: each has one for every slot and as many more as may wait. */
static bool is_full(const struct worker_info *info) {
    int64_t places = info->load.queue_max;
    for (size_t i = 0; i < info->model_count; i++)
        places += info->models[i].slots;
    return (int64_t)info->load.running + info->load.parked + info->load.queued >= places;
}

static void append_queue_stats(struct buf *out, const struct worker_info *info) {
    const struct worker_queue *queue = &info->load.queue;
    json_append_int(out, ",\"depth\":", info->load.queued);
    json_append_int(out, ",\"maxDepth\":", info->load.queue_max);
    buf_printf(out, ",\"isFull\":%s,", word_of(is_full(info)));
    wire_append_queue_levels(out, "\"depthByLevel\":", queue->depth);
    buf_append_char(out, ',');
    wire_append_queue_levels(out, "\"oldestMs\":", queue->oldest_ms);
    wire_append_queue_numbers(out, queue);
}

static void append_batch_stats(struct buf *out, const struct worker_info *info) {
    const struct worker_load *load = &info->load;
    int64_t slots = 0;
    for (size_t i = 0; i < info->model_count; i++)
        slots += info->models[i].state == MODEL_READY ? info->models[i].slots : 0;
    json_append_int(out, ",\"running\":", load->running);
    json_append_int(out, ",\"slots\":", slots);
    json_append_int(out, ",\"steps\":", (int64_t)load->steps);
    json_append_int(out, ",\"batchSequences\":", (int64_t)load->batch_sequences);
    buf_printf(out, ",\"avgBatchSize\":%.3f",
               load->steps > 0 ? (double)load->batch_sequences / (double)load->steps : 0);
    json_append_int(out, ",\"batchMax\":", load->batch_max);
    json_append_int(out, ",\"batchWaitMs\":", (int64_t)load->batch_wait_ms);
    json_append_int(out, ",\"promptTokens\":", (int64_t)load->prompt_tokens);
    json_append_int(out, ",\"generatedTokens\":", (int64_t)load->generated_tokens);
}

static void append_resource_stats(struct buf *out, const struct worker_info *info) {
    const struct worker_load *load = &info->load;
    buf_append_char(out, ',');
    wire_append_resource_members(out, &info->resources);
    json_append_int(out, ",\"rssBytes\":", load->rss_bytes);
    json_append_int(out, ",\"modelsBytes\":", info->models_bytes);
    json_append_int(out, ",\"kvCellsUsed\":", load->kv_cells_used);
    json_append_int(out, ",\"kvCellsTotal\":", load->kv_cells_total);
    json_append_int(out, ",\"kvCellsCached\":", load->kv_cells_cached);
    json_append_int(out, ",\"parked\":", load->parked);
}

void wire_write_control_reply(struct buf *out, enum wire_control_op op, const struct worker_info *info) {
    switch (op) {
    case WIRE_CONTROL_STATS:
    case WIRE_CONTROL_DRAIN:
    case WIRE_CONTROL_RESUME:
        wire_write_worker_info(out, info);
        return;
    case WIRE_CONTROL_QUEUE_STATS:
        open_reply(out, info);
        append_queue_stats(out, info);
        break;
    case WIRE_CONTROL_BATCH_STATS:
        open_reply(out, info);
        append_batch_stats(out, info);
        break;
    case WIRE_CONTROL_RESOURCE_STATS:
        open_reply(out, info);
        append_resource_stats(out, info);
        break;
    }
    buf_append_char(out, '}');
}
