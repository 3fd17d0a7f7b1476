#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static enum status find(enum engine_kind engine, const char *path, struct config *config,
                        struct error *error) {
    *error = (struct error){0};
    config_init(config);
    config->worker.engine = engine;
    if (path)
        assert_true(config_add_model(config, NULL, path));
    assert_int_equal(config_check(config, error), STATUS_OK);
    return cli_find_models(config, error);
}

static void a_path_that_is_not_there_is_named_with_advice(void **state) {
    (void)state;
    if (!MLX_WITH_LLAMA)
        skip();
    struct config config;
    struct error error;
    assert_int_equal(find(ENGINE_KIND_LLAMA, "/nonexistent/x-q8_0.gguf", &config, &error),
                     STATUS_CONFIG_INVALID);
    assert_string_equal(error.message,
                        "model \"x\": /nonexistent/x-q8_0.gguf: No such file or directory. Give the "
                        "path of a GGUF file: --model PATH");
    config_release(&config);
    assert_int_equal(find(ENGINE_KIND_LLAMA, "nonexistent.gguf", &config, &error), STATUS_CONFIG_INVALID);
    char folder[256];
    assert_non_null(getcwd(folder, sizeof folder));
    assert_non_null(strstr(error.message, folder));
    config_release(&config);
    assert_int_equal(find(ENGINE_KIND_LLAMA, "/tmp", &config, &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "it is a folder, not a GGUF file"));
    config_release(&config);
}

static enum status find_file_with(const char *text, struct error *error) {
    char path[] = "/tmp/mlx-model-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct config config;
    enum status status = find(ENGINE_KIND_LLAMA, path, &config, error);
    config_release(&config);
    unlink(path);
    return status;
}

static void a_gguf_file_is_taken_and_another_one_is_not(void **state) {
    (void)state;
    if (!MLX_WITH_LLAMA)
        skip();
    struct error error;
    assert_int_equal(find_file_with("GGUF...", &error), STATUS_OK);
    assert_int_equal(find_file_with("<!DOCTYPE html>", &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "it is not a GGUF file"));
    assert_int_equal(find_file_with("GGU", &error), STATUS_CONFIG_INVALID);
    assert_int_equal(find_file_with("", &error), STATUS_CONFIG_INVALID);
}

static void the_fake_engine_needs_no_file(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(find(ENGINE_KIND_FAKE, "/nonexistent/x.gguf", &config, &error), STATUS_OK);
    config_release(&config);
}

static void tiny_chat_is_the_default(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(find(ENGINE_KIND_FAKE, NULL, &config, &error), STATUS_OK);
    assert_int_equal(config.model_count, 1);
    assert_string_equal(config.models[0].name, "tiny-chat");
    config_release(&config);
}

static void llama_is_refused_where_it_was_not_built_in(void **state) {
    (void)state;
    if (MLX_WITH_LLAMA)
        skip();
    struct config config;
    struct error error;
    assert_int_equal(find(ENGINE_KIND_LLAMA, "/tmp/x", &config, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.param, "cluster.worker.engine");
    config_release(&config);
}

static enum status find_with_fault(enum engine_kind engine, const char *fault, struct error *error) {
    struct config config;
    *error = (struct error){0};
    config_init(&config);
    config.worker.engine = engine;
    config_set_text(&config.worker.fake_fault, fault);
    enum status status = cli_find_models(&config, error);
    config_release(&config);
    return status;
}

static void a_fault_that_the_fake_engine_does_not_know_is_refused_by_name(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(find_with_fault(ENGINE_KIND_FAKE, "fail at 2, slow x10", &error), STATUS_OK);
    assert_int_equal(find_with_fault(ENGINE_KIND_FAKE, "fail at 2, burn", &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "\"burn\" is no fault; there are"));
    assert_string_equal(error.param, "cluster.worker.fake.fault");
}

static void a_fault_for_an_engine_that_has_none_is_refused(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(find_with_fault(ENGINE_KIND_LLAMA, "fail at 2", &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "--engine fake"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_that_is_not_there_is_named_with_advice),
        cmocka_unit_test(a_gguf_file_is_taken_and_another_one_is_not),
        cmocka_unit_test(the_fake_engine_needs_no_file),
        cmocka_unit_test(tiny_chat_is_the_default),
        cmocka_unit_test(llama_is_refused_where_it_was_not_built_in),
        cmocka_unit_test(a_fault_that_the_fake_engine_does_not_know_is_refused_by_name),
        cmocka_unit_test(a_fault_for_an_engine_that_has_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
