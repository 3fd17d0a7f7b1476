#include "net/query.h"

#include <string.h>

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The character at *at, which moves past it; 0 when it is not one. */
static char take_char(const char **at, const char *end) {
    char c = *(*at)++;
    if (c == '+')
        return ' ';
    if (c != '%')
        return c;
    if (end - *at < 2)
        return 0;
    int high = hex_digit((*at)[0]), low = hex_digit((*at)[1]);
    *at += 2;
    return (char)(high < 0 || low < 0 ? 0 : high << 4 | low);
}

static bool decode(const char *at, const char *end, char *out, size_t max) {
    size_t len = 0;
    while (at < end && len < max) {
        out[len] = take_char(&at, end);
        if (!out[len++])
            return false;
    }
    out[len] = '\0';
    return at == end;
}

bool query_next(const char **rest, struct query_param *out, struct error *error) {
    error->status = STATUS_OK;
    *rest += strspn(*rest, "&");
    if (!**rest)
        return false;
    const char *begin = *rest;
    const char *end = begin + strcspn(begin, "&");
    const char *equals = memchr(begin, '=', (size_t)(end - begin));
    *rest = end;
    *out = (struct query_param){0};
    if (!decode(begin, equals ? equals : end, out->name, QUERY_NAME_MAX)) {
        error_set(error, STATUS_REQUEST_VALIDATION_FAILED, NULL,
                  "a parameter's name is wrongly encoded or longer than %d characters", QUERY_NAME_MAX);
        return false;
    }
    if (equals && !decode(equals + 1, end, out->value, QUERY_VALUE_MAX)) {
        error_set(error, STATUS_REQUEST_VALIDATION_FAILED, out->name,
                  "%s is wrongly encoded or longer than %d characters", out->name, QUERY_VALUE_MAX);
        return false;
    }
    return true;
}
