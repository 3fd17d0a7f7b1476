#include "engine/devices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct engine_gpu gpus[] = {
    {.device = "Vulkan0", .name = "Radeon 780M", .integrated = true},
    {.device = "CUDA0", .name = "NVIDIA L4"},
    {.device = "CUDA1", .name = "NVIDIA L4"},
};

static size_t chosen[ENGINE_DEVICES_MAX], chosen_count;
static struct error error;

static enum status choose(const struct engine_options *options, size_t count) {
    error = (struct error){.status = STATUS_OK};
    return engine_choose_devices(options, gpus, count, chosen, &chosen_count, &error);
}

static void all_are_taken_without_the_integrated_beside_others(void **state) {
    (void)state;
    assert_int_equal(choose(&(struct engine_options){.device_count = 0}, 3), STATUS_OK);
    assert_int_equal(chosen_count, 2);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 2);
    assert_int_equal(choose(&(struct engine_options){.device_count = 0}, 1), STATUS_OK);
    assert_int_equal(chosen_count, 1);
    assert_int_equal(chosen[0], 0);
    assert_int_equal(choose(&(struct engine_options){.device_count = 0}, 0), STATUS_OK);
    assert_int_equal(chosen_count, 0);
}

static void named_ones_are_taken_in_the_order_of_their_names(void **state) {
    (void)state;
    static const char *const names[] = {"CUDA1", "Vulkan0"};
    assert_int_equal(choose(&(struct engine_options){.devices = names, .device_count = 2}, 3), STATUS_OK);
    assert_int_equal(chosen_count, 2);
    assert_int_equal(chosen[0], 2);
    assert_int_equal(chosen[1], 0);
}

static void a_name_that_is_not_there_is_refused_with_what_is(void **state) {
    (void)state;
    static const char *const names[] = {"CUDA1", "CUDA7"};
    const struct engine_options options = {.devices = names, .device_count = 2};
    assert_int_equal(choose(&options, 3), STATUS_CONFIG_INVALID);
    assert_string_equal(error.param, "cluster.worker.devices");
    assert_string_equal(error.message,
                        "cluster.worker.devices: there is no GPU \"CUDA7\"; there are Vulkan0 (Radeon 780M), "
                        "CUDA0 (NVIDIA L4), CUDA1 (NVIDIA L4)");
    assert_int_equal(choose(&options, 0), STATUS_CONFIG_INVALID);
    assert_string_equal(error.message,
                        "cluster.worker.devices: there is no GPU \"CUDA1\"; there are none, only the CPU");
}

static void a_share_belongs_to_each_gpu_that_the_model_goes_to(void **state) {
    (void)state;
    static const char *const names[] = {"CUDA1"};
    struct engine_options options = {.tensor_split = {3, 1}, .tensor_split_count = 2};
    assert_int_equal(choose(&options, 3), STATUS_OK);
    options.tensor_split_count = 3;
    assert_int_equal(choose(&options, 3), STATUS_CONFIG_INVALID);
    assert_string_equal(error.param, "cluster.worker.tensor_split");
    assert_non_null(strstr(error.message, "are 2, not 3"));
    options.tensor_split_count = 2;
    options.devices = names;
    options.device_count = 1;
    assert_int_equal(choose(&options, 3), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "are 1, not 2"));
}

static void the_main_gpu_is_one_of_those_that_are_chosen(void **state) {
    (void)state;
    struct engine_options options = {.split = ENGINE_SPLIT_NONE, .main_gpu = 1};
    assert_int_equal(choose(&options, 3), STATUS_OK);
    options.main_gpu = 2;
    assert_int_equal(choose(&options, 3), STATUS_CONFIG_INVALID);
    assert_string_equal(error.param, "cluster.worker.main_gpu");
    assert_non_null(strstr(error.message, "2 GPUs, counted from 0, so there is no 2"));
    options.main_gpu = 0; /* without any it goes to the CPU */
    assert_int_equal(choose(&options, 0), STATUS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_taken_without_the_integrated_beside_others),
        cmocka_unit_test(named_ones_are_taken_in_the_order_of_their_names),
        cmocka_unit_test(a_name_that_is_not_there_is_refused_with_what_is),
        cmocka_unit_test(a_share_belongs_to_each_gpu_that_the_model_goes_to),
        cmocka_unit_test(the_main_gpu_is_one_of_those_that_are_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
