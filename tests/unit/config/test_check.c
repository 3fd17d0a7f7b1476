#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum status check_text(struct config *config, const char *text, struct error *error) {
    *error = (struct error){0};
    config_init(config);
    assert_int_equal(config_read_text(config, "x", text, strlen(text), error), STATUS_OK);
    return config_check(config, error);
}

static void options_that_contradict_each_other_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *param;
    } rows[] = {
        {"cluster: {nats: {mode: external}}", "cluster.nats.url"},
        {"cluster: {nats: {url: 'nats://h'}}", "cluster.nats.url"},
        {"cluster: {nats: {mode: external, url: 'h:4222'}}", "cluster.nats.url"},
        {"cluster: {discovery: {heartbeat_interval_ms: 5001}}",
         "cluster.controller.worker_offline_timeout_ms"},
        {"cluster: {discovery: {controller_timeout_ms: 2999}}", "cluster.discovery.controller_timeout_ms"},
        {"cluster: {requestRouting: {retry: {retryDelayMs: 1001}}}",
         "cluster.requestRouting.retry.maxDelayMs"},
        {"cluster: {worker: {batch_tokens: 7}}", "cluster.worker.batch_tokens"},
        {"cluster: {worker: {continuous_batching: {min_batch_size: 9}}}",
         "cluster.worker.continuous_batching.min_batch_size"},
        {"cluster: {worker: {resource_limits: {max_memory_mb: 2, critical_memory_mb: 1}}}",
         "cluster.worker.resource_limits.critical_memory_mb"},
        {"cluster: {worker: {resource_limits: {max_memory_percent: 94}}}",
         "cluster.worker.resource_limits.critical_memory_percent"},
        {"cluster: {worker: {micro_batch_tokens: 513}}", "cluster.worker.micro_batch_tokens"},
        {"cluster: {worker: {tensor_split: [0, 0]}}", "cluster.worker.tensor_split"},
        {"cluster: {worker: {tensor_split: [1], split_mode: none}}", "cluster.worker.tensor_split"},
        {"cluster: {worker: {main_gpu: 1}}", "cluster.worker.main_gpu"},
        {"cluster: {worker: {cache_type_v: q8_0, flash_attention: off}}", "cluster.worker.cache_type_v"},
        {"cluster: {worker: {cache_type_v: iq4_nl, flash_attention: off}}", "cluster.worker.cache_type_v"},
        {"cluster: {models: ['']}", "cluster.models"},
        {"cluster: {models: [{path: a, name: ''}]}", "cluster.models"},
        {"cluster: {models: [{path: a, name: 'with space'}]}", "cluster.models"},
        {"cluster: {models: ['dir/']}", "cluster.models"},
        {"cluster: {models: [a/x.gguf, b/x-q8_0.gguf]}", "cluster.models"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config config;
        struct error error;
        assert_int_equal(check_text(&config, rows[i].text, &error), STATUS_CONFIG_INVALID);
        assert_string_equal(error.param, rows[i].param);
        assert_memory_equal(error.message, rows[i].param, strlen(rows[i].param));
        config_release(&config);
    }
}

static void values_at_the_edge_of_a_contradiction_are_taken(void **state) {
    (void)state;
    static const char *const texts[] = {
        "cluster: {nats: {mode: external, url: 'nats://h:1,nats://g:2'}}",
        "cluster: {discovery: {heartbeat_interval_ms: 5000, controller_timeout_ms: 15000}}",
        "cluster: {discovery: {controller_timeout_ms: 3000}}",
        "cluster: {requestRouting: {retry: {retryDelayMs: 1000}}}",
        "cluster: {worker: {batch_tokens: 8}}",
        "cluster: {worker: {continuous_batching: {min_batch_size: 8}}}",
        "cluster: {worker: {resource_limits: {max_memory_mb: 2, critical_memory_mb: 2}}}",
        "cluster: {worker: {resource_limits: {max_memory_mb: 2}}}",
        "cluster: {worker: {resource_limits: {critical_memory_mb: 1}}}",
        "cluster: {worker: {resource_limits: {max_memory_percent: 93}}}",
        "cluster: {worker: {micro_batch_tokens: 512}}",
        "cluster: {worker: {tensor_split: [0, 0.001]}}",
        "cluster: {worker: {main_gpu: 1, split_mode: none}}",
        "cluster: {worker: {cache_type_k: q4_0, cache_type_v: f32, flash_attention: off}}",
        "cluster: {worker: {cache_type_v: q8_0}}",
        "cluster: {worker: {cache_type_v: q8_0, flash_attention: on}}",
        "cluster: {models: [a/x.gguf, {path: b/x.gguf, name: y}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct config config;
        struct error error;
        assert_int_equal(check_text(&config, texts[i], &error), STATUS_OK);
        config_release(&config);
    }
}

static void a_model_is_named_after_its_file_without_the_quantization(void **state) {
    (void)state;
    static const struct {
        const char *path;
        const char *name;
    } rows[] = {
        {"models/tiny-chat-q8_0.gguf", "tiny-chat"},
        {"tiny-chat.Q4_K_M.gguf", "tiny-chat"},
        {"/a.b/Llama-3.2-1B-Instruct-IQ2_XXS.GGUF", "Llama-3.2-1B-Instruct"},
        {"x-f16.gguf", "x"},
        {"big-Q4_K_M-00001-of-00003.gguf", "big"},
        {"x-00001-of-0003.gguf", "x-00001-of-0003"},
        {"x-BF16.gguf", "x"},
        {"x-tq1_0.gguf", "x"},
        {"x-mxfp4", "x"},
        {"qwen2.5-0.5b.gguf", "qwen2.5-0.5b"},
        {"phi-quick.gguf", "phi-quick"},
        {"x-q.gguf", "x-q"},
        {"q8_0.gguf", "q8_0"},
        {"my model, new.gguf", "my-model--new"},
        {"-q8_0.gguf", "-q8_0"},
        {".gguf", ".gguf"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config config;
        struct error error;
        config_init(&config);
        assert_true(config_add_model(&config, NULL, rows[i].path));
        assert_int_equal(config_check(&config, &error), STATUS_OK);
        assert_string_equal(config.models[0].name, rows[i].name);
        config_release(&config);
    }
}

static void a_given_name_is_kept(void **state) {
    (void)state;
    struct config config;
    struct error error;
    config_init(&config);
    assert_true(config_add_model(&config, "mine-q8_0", "x.gguf"));
    assert_int_equal(config_check(&config, &error), STATUS_OK);
    assert_string_equal(config.models[0].name, "mine-q8_0");
    config_release(&config);
}

static void skills_are_plain_words_and_few(void **state) {
    (void)state;
    static const struct {
        const char *skills, *message;
    } rows[] = {
        {"fast-disk,legal,x.y_Z0", NULL},
        {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", NULL},
        {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "cluster.worker.skills: must not be more than 16"},
        {"a b", "cluster.worker.skills: a skill has letters, digits, '_', '.' and '-', not \"a b\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config config;
        struct error error = {0};
        char flag[] = "--skills", value[64];
        char *argv[] = {flag, value};
        config_init(&config);
        snprintf(value, sizeof value, "%s", rows[i].skills);
        assert_int_equal(config_read_flags(&config, 2, argv, &error), STATUS_OK);
        assert_int_equal(config_check(&config, &error), rows[i].message ? STATUS_CONFIG_INVALID : STATUS_OK);
        assert_string_equal(error.message, rows[i].message ? rows[i].message : "");
        config_release(&config);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_contradict_each_other_are_refused),
        cmocka_unit_test(values_at_the_edge_of_a_contradiction_are_taken),
        cmocka_unit_test(a_model_is_named_after_its_file_without_the_quantization),
        cmocka_unit_test(a_given_name_is_kept),
        cmocka_unit_test(skills_are_plain_words_and_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
