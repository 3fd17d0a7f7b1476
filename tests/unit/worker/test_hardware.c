#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/hardware.h"

static void read_cpu(const char *text, char out[HARDWARE_NAME_MAX + 1]) {
    FILE *file = tmpfile();
    assert_non_null(file);
    fputs(text, file);
    rewind(file);
    hardware_read_cpu(file, out);
    fclose(file);
}

static void the_cpu_is_named_as_the_kernel_does(void **state) {
    (void)state;
    char name[HARDWARE_NAME_MAX + 1];
    read_cpu("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7763\nmodel name\t: other\n", name);
    assert_string_equal(name, "AMD EPYC 7763");
    read_cpu("processor\t: 0\nBogoMIPS\t: 50.00\n", name);
    assert_string_equal(name, "");
    read_cpu("", name);
    assert_string_equal(name, "");
}

static void a_long_or_strange_name_is_cut_and_cleaned(void **state) {
    (void)state;
    char text[256] = "model name : ", name[HARDWARE_NAME_MAX + 1];
    size_t begin = strlen(text);
    memset(text + begin, 'x', 100);
    text[begin + 1] = '\t';
    text[begin + 2] = '\xE9';
    read_cpu(text, name);
    assert_int_equal(strlen(name), HARDWARE_NAME_MAX);
    assert_memory_equal(name, "x??x", 4);
}

static size_t list_two(struct engine_gpu *out, size_t max) {
    assert_int_equal(max, WORKER_GPUS_MAX);
    out[0] = (struct engine_gpu){.name = "one", .memory_bytes = 1};
    out[1] = (struct engine_gpu){
        .device = "CUDA1", .name = "two", .integrated = true, .memory_bytes = 2, .free_bytes = 1};
    return 2;
}

static void gpus_are_those_that_the_engine_lists(void **state) {
    (void)state;
    const struct engine_ops with = {.list_gpus = list_two};
    struct worker_hardware hardware;
    hardware_find(&with, &hardware);
    assert_int_equal(hardware.gpu_count, 2);
    assert_string_equal(hardware.gpus[1].name, "two");
    assert_string_equal(hardware.gpus[1].device, "CUDA1");
    assert_true(hardware.gpus[1].integrated && !hardware.gpus[0].integrated);
    assert_int_equal(hardware.gpus[1].memory_bytes, 2);
    assert_int_equal(hardware.gpus[1].free_bytes, 1);
    hardware_find(&engine_fake_ops, &hardware);
    assert_int_equal(hardware.gpu_count, 0);
    assert_true(hardware.cores > 0 && hardware.memory_bytes > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_is_named_as_the_kernel_does),
        cmocka_unit_test(a_long_or_strange_name_is_cut_and_cleaned),
        cmocka_unit_test(gpus_are_those_that_the_engine_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
