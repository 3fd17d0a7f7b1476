/* Looks at memory every check_interval_ms, says how short of it the worker is, and refuses jobs by that. A
 * change of level is logged with its numbers. The loop thread's. */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "net/loop.h"
#include "proto/worker_info.h"
#include "worker/resources.h"

typedef void resource_watch_fn(enum resource_level level, void *arg);

struct resource_watch {
    const char *root; /* what paths of /proc and /sys begin with; NULL: nothing is looked at */
    struct cgroup_mounts mounts;
    struct resources resources;
    int64_t refused;
    int64_t interval_ms;
    struct loop_timer timer;
    resource_watch_fn *on_change;
    void *arg;
};

/* Looks for the first time; `on_change` is called only for what changes after that. false when memory is out.
 * `root` ("" for the real ones) must outlive it; NULL: the level is OK for ever. */
MUST_USE bool resource_watch_init(struct resource_watch *watch, const struct config *config, const char *root,
                                  struct loop *loop, resource_watch_fn *on_change, void *arg);
void resource_watch_release(struct resource_watch *watch); /* takes zeroed structs */

/* At the last look. */
enum resource_level resource_watch_level(const struct resource_watch *watch);
/* STATUS_OK, or RESOURCE_LIMIT_EXCEEDED with the numbers, counted: a new job of that priority is refused. */
MUST_USE enum status resource_watch_admit(struct resource_watch *watch, enum chat_priority priority,
                                          struct error *error);
/* Looks now: see worker/resources.h; no room while the level is HARD. */
int64_t resource_watch_room(const struct resource_watch *watch, int64_t *own);
int64_t resource_watch_limit(const struct resource_watch *watch);
void resource_watch_get(const struct resource_watch *watch, struct worker_resources *out);
