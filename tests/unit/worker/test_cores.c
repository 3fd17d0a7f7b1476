#include "worker/cores.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernel_tree.h"

static struct kernel_tree tree;

static int setup(void **state) {
    (void)state;
    kernel_tree_init(&tree);
    kernel_tree_write(&tree, "/proc/self/mountinfo", "30 23 0:26 / /cgroup rw - cgroup2 cgroup2 rw\n");
    kernel_tree_write(&tree, "/proc/self/cgroup", "0::/a\n");
    return 0;
}
static int teardown(void **state) {
    (void)state;
    kernel_tree_release(&tree);
    return 0;
}

static int32_t affinity(void) {
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}

static int32_t usable_with(int32_t quota_us) {
    char text[64];
    snprintf(text, sizeof text, "%d 100000\n", quota_us);
    kernel_tree_write(&tree, "/cgroup/a/cpu.max", text);
    return cores_usable(tree.root);
}

static void without_a_quota_it_is_the_affinity(void **state) {
    (void)state;
    assert_int_equal(cores_usable(tree.root), affinity());
    assert_int_equal(cores_usable("/nowhere"), affinity());
}

static void a_quota_counts_in_started_cores_up_to_the_affinity(void **state) {
    (void)state;
    assert_int_equal(usable_with(1000), 1);
    assert_int_equal(usable_with(100000), 1);
    assert_int_equal(usable_with(100100), affinity() < 2 ? 1 : 2);
    assert_int_equal(usable_with(affinity() * 100000 + 100000), affinity());
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_a_quota_it_is_the_affinity),
        TEST(a_quota_counts_in_started_cores_up_to_the_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
