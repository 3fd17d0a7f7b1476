#include "proto/wire_skills.h"

#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire_read.h"

enum { CAPABILITIES_LISTED_MAX = 32 }; /* in a message; most of them may be unknown here */

void wire_append_capabilities(struct buf *out, const struct model_info *model) {
    const char *comma = "";
    buf_append_str(out, ",\"capabilities\":[");
    for (int c = 0; c < MODEL_CAPABILITY_COUNT; c++) {
        if (!(model->capabilities & model_capability_bit((enum model_capability)c)))
            continue;
        json_append_str(out, comma, model_capability_name((enum model_capability)c));
        comma = ",";
    }
    buf_append_char(out, ']');
}

static void append_hardware(struct buf *out, const struct worker_hardware *hardware) {
    json_append_str(out, ",\"hardware\":{\"cpu\":", hardware->cpu);
    json_append_int(out, ",\"cores\":", hardware->cores);
    json_append_int(out, ",\"memoryBytes\":", hardware->memory_bytes);
    buf_append_str(out, ",\"gpus\":[");
    for (size_t i = 0; i < hardware->gpu_count; i++) {
        json_append_str(out, i ? ",{\"name\":" : "{\"name\":", hardware->gpus[i].name);
        json_append_str(out, ",\"device\":", hardware->gpus[i].device);
        buf_append_str(out, hardware->gpus[i].integrated ? ",\"integrated\":true" : ",\"integrated\":false");
        json_append_int(out, ",\"memoryBytes\":", hardware->gpus[i].memory_bytes);
        json_append_int(out, ",\"freeBytes\":", hardware->gpus[i].free_bytes);
        buf_append_char(out, '}');
    }
    buf_append_str(out, "]}");
}

void wire_append_skills(struct buf *out, const struct worker_info *info) {
    append_hardware(out, &info->hardware);
    buf_append_str(out, ",\"skills\":[");
    for (size_t i = 0; i < info->skill_count; i++)
        json_append_str(out, i ? "," : "", info->skills[i]);
    buf_append_char(out, ']');
}

/* The list of that name, NULL when it is absent; false when it is none, or too long. */
static bool take_list(const json_t *object, const char *key, size_t max, const json_t **out,
                      struct error *error) {
    const json_t *list = json_object_get(object, key);
    *out = list;
    if (!list || (json_is_array(list) && json_array_size(list) <= max))
        return true;
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be an array of at most %zu", key, max);
    return false;
}

static bool is_skill(const json_t *value) {
    return json_is_string(value) && skill_is_valid(json_string_value(value), json_string_length(value));
}

static bool refuse_word(const char *key, struct error *error) {
    error_set(error, STATUS_PROTOCOL_ERROR, key,
              "%s must hold words of 1 to %d characters of A-Z a-z 0-9 _ . -", key, SKILL_MAX);
    return false;
}

bool wire_take_capabilities(const json_t *object, struct model_info *model, struct error *error) {
    const json_t *list;
    if (!take_list(object, "capabilities", CAPABILITIES_LISTED_MAX, &list, error))
        return false;
    model->capabilities = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *word = json_array_get(list, i);
        if (!is_skill(word))
            return refuse_word("capabilities", error);
        for (int c = 0; c < MODEL_CAPABILITY_COUNT; c++)
            if (json_is_text(word, model_capability_name((enum model_capability)c)))
                model->capabilities |= model_capability_bit((enum model_capability)c);
    }
    return true;
}

static bool take_gpu(const json_t *item, struct worker_gpu *gpu, struct error *error) {
    const json_t *integrated = json_object_get(item, "integrated");
    if (!json_is_object(item)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "gpus", "gpus must hold objects, not %s", json_kind(item));
        return false;
    }
    if (integrated && !json_is_boolean(integrated)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "integrated", "integrated must be true or false, not %s",
                  json_kind(integrated));
        return false;
    }
    gpu->integrated = json_is_true(integrated);
    return wire_take_text(item, "device", gpu->device, sizeof(gpu->device), error) &&
           wire_take_text(item, "name", gpu->name, sizeof(gpu->name), error) &&
           wire_take_int_or(item, "memoryBytes", 0, INT64_MAX, 0, &gpu->memory_bytes, error) &&
           wire_take_int_or(item, "freeBytes", 0, INT64_MAX, 0, &gpu->free_bytes, error);
}

static bool take_gpus(const json_t *object, struct worker_hardware *hardware, struct error *error) {
    const json_t *list;
    if (!take_list(object, "gpus", WORKER_GPUS_MAX, &list, error))
        return false;
    hardware->gpu_count = json_array_size(list);
    for (size_t i = 0; i < hardware->gpu_count; i++)
        if (!take_gpu(json_array_get(list, i), &hardware->gpus[i], error))
            return false;
    return true;
}

static bool take_hardware(const json_t *root, struct worker_hardware *hardware, struct error *error) {
    const json_t *object = json_object_get(root, "hardware");
    int64_t cores;
    if (object && !json_is_object(object)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "hardware", "hardware must be an object, not %s",
                  json_kind(object));
        return false;
    }
    if (!wire_take_text(object, "cpu", hardware->cpu, sizeof(hardware->cpu), error) ||
        !wire_take_int_or(object, "cores", 0, INT32_MAX, 0, &cores, error) ||
        !wire_take_int_or(object, "memoryBytes", 0, INT64_MAX, 0, &hardware->memory_bytes, error))
        return false;
    hardware->cores = (int32_t)cores;
    return take_gpus(object, hardware, error);
}

static bool has_skill(const struct worker_info *info, const char *skill) {
    for (size_t i = 0; i < info->skill_count; i++)
        if (strcmp(info->skills[i], skill) == 0)
            return true;
    return false;
}

bool wire_take_skills(const json_t *root, struct worker_info *info, struct error *error) {
    const json_t *list;
    if (!take_hardware(root, &info->hardware, error) ||
        !take_list(root, "skills", WORKER_SKILLS_MAX, &list, error))
        return false;
    info->skill_count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *word = json_array_get(list, i);
        if (!is_skill(word))
            return refuse_word("skills", error);
        if (has_skill(info, json_string_value(word)))
            continue;
        memcpy(info->skills[info->skill_count++], json_string_value(word), json_string_length(word) + 1);
    }
    return true;
}
