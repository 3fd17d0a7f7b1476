#include "controller/migration.h"

#include <stdlib.h>

enum { CAP_FIRST = 64 };

void migration_init(struct migration *migration, size_t max) {
    *migration =
        (struct migration){.max = max < WIRE_GENERATED_MAX ? max : WIRE_GENERATED_MAX, .lost = max == 0};
}

void migration_release(struct migration *migration) {
    free(migration->tokens);
    *migration = (struct migration){0};
}

static bool reserve(struct migration *migration) {
    if (migration->count < migration->cap)
        return true;
    size_t cap = migration->cap ? migration->cap * 2 : CAP_FIRST;
    int32_t *tokens = realloc(migration->tokens, cap * sizeof(*tokens));
    if (!tokens)
        return false;
    migration->tokens = tokens;
    migration->cap = cap;
    return true;
}

void migration_note(struct migration *migration, int32_t token) {
    if (migration->lost)
        return;
    if (migration->count < migration->max && reserve(migration)) {
        migration->tokens[migration->count++] = token;
        return;
    }
    free(migration->tokens);
    *migration = (struct migration){.max = migration->max, .lost = true};
}

void migration_restart(struct migration *migration) {
    migration->count = 0;
    migration->lost = migration->max == 0;
}

bool migration_is_possible(const struct migration *migration) {
    return !migration->lost;
}

void migration_fill(const struct migration *migration, struct wire_job *job) {
    job->generated = migration->tokens;
    job->generated_count = migration->count;
}
