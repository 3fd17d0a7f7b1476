#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* vsnprintf may have cut the text in the middle of a character. */
static void trim(char *text, int wanted, size_t size) {
    if (wanted < 0)
        text[0] = '\0';
    else if ((size_t)wanted >= size)
        text[utf8_trim_partial(text, size - 1)] = '\0';
}

enum status error_set(struct error *error, enum status status, const char *param, const char *format, ...) {
    if (!error)
        return status;
    /* Made aside, because a caller who adds context passes error->message as an argument. */
    struct error fresh = {.status = status};
    trim(fresh.param, snprintf(fresh.param, sizeof fresh.param, "%s", param ? param : ""),
         sizeof fresh.param);
    va_list args;
    va_start(args, format);
    trim(fresh.message, vsnprintf(fresh.message, sizeof fresh.message, format, args), sizeof fresh.message);
    va_end(args);
    *error = fresh;
    return status;
}
