#include "worker/models.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/models_internal.h"

enum { MEMORY_LOOK_MS = 1000 }; /* how often a load that waits for memory is tried */

/* Jobs that wait. */

/* The job is out of the line; what `error` says is its answer. */
void model_end_waiting(struct model *model, struct job *job, const struct error *error) {
    struct models *models = model->models;
    model_table_job_went(&models->table, model->index, clock_ms());
    loop_defer_ask(&models->settle);
    models->env.on_done(job, error, models->env.arg);
}

/* Because job_check says so. */
static void end_checked(struct model *model, struct job *job) {
    struct error error = {.status = STATUS_OK};
    if (job_check(job, clock_ms(), &error) == STATUS_OK)
        error_set(&error, STATUS_INTERNAL_ERROR, NULL, "the job was put out of its line without a reason");
    model_end_waiting(model, job, &error);
}

void model_end_line(struct model *model, const struct error *error) {
    struct job *job;
    while ((job = load_line_take(&model->line, clock_ms())))
        model_end_waiting(model, job, error);
}

void models_arm_timer(struct models *models) {
    int64_t now_ms = clock_ms(), late_ms = model_table_late_ms(&models->table);
    int64_t earliest_ms = model_table_patience_ms(&models->table, now_ms);
    earliest_ms = late_ms < earliest_ms ? late_ms : earliest_ms;
    if (models->needs_memory && now_ms + MEMORY_LOOK_MS < earliest_ms)
        earliest_ms = now_ms + MEMORY_LOOK_MS;
    for (size_t i = 0; i < models->table.count; i++) {
        int64_t deadline_ms = load_line_deadline_ms(&models->list[i]->line);
        earliest_ms = deadline_ms < earliest_ms ? deadline_ms : earliest_ms;
    }
    if (earliest_ms == INT64_MAX)
        loop_timer_disarm(&models->timer);
    else
        loop_timer_arm(&models->timer, earliest_ms > now_ms ? earliest_ms - now_ms : 0);
}

static void on_timer(void *arg) {
    struct models *models = arg;
    struct job *job;
    for (size_t i = 0; i < models->table.count; i++) {
        while ((job = load_line_take_expired(&models->list[i]->line, clock_ms())))
            end_checked(models->list[i], job);
    }
    size_t late;
    while ((late = model_table_take_late(&models->table, clock_ms())) < models->table.count)
        model_stop_warming(models->list[late]);
    loop_defer_ask(&models->settle); /* which arms the timer again */
}

/* Life. */

struct models *models_new(const struct models_env *env) {
    struct models *models = calloc(1, sizeof *models);
    const struct config *config = env->runner.config;
    if (!models)
        return NULL;
    models->env = *env;
    models->table.config = (struct model_table_config){
        .bytes_max = config->worker.models_memory_mb << 20,
        .on_demand = config->worker.load_on_demand,
        .warm_parallel = config->worker.pre_warming.parallel,
        .warm_limit_ms = config->worker.pre_warming.timeout_per_model_ms,
        .patience_ms = config->worker.load_patience_ms,
        .retry_delay_ms = config->worker.load_retry_ms,
    };
    if (loop_defer_init(&models->settle, env->runner.loop, models_settle, models) &&
        loop_timer_init(&models->timer, env->runner.loop, on_timer, models))
        return models;
    models_free(models);
    return NULL;
}

static void init_line(struct model *model) {
    const struct config *config = models_config(model->models);
    size_t slots = (size_t)config->worker.max_batch_size, depth = (size_t)config->worker.max_depth;
    load_line_init(&model->line,
                   &(struct admission_config){.slots = slots, /* one more: who gives way is out at once */
                                              .depth = depth,
                                              .evict = !config->worker.reject_when_full,
                                              .present_max = slots + depth + 1},
                   config->worker.aging_ms);
}

struct model *models_add(struct models *models, struct config_model *source,
                         const struct model_facts *facts) {
    struct model *model = calloc(1, sizeof *model);
    if (!model || !source->name || !source->path) {
        log_error("model left out: no memory", F_STR("model", source->name));
        free(source->name);
        free(source->path);
        free(model);
        return NULL;
    }
    model->models = models;
    model->source = *source;
    model->facts = *facts;
    model->index = model_table_add(&models->table, facts->memory_bytes);
    init_line(model);
    models->list[model->index] = model;
    return model;
}

/* One of the configuration; when its header cannot be read, the load will tell why. */
static void add_configured(struct models *models, const struct config_model *configured) {
    struct config_model source = {
        .name = strdup(configured->name), .path = strdup(configured->path), .found = configured->found};
    struct model_facts facts;
    struct model_stamp stamp; /* first, so that a file that is replaced meanwhile counts as changed */
    struct error error;
    model_stamp_read(configured->path, &stamp);
    if (model_facts_read(models_config(models), configured->path, &facts, &error) != STATUS_OK)
        log_warn("the header of a model cannot be read", F_STR("model", configured->name),
                 F_STR("reason", error.message));
    struct model *model = models_add(models, &source, &facts);
    if (model)
        model->stamp = stamp;
}

void model_pin_if_named(struct model *model) {
    const struct config *config = models_config(model->models);
    const struct config_list *named = &config->worker.pre_warming.models;
    struct model_entry *entry = model_entry_of(model);
    for (size_t turn = 0; turn < named->count && config->worker.pre_warming.enabled; turn++) {
        if (strcmp(named->items[turn], model->source.name) != 0)
            continue;
        entry->warm = entry->pinned = true;
        entry->turn = turn;
        return;
    }
}

static void plan_warming(struct models *models) {
    const struct config *config = models_config(models);
    const struct config_list *named = &config->worker.pre_warming.models;
    for (size_t i = 0; i < models->table.count && config->worker.pre_warming.enabled; i++)
        models->table.entries[i].warm = named->count == 0;
    for (size_t i = 0; i < models->table.count; i++)
        model_pin_if_named(models->list[i]);
}

void models_start(struct models *models) {
    const struct config *config = models_config(models);
    for (size_t i = 0; i < config->model_count; i++)
        add_configured(models, &config->models[i]);
    plan_warming(models);
    if (config->worker.model_dirs.count > 0 && config->worker.model_scan_interval_ms > 0)
        models->scan = model_scan_new(config, models->env.runner.loop, models_take_scan, models);
    if (config->worker.model_dirs.count > 0 && config->worker.model_scan_interval_ms > 0 && !models->scan)
        log_warn("folders of models are not looked at again: no memory, thread or descriptor for it");
    loop_defer_ask(&models->settle);
}

static void free_model(struct model *model) {
    struct models *models = model->models;
    struct job *job;
    runner_free(model->runner);
    while ((job = load_line_take(&model->line, clock_ms())))
        models->env.on_done(job, NULL, models->env.arg);
    load_line_release(&model->line);
    free(model->source.name);
    free(model->source.path);
    free(model);
}

void models_remove(struct models *models, struct model *model) {
    size_t index = model->index;
    struct worker_load last = {.running = 0};
    load_line_add_load(&model->line, clock_ms(), &last);
    models_add_loads(model_entry_of(model), &last);
    models_add_counters(&models->past, &last);
    model_table_remove(&models->table, index);
    for (size_t i = index; i < models->table.count; i++) {
        models->list[i] = models->list[i + 1];
        models->list[i]->index = i;
    }
    free_model(model);
}

void models_free(struct models *models) {
    if (!models)
        return;
    model_scan_free(models->scan);
    for (size_t i = 0; i < models->table.count; i++)
        free_model(models->list[i]);
    loop_timer_release(&models->timer);
    loop_defer_release(&models->settle);
    free(models);
}

void models_drain(struct models *models) {
    struct error error;
    models->draining = true;
    error_set(&error, STATUS_WORKER_DRAINING, NULL, "the worker stops and loads no model any more");
    for (size_t i = 0; i < models->table.count; i++)
        model_end_line(models->list[i], &error);
}

void models_resume(struct models *models) {
    models->draining = false; /* the next scan finds what came meanwhile */
    loop_defer_ask(&models->settle);
}

/* Jobs. */

size_t models_count(const struct models *models) {
    return models->table.count;
}

size_t models_find(const struct models *models, const char *name) {
    size_t index = 0;
    while (index < models->table.count && strcmp(models->list[index]->source.name, name) != 0)
        index++;
    return index;
}

const char *models_name(const struct models *models, size_t index) {
    return models->list[index]->source.name;
}

enum model_state models_state(const struct models *models, size_t index) {
    return models->table.entries[index].state;
}

static int level_of(const struct models *models, enum chat_priority priority) {
    return queue_level(priority, (int)models_config(models)->worker.priority_levels);
}

/* Of one that is not ready. */
static enum status make_room_in_line(struct model *model, enum chat_priority priority, struct error *error) {
    struct models *models = model->models;
    struct error why;
    struct job *evicted;
    const char *name = model->source.name;
    enum status status = model_table_check(&models->table, model->index, clock_ms(), &why);
    if (status != STATUS_OK) {
        bool failed = model_entry_of(model)->state == MODEL_FAILED;
        return error_set(error, status, NULL, "model %s: %s%s%s", name, why.message, failed ? ": " : "",
                         failed ? model->why.message : "");
    }
    if (!load_line_make_room(&model->line, level_of(models, priority), &evicted))
        return error_set(error, STATUS_WORKER_OVERLOADED, NULL,
                         "model %s is not loaded yet, and %zu jobs wait for it", name,
                         load_line_count(&model->line));
    if (evicted)
        end_checked(model, evicted);
    return STATUS_OK;
}

enum status models_make_room(struct models *models, size_t index, enum chat_priority priority,
                             struct error *error) {
    struct model *model = models->list[index];
    if (model->gone)
        return error_set(error, STATUS_MODEL_NOT_LOADED, NULL, "the file of model %s is not there any more",
                         model->source.name);
    if (models_state(models, index) == MODEL_READY)
        return runner_make_room(model->runner, priority, error);
    return make_room_in_line(model, priority, error);
}

size_t models_position(const struct models *models, size_t index, enum chat_priority priority) {
    const struct model *model = models->list[index];
    if (models_state(models, index) == MODEL_READY)
        return runner_position(model->runner, priority);
    return load_line_count(&model->line) + 1;
}

void models_submit(struct models *models, size_t index, struct job *job) {
    struct model *model = models->list[index];
    model_table_job_came(&models->table, index, clock_ms());
    if (models_state(models, index) == MODEL_READY) {
        model_submit(model, job);
        return;
    }
    loop_defer_ask(&models->settle);
    if (!load_line_add(&model->line, job, level_of(models, job->wire.chat.priority))) {
        struct error error;
        error_set(&error, STATUS_WORKER_OVERLOADED, NULL, "the worker is out of memory");
        model_end_waiting(model, job, &error);
    }
}

void models_cancel(struct models *models, struct job *job) {
    if (job->runner) {
        runner_cancel(job->runner, job);
        return;
    }
    struct model *model = models->list[models_find(models, job->wire.chat.model)];
    atomic_store_explicit(&job->cancelled, true, memory_order_release);
    load_line_remove(&model->line, job);
    end_checked(model, job);
}

void models_drop(struct job *job) {
    assert(job->runner); /* models_drain has ended those that wait for a model */
    runner_drop(job->runner, job);
}

void models_on_pressure(struct models *models, enum resource_level level) {
    models->pressure = level;
    for (size_t i = 0; i < models->table.count; i++) {
        if (models_state(models, i) == MODEL_READY)
            runner_set_short_of_memory(models->list[i]->runner, level != RESOURCE_OK);
    }
    loop_defer_ask(&models->settle);
}

void models_tell_prefixes(struct models *models) {
    for (size_t i = 0; i < models->table.count; i++) {
        if (models_state(models, i) == MODEL_READY)
            runner_tell_prefixes(models->list[i]->runner);
    }
}

bool models_may_come(const struct models *models) {
    return models->scan != NULL;
}

bool models_are_warm(const struct models *models) {
    for (size_t i = 0; i < models->table.count; i++) {
        if (models->table.entries[i].warm)
            return false;
    }
    return true;
}
