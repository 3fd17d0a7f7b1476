/* What a runner's callback or a job sets in motion is done at the end of the tick (models_settle), so that no
 * runner is freed inside its own callback, and however many jobs came, the table is asked once. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/models_internal.h"

static void say_change(struct models *models) {
    models->env.on_change(models->env.arg);
}

void model_submit(struct model *model, struct job *job) {
    job->runner = model->runner;
    model->inside++;
    runner_submit(model->runner, job);
}

static void hand_on(struct model *model, struct job *job) {
    struct error error;
    if (runner_make_room(model->runner, job->wire.chat.priority, &error) != STATUS_OK) {
        model_end_waiting(model, job, &error);
        return;
    }
    model->line.handed_on++;
    model_submit(model, job);
}

static void fail(struct model *model, bool for_ever) {
    struct models *models = model->models;
    const char *name = model->source.name;
    log_error("model could not be loaded", F_STR("model", name), F_STR("reason", model->why.message),
              F_INT("jobs_waiting", load_line_count(&model->line)));
    model_table_failed(&models->table, model->index, for_ever, clock_ms());
    struct error error;
    error_set(&error, STATUS_MODEL_LOAD_FAILED, NULL, "model %s could not be loaded: %s", name,
              model->why.message);
    model_end_line(model, &error);
    loop_defer_ask(&models->settle);
}

/* What the engine tells counts from now on, also when it is unloaded again. */
static void learn(struct model *model) {
    struct model_facts *facts = &model->facts;
    const struct engine_info *info = runner_engine_info(model->runner);
    int64_t cache_bytes;
    facts->parameters = info->parameters;
    facts->file_bytes = info->file_bytes;
    facts->context_tokens = info->context_tokens;
    facts->capabilities = runner_capabilities(model->runner);
    if (facts->weights_bytes > 0 &&
        !__builtin_mul_overflow(facts->cache_token_bytes, info->cache_tokens, &cache_bytes))
        facts->memory_bytes = facts->weights_bytes + cache_bytes;
}

static void on_loaded(struct runner *runner, const struct error *error, void *arg) {
    struct model *model = arg;
    struct models *models = model->models;
    if (error) {
        model->why = *error;
        model->runner_ended = true;
        fail(model, false);
        say_change(models);
        return;
    }
    learn(model);
    runner_set_short_of_memory(runner, models->pressure != RESOURCE_OK);
    model_table_loaded(&models->table, model->index, model->facts.memory_bytes, clock_ms());
    log_info("model is ready", F_STR("model", model->source.name),
             F_INT("slots", runner_engine_info(runner)->slots),
             F_INT("context_tokens", model->facts.context_tokens),
             F_INT("parameters", model->facts.parameters), F_INT("ms", model_entry_of(model)->load_ms));
    struct job *job;
    while ((job = load_line_take(&model->line, clock_ms())))
        hand_on(model, job);
    loop_defer_ask(&models->settle);
    say_change(models);
}

static void on_stopped(struct runner *runner UNUSED, void *arg) {
    struct model *model = arg;
    model->runner_ended = true;
    model_table_unloaded(&model->models->table, model->index);
    log_info("model is unloaded", F_STR("model", model->source.name));
    loop_defer_ask(&model->models->settle);
    say_change(model->models);
}

static void on_job_done(struct job *job, void *arg) {
    struct model *model = arg;
    struct models *models = model->models;
    model_table_job_went(&models->table, model->index, clock_ms());
    model->inside--;
    if (model->inside == 0 && model_entry_of(model)->state == MODEL_UNLOADING)
        runner_stop(model->runner);
    loop_defer_ask(&models->settle);
    models->env.on_done(job, NULL, models->env.arg);
}

static void load(struct model *model) {
    struct models *models = model->models;
    struct runner_env env = models->env.runner;
    env.model = &model->source;
    env.on_done = on_job_done;
    env.on_loaded = on_loaded;
    env.on_stopped = on_stopped;
    env.arg = model;
    log_info("model is about to be loaded", F_STR("model", model->source.name),
             F_INT("bytes", model_entry_of(model)->bytes),
             F_INT("jobs_waiting", load_line_count(&model->line)));
    model_table_loading(&models->table, model->index, clock_ms());
    model->runner = runner_new(&env, &model->why);
    if (!model->runner)
        fail(model, false);
}

void model_unload(struct model *model) {
    log_info("model is about to be unloaded", F_STR("model", model->source.name),
             F_INT("idle_ms", clock_ms() - model_entry_of(model)->used_ms),
             F_INT("jobs_to_end", model->inside));
    model_table_unloading(&model->models->table, model->index);
    if (model->inside == 0)
        runner_stop(model->runner);
}

void model_stop_warming(struct model *model) {
    struct models *models = model->models;
    bool is_wanted = model_entry_of(model)->jobs > 0;
    log_warn("model is not warm in time", F_STR("model", model->source.name),
             F_INT("limit_ms", models->table.config.warm_limit_ms), F_BOOL("loads_on", is_wanted));
    if (!is_wanted) {
        model_table_unloading(&models->table, model->index);
        runner_stop(model->runner);
    }
    loop_defer_ask(&models->settle);
    say_change(models);
}

static void give_up(struct model *model) {
    const struct model_table *table = &model->models->table;
    int64_t bytes = model_entry_of(model)->bytes;
    error_set(
        &model->why, STATUS_MODEL_LOAD_FAILED, NULL,
        "with its KV cache it takes %lld MB; cluster.worker.models_memory_mb is %lld, and pinned models "
        "take %lld MB of it: raise it, or name fewer models in cluster.worker.pre_warming.models",
        (long long)(bytes >> 20), (long long)(table->config.bytes_max >> 20),
        (long long)(model_table_pinned_bytes(table) >> 20));
    /* A pinned one whose load fails may leave room after all. */
    fail(model, bytes > table->config.bytes_max);
}

static void free_runner(struct model *model) {
    struct models *models = model->models;
    struct worker_load last = {.running = 0};
    runner_add_load(model->runner, clock_ms(), &last);
    runner_free(model->runner);
    model->runner = NULL;
    model->runner_ended = false;
    if (models->pressure != RESOURCE_OK)
        model_facts_drop_pages(model->source.path);
    models_add_counters(&models->past, &last);
}

/* All layers are computed there. */
static bool is_on_gpu(const struct model *model) {
    int64_t layers = models_config(model->models)->worker.gpu_layers, own = model->facts.layers;
    return model->models->env.has_gpu && (layers < 0 || (own > 0 && layers > own));
}

static bool is_mapped(const struct model *model) {
    enum load_mode_kind mode = models_config(model->models)->worker.load_mode;
    return mode == LOAD_MODE_KIND_AUTO || mode == LOAD_MODE_KIND_MMAP || mode == LOAD_MODE_KIND_MMAP_MLOCK;
}

/* Memory of the host that a load takes, and of it what is the process's own; or that there is for it. */
struct host_memory {
    int64_t all;
    int64_t own;
};

static struct host_memory host_memory_of(struct model *model) {
    int64_t bytes = model_entry_of(model)->bytes;
    int64_t weights = model->facts.weights_bytes < bytes ? model->facts.weights_bytes : bytes;
    int64_t cache = bytes - weights;
    if (is_on_gpu(model)) {
        weights = 0;
        cache = models_config(model->models)->worker.offload_kqv ? 0 : cache;
    }
    return (struct host_memory){.all = weights + cache, .own = is_mapped(model) ? cache : weights + cache};
}

/* What comes counts whole, though a part of it may be there already. What nobody could make it load later is
 * loaded as soon as the hard limit is not reached. */
static bool has_room(struct model *model, struct host_memory *room) {
    struct models *models = model->models;
    struct host_memory need = host_memory_of(model);
    room->all = models->env.memory_room(&room->own, models->env.arg);
    if (room->all <= 0 || room->own <= 0)
        return false;
    int64_t coming = model_table_loading_bytes(&models->table);
    return !models->table.config.on_demand || (need.all <= room->all - coming && need.own <= room->own);
}

static void refuse_load(struct model *model, const struct host_memory *room) {
    struct host_memory need = host_memory_of(model);
    bool by_own = need.own > room->own;
    int64_t bytes = by_own ? need.own : need.all, left = by_own ? room->own : room->all;
    error_set(&model->why, STATUS_RESOURCE_LIMIT_EXCEEDED, NULL,
              "model %s takes about %lld MB%s, and the worker may take %lld MB more until it is at its hard "
              "limit of memory",
              model->source.name, (long long)(bytes >> 20), by_own ? " beside its file" : "",
              (long long)(left >> 20));
    log_warn("no memory to load a model", F_STR("model", model->source.name), F_INT("bytes", bytes),
             F_INT("room", left), F_INT("jobs_waiting", load_line_count(&model->line)));
    model_table_refused(&model->models->table, model->index, clock_ms());
    model_end_line(model, &model->why);
}

static void drop_pages_of_unloaded(struct models *models) {
    for (size_t i = 0; i < models->table.count; i++) {
        if (!models->list[i]->runner)
            model_facts_drop_pages(models->list[i]->source.path);
    }
}

/* models_memory_mb may allow more than there is: for who asks for the model, idle ones make way. false: it
 * must wait, for one that comes or goes or for less use. */
static bool load_if_memory_lasts(struct model *model) {
    struct models *models = model->models;
    struct model_table *table = &models->table;
    struct host_memory room;
    bool fits = has_room(model, &room);
    bool others_move = model_table_loading_bytes(table) > 0 || model_table_is_unloading(table);
    if (!fits && !others_move) { /* what is kept of files without need may be what is missing */
        drop_pages_of_unloaded(models);
        fits = has_room(model, &room);
    }
    if (fits) {
        load(model);
        return true;
    }
    models->needs_memory = !table->config.on_demand;
    if (!table->config.on_demand || others_move)
        return false;
    size_t spare = model_entry_of(model)->jobs > 0 ? model_table_find_spare(table, false) : table->count;
    if (spare == table->count) {
        refuse_load(model, &room);
        return true;
    }
    model_unload(models->list[spare]);
    return false;
}

/* false: no more now; what it waits for will bring us back. */
static bool do_step(struct models *models, const struct model_step *step) {
    struct model *model = models->list[step->index];
    switch (step->move) {
    case MODEL_STAY:
        return false;
    case MODEL_LOAD:
        return load_if_memory_lasts(model);
    case MODEL_UNLOAD:
        model_unload(model);
        return true;
    case MODEL_LEAVE_COLD:
        log_warn("no room to have a model warm", F_STR("model", model->source.name),
                 F_INT("bytes", model_entry_of(model)->bytes),
                 F_INT("bytes_used", model_table_bytes(&models->table)),
                 F_INT("bytes_max", models->table.config.bytes_max));
        return true;
    case MODEL_GIVE_UP:
        give_up(model);
        return true;
    }
    return false;
}

static bool relieve(struct models *models) {
    bool unloaded = false;
    size_t spare;
    if (models->pressure == RESOURCE_OK)
        return false;
    model_table_stop_warming(&models->table);
    while ((spare = model_table_find_spare(&models->table, models->pressure == RESOURCE_SOFT)) <
           models->table.count) {
        model_unload(models->list[spare]);
        unloaded = true;
    }
    return unloaded;
}

void models_settle(void *arg) {
    struct models *models = arg;
    for (size_t i = 0; i < models->table.count; i++) {
        if (models->list[i]->runner_ended)
            free_runner(models->list[i]);
    }
    bool was_warm = models_are_warm(models);
    models->needs_memory = false;
    bool changed = !models->draining && models_follow_files(models);
    changed = (!models->draining && relieve(models)) || changed;
    for (bool more = !models->draining; more;) {
        struct model_step step = model_table_next(&models->table, clock_ms());
        more = do_step(models, &step);
        changed = changed || step.move != MODEL_STAY;
    }
    models_arm_timer(models);
    if (changed || models_are_warm(models) != was_warm)
        say_change(models);
}
