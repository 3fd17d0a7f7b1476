#include "proto/json_read.h"

#include <stdbool.h>
#include <string.h>

/* The deepest nesting in the text, without understanding it: brackets outside of strings. */
static int depth_of(const char *data, size_t len, int depth_max) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len && depth <= depth_max; i++) {
        char c = data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return depth;
}

json_t *json_read_object(const char *data, size_t len, int depth_max, enum status bad, struct error *error) {
    if (len == 0) {
        error_set(error, bad, NULL, "the body is empty; it must be a JSON object");
        return NULL;
    }
    if (depth_of(data, len, depth_max) > depth_max) {
        error_set(error, bad, NULL, "the JSON is nested deeper than %d levels", depth_max);
        return NULL;
    }
    json_error_t where;
    json_t *root = json_loadb(data, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
    if (!root) {
        /* What the parser quotes may be a part of somebody's prompt. */
        char *quote = strstr(where.text, " near '");
        if (quote)
            *quote = '\0';
        error_set(error, bad, NULL, "the body is not valid JSON: %s (line %d, column %d)", where.text,
                  where.line, where.column);
        return NULL;
    }
    if (!json_is_object(root)) {
        error_set(error, bad, NULL, "the body must be a JSON object, not %s", json_kind(root));
        json_decref(root);
        return NULL;
    }
    return root;
}

const char *json_kind(const json_t *value) {
    if (!value)
        return "absent";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

json_t *json_present(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}
