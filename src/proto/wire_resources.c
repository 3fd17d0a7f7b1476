/* `resources` of a worker's info:
 *
 *   {"level":"soft","signal":"cgroup","underPressure":true,"canAcceptRequest":true,"memoryUsed":471859200,...}
 *
 * underPressure and canAcceptRequest are what the level means, for readers that know no levels. */
#include "proto/wire_resources.h"

#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire_read.h"

enum { PRESSURE_MAX = 10000 }; /* hundredths of a percent */

static const char *word_of(bool value) {
    return value ? "true" : "false";
}

void wire_append_resource_members(struct buf *out, const struct worker_resources *resources) {
    json_append_str(out, "\"level\":", resource_level_name(resources->level));
    json_append_str(out, ",\"signal\":", resource_signal_name(resources->signal));
    buf_printf(out, ",\"underPressure\":%s,\"canAcceptRequest\":%s", word_of(resources->level != RESOURCE_OK),
               word_of(resources->level != RESOURCE_HARD));
    json_append_int(out, ",\"memoryUsed\":", resources->memory_used);
    json_append_int(out, ",\"softLimit\":", resources->soft_limit);
    json_append_int(out, ",\"hardLimit\":", resources->hard_limit);
    json_append_int(out, ",\"pressureSome\":", resources->pressure_some);
    json_append_int(out, ",\"pressureFull\":", resources->pressure_full);
    json_append_int(out, ",\"refused\":", resources->refused);
}

void wire_append_resources(struct buf *out, const struct worker_resources *resources) {
    buf_append_str(out, ",\"resources\":{");
    wire_append_resource_members(out, resources);
    buf_append_char(out, '}');
}

static const char *level_name(int level) {
    return resource_level_name((enum resource_level)level);
}
static const char *signal_name(int signal) {
    return resource_signal_name((enum resource_signal)signal);
}

/* The place of the member's word among `count`; 0 when it is absent, -1 and an error when it is none of them.
 */
static int take_word(const json_t *object, const char *key, const char *(*name_of)(int), int count,
                     struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return 0;
    for (int i = 0; i < count; i++)
        if (json_is_text(value, name_of(i)))
            return i;
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s has an unknown value", key);
    return -1;
}

static bool take_numbers(const json_t *object, struct worker_resources *resources, struct error *error) {
    int64_t some, full;
    if (!wire_take_int_or(object, "memoryUsed", 0, INT64_MAX, 0, &resources->memory_used, error) ||
        !wire_take_int_or(object, "softLimit", 0, INT64_MAX, 0, &resources->soft_limit, error) ||
        !wire_take_int_or(object, "hardLimit", 0, INT64_MAX, 0, &resources->hard_limit, error) ||
        !wire_take_int_or(object, "pressureSome", 0, PRESSURE_MAX, 0, &some, error) ||
        !wire_take_int_or(object, "pressureFull", 0, PRESSURE_MAX, 0, &full, error) ||
        !wire_take_int_or(object, "refused", 0, INT64_MAX, 0, &resources->refused, error))
        return false;
    resources->pressure_some = (int32_t)some;
    resources->pressure_full = (int32_t)full;
    return true;
}

bool wire_take_resources(const json_t *root, struct worker_resources *resources, struct error *error) {
    const json_t *object = json_object_get(root, "resources");
    *resources = (struct worker_resources){.level = RESOURCE_OK};
    if (!object)
        return true;
    if (!json_is_object(object)) {
        error_set(error, STATUS_PROTOCOL_ERROR, "resources", "resources must be an object, not %s",
                  json_kind(object));
        return false;
    }
    int level = take_word(object, "level", level_name, RESOURCE_LEVEL_COUNT, error);
    int signal = level < 0 ? -1 : take_word(object, "signal", signal_name, RESOURCE_SIGNAL_COUNT, error);
    if (signal < 0)
        return false;
    resources->level = (enum resource_level)level;
    resources->signal = (enum resource_signal)signal;
    return take_numbers(object, resources, error);
}
