#include "proto/wire_read.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "proto/json_read.h"
#include "proto/openai.h"
#include "proto/wire.h"

/* A job carries messages as the API takes them, two levels down and some with a content that was absent. */
static const struct json_limits limits = {.depth = OPENAI_JSON_DEPTH_MAX + 8,
                                          .values = OPENAI_JSON_VALUES_MAX + 2 * OPENAI_MESSAGES_MAX};

json_t *wire_open(const char *data, size_t len, struct error *error) {
    json_t *root = json_read_object(data, len, limits, STATUS_PROTOCOL_ERROR, error);
    if (!root)
        return NULL;
    if (json_integer_value(json_object_get(root, "v")) == WIRE_VERSION)
        return root;
    error_set(error, STATUS_PROTOCOL_ERROR, "v", "the message is not of version %d", WIRE_VERSION);
    json_decref(root);
    return NULL;
}

static bool refuse(const char *key, const char *wanted, const json_t *found, struct error *error) {
    error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be %s, not %s", key, wanted, json_kind(found));
    return false;
}

bool wire_take_id(const json_t *object, const char *key, char *out, size_t cap, struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value) || json_string_length(value) >= cap ||
        strlen(json_string_value(value)) != json_string_length(value) ||
        !wire_is_token(json_string_value(value), cap - 1))
        return refuse(key, "a string of A-Z a-z 0-9 _ - that fits", value, error);
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return true;
}

bool wire_take_text(const json_t *object, const char *key, char *out, size_t cap, struct error *error) {
    const json_t *value = json_object_get(object, key);
    out[0] = '\0';
    if (!value)
        return true;
    if (!json_is_string(value))
        return refuse(key, "a string", value, error);
    size_t len = strlen(json_string_value(value));
    if (len >= cap)
        len = utf8_valid_prefix(json_string_value(value), cap - 1, NULL);
    memcpy(out, json_string_value(value), len);
    out[len] = '\0';
    return true;
}

bool wire_take_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                   struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        return refuse(key, "a whole number", value, error);
    if (json_integer_value(value) < min || json_integer_value(value) > max) {
        error_set(error, STATUS_PROTOCOL_ERROR, key, "%s is out of range", key);
        return false;
    }
    *out = json_integer_value(value);
    return true;
}

bool wire_take_int_or(const json_t *object, const char *key, int64_t min, int64_t max, int64_t absent,
                      int64_t *out, struct error *error) {
    *out = absent;
    return !json_object_get(object, key) || wire_take_int(object, key, min, max, out, error);
}

bool wire_take_number(const json_t *object, const char *key, double min, double max, double *out,
                      struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        return refuse(key, "a number", value, error);
    double number = json_number_value(value);
    if (!isfinite(number) || number < min || number > max) {
        error_set(error, STATUS_PROTOCOL_ERROR, key, "%s is out of range", key);
        return false;
    }
    *out = number;
    return true;
}
