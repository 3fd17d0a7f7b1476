/* Which controllers are still there: nobody cancels the jobs of one that died, and their events reach nobody.
 * A controller says that it lives every heartbeat interval; one that was not heard of for a while, or that
 * comes back as another process, wants nothing any more of what it had asked for. A job counts as a sign of
 * life. Pure: time is an argument.
 *
 * Bounded: of more than WATCHED_MAX controllers those heard of longest ago are not watched, and their jobs
 * run to their end or deadline. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

enum { WATCHED_MAX = 256 };

struct watched {
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1]; /* empty until its first heartbeat */
    int64_t heard_ms;
};

struct watch { /* zeroed: empty */
    struct watched list[WATCHED_MAX];
    size_t count;
};

/* A job of it came. */
void watch_job(struct watch *watch, const char *controller_id, int64_t now_ms);
/* It spoke. true: what it asked for before is void, because it leaves or is another process than before. */
bool watch_heartbeat(struct watch *watch, const struct wire_controller *controller, int64_t now_ms);
/* The worker itself could hear nobody until now. */
void watch_restart(struct watch *watch, int64_t now_ms);
/* The next one that was not heard of for `timeout_ms`, which is then forgotten; false: there is none. `out`
 * has WIRE_CONTROLLER_ID_MAX + 1 bytes. */
bool watch_take_silent(struct watch *watch, int64_t timeout_ms, int64_t now_ms, char *out);
