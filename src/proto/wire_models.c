#include "proto/wire_models.h"

#include <stddef.h>
#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire_read.h"
#include "proto/wire_skills.h"

/* The numbers of model_info, once for writing and reading. */
static const struct {
    const char *key;
    size_t offset;
    bool is_wide; /* int64_t, else int32_t */
    int64_t min;  /* -1: absent, which is not known */
    int64_t max;
} numbers[] = {
    {"loadPercent", offsetof(struct model_info, load_percent), false, 0, 100},
    {"contextTokens", offsetof(struct model_info, context_tokens), false, 0, INT32_MAX},
    {"slots", offsetof(struct model_info, slots), false, 0, INT32_MAX},
    {"waiting", offsetof(struct model_info, waiting), false, 0, INT32_MAX},
    {"parameters", offsetof(struct model_info, parameters), true, 0, INT64_MAX},
    {"fileBytes", offsetof(struct model_info, file_bytes), true, 0, INT64_MAX},
    {"memoryBytes", offsetof(struct model_info, memory_bytes), true, 0, INT64_MAX},
    {"idleMs", offsetof(struct model_info, idle_ms), true, -1, INT64_MAX},
    {"loads", offsetof(struct model_info, loads), true, 0, INT64_MAX},
    {"unloads", offsetof(struct model_info, unloads), true, 0, INT64_MAX},
    {"loadFailures", offsetof(struct model_info, load_failures), true, 0, INT64_MAX},
    {"loadMs", offsetof(struct model_info, load_ms), true, 0, INT64_MAX},
    {"retryMs", offsetof(struct model_info, retry_ms), true, -1, INT64_MAX},
};

static int64_t get_number(const struct model_info *model, size_t i) {
    const char *at = (const char *)model + numbers[i].offset;
    int64_t wide;
    int32_t narrow;
    if (numbers[i].is_wide) {
        memcpy(&wide, at, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, at, sizeof(narrow));
    return narrow;
}

static void set_number(struct model_info *model, size_t i, int64_t value) {
    char *at = (char *)model + numbers[i].offset;
    if (numbers[i].is_wide)
        memcpy(at, &value, sizeof(value));
    else
        memcpy(at, &(int32_t){(int32_t)value}, sizeof(int32_t));
}

static void append_bool(struct buf *out, const char *key, bool value) {
    buf_append_str(out, key);
    buf_append_str(out, value ? "true" : "false");
}

static void append_model(struct buf *out, const struct model_info *model) {
    json_append_str(out, "{\"name\":", model->name);
    json_append_str(out, ",\"state\":", model_state_name(model->state));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (get_number(model, i) < 0)
            continue;
        json_append_str(out, ",", numbers[i].key);
        json_append_int(out, ":", get_number(model, i));
    }
    json_append_str(out, ",\"architecture\":", model->architecture);
    json_append_str(out, ",\"quantization\":", model->quantization);
    append_bool(out, ",\"onDemand\":", model->on_demand);
    append_bool(out, ",\"pinned\":", model->pinned);
    wire_append_capabilities(out, model);
    if (model->error[0])
        json_append_str(out, ",\"error\":", model->error);
    buf_append_char(out, '}');
}

void wire_append_models(struct buf *out, const struct worker_info *info) {
    buf_append_str(out, ",\"models\":[");
    for (size_t i = 0; i < info->model_count; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        append_model(out, &info->models[i]);
    }
    json_append_int(out, "],\"modelMemory\":{\"usedBytes\":", info->models_bytes);
    json_append_int(out, ",\"maxBytes\":", info->models_bytes_max);
    buf_append_char(out, '}');
}

int wire_take_name(const json_t *object, const char *key, const char *(*name_of)(int), int count,
                   struct error *error) {
    const char *name = json_string_value(json_object_get(object, key));
    for (int i = 0; name && i < count; i++)
        if (strcmp(name_of(i), name) == 0)
            return i;
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s is missing or has an unknown value", key);
    return -1;
}

static const char *state_name(int state) {
    return model_state_name((enum model_state)state);
}

static bool take_bool(const json_t *object, const char *key, bool *out, struct error *error) {
    const json_t *value = json_object_get(object, key);
    *out = json_is_true(value);
    if (!value || json_is_boolean(value))
        return true;
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be true or false, not %s", key, json_kind(value));
    return false;
}

static bool take_numbers(const json_t *object, struct model_info *model, struct error *error) {
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t value, min = numbers[i].min;
        if (!wire_take_int_or(object, numbers[i].key, min, numbers[i].max, min, &value, error))
            return false;
        set_number(model, i, value);
    }
    return true;
}

static bool take_model(const json_t *object, struct model_info *model, struct error *error) {
    int state = wire_take_name(object, "state", state_name, MODEL_STATE_COUNT, error);
    if (state < 0 || !wire_take_text(object, "name", model->name, sizeof(model->name), error) ||
        !take_numbers(object, model, error) ||
        !wire_take_text(object, "architecture", model->architecture, sizeof(model->architecture), error) ||
        !wire_take_text(object, "quantization", model->quantization, sizeof(model->quantization), error) ||
        !take_bool(object, "onDemand", &model->on_demand, error) ||
        !take_bool(object, "pinned", &model->pinned, error) ||
        !wire_take_capabilities(object, model, error) ||
        !wire_take_text(object, "error", model->error, sizeof(model->error), error))
        return false;
    model->state = (enum model_state)state;
    if (model->name[0])
        return true;
    error_set(error, STATUS_PROTOCOL_ERROR, "name", "a model has no name");
    return false;
}

static bool take_memory(const json_t *root, struct worker_info *info, struct error *error) {
    const json_t *memory = json_object_get(root, "modelMemory");
    if (memory && !json_is_object(memory)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "modelMemory", "modelMemory must be an object, not %s",
                  json_kind(memory));
        return false;
    }
    return wire_take_int_or(memory, "usedBytes", 0, INT64_MAX, 0, &info->models_bytes, error) &&
           wire_take_int_or(memory, "maxBytes", 0, INT64_MAX, 0, &info->models_bytes_max, error);
}

bool wire_take_models(const json_t *root, struct worker_info *info, struct error *error) {
    const json_t *models = json_object_get(root, "models");
    if (!json_is_array(models) || json_array_size(models) > WORKER_MODELS_MAX) {
        error_set(error, STATUS_PROTOCOL_ERROR, "models", "models must be an array of at most %d",
                  WORKER_MODELS_MAX);
        return false;
    }
    info->model_count = json_array_size(models);
    for (size_t i = 0; i < info->model_count; i++)
        if (!take_model(json_array_get(models, i), &info->models[i], error))
            return false;
    return take_memory(root, info, error);
}
