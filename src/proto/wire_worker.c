/* What a worker tells about itself; the same fields that the API shows.
 *
 *   {"v":1,"workerId":"worker-1","incarnation":"k3...","hostname":"...","version":"0.1.0","pid":12,
 *    "phase":"ready","uptimeMs":1000,
 *    "load":{"running":0,...},
 *    "clients":[{"controller":"c1","jobs":3}],
 *    ... and what wire_models.c, wire_skills.c and wire_resources.c say} */
#include <stddef.h>
#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire.h"
#include "proto/wire_models.h"
#include "proto/wire_queue.h"
#include "proto/wire_read.h"
#include "proto/wire_resources.h"
#include "proto/wire_skills.h"

/* The numbers of worker_load, once for writing and reading. */
static const struct {
    const char *key;
    size_t offset;
    enum { I32, U32, I64 } type; /* unsigned 64-bit counters never leave the range of I64 */
} load_fields[] = {
    {"running", offsetof(struct worker_load, running), I32},
    {"queued", offsetof(struct worker_load, queued), I32},
    {"queueMax", offsetof(struct worker_load, queue_max), I32},
    {"kvCellsUsed", offsetof(struct worker_load, kv_cells_used), I64},
    {"kvCellsTotal", offsetof(struct worker_load, kv_cells_total), I64},
    {"kvCellsCached", offsetof(struct worker_load, kv_cells_cached), I64},
    {"parked", offsetof(struct worker_load, parked), I32},
    {"cacheBytes", offsetof(struct worker_load, cache_bytes), I64},
    {"cacheEvicted", offsetof(struct worker_load, cache_evicted), I64},
    {"cacheSkipped", offsetof(struct worker_load, cache_skipped), I64},
    {"cacheHits", offsetof(struct worker_load, cache_hits), I64},
    {"cachedTokens", offsetof(struct worker_load, cached_tokens), I64},
    {"parks", offsetof(struct worker_load, parks), I64},
    {"handedBack", offsetof(struct worker_load, handed_back), I64},
    {"progress", offsetof(struct worker_load, progress), I64},
    {"steps", offsetof(struct worker_load, steps), I64},
    {"promptTokens", offsetof(struct worker_load, prompt_tokens), I64},
    {"generatedTokens", offsetof(struct worker_load, generated_tokens), I64},
    {"jobsAccepted", offsetof(struct worker_load, jobs_accepted), I64},
    {"jobsFinished", offsetof(struct worker_load, jobs_finished), I64},
    {"jobsCancelled", offsetof(struct worker_load, jobs_cancelled), I64},
    {"jobsFailed", offsetof(struct worker_load, jobs_failed), I64},
    {"jobsRejected", offsetof(struct worker_load, jobs_rejected), I64},
    {"jobsOrphaned", offsetof(struct worker_load, jobs_orphaned), I64},
    {"batchSequences", offsetof(struct worker_load, batch_sequences), I64},
    {"batchMax", offsetof(struct worker_load, batch_max), U32},
    {"batchWaitMs", offsetof(struct worker_load, batch_wait_ms), I64},
    {"cancelStepsMax", offsetof(struct worker_load, cancel_steps_max), U32},
    {"rssBytes", offsetof(struct worker_load, rss_bytes), I64},
    {"modelLoads", offsetof(struct worker_load, model_loads), I64},
    {"modelUnloads", offsetof(struct worker_load, model_unloads), I64},
    {"modelLoadFailures", offsetof(struct worker_load, model_load_failures), I64},
};

static int64_t get_field(const struct worker_load *load, size_t i) {
    const char *at = (const char *)load + load_fields[i].offset;
    int32_t i32;
    uint32_t u32;
    int64_t i64 = 0;
    switch (load_fields[i].type) {
    case I32:
        memcpy(&i32, at, sizeof(i32));
        return i32;
    case U32:
        memcpy(&u32, at, sizeof(u32));
        return u32;
    case I64:
        memcpy(&i64, at, sizeof(i64));
        return i64 < 0 ? INT64_MAX : i64;
    }
    return 0;
}

static void set_field(struct worker_load *load, size_t i, int64_t value) {
    char *at = (char *)load + load_fields[i].offset;
    switch (load_fields[i].type) {
    case I32:
        memcpy(at, &(int32_t){(int32_t)value}, sizeof(int32_t));
        return;
    case U32:
        memcpy(at, &(uint32_t){(uint32_t)value}, sizeof(uint32_t));
        return;
    case I64:
        memcpy(at, &value, sizeof(value));
        return;
    }
}

static void append_load(struct buf *out, const struct worker_load *load) {
    buf_append_str(out, ",\"load\":{");
    for (size_t i = 0; i < ARRAY_LEN(load_fields); i++) {
        json_append_str(out, i ? "," : "", load_fields[i].key);
        json_append_int(out, ":", get_field(load, i));
    }
    wire_append_queue(out, &load->queue);
    buf_append_char(out, '}');
}

static void append_clients(struct buf *out, const struct worker_info *info) {
    buf_append_str(out, ",\"clients\":[");
    for (size_t i = 0; i < info->client_count; i++) {
        json_append_str(out, i ? ",{\"controller\":" : "{\"controller\":", info->clients[i].controller_id);
        json_append_int(out, ",\"jobs\":", info->clients[i].jobs);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void append_members(struct buf *out, const struct worker_info *info) {
    json_append_str(out, "\"workerId\":", info->id);
    json_append_str(out, ",\"incarnation\":", info->incarnation);
    json_append_str(out, ",\"hostname\":", info->hostname);
    json_append_str(out, ",\"version\":", info->version);
    json_append_int(out, ",\"pid\":", info->pid);
    json_append_str(out, ",\"phase\":", worker_phase_name(info->phase));
    json_append_int(out, ",\"uptimeMs\":", info->uptime_ms);
    wire_append_models(out, info);
    append_load(out, &info->load);
    append_clients(out, info);
    wire_append_skills(out, info);
    wire_append_resources(out, &info->resources);
}

void wire_write_worker_info(struct buf *out, const struct worker_info *info) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    buf_append_char(out, ',');
    append_members(out, info);
    buf_append_char(out, '}');
}

void wire_write_worker_object(struct buf *out, const struct worker_info *info, const char *status,
                              const char *extra) {
    json_append_str(out, "{\"status\":", status);
    buf_append_char(out, ',');
    append_members(out, info);
    if (extra)
        buf_append_str(out, extra);
    buf_append_char(out, '}');
}

static const char *phase_name(int phase) {
    return worker_phase_name((enum worker_phase)phase);
}

static bool take_load(const json_t *root, struct worker_load *load, struct error *error) {
    static const int64_t max[] = {[I32] = INT32_MAX, [U32] = UINT32_MAX, [I64] = INT64_MAX};
    const json_t *object = json_object_get(root, "load");
    if (object && !json_is_object(object)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "load", "load must be an object, not %s", json_kind(object));
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(load_fields); i++) {
        int64_t value;
        if (!wire_take_int_or(object, load_fields[i].key, 0, max[load_fields[i].type], 0, &value, error))
            return false;
        set_field(load, i, value);
    }
    return wire_take_queue(object, &load->queue, error);
}

static bool take_client(const json_t *object, struct worker_client *client, struct error *error) {
    int64_t jobs;
    if (!wire_take_id(object, "controller", client->controller_id, sizeof(client->controller_id), error) ||
        !wire_take_int_or(object, "jobs", 0, INT32_MAX, 0, &jobs, error))
        return false;
    client->jobs = (int32_t)jobs;
    return true;
}

static bool take_clients(const json_t *root, struct worker_info *info, struct error *error) {
    const json_t *clients = json_object_get(root, "clients");
    if (clients && (!json_is_array(clients) || json_array_size(clients) > WORKER_CLIENTS_MAX)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "clients", "clients must be an array of at most %d",
                  WORKER_CLIENTS_MAX);
        return false;
    }
    info->client_count = json_array_size(clients);
    for (size_t i = 0; i < info->client_count; i++)
        if (!take_client(json_array_get(clients, i), &info->clients[i], error))
            return false;
    return true;
}

static bool take_info(const json_t *root, struct worker_info *info, struct error *error) {
    int64_t pid;
    int phase = wire_take_name(root, "phase", phase_name, WORKER_PHASE_COUNT, error);
    if (phase < 0 || !wire_take_id(root, "workerId", info->id, sizeof(info->id), error) ||
        !wire_take_id(root, "incarnation", info->incarnation, sizeof(info->incarnation), error) ||
        !wire_take_text(root, "hostname", info->hostname, sizeof(info->hostname), error) ||
        !wire_take_text(root, "version", info->version, sizeof(info->version), error) ||
        !wire_take_int_or(root, "pid", 0, INT32_MAX, 0, &pid, error) ||
        !wire_take_int_or(root, "uptimeMs", 0, INT64_MAX, 0, &info->uptime_ms, error))
        return false;
    info->pid = (int32_t)pid;
    info->phase = (enum worker_phase)phase;
    return wire_take_models(root, info, error) && take_load(root, &info->load, error) &&
           take_clients(root, info, error) && wire_take_skills(root, info, error) &&
           wire_take_resources(root, &info->resources, error);
}

enum status wire_read_worker_info(const char *data, size_t len, struct worker_info *info,
                                  struct error *error) {
    *info = (struct worker_info){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = take_info(root, info, error);
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}

void wire_write_deregister(struct buf *out, const struct wire_deregister *deregister) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"workerId\":", deregister->worker_id);
    json_append_str(out, ",\"incarnation\":", deregister->incarnation);
    buf_append_char(out, '}');
}

enum status wire_read_deregister(const char *data, size_t len, struct wire_deregister *out,
                                 struct error *error) {
    *out = (struct wire_deregister){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = wire_take_id(root, "workerId", out->worker_id, sizeof(out->worker_id), error) &&
              wire_take_id(root, "incarnation", out->incarnation, sizeof(out->incarnation), error);
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}
