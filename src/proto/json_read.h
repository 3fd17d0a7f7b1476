/* What all readers of JSON from outside have in common: depth is checked before parsing, and every error
 * names where it is. */
#pragma once

#include <jansson.h>

#include "base/error.h"

/* Parses an object. On failure NULL; the error's status is `bad` and its message says where the text is
 * wrong. At most `depth_max` levels of nesting. The caller owns the result. */
json_t *json_read_object(const char *data, size_t len, int depth_max, enum status bad, struct error *error);

/* "a string", "a number", "null"...: for messages. */
const char *json_kind(const json_t *value);

/* A member that is neither absent nor null; NULL otherwise. */
json_t *json_present(const json_t *object, const char *key);
