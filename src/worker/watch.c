#include "worker/watch.h"

#include <string.h>

static struct watched *find(struct watch *watch, const char *id) {
    for (size_t i = 0; i < watch->count; i++)
        if (strcmp(watch->list[i].id, id) == 0)
            return &watch->list[i];
    return NULL;
}

static void forget(struct watch *watch, struct watched *watched) {
    *watched = watch->list[--watch->count];
}

static struct watched *longest_ago(struct watch *watch) {
    struct watched *oldest = &watch->list[0];
    for (size_t i = 1; i < watch->count; i++)
        if (watch->list[i].heard_ms < oldest->heard_ms)
            oldest = &watch->list[i];
    return oldest;
}

static struct watched *note(struct watch *watch, const char *id, int64_t now_ms) {
    struct watched *watched = find(watch, id);
    if (!watched) {
        watched = watch->count < WATCHED_MAX ? &watch->list[watch->count++] : longest_ago(watch);
        *watched = (struct watched){0};
        memcpy(watched->id, id, strlen(id) + 1);
    }
    watched->heard_ms = now_ms;
    return watched;
}

void watch_job(struct watch *watch, const char *controller_id, int64_t now_ms) {
    note(watch, controller_id, now_ms);
}

bool watch_heartbeat(struct watch *watch, const struct wire_controller *controller, int64_t now_ms) {
    struct watched *watched = note(watch, controller->id, now_ms);
    bool other = watched->incarnation[0] && strcmp(watched->incarnation, controller->incarnation) != 0;
    memcpy(watched->incarnation, controller->incarnation, sizeof(watched->incarnation));
    if (controller->state != WIRE_CONTROLLER_LEFT)
        return other;
    forget(watch, watched);
    return true;
}

void watch_restart(struct watch *watch, int64_t now_ms) {
    for (size_t i = 0; i < watch->count; i++)
        watch->list[i].heard_ms = now_ms;
}

bool watch_take_silent(struct watch *watch, int64_t timeout_ms, int64_t now_ms, char *out) {
    for (size_t i = 0; i < watch->count; i++) {
        struct watched *watched = &watch->list[i];
        if (now_ms - watched->heard_ms < timeout_ms)
            continue;
        memcpy(out, watched->id, sizeof(watched->id));
        forget(watch, watched);
        return true;
    }
    return false;
}
