/* The parameters of a URL's query, decoded one after the other. */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/error.h"

enum { QUERY_NAME_MAX = 31, QUERY_VALUE_MAX = 255 };

struct query_param {
    char name[QUERY_NAME_MAX + 1];
    char value[QUERY_VALUE_MAX + 1]; /* empty when there is no '=' */
};

/* Reads the next one; start with *rest at http_query. false at the end, with error->status OK, and when it is
 * longer than the maximum, wrongly encoded or holds a NUL: REQUEST_VALIDATION_FAILED that names it. */
MUST_USE bool query_next(const char **rest, struct query_param *out, struct error *error);
