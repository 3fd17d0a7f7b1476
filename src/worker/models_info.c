#include <string.h>

#include "base/utf8.h"
#include "worker/models_internal.h"

static void tell_model(struct models *models, size_t index, int64_t now_ms, struct model_info *out) {
    const struct model *model = models->list[index];
    const struct model_facts *facts = &model->facts;
    const struct model_entry *entry = &models->table.entries[index];
    *out = (struct model_info){
        .state = entry->state,
        .on_demand = entry->state != MODEL_READY && !models->draining && !model->gone &&
                     model_table_takes_jobs(&models->table, index, now_ms),
        .pinned = entry->pinned,
        .slots = (int32_t)models_config(models)->worker.max_batch_size,
        .context_tokens = facts->context_tokens,
        .waiting = (int32_t)load_line_count(&model->line),
        .parameters = facts->parameters,
        .file_bytes = facts->file_bytes,
        .memory_bytes = entry->bytes,
        .idle_ms = entry->used_ms < 0 ? -1 : now_ms - entry->used_ms,
        .loads = entry->loads,
        .unloads = entry->unloads,
        .load_failures = entry->load_failures,
        .load_ms = entry->load_ms,
        .retry_ms = -1,
        .capabilities = facts->capabilities,
    };
    memcpy(out->name, models_name(models, index), strnlen(models_name(models, index), sizeof out->name - 1));
    memcpy(out->architecture, facts->architecture, sizeof out->architecture);
    memcpy(out->quantization, facts->quantization, sizeof out->quantization);
    if (entry->state == MODEL_LOADING)
        out->load_percent = runner_load_percent(model->runner);
    if (entry->state == MODEL_READY) {
        out->load_percent = 100;
        out->slots = runner_engine_info(model->runner)->slots;
    }
    bool held = model_table_is_held(entry, now_ms);
    if (entry->state != MODEL_FAILED && !held)
        return;
    int64_t retry_ms = held ? entry->hold_ms : entry->retry_ms;
    if (retry_ms < INT64_MAX)
        out->retry_ms = retry_ms > now_ms ? retry_ms - now_ms : 0;
    const char *why = model->why.message;
    memcpy(out->error, why, utf8_valid_prefix(why, strnlen(why, MODEL_ERROR_MAX), NULL));
}

void models_add_counters(struct worker_load *to, const struct worker_load *from) {
    to->cache_evicted += from->cache_evicted;
    to->cache_skipped += from->cache_skipped;
    to->cache_hits += from->cache_hits;
    to->cached_tokens += from->cached_tokens;
    to->parks += from->parks;
    to->handed_back += from->handed_back;
    to->steps += from->steps;
    to->prompt_tokens += from->prompt_tokens;
    to->generated_tokens += from->generated_tokens;
    to->batch_sequences += from->batch_sequences;
    to->batch_wait_ms += from->batch_wait_ms;
    to->queue.enqueued += from->queue.enqueued;
    to->queue.rejected += from->queue.rejected;
    to->queue.evicted += from->queue.evicted;
    to->model_loads += from->model_loads;
    to->model_unloads += from->model_unloads;
    to->model_load_failures += from->model_load_failures;
    to->batch_max = from->batch_max > to->batch_max ? from->batch_max : to->batch_max;
    if (from->cancel_steps_max > to->cancel_steps_max)
        to->cancel_steps_max = from->cancel_steps_max;
}

void models_add_loads(const struct model_entry *entry, struct worker_load *load) {
    load->model_loads += (uint64_t)entry->loads;
    load->model_unloads += (uint64_t)entry->unloads;
    load->model_load_failures += (uint64_t)entry->load_failures;
}

/* Whoever hears of this worker takes it for hung when its progress stands still while jobs run. One engine
 * that hangs must not hide behind the others. */
static uint64_t count_progress(struct models *models) {
    uint64_t now[WORKER_MODELS_MAX] = {0};
    bool any = false;
    for (size_t i = 0; i < models->table.count; i++) {
        bool busy = false;
        if (models->list[i]->runner)
            now[i] = runner_progress(models->list[i]->runner, &busy);
        if (busy && now[i] == models->list[i]->progress)
            return models->progress;
        any |= now[i] != models->list[i]->progress;
    }
    for (size_t i = 0; i < models->table.count; i++)
        models->list[i]->progress = now[i];
    models->progress += any;
    return models->progress;
}

void models_get_info(struct models *models, int64_t now_ms, struct worker_info *out) {
    out->model_count = models->table.count;
    out->models_bytes = model_table_bytes(&models->table);
    out->models_bytes_max = models->table.config.bytes_max;
    for (size_t i = 0; i < models->table.count; i++) {
        struct model *model = models->list[i];
        tell_model(models, i, now_ms, &out->models[i]);
        load_line_add_load(&model->line, now_ms, &out->load);
        models_add_loads(model_entry_of(model), &out->load);
        out->load.queue_max += (int32_t)models_config(models)->worker.max_depth;
        if (model->runner)
            runner_add_load(model->runner, now_ms, &out->load);
    }
    models_add_counters(&out->load, &models->past);
    out->load.progress = count_progress(models);
}
