#include "worker/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernel_tree.h"

#define GIB   (INT64_C(1) << 30)
#define V1_NO "9223372036854771712"

static struct kernel_tree tree;

static int setup(void **state) {
    (void)state;
    kernel_tree_init(&tree);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    kernel_tree_release(&tree);
    return 0;
}

static void write_file(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    kernel_tree_write(&tree, path, text);
}

static void write_mounts(const char *text) {
    kernel_tree_write(&tree, "/proc/self/mountinfo", text);
}
static void write_groups(const char *text) {
    kernel_tree_write(&tree, "/proc/self/cgroup", text);
}

/* A level of version 2; `max` and `high` as the kernel writes them. */
static void level_v2(const char *folder, const char *current, const char *inactive, const char *max,
                     const char *high) {
    char stat[128];
    write_file(folder, "memory.current", current);
    snprintf(stat, sizeof stat, "anon 1\nfile 2\nworkingset_inactive_file 7\ninactive_file %s\nsock 0\n",
             inactive);
    write_file(folder, "memory.stat", stat);
    write_file(folder, "memory.max", max);
    write_file(folder, "memory.high", high);
}

static void level_v1(const char *folder, const char *usage, const char *inactive, const char *limit) {
    char stat[256];
    write_file(folder, "memory.usage_in_bytes", usage);
    snprintf(
        stat, sizeof stat,
        "cache 0\ninactive_file 1\nhierarchical_memory_limit %s\ntotal_cache 5\ntotal_inactive_file %s\n",
        limit, inactive);
    write_file(folder, "memory.stat", stat);
}

static struct cgroup_memory read_memory(int64_t machine_bytes) {
    struct cgroup_mounts mounts;
    struct cgroup_memory memory;
    cgroup_find_mounts(tree.root, &mounts);
    cgroup_read_memory(&mounts, tree.root, machine_bytes, &memory);
    return memory;
}

static void assert_memory(struct cgroup_memory memory, int64_t used, int64_t limit) {
    assert_int_equal(memory.used, used);
    assert_int_equal(memory.limit, limit);
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"

static void a_group_of_version_2_uses_what_is_not_an_inactive_file(void **state) {
    (void)state;
    write_mounts("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" V2_MOUNT);
    write_groups("0::/app.slice/worker\n");
    level_v2("/sys/fs/cgroup/app.slice/worker", "1000\n", "300", "2000\n", "max\n");
    level_v2("/sys/fs/cgroup/app.slice", "1500\n", "300", "max\n", "max\n");
    assert_memory(read_memory(GIB), 700, 2000);
}

static void the_high_mark_of_version_2_is_a_limit_too(void **state) {
    (void)state;
    write_mounts(V2_MOUNT);
    write_groups("0::/a\n");
    level_v2("/sys/fs/cgroup/a", "1000\n", "0", "2000\n", "1500\n");
    assert_memory(read_memory(GIB), 1000, 1500);
    level_v2("/sys/fs/cgroup/a", "1000\n", "0", "2000\n", "max\n");
    assert_memory(read_memory(GIB), 1000, 2000);
    level_v2("/sys/fs/cgroup/a", "1000\n", "0", "max\n", "1500\n");
    assert_memory(read_memory(GIB), 1000, 1500);
}

static void the_level_nearest_to_its_limit_counts_with_its_own_use(void **state) {
    (void)state;
    write_mounts(V2_MOUNT);
    write_groups("0::/pod/worker\n");
    level_v2("/sys/fs/cgroup/pod/worker", "1000\n", "0", "4000\n", "max\n");
    level_v2("/sys/fs/cgroup/pod", "2700\n", "0", "3000\n", "max\n"); /* others are in it, too */
    assert_memory(read_memory(GIB), 2700, 3000);
    level_v2("/sys/fs/cgroup/pod/worker", "3800\n", "0", "4000\n", "max\n");
    assert_memory(read_memory(GIB), 3800, 4000);
}

static void a_level_without_a_limit_is_passed_over(void **state) {
    (void)state;
    write_mounts(V2_MOUNT);
    write_groups("0::/pod/worker\n");
    level_v2("/sys/fs/cgroup/pod/worker", "1000\n", "0", "max\n", "max\n");
    level_v2("/sys/fs/cgroup/pod", "1200\n", "0", "3000\n", "max\n");
    assert_memory(read_memory(GIB), 1200, 3000);
    level_v2("/sys/fs/cgroup/pod", "1200\n", "0", "max\n", "max\n");
    assert_memory(read_memory(GIB), 1000, 0); /* the process's own */
}

static void a_group_of_version_1_uses_what_is_not_an_inactive_file_in_all_of_it(void **state) {
    (void)state;
    write_mounts(V1_MOUNT);
    write_groups("5:devices:/other\n4:cpu,memory:/jobs/worker\n0::/\n");
    level_v1("/sys/fs/cgroup/memory/jobs/worker", "1000\n", "300", "2000");
    level_v1("/sys/fs/cgroup/memory/jobs", "1000\n", "300", V1_NO);
    level_v1("/sys/fs/cgroup/memory", "90000\n", "300", V1_NO);
    assert_memory(read_memory(GIB), 700, 2000);
}

static void a_limit_of_version_1_above_what_is_mounted_counts(void **state) {
    (void)state;
    write_mounts("35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    write_groups("4:memory:/docker/abc\n");
    level_v1("/sys/fs/cgroup/memory", "1000\n", "0", "1500");
    assert_memory(read_memory(GIB), 1000, 1500);
}

static void what_is_as_large_as_the_machine_is_no_limit(void **state) {
    (void)state;
    write_mounts(V1_MOUNT);
    write_groups("4:memory:/a\n");
    level_v1("/sys/fs/cgroup/memory/a", "1000\n", "0", "1073741824");
    assert_memory(read_memory(GIB), 1000, 0);
    assert_memory(read_memory(GIB + 1), 1000, GIB);
    assert_memory(read_memory(0), 1000, GIB);
    level_v1("/sys/fs/cgroup/memory/a", "1000\n", "0", V1_NO);
    assert_memory(read_memory(0), 1000, 0);
}

static int64_t read_cpus(void) {
    struct cgroup_mounts mounts;
    cgroup_find_mounts(tree.root, &mounts);
    return cgroup_read_cpus(&mounts, tree.root);
}

static void the_lowest_cpu_quota_of_version_2_counts(void **state) {
    (void)state;
    write_mounts(V2_MOUNT);
    write_groups("0::/pod/worker\n");
    assert_int_equal(read_cpus(), 0);
    write_file("/sys/fs/cgroup/pod/worker", "cpu.max", "max 100000\n");
    assert_int_equal(read_cpus(), 0);
    write_file("/sys/fs/cgroup/pod", "cpu.max", "150000 100000\n");
    assert_int_equal(read_cpus(), 1500);
    write_file("/sys/fs/cgroup/pod/worker", "cpu.max", "400000 100000\n");
    assert_int_equal(read_cpus(), 1500);
    write_file("/sys/fs/cgroup/pod/worker", "cpu.max", "10000 20000\n");
    assert_int_equal(read_cpus(), 500);
}

static void the_lowest_cpu_quota_of_version_1_counts(void **state) {
    (void)state;
    write_mounts("32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" V1_MOUNT
                 "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    write_groups("4:memory:/m\n3:cpu,cpuacct:/jobs/worker\n2:cpuset:/c\n0::/\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "-1\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_period_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/jobs/worker", "cpu.cfs_quota_us", "-1\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/jobs/worker", "cpu.cfs_period_us", "100000\n");
    assert_int_equal(read_cpus(), 0);
    write_file("/sys/fs/cgroup/cpu,cpuacct/jobs", "cpu.cfs_quota_us", "250000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/jobs", "cpu.cfs_period_us", "100000\n");
    assert_int_equal(read_cpus(), 2500);
}

static void a_cpu_quota_that_is_nonsense_is_none(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "\n",
                                        "100000",
                                        "0 100000",
                                        "100000 0",
                                        "-5 100000",
                                        "1 x",
                                        "x 1",
                                        "99999999999999999999 1",
                                        "9223372036854775807 1"};
    write_mounts(V2_MOUNT);
    write_groups("0::/a\n");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file("/sys/fs/cgroup/a", "cpu.max", texts[i]);
        assert_int_equal(read_cpus(), 0);
    }
}

static void a_hybrid_machine_has_the_memory_in_version_1(void **state) {
    (void)state;
    write_mounts("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
                 "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" V1_MOUNT
                 "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    write_groups("4:memory:/b\n1:cpu:/b\n0::/b\n");
    write_file("/sys/fs/cgroup/unified/b", "memory.pressure", "some avg10=1.00");
    level_v1("/sys/fs/cgroup/memory/b", "1000\n", "0", "2000");
    assert_memory(read_memory(GIB), 1000, 2000);
    struct cgroup_mounts mounts;
    char text[64];
    cgroup_find_mounts(tree.root, &mounts);
    assert_true(cgroup_read_pressure(&mounts, tree.root, text, sizeof text));
    assert_string_equal(text, "some avg10=1.00");
}

static void of_two_mounts_the_one_that_shows_more_is_taken(void **state) {
    (void)state;
    write_mounts("40 31 0:32 /a/b /srv/part rw - cgroup cgroup rw,memory\n" V1_MOUNT V1_MOUNT
                 "43 31 0:32 /a /srv/more rw - cgroup cgroup rw,memory\n");
    write_groups("4:memory:/a/b\n");
    level_v1("/sys/fs/cgroup/memory/a/b", "1000\n", "0", "4000");
    level_v1("/sys/fs/cgroup/memory/a", "1900\n", "0", "2000");
    assert_memory(read_memory(GIB), 1900, 2000);
}

static void a_group_that_is_not_seen_is_judged_by_the_top_of_what_is(void **state) {
    (void)state;
    write_mounts("30 23 0:26 /kube/pod /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
    write_groups("0::/kube/podium/worker\n");
    level_v2("/sys/fs/cgroup", "1000\n", "0", "2000\n", "max\n");
    assert_memory(read_memory(GIB), 1000, 2000);
}

static void a_mount_point_may_hold_blanks(void **state) {
    (void)state;
    write_mounts("30 23 0:26 / /my\\040cgroups\\134x rw - cgroup2 cgroup2 rw\n");
    write_groups("0::/a\n");
    level_v2("/my cgroups\\x/a", "1000\n", "0", "2000\n", "max\n");
    assert_memory(read_memory(GIB), 1000, 2000);
}

static void a_group_that_moves_is_found_again(void **state) {
    (void)state;
    struct cgroup_mounts mounts;
    struct cgroup_memory memory;
    write_mounts(V2_MOUNT);
    write_groups("0::/a\n");
    level_v2("/sys/fs/cgroup/a", "1000\n", "0", "2000\n", "max\n");
    level_v2("/sys/fs/cgroup/b", "1000\n", "0", "3000\n", "max\n");
    cgroup_find_mounts(tree.root, &mounts);
    cgroup_read_memory(&mounts, tree.root, GIB, &memory);
    assert_memory(memory, 1000, 2000);
    write_groups("0::/b\n");
    cgroup_read_memory(&mounts, tree.root, GIB, &memory);
    assert_memory(memory, 1000, 3000);
}

static void nothing_is_known_where_there_is_nothing_or_nonsense(void **state) {
    (void)state;
    assert_memory(read_memory(GIB), 0, 0);
    write_mounts("nonsense\n30 23 0:26 / - cgroup2\n - - - - - - -\n" V2_MOUNT);
    assert_memory(read_memory(GIB), 0, 0);
    write_groups("::\n0:\n\nx\n");
    assert_memory(read_memory(GIB), 0, 0);
    write_groups("0::/a\n");
    level_v2("/sys/fs/cgroup/a", "-5\n", "0", "2000\n", "max\n");
    assert_memory(read_memory(GIB), 0, 0);
    level_v2("/sys/fs/cgroup/a", "99999999999999999999\n", "0", "2000\n", "max\n");
    assert_memory(read_memory(GIB), 0, 0);
    level_v2("/sys/fs/cgroup/a", "100\n", "500", "2000\n", "max\n"); /* read at two moments */
    assert_memory(read_memory(GIB), 0, 2000);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_group_of_version_2_uses_what_is_not_an_inactive_file),
        TEST(the_high_mark_of_version_2_is_a_limit_too),
        TEST(the_level_nearest_to_its_limit_counts_with_its_own_use),
        TEST(a_level_without_a_limit_is_passed_over),
        TEST(a_group_of_version_1_uses_what_is_not_an_inactive_file_in_all_of_it),
        TEST(a_limit_of_version_1_above_what_is_mounted_counts),
        TEST(what_is_as_large_as_the_machine_is_no_limit),
        TEST(the_lowest_cpu_quota_of_version_2_counts),
        TEST(the_lowest_cpu_quota_of_version_1_counts),
        TEST(a_cpu_quota_that_is_nonsense_is_none),
        TEST(a_hybrid_machine_has_the_memory_in_version_1),
        TEST(of_two_mounts_the_one_that_shows_more_is_taken),
        TEST(a_group_that_is_not_seen_is_judged_by_the_top_of_what_is),
        TEST(a_mount_point_may_hold_blanks),
        TEST(a_group_that_moves_is_found_again),
        TEST(nothing_is_known_where_there_is_nothing_or_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
