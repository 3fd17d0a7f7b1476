#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ARGS_MAX = 16 };

/* Splits at spaces. */
static enum status read_flags(struct config *config, const char *line, struct error *error) {
    char copy[512];
    char *argv[ARGS_MAX];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *rest = copy, *word; (word = strsep(&rest, " "));) {
        if (*word && argc < ARGS_MAX)
            argv[argc++] = word;
    }
    *error = (struct error){0};
    config_init(config);
    return config_read_flags(config, argc, argv, error);
}

static void every_form_of_a_flag_is_read(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(read_flags(&config,
                                "--port 1 -w 2 --host=h=x -t=3 --gpu-layers -1 --reuse-port --no-retry "
                                "--max-depth=5 --engine fake",
                                &error),
                     STATUS_OK);
    assert_int_equal(config.controller.port, 1);
    assert_int_equal(config.serve.workers, 2);
    assert_string_equal(config.controller.host, "h=x");
    assert_int_equal(config.worker.threads, 3);
    assert_int_equal(config.worker.gpu_layers, -1);
    assert_true(config.controller.reuse_port);
    assert_false(config.routing.retry.enabled);
    assert_int_equal(config.worker.max_depth, 5);
    assert_int_equal(config.worker.engine, ENGINE_KIND_FAKE);
    config_release(&config);
}

static void the_nats_flag_means_external(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(read_flags(&config, "--nats nats://h:4222", &error), STATUS_OK);
    assert_int_equal(config.nats.mode, NATS_EXTERNAL);
    assert_string_equal(config.nats.url, "nats://h:4222");
    config_release(&config);
}

static void models_have_a_name_where_one_is_given(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(read_flags(&config, "-m a.gguf --model n=b.gguf --model /x=y/c.gguf --model==d", &error),
                     STATUS_OK);
    assert_int_equal(config.model_count, 4);
    assert_null(config.models[0].name);
    assert_string_equal(config.models[1].name, "n");
    assert_string_equal(config.models[1].path, "b.gguf");
    assert_null(config.models[2].name);
    assert_string_equal(config.models[2].path, "/x=y/c.gguf");
    assert_string_equal(config.models[3].path, "=d");
    config_release(&config);
}

static void flags_count_more_than_the_file_wherever_it_stands(void **state) {
    (void)state;
    char path[] = "/tmp/mlx-flags-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char text[] = "cluster: {models: [a, b], controller: {port: 1, host: h}}";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    struct config config;
    struct error error;
    char line[256];
    snprintf(line, sizeof line, "--port 2 --model z --config %s", path);
    assert_int_equal(read_flags(&config, line, &error), STATUS_OK);
    assert_int_equal(config.controller.port, 2);
    assert_string_equal(config.controller.host, "h");
    assert_int_equal(config.model_count, 1);
    assert_string_equal(config.models[0].path, "z");
    config_release(&config);
    unlink(path);
}

static void a_value_that_looks_like_the_config_flag_is_a_value(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(read_flags(&config, "--host -c --port 3", &error), STATUS_OK);
    assert_string_equal(config.controller.host, "-c");
    config_release(&config);
}

static void a_mistake_is_told_with_the_flag_and_what_would_be_right(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *message;
    } rows[] = {
        {"--prot 3", "--prot: unknown option; did you mean --port?"},
        {"--prot=3", "--prot: unknown option; did you mean --port?"},
        {"--modle x", "--modle: unknown option; did you mean --model?"},
        {"--no-port", "--no-port: unknown option; did you mean --port?"},
        {"--banana", "--banana: unknown option"},
        {"-x", "-x: unknown option"},
        {"-port 3", "-port: unknown option"},
        {"--p 3", "--p: unknown option"},
        {"--port", "--port: needs a value"},
        {"--port --host x", "--port: needs a value"},
        {"--config", "--config: needs a value"},
        {"--port=", "--port: must be a whole number from 0 to 65535, not \"\""},
        {"--port 1x", "--port: must be a whole number from 0 to 65535, not \"1x\""},
        {"-p 1x", "-p: must be a whole number from 0 to 65535, not \"1x\""},
        {"--retry=maybe", "--retry: must be true or false, not \"maybe\""},
        {"--no-retry=true", "--no-retry: takes no value"},
        {"--engine fakes", "--engine: must be llama or fake, not \"fakes\""},
        {"serve", "\"serve\": unexpected; options begin with --"},
        {"--retry false", "\"false\": unexpected; options begin with --"},
        {"-", "\"-\": unexpected; options begin with --"},
        {"--config /nonexistent/x", "/nonexistent/x: cannot be read: No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config config;
        struct error error;
        assert_int_equal(read_flags(&config, rows[i].line, &error), STATUS_CONFIG_INVALID);
        assert_string_equal(error.message, rows[i].message);
        config_release(&config);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_flag_is_read),
        cmocka_unit_test(the_nats_flag_means_external),
        cmocka_unit_test(models_have_a_name_where_one_is_given),
        cmocka_unit_test(flags_count_more_than_the_file_wherever_it_stands),
        cmocka_unit_test(a_value_that_looks_like_the_config_flag_is_a_value),
        cmocka_unit_test(a_mistake_is_told_with_the_flag_and_what_would_be_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
