/* What the readers of wire messages share: an envelope with a version, and members with limits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"

/* Parses an object of our version; NULL and PROTOCOL_ERROR otherwise. The caller owns it. */
json_t *wire_open(const char *data, size_t len, struct error *error);

/* Each is true when the member is there, has the right type and fits; an error names it otherwise. */
bool wire_take_id(const json_t *object, const char *key, char *out, size_t cap, struct error *error);
/* Any text without NUL, cut to fit; absent leaves it empty. */
bool wire_take_text(const json_t *object, const char *key, char *out, size_t cap, struct error *error);
bool wire_take_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                   struct error *error);
/* As wire_take_int, but absent is `absent`. */
bool wire_take_int_or(const json_t *object, const char *key, int64_t min, int64_t max, int64_t absent,
                      int64_t *out, struct error *error);
bool wire_take_number(const json_t *object, const char *key, double min, double max, double *out,
                      struct error *error);
