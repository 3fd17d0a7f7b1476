/* What all readers of JSON from outside have in common: depth and size are checked before parsing, and every
 * error names where it is. */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/error.h"

/* A value costs up to 200 bytes of memory, however short its text is: their number bounds what a body costs.
 */
struct json_limits {
    int depth;  /* levels of nesting */
    int values; /* objects, arrays and what follows a comma */
};

/* Parses an object. On failure NULL; the error's status is `bad` and its message says where the text is
 * wrong, or which limit it is over. The caller owns the result. */
json_t *json_read_object(const char *data, size_t len, struct json_limits limits, enum status bad,
                         struct error *error);

/* "a string", "a number", "null"...: for messages. */
const char *json_kind(const json_t *value);

/* A member that is neither absent nor null; NULL otherwise. */
json_t *json_present(const json_t *object, const char *key);

/* Whether it is a string and equal to `text` as a whole, also when it holds a NUL. */
bool json_is_text(const json_t *value, const char *text);
