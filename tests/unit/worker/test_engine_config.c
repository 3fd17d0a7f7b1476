#include "worker/engine_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct config config;

static struct engine_options options_of(const char *worker) {
    char text[512];
    struct error error = {.status = STATUS_OK};
    config_init(&config);
    snprintf(text, sizeof text, "cluster: {worker: {%s}}", worker);
    if (config_read_text(&config, "x", text, strlen(text), &error) != STATUS_OK ||
        config_check(&config, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    return engine_options_of(&config, "m.gguf");
}

static int teardown(void **state) {
    (void)state;
    config_release(&config);
    return 0;
}

static void the_defaults_leave_the_choice_to_the_engine(void **state) {
    (void)state;
    struct engine_options options = options_of("");
    assert_string_equal(options.model_path, "m.gguf");
    assert_int_equal(options.slots, 8);
    assert_int_equal(options.batch_tokens, 512);
    assert_true(options.threads >= 1);
    assert_int_equal(options.threads_batch, 0);
    assert_int_equal(options.micro_batch_tokens, 0);
    assert_int_equal(options.cache_type_k, ENGINE_CACHE_F16);
    assert_int_equal(options.cache_type_v, ENGINE_CACHE_F16);
    assert_int_equal(options.flash, ENGINE_FLASH_AUTO);
    assert_int_equal(options.load_mode, ENGINE_LOAD_AUTO);
    assert_int_equal(options.gpu_layers, -1);
    assert_int_equal(options.device_count, 0);
    assert_int_equal(options.split, ENGINE_SPLIT_LAYER);
    assert_int_equal(options.tensor_split_count, 0);
    assert_false(options.cache_on_cpu);
}

static void every_option_reaches_the_engine(void **state) {
    (void)state;
    struct engine_options options =
        options_of("threads: 3, threads_batch: 5, micro_batch_tokens: 64, batch_tokens: 128, gpu_layers: 7, "
                   "devices: [CUDA1, CUDA0], split_mode: row, tensor_split: [1, 1, 0.5], offload_kqv: false, "
                   "kv_cache_tokens: 4096, cache_type_k: q8_0, cache_type_v: q4_0, flash_attention: on, "
                   "load_mode: direct_io");
    assert_int_equal(options.threads, 3);
    assert_int_equal(options.threads_batch, 5);
    assert_int_equal(options.micro_batch_tokens, 64);
    assert_int_equal(options.batch_tokens, 128);
    assert_int_equal(options.gpu_layers, 7);
    assert_int_equal(options.device_count, 2);
    assert_string_equal(options.devices[0], "CUDA1");
    assert_string_equal(options.devices[1], "CUDA0");
    assert_int_equal(options.split, ENGINE_SPLIT_ROW);
    assert_int_equal(options.tensor_split_count, 3);
    assert_true(options.tensor_split[0] == 1.0f && options.tensor_split[1] == 1.0f &&
                options.tensor_split[2] == 0.5f);
    assert_true(options.cache_on_cpu);
    assert_int_equal(options.cache_tokens, 4096);
    assert_int_equal(options.cache_type_k, ENGINE_CACHE_Q8_0);
    assert_int_equal(options.cache_type_v, ENGINE_CACHE_Q4_0);
    assert_int_equal(options.flash, ENGINE_FLASH_ON);
    assert_int_equal(options.load_mode, ENGINE_LOAD_DIRECT_IO);
}

static void words_mean_the_same_to_the_engine(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int split, flash, load, main_gpu;
    } rows[] = {
        {"split_mode: none, main_gpu: 2, flash_attention: off, load_mode: read", ENGINE_SPLIT_NONE,
         ENGINE_FLASH_OFF, ENGINE_LOAD_READ, 2},
        {"split_mode: layer, flash_attention: auto, load_mode: mmap", ENGINE_SPLIT_LAYER, ENGINE_FLASH_AUTO,
         ENGINE_LOAD_MMAP, 0},
        {"load_mode: mlock", ENGINE_SPLIT_LAYER, ENGINE_FLASH_AUTO, ENGINE_LOAD_MLOCK, 0},
        {"load_mode: mmap_mlock", ENGINE_SPLIT_LAYER, ENGINE_FLASH_AUTO, ENGINE_LOAD_MMAP_MLOCK, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct engine_options options = options_of(rows[i].text);
        assert_int_equal(options.split, rows[i].split);
        assert_int_equal(options.flash, rows[i].flash);
        assert_int_equal(options.load_mode, rows[i].load);
        assert_int_equal(options.main_gpu, rows[i].main_gpu);
        config_release(&config);
    }
}

static size_t list_one(struct engine_gpu *out, size_t max) {
    assert_true(max >= 1);
    out[0] = (struct engine_gpu){.device = "CUDA0", .name = "one"};
    return 1;
}

static void gpus_that_are_not_there_are_refused_before_a_model_is_loaded(void **state) {
    (void)state;
    const struct engine_ops ops = {.list_gpus = list_one};
    struct error error;
    (void)options_of("devices: [CUDA0]");
    assert_int_equal(engine_check_devices(&config, &ops, &error), STATUS_OK);
    assert_int_equal(engine_check_devices(&config, &engine_fake_ops, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.param, "cluster.worker.devices");
    config_release(&config);
    (void)options_of("main_gpu: 1, split_mode: none");
    assert_int_equal(engine_check_devices(&config, &ops, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.param, "cluster.worker.main_gpu");
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_defaults_leave_the_choice_to_the_engine),
        TEST(every_option_reaches_the_engine),
        TEST(words_mean_the_same_to_the_engine),
        TEST(gpus_that_are_not_there_are_refused_before_a_model_is_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
