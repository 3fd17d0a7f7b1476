#include "worker/resource_watch.h"

#include "base/clock.h"
#include "base/log.h"

static void log_level(const struct resource_watch *watch) {
    char text[RESOURCES_TEXT_MAX];
    const struct worker_resources *now = &watch->resources.now;
    resources_describe(&watch->resources, text);
    LOG_AT(now->level == RESOURCE_OK ? LOG_INFO : LOG_WARN,
           now->level == RESOURCE_OK ? "there is memory again" : "short of memory",
           F_STR("level", resource_level_name(now->level)),
           F_STR("signal", resource_signal_name(now->signal)), F_STR("numbers", text),
           F_INT("memory_used", now->memory_used), F_INT("soft_limit", now->soft_limit),
           F_INT("hard_limit", now->hard_limit), F_NUM("pressure_some", now->pressure_some / 100.0),
           F_NUM("pressure_full", now->pressure_full / 100.0), F_INT("refused", watch->refused));
}

static bool look(struct resource_watch *watch) {
    struct memory_signals signals;
    memory_signals_read(&watch->mounts, watch->root, &signals);
    if (!resources_update(&watch->resources, &signals, clock_ms()))
        return false;
    log_level(watch);
    return true;
}

static void on_timer(void *arg) {
    struct resource_watch *watch = arg;
    loop_timer_arm(&watch->timer, watch->interval_ms);
    if (look(watch))
        watch->on_change(watch->resources.now.level, watch->arg);
}

bool resource_watch_init(struct resource_watch *watch, const struct config *config, const char *root,
                         struct loop *loop, resource_watch_fn *on_change, void *arg) {
    *watch = (struct resource_watch){.root = root,
                                     .interval_ms = config->worker.limits.check_interval_ms,
                                     .on_change = on_change,
                                     .arg = arg};
    resources_init(&watch->resources, config);
    if (!root)
        return true;
    cgroup_find_mounts(root, &watch->mounts);
    (void)look(watch);
    if (!loop_timer_init(&watch->timer, loop, on_timer, watch))
        return false;
    loop_timer_arm(&watch->timer, watch->interval_ms);
    return true;
}

void resource_watch_release(struct resource_watch *watch) {
    loop_timer_release(&watch->timer);
}

enum resource_level resource_watch_level(const struct resource_watch *watch) {
    return watch->resources.now.level;
}

enum status resource_watch_admit(struct resource_watch *watch, enum chat_priority priority,
                                 struct error *error) {
    enum resource_level level = resource_watch_level(watch);
    if (resource_level_admits(level, priority))
        return STATUS_OK;
    watch->refused++;
    char text[RESOURCES_TEXT_MAX];
    resources_describe(&watch->resources, text);
    return error_set(error, STATUS_RESOURCE_LIMIT_EXCEEDED, NULL,
                     "the worker takes no new jobs%s while it is short of memory (%s): %s",
                     level == RESOURCE_SOFT ? " of low priority" : "", resource_level_name(level), text);
}

int64_t resource_watch_room(const struct resource_watch *watch, int64_t *own) {
    struct memory_signals signals;
    *own = INT64_MAX;
    if (!watch->root)
        return INT64_MAX;
    memory_signals_read(&watch->mounts, watch->root, &signals);
    int64_t room = resources_room(&watch->resources, &signals, own);
    if (resource_watch_level(watch) == RESOURCE_HARD)
        room = *own = 0;
    return room;
}

int64_t resource_watch_limit(const struct resource_watch *watch) {
    struct memory_signals signals;
    if (!watch->root)
        return INT64_MAX;
    memory_signals_read(&watch->mounts, watch->root, &signals);
    return resources_limit(&watch->resources, &signals);
}

void resource_watch_get(const struct resource_watch *watch, struct worker_resources *out) {
    *out = watch->resources.now;
    out->refused = watch->refused;
}
