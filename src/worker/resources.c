#include "worker/resources.h"

#include <stdio.h>

enum { MIB = 1 << 20 };

/* One thing that is compared with two limits; a limit of 0 is none. */
struct gauge {
    enum resource_signal signal;
    int64_t value;
    int64_t soft;
    int64_t hard;
};

enum { SIZES_MAX = 3, GAUGES_MAX = SIZES_MAX + 2 };
struct gauges {
    struct gauge list[GAUGES_MAX]; /* sizes in bytes, then pressures */
    size_t count;
    size_t sizes;
};

/* With one of the two limits set, the other has the distance to it that those of the machine have. */
static void set_process_limits(struct resources *resources, const struct config *config) {
    int64_t soft = config->worker.limits.max_memory_mb * MIB;
    int64_t hard = config->worker.limits.critical_memory_mb * MIB;
    int64_t soft_percent = resources->config.soft_percent, hard_percent = resources->config.hard_percent;
    if (soft == 0)
        soft = hard * soft_percent / hard_percent;
    else if (hard == 0)
        hard = soft * hard_percent / soft_percent;
    resources->config.soft_bytes = soft;
    resources->config.hard_bytes = hard;
}

void resources_init(struct resources *resources, const struct config *config) {
    *resources = (struct resources){.config = {
                                        .soft_percent = config->worker.limits.max_memory_percent,
                                        .hard_percent = config->worker.limits.critical_memory_percent,
                                        .some_limit = config->worker.limits.pressure_some_percent * 100,
                                        .full_limit = config->worker.limits.pressure_full_percent * 100,
                                        .hold_ms = config->worker.limits.recover_after_ms,
                                    }};
    set_process_limits(resources, config);
}

static int64_t share_of(int64_t bytes, int64_t percent) {
    return bytes / 100 * percent + bytes % 100 * percent / 100;
}

static void add(struct gauges *gauges, enum resource_signal signal, int64_t value, int64_t soft,
                int64_t hard) {
    gauges->list[gauges->count++] = (struct gauge){signal, value, soft, hard};
}

static void add_share(struct gauges *gauges, const struct resources *resources, enum resource_signal signal,
                      int64_t used, int64_t limit) {
    add(gauges, signal, used, share_of(limit, resources->config.soft_percent),
        share_of(limit, resources->config.hard_percent));
}

static void list_gauges(const struct resources *resources, const struct memory_signals *signals,
                        struct gauges *out) {
    out->count = 0;
    if (signals->process_bytes != MEMORY_UNKNOWN && resources->config.soft_bytes > 0)
        add(out, RESOURCE_BY_PROCESS, signals->process_bytes, resources->config.soft_bytes,
            resources->config.hard_bytes);
    if (signals->cgroup.limit > 0)
        add_share(out, resources, RESOURCE_BY_CGROUP, signals->cgroup.used, signals->cgroup.limit);
    if (signals->machine_bytes > 0)
        add_share(out, resources, RESOURCE_BY_MACHINE, signals->machine_used, signals->machine_bytes);
    out->sizes = out->count;
    add(out, RESOURCE_BY_PRESSURE, signals->pressure_some, resources->config.some_limit, 0);
    add(out, RESOURCE_BY_PRESSURE, signals->pressure_full, 0, resources->config.full_limit);
}

int64_t resources_room(const struct resources *resources, const struct memory_signals *signals,
                       int64_t *own) {
    struct gauges gauges;
    int64_t room = INT64_MAX;
    *own = INT64_MAX;
    list_gauges(resources, signals, &gauges);
    for (size_t i = 0; i < gauges.sizes; i++) {
        const struct gauge *size = &gauges.list[i];
        int64_t left = size->value < size->hard ? size->hard - size->value : 0;
        int64_t *least = size->signal == RESOURCE_BY_PROCESS ? own : &room;
        *least = left < *least ? left : *least;
    }
    return room;
}

int64_t resources_limit(const struct resources *resources, const struct memory_signals *signals) {
    struct gauges gauges;
    int64_t limit = INT64_MAX;
    list_gauges(resources, signals, &gauges);
    for (size_t i = 0; i < gauges.sizes; i++)
        limit = gauges.list[i].hard < limit ? gauges.list[i].hard : limit;
    return limit;
}

/* With limits that are taken to be `percent` of what they are. */
static enum resource_level level_of(const struct gauge *gauge, int64_t percent) {
    if (gauge->hard > 0 && gauge->value >= share_of(gauge->hard, percent))
        return RESOURCE_HARD;
    return gauge->soft > 0 && gauge->value >= share_of(gauge->soft, percent) ? RESOURCE_SOFT : RESOURCE_OK;
}

/* The first of those at the highest level. */
static const struct gauge *find_worst(const struct gauges *gauges) {
    const struct gauge *worst = &gauges->list[0];
    for (size_t i = 1; i < gauges->count; i++)
        if (level_of(&gauges->list[i], 100) > level_of(worst, 100))
            worst = &gauges->list[i];
    return worst;
}

/* The highest level that is not left yet. */
static enum resource_level level_to_leave(const struct gauges *gauges) {
    enum resource_level level = RESOURCE_OK;
    for (size_t i = 0; i < gauges->count; i++) {
        int64_t percent = i < gauges->sizes ? RESOURCES_LEAVE_PERCENT : RESOURCES_LEAVE_PRESSURE_PERCENT;
        enum resource_level its = level_of(&gauges->list[i], percent);
        level = its > level ? its : level;
    }
    return level;
}

/* The level after `left`, the highest one that is not left yet. */
static enum resource_level fall(struct resources *resources, enum resource_level left, int64_t now_ms) {
    if (left >= resources->now.level) {
        resources->is_falling = false;
        return resources->now.level;
    }
    if (!resources->is_falling) {
        resources->is_falling = true;
        resources->falling_since_ms = now_ms;
        resources->highest = left;
    }
    resources->highest = left > resources->highest ? left : resources->highest;
    bool held = now_ms - resources->falling_since_ms >= resources->config.hold_ms;
    return held ? resources->highest : resources->now.level;
}

/* The size that made the level, as long as the level stays; else that which is nearest to its limit; NULL
 * when there is none. */
static const struct gauge *size_to_tell(const struct resources *resources, const struct gauges *gauges) {
    const struct gauge *nearest = NULL;
    for (size_t i = 0; i < gauges->sizes; i++) {
        const struct gauge *size = &gauges->list[i];
        if (resources->now.level != RESOURCE_OK && size->signal == resources->now.signal)
            return size;
        if (!nearest ||
            (double)size->value * (double)nearest->hard > (double)nearest->value * (double)size->hard)
            nearest = size;
    }
    return nearest;
}

static int32_t known_pressure(int32_t pressure) {
    return pressure == MEMORY_UNKNOWN ? 0 : pressure;
}

static void note_numbers(struct resources *resources, const struct gauges *gauges,
                         const struct memory_signals *signals) {
    struct worker_resources *now = &resources->now;
    const struct gauge *size = size_to_tell(resources, gauges);
    if (now->level == RESOURCE_OK)
        now->signal = size ? size->signal : RESOURCE_BY_NONE;
    now->memory_used = size ? size->value : 0;
    now->soft_limit = size ? size->soft : 0;
    now->hard_limit = size ? size->hard : 0;
    now->pressure_some = known_pressure(signals->pressure_some);
    now->pressure_full = known_pressure(signals->pressure_full);
}

bool resources_update(struct resources *resources, const struct memory_signals *signals, int64_t now_ms) {
    struct gauges gauges;
    list_gauges(resources, signals, &gauges);
    const struct gauge *worst = find_worst(&gauges);
    enum resource_level before = resources->now.level, reached = level_of(worst, 100);
    resources->now.level = reached >= before ? reached : fall(resources, level_to_leave(&gauges), now_ms);
    if (resources->now.level != before || reached == before)
        resources->is_falling = false;
    if (reached >= resources->now.level)
        resources->now.signal = worst->signal;
    note_numbers(resources, &gauges, signals);
    return resources->now.level != before;
}

void resources_describe(const struct resources *resources, char out[RESOURCES_TEXT_MAX]) {
    const struct worker_resources *now = &resources->now;
    if (now->signal == RESOURCE_BY_PRESSURE)
        snprintf(out, RESOURCES_TEXT_MAX,
                 "pressure: of the last 10 s some tasks waited for memory %.2f%%, all of them %.2f%%, limits "
                 "%lld%% (soft) and %lld%% (hard)",
                 now->pressure_some / 100.0, now->pressure_full / 100.0,
                 (long long)resources->config.some_limit / 100,
                 (long long)resources->config.full_limit / 100);
    else
        snprintf(out, RESOURCES_TEXT_MAX, "%s: %lld MiB used, limits %lld MiB (soft) and %lld MiB (hard)",
                 resource_signal_name(now->signal), (long long)now->memory_used / MIB,
                 (long long)now->soft_limit / MIB, (long long)now->hard_limit / MIB);
}
