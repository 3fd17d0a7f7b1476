/* An error on its way up: the status, the field or option it is about, and a sentence for a person.
 *
 * Functions that can fail return `enum status` (or bool / NULL) and fill the caller's `struct error`. The
 * sentence says what was wrong, where, and what would be right. It never holds prompt or reply text. */
#pragma once

#include "base/attr.h"
#include "base/status.h"

enum { ERROR_PARAM_MAX = 96, ERROR_MESSAGE_MAX = 512 };

struct error {
    enum status status;
    char param[ERROR_PARAM_MAX];     /* e.g. "messages[0].role"; empty when it is about no field */
    char message[ERROR_MESSAGE_MAX]; /* cut at the end when longer, never inside a UTF-8 character */
};

/* Fills `error` (which may be NULL: then nothing) and returns `status`, so that a caller can
 * `return error_set(error, STATUS_X, "field", "...")`. `param` may be NULL. */
enum status error_set(struct error *error, enum status status, const char *param, const char *format, ...)
    PRINTF_LIKE(4, 5);
