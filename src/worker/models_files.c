/* What a scan of the folders has found, made true step by step: models that are loaded or have jobs stay as
 * they are until nothing runs on them. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "worker/models_internal.h"

static struct model *find_by_path(struct models *models, const char *path) {
    for (size_t i = 0; i < models->table.count; i++) {
        if (strcmp(models->list[i]->source.path, path) == 0)
            return models->list[i];
    }
    return NULL;
}

static bool is_taken(const struct models *models, const char *name) {
    return models_find(models, name) < models->table.count;
}

static void refuse(struct model_file *file, const char *why) {
    if (!file->refused)
        log_warn("a new model file is not served", F_STR("path", file->path), F_STR("reason", why));
    file->refused = true;
}

/* As at the start: without its quantization, or with it where that is another one's name already. */
static void add_file(struct models *models, struct model_file *file) {
    char name[CHAT_MODEL_NAME_MAX + 2];
    if (models->table.count == WORKER_MODELS_MAX) {
        refuse(file, "the worker has as many models as it can");
        return;
    }
    config_model_name(file->path, false, name, sizeof name);
    if (is_taken(models, name))
        config_model_name(file->path, true, name, sizeof name);
    if (is_taken(models, name) || strlen(name) > CHAT_MODEL_NAME_MAX) {
        refuse(file, "another model has its name, or the name is too long");
        return;
    }
    struct config_model source = {.name = strdup(name), .path = strdup(file->path), .found = true};
    struct model *model = models_add(models, &source, &file->facts);
    if (!model)
        return;
    model->stamp = file->stamp;
    model_entry_of(model)->warm = !models->table.config.on_demand; /* nothing else would load it */
    model_pin_if_named(model);
    log_info("a new model is known", F_STR("model", name), F_STR("path", file->path));
}

static void compare(struct models *models, struct model *model) {
    const struct model_file *file = model_scan_find(models->scan, model->source.path);
    bool gone = !file && (model->gone || model_scan_is_complete(models->scan));
    if (gone && !model->gone)
        log_info("the file of a model is gone", F_STR("model", model->source.name));
    model->gone = gone;
    bool changed = file && file->settled && file->sound && !model_stamp_is_same(&file->stamp, &model->stamp);
    if (changed && !model->changed)
        log_info("the file of a model has changed", F_STR("model", model->source.name));
    model->changed = changed;
}

void models_take_scan(void *arg) {
    struct models *models = arg;
    size_t count, known = models->table.count;
    struct model_file *files = model_scan_files(models->scan, &count);
    if (models->draining)
        return;
    for (size_t i = 0; i < known; i++) {
        if (models->list[i]->source.found)
            compare(models, models->list[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (files[i].settled && files[i].sound && !find_by_path(models, files[i].path))
            add_file(models, &files[i]);
    }
    loop_defer_ask(&models->settle);
    if (models->table.count > known)
        models->env.on_change(models->env.arg);
}

/* The other file takes its place; what was loaded is loaded again. */
static void renew(struct models *models, struct model *model) {
    const struct model_file *file = model_scan_find(models->scan, model->source.path);
    model->changed = false;
    if (!file)
        return;
    model->stamp = file->stamp;
    model->facts = file->facts;
    model_table_renew(&models->table, model->index, file->facts.memory_bytes);
    model_entry_of(model)->warm |= model->reload || !models->table.config.on_demand; /* as in add_file */
    model_pin_if_named(model);
    model->reload = false;
}

/* true: something is done. */
static bool follow(struct models *models, struct model *model) {
    struct model_entry *entry = model_entry_of(model);
    if (model_table_is_idle(entry)) {
        model->reload = model->changed;
        model_unload(model);
        return true;
    }
    if (model->runner)
        return false;
    if (model->changed && !model->gone) {
        renew(models, model);
        return true;
    }
    if (entry->jobs > 0)
        return false;
    if (entry->state == MODEL_WAITING)
        entry->state = MODEL_UNLOADED;
    models_remove(models, model);
    return true;
}

bool models_follow_files(struct models *models) {
    bool done = false;
    for (size_t i = models->table.count; i-- > 0;) {
        if (models->list[i]->gone || models->list[i]->changed)
            done |= follow(models, models->list[i]);
    }
    return done;
}
