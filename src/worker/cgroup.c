#include "worker/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/proc_text.h"

enum { MOUNT_FIELDS_MAX = 32, UNLIMITED = 0 };

/* On a machine of unknown size: version 1 says that there is no limit with a number just below 2^63. */
#define LIMIT_NONE_FROM (INT64_MAX / 2)

/* Mounts. */

/* The kernel writes blanks and backslashes in paths as \040 and the like. */
static bool copy_path(const char *from, char out[CGROUP_PATH_MAX]) {
    size_t len = 0;
    for (; *from && len + 1 < CGROUP_PATH_MAX; len++) {
        if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
            const char digits[] = {from[1], from[2], from[3], '\0'};
            out[len] = (char)strtol(digits, NULL, 8);
            from += 4;
        } else {
            out[len] = *from++;
        }
    }
    out[len] = '\0';
    return *from == '\0';
}

static bool has_word(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* Of two mounts of one hierarchy the one with the shorter `top` shows more of it. */
static void take_mount(struct cgroup_mount *mount, const char *top, const char *point) {
    struct cgroup_mount found;
    if (!copy_path(top, found.top) || !copy_path(point, found.point))
        return;
    if (!mount->point[0] || strlen(found.top) < strlen(mount->top))
        *mount = found;
}

/* "31 23 0:28 TOP POINT OPTIONS [more...] - TYPE SOURCE OPTIONS" */
static void take_mount_line(char *line, struct cgroup_mounts *out) {
    char *fields[MOUNT_FIELDS_MAX], *rest = NULL;
    size_t count = 0, dash = 0;
    for (char *field = strtok_r(line, " \n", &rest); field && count < MOUNT_FIELDS_MAX;
         field = strtok_r(NULL, " \n", &rest)) {
        if (dash == 0 && strcmp(field, "-") == 0)
            dash = count;
        fields[count++] = field;
    }
    if (dash < 6 || count < dash + 4)
        return;
    if (strcmp(fields[dash + 1], "cgroup2") == 0)
        take_mount(&out->v2, fields[3], fields[4]);
    if (strcmp(fields[dash + 1], "cgroup") != 0)
        return;
    if (has_word(fields[dash + 3], "memory"))
        take_mount(&out->v1_memory, fields[3], fields[4]);
    if (has_word(fields[dash + 3], "cpu"))
        take_mount(&out->v1_cpu, fields[3], fields[4]);
}

void cgroup_find_mounts(const char *root, struct cgroup_mounts *out) {
    *out = (struct cgroup_mounts){0};
    char path[PROC_PATH_MAX], *line = NULL;
    size_t cap = 0;
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (getline(&line, &cap, file) >= 0)
        take_mount_line(line, out);
    free(line);
    fclose(file);
}

/* The process's group. */

/* In a line "4:memory:/a/b" or, of version 2 (`controller` NULL), "0::/a/b"; NULL when the line is of another
 * hierarchy. */
static const char *group_in_line(char *line, const char *controller) {
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return NULL;
    *group++ = '\0';
    controllers++;
    return (controller ? has_word(controllers, controller) : *controllers == '\0') ? group : NULL;
}

static bool find_group(const char *root, const char *controller, char out[CGROUP_PATH_MAX]) {
    char path[PROC_PATH_MAX], text[PROC_TEXT_MAX], *rest = NULL;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (!proc_read(path, text, sizeof text))
        return false;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *group = group_in_line(line, controller);
        if (group)
            return snprintf(out, CGROUP_PATH_MAX, "%s", group) < CGROUP_PATH_MAX;
    }
    return false;
}

/* What of the group's path is below the mount; "" for one that is not seen there: then the mount's top is the
 * nearest that is known. */
static const char *below_top(const struct cgroup_mount *mount, const char *group) {
    size_t len = strcmp(mount->top, "/") == 0 ? 0 : strlen(mount->top);
    bool is_below = strncmp(group, mount->top, len) == 0 && (group[len] == '/' || group[len] == '\0');
    return !is_below || strcmp(group + len, "/") == 0 ? "" : group + len;
}

/* The folder of the process's group and how many bytes of its path are above all groups; false when there is
 * none. */
static bool find_folder(const struct cgroup_mount *mount, const char *root, const char *controller,
                        char out[PROC_PATH_MAX], size_t *top_len) {
    char group[CGROUP_PATH_MAX];
    if (!mount->point[0] || !find_group(root, controller, group))
        return false;
    int len = snprintf(out, PROC_PATH_MAX, "%s%s", root, mount->point);
    *top_len = (size_t)len;
    if (len < 0 || len >= PROC_PATH_MAX)
        return false;
    int more = snprintf(out + len, PROC_PATH_MAX - (size_t)len, "%s", below_top(mount, group));
    return more >= 0 && len + more < PROC_PATH_MAX;
}

/* Levels. */

/* Makes the folder that of the level above; false when it is the top already. */
static bool go_up(char *folder, size_t top_len) {
    char *slash = strrchr(folder + top_len, '/');
    if (slash)
        *slash = '\0';
    return slash;
}

static bool read_in(const char *folder, const char *name, char *out, size_t cap) {
    char path[PROC_PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", folder, name);
    return len < (int)sizeof path && proc_read(path, out, cap);
}

static bool number_in(const char *folder, const char *name, int64_t *out) {
    char text[64];
    return read_in(folder, name, text, sizeof text) && proc_only_number(text, out);
}

static int64_t smaller_limit(int64_t a, int64_t b) {
    return a == UNLIMITED || (b != UNLIMITED && b < a) ? b : a;
}

static bool read_v2(const char *folder, struct cgroup_memory *out) {
    char stat[PROC_TEXT_MAX];
    int64_t usage, inactive = 0, max = UNLIMITED, high = UNLIMITED;
    if (!number_in(folder, "memory.current", &usage))
        return false;
    if (read_in(folder, "memory.stat", stat, sizeof stat) && !proc_number(stat, "inactive_file", &inactive))
        inactive = 0;
    if (!number_in(folder, "memory.max", &max))
        max = UNLIMITED;
    if (!number_in(folder, "memory.high", &high)) /* above it the group is slowed down to a crawl */
        high = UNLIMITED;
    *out = (struct cgroup_memory){.used = usage - inactive, .limit = smaller_limit(max, high)};
    return true;
}

/* hierarchical_memory_limit is the smallest of the group and all above it, those included that are not seen
 * from here. */
static bool read_v1(const char *folder, struct cgroup_memory *out) {
    char stat[PROC_TEXT_MAX];
    int64_t usage, inactive = 0, limit = UNLIMITED;
    if (!number_in(folder, "memory.usage_in_bytes", &usage))
        return false;
    if (read_in(folder, "memory.stat", stat, sizeof stat)) {
        if (!proc_number(stat, "total_inactive_file", &inactive))
            inactive = 0;
        if (!proc_number(stat, "hierarchical_memory_limit", &limit))
            limit = UNLIMITED;
    }
    *out = (struct cgroup_memory){.used = usage - inactive, .limit = limit};
    return true;
}

static bool is_nearer(const struct cgroup_memory *a, const struct cgroup_memory *b) {
    if (a->limit == UNLIMITED || b->limit == UNLIMITED)
        return a->limit != UNLIMITED;
    return (double)a->used * (double)b->limit > (double)b->used * (double)a->limit;
}

typedef bool read_level_fn(const char *folder, struct cgroup_memory *out);

/* false: no level tells of memory. `folder` is cut, level by level. */
static bool walk_up(char *folder, size_t top_len, read_level_fn *read_level, int64_t none_from,
                    struct cgroup_memory *out) {
    bool found = false;
    int level = 0;
    do {
        struct cgroup_memory memory;
        if (!read_level(folder, &memory))
            continue;
        memory.used = memory.used > 0 ? memory.used : 0;
        if (memory.limit >= none_from)
            memory.limit = UNLIMITED;
        if (!found || is_nearer(&memory, out))
            *out = memory;
        found = true;
    } while (++level < CGROUP_LEVELS_MAX && go_up(folder, top_len));
    return found;
}

void cgroup_read_memory(const struct cgroup_mounts *mounts, const char *root, int64_t machine_bytes,
                        struct cgroup_memory *out) {
    char folder[PROC_PATH_MAX];
    size_t top_len;
    int64_t none_from = machine_bytes > 0 ? machine_bytes : LIMIT_NONE_FROM;
    *out = (struct cgroup_memory){0};
    if (find_folder(&mounts->v2, root, NULL, folder, &top_len) &&
        walk_up(folder, top_len, read_v2, none_from, out))
        return;
    if (find_folder(&mounts->v1_memory, root, "memory", folder, &top_len))
        (void)walk_up(folder, top_len, read_v1, none_from, out);
}

bool cgroup_read_pressure(const struct cgroup_mounts *mounts, const char *root, char *out, size_t cap) {
    char folder[PROC_PATH_MAX];
    size_t top_len;
    return find_folder(&mounts->v2, root, NULL, folder, &top_len) &&
           read_in(folder, "memory.pressure", out, cap);
}

/* Processor time. */

typedef int64_t read_cpus_fn(const char *folder);

static int64_t thousandths(int64_t quota_us, int64_t period_us) {
    return quota_us > 0 && quota_us <= INT64_MAX / 1000 && period_us > 0 ? quota_us * 1000 / period_us
                                                                         : UNLIMITED;
}

/* "150000 100000", or "max 100000" without a limit. */
static int64_t read_cpus_v2(const char *folder) {
    char text[64];
    int64_t quota_us, period_us;
    char *blank = read_in(folder, "cpu.max", text, sizeof text) ? strchr(text, ' ') : NULL;
    if (!blank)
        return UNLIMITED;
    *blank = '\0';
    return proc_only_number(text, &quota_us) && proc_only_number(blank + 1, &period_us)
               ? thousandths(quota_us, period_us)
               : UNLIMITED;
}

/* The quota is -1 where there is none. */
static int64_t read_cpus_v1(const char *folder) {
    int64_t quota_us, period_us;
    return number_in(folder, "cpu.cfs_quota_us", &quota_us) &&
                   number_in(folder, "cpu.cfs_period_us", &period_us)
               ? thousandths(quota_us, period_us)
               : UNLIMITED;
}

/* `folder` is cut, level by level. */
static int64_t least_cpus(char *folder, size_t top_len, read_cpus_fn *read_cpus) {
    int64_t least = UNLIMITED;
    int level = 0;
    do {
        least = smaller_limit(least, read_cpus(folder));
    } while (++level < CGROUP_LEVELS_MAX && go_up(folder, top_len));
    return least;
}

int64_t cgroup_read_cpus(const struct cgroup_mounts *mounts, const char *root) {
    char folder[PROC_PATH_MAX];
    size_t top_len;
    int64_t v2 = UNLIMITED, v1 = UNLIMITED;
    if (find_folder(&mounts->v2, root, NULL, folder, &top_len))
        v2 = least_cpus(folder, top_len, read_cpus_v2);
    if (find_folder(&mounts->v1_cpu, root, "cpu", folder, &top_len))
        v1 = least_cpus(folder, top_len, read_cpus_v1);
    return smaller_limit(v2, v1);
}
