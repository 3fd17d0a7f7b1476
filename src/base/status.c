#include "base/status.h"

#include <stdlib.h>
#include <string.h>

struct status_row {
    const char *name;
    int http;
    const char *api_type;
    bool retryable;
    enum outcome outcome;
    const char *text;
};

static const struct status_row rows[STATUS_COUNT] = {
#define X(name, http, type, retryable, outcome, text) \
    [STATUS_##name] = {#name, http, type, retryable, OUTCOME_##outcome, text},
    STATUS_MAP(X)
#undef X
};

static const struct status_row *row_of(enum status status) {
    if ((unsigned)status >= STATUS_COUNT)
        abort();
    return &rows[status];
}

const char *status_name(enum status status) {
    return row_of(status)->name;
}

int status_http(enum status status) {
    return row_of(status)->http;
}

const char *status_api_type(enum status status) {
    return row_of(status)->api_type;
}

const char *status_text(enum status status) {
    return row_of(status)->text;
}

bool status_is_retryable(enum status status) {
    return row_of(status)->retryable;
}

enum outcome status_outcome(enum status status) {
    return row_of(status)->outcome;
}

bool status_is_failure(enum status status) {
    enum outcome outcome = status_outcome(status);
    return outcome == OUTCOME_WORKER_FAILURE || outcome == OUTCOME_MODEL_FAILURE;
}

enum status status_from_name(const char *name, enum status fallback) {
    if (!name)
        return fallback;
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return (enum status)i;
    }
    return fallback;
}
