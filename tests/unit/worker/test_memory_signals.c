#include "worker/memory_signals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel_tree.h"

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

static struct memory_signals read_signals(void) {
    struct cgroup_mounts mounts;
    struct memory_signals signals;
    cgroup_find_mounts(tree.root, &mounts);
    memory_signals_read(&mounts, tree.root, &signals);
    return signals;
}

static void what_a_process_maps_from_files_does_not_count(void **state) {
    (void)state;
    kernel_tree_write(&tree, "/proc/self/status",
                      "Name:\tmlxd\nVmRSS:\t 9000 kB\nRssAnon:\t 100 kB\nRssFile:\t 8850 kB\n"
                      "RssShmem:\t 50 kB\nVmSwap:\t 7 kB\n");
    assert_int_equal(read_signals().process_bytes, 157 * 1024);
}

static void the_machine_uses_what_is_not_available(void **state) {
    (void)state;
    kernel_tree_write(&tree, "/proc/meminfo",
                      "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    400 kB\n");
    struct memory_signals signals = read_signals();
    assert_int_equal(signals.machine_bytes, 1000 * 1024);
    assert_int_equal(signals.machine_used, 600 * 1024);
}

static void a_limit_of_the_size_of_the_machine_is_none(void **state) {
    (void)state;
    kernel_tree_write(&tree, "/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
    kernel_tree_write(&tree, "/proc/self/mountinfo", "1 1 0:1 / /cg rw - cgroup2 c rw\n");
    kernel_tree_write(&tree, "/proc/self/cgroup", "0::/a\n");
    kernel_tree_write(&tree, "/cg/a/memory.current", "5000\n");
    kernel_tree_write(&tree, "/cg/a/memory.max", "1024000\n");
    assert_int_equal(read_signals().cgroup.limit, 0);
    kernel_tree_write(&tree, "/cg/a/memory.max", "1023999\n");
    assert_int_equal(read_signals().cgroup.limit, 1023999);
    assert_int_equal(read_signals().cgroup.used, 5000);
}

static void the_pressure_of_the_group_goes_before_that_of_the_machine(void **state) {
    (void)state;
    kernel_tree_write(&tree, "/proc/pressure/memory",
                      "some avg10=12.34 avg60=1.00 avg300=0.00 total=9\n"
                      "full avg10=5.60 avg60=0.00 avg300=0.00 total=9\n");
    struct memory_signals signals = read_signals();
    assert_int_equal(signals.pressure_some, 1234);
    assert_int_equal(signals.pressure_full, 560);
    kernel_tree_write(&tree, "/proc/self/mountinfo", "1 1 0:1 / /cg rw - cgroup2 c rw\n");
    kernel_tree_write(&tree, "/proc/self/cgroup", "0::/a\n");
    kernel_tree_write(&tree, "/cg/a/memory.pressure",
                      "some avg10=1.00 avg60=1.00 total=9\nfull avg10=0.50 total=9\n");
    signals = read_signals();
    assert_int_equal(signals.pressure_some, 100);
    assert_int_equal(signals.pressure_full, 50);
}

static void what_the_kernel_does_not_tell_is_unknown(void **state) {
    (void)state;
    for (int nonsense = 0; nonsense < 2; nonsense++) {
        struct memory_signals signals = read_signals();
        assert_int_equal(signals.process_bytes, MEMORY_UNKNOWN);
        assert_int_equal(signals.machine_bytes, 0);
        assert_int_equal(signals.machine_used, 0);
        assert_int_equal(signals.cgroup.limit, 0);
        assert_int_equal(signals.pressure_some, MEMORY_UNKNOWN);
        assert_int_equal(signals.pressure_full, MEMORY_UNKNOWN);
        kernel_tree_write(&tree, "/proc/self/status", "RssAnon: lots\nVmSwap:\n");
        kernel_tree_write(&tree, "/proc/meminfo", "MemTotal: 99999999999999999999 kB\n");
        kernel_tree_write(&tree, "/proc/pressure/memory", "some avg10=x\nfull avg10=-1.0\n");
    }
}

/* As it is where the tests run: the numbers are the kernel's own. */
static void this_process_and_machine_have_numbers(void **state) {
    (void)state;
    enum { BYTES = 32 << 20 };
    struct cgroup_mounts mounts;
    struct memory_signals before, after;
    cgroup_find_mounts("", &mounts);
    memory_signals_read(&mounts, "", &before);
    char *memory = malloc(BYTES);
    assert_non_null(memory);
    memset(memory, 1, BYTES);
    memory_signals_read(&mounts, "", &after);
    assert_int_equal(memory[BYTES - 1], 1);
    free(memory);
    assert_true(before.process_bytes > 0);
    assert_true(after.process_bytes - before.process_bytes > BYTES / 2);
    assert_true(after.machine_used > 0 && after.machine_used < after.machine_bytes);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_a_process_maps_from_files_does_not_count),
        TEST(the_machine_uses_what_is_not_available),
        TEST(a_limit_of_the_size_of_the_machine_is_none),
        TEST(the_pressure_of_the_group_goes_before_that_of_the_machine),
        TEST(what_the_kernel_does_not_tell_is_unknown),
        cmocka_unit_test(this_process_and_machine_have_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
