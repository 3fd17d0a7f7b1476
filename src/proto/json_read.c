#include "proto/json_read.h"

#include <stdio.h>
#include <string.h>

#include "base/attr.h"

/* How deep the text is nested and how many values it holds, without understanding it: brackets and commas
 * outside of strings. Stops at the first limit that it is over. */
static struct json_limits measure(const char *data, size_t len, struct json_limits limits) {
    struct json_limits found = {0}; /* its depth is the current one, or the first that is too deep */
    bool in_string = false;
    for (size_t i = 0; i < len && found.depth <= limits.depth && found.values <= limits.values; i++) {
        char c = data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            found.depth++;
            found.values++;
        } else if (c == '}' || c == ']') {
            found.depth--;
        } else if (c == ',') {
            found.values++;
        }
    }
    return found;
}

static bool check_limits(const char *data, size_t len, struct json_limits limits, enum status bad,
                         struct error *error) {
    struct json_limits found = measure(data, len, limits);
    if (found.depth > limits.depth)
        error_set(error, bad, NULL, "the JSON is nested deeper than %d levels", limits.depth);
    else if (found.values > limits.values)
        error_set(error, bad, NULL, "the JSON holds more than %d values", limits.values);
    else
        return true;
    return false;
}

/* NaN, Infinity or -Infinity, which some languages write; of the last the parser quotes the sign only. */
static bool is_about_nan(const json_error_t *where, const char *data, size_t len) {
    static const char *const words[] = {"NaN", "Infinity"};
    size_t at = where->position > 0 ? (size_t)where->position : 0;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        char quoted[32];
        size_t word_len = strlen(words[i]);
        snprintf(quoted, sizeof(quoted), " near '%s'", words[i]);
        if (strstr(where->text, quoted) ||
            (strstr(where->text, " near '-'") && at <= len && len - at >= word_len &&
             memcmp(data + at, words[i], word_len) == 0))
            return true;
    }
    return false;
}

static void explain(json_error_t *where, const char *data, size_t len, enum status bad, struct error *error) {
    bool nan = is_about_nan(where, data, len);
    /* What the parser quotes may be a part of somebody's prompt. */
    char *quote = strstr(where->text, " near '");
    if (quote)
        *quote = '\0';
    error_set(error, bad, NULL, "the body is not valid JSON: %s (line %d, column %d)",
              nan ? "JSON has no NaN or Infinity" : where->text, where->line, where->column);
}

json_t *json_read_object(const char *data, size_t len, struct json_limits limits, enum status bad,
                         struct error *error) {
    if (len == 0) {
        error_set(error, bad, NULL, "the body is empty; it must be a JSON object");
        return NULL;
    }
    if (!check_limits(data, len, limits, bad, error))
        return NULL;
    json_error_t where;
    json_t *root = json_loadb(data, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
    if (!root) {
        explain(&where, data, len, bad, error);
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

bool json_is_text(const json_t *value, const char *text) {
    return json_is_string(value) && json_string_length(value) == strlen(text) &&
           memcmp(json_string_value(value), text, strlen(text)) == 0;
}
