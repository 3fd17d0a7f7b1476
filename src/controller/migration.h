/* Going on with a reply on another worker, so that the client sees one unbroken stream: the tokens that the
 * client's text was made of are remembered, and go along with the job of the next try. On the loop thread.
 * Not for other folders.
 *
 * Only streams need it: of a reply that is not streamed nothing has been seen, and it is begun anew. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

struct migration {
    int32_t *tokens; /* owned; delivered so far */
    size_t count;
    size_t cap;
    size_t max;
    bool lost; /* there were too many, or memory was out: it cannot go on elsewhere */
};

/* `max` 0: never. At most WIRE_GENERATED_MAX. */
void migration_init(struct migration *migration, size_t max);
void migration_release(struct migration *migration);

void migration_note(struct migration *migration, int32_t token);
/* The reply begins anew. */
void migration_restart(struct migration *migration);
/* Is everything known that the next worker needs? */
bool migration_is_possible(const struct migration *migration);
/* Puts the tokens into the job, which borrows them. */
void migration_fill(const struct migration *migration, struct wire_job *job);
