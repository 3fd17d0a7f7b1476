#include "route/expected.h"

#include <assert.h>

#include "route/weights.h"

void expected_init(struct expected *expected, const char *const *patterns, size_t count, int64_t grace_ms,
                   int64_t now_ms) {
    assert(count <= EXPECTED_MAX);
    *expected = (struct expected){.count = count, .grace_ms = grace_ms};
    for (size_t i = 0; i < count; i++)
        expected->workers[i] = (struct expected_worker){.pattern = patterns[i], .away_ms = now_ms};
}

static bool is_there(const struct registry *registry, const char *pattern) {
    for (size_t i = 0; i < registry->count; i++) {
        const struct registry_worker *worker = registry->workers[i];
        if (worker->state != WORKER_OFFLINE && weights_pattern_fits(pattern, worker->info.id))
            return true;
    }
    return false;
}

static void look(struct expected *expected, const struct registry *registry, int64_t now_ms) {
    if (expected->version == registry->version && expected->version > 0)
        return;
    expected->version = registry->version;
    for (size_t i = 0; i < expected->count; i++) {
        struct expected_worker *worker = &expected->workers[i];
        bool was_there = worker->present;
        worker->present = is_there(registry, worker->pattern);
        if (was_there && !worker->present)
            worker->away_ms = now_ms;
    }
}

void expected_tick(struct expected *expected, const struct registry *registry, int64_t now_ms,
                   expected_change_fn *fn, void *arg) {
    look(expected, registry, now_ms);
    for (size_t i = 0; i < expected->count; i++) {
        struct expected_worker *worker = &expected->workers[i];
        bool missing = !worker->present && now_ms - worker->away_ms >= expected->grace_ms;
        if (missing == worker->missing)
            continue;
        worker->missing = missing;
        expected->missing = missing ? expected->missing + 1 : expected->missing - 1;
        fn(worker->pattern, missing, arg);
    }
}
