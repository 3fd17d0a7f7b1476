#include "config/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Another value than the default for every option. */
static void change_all(struct config *config) {
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        char why[OPTION_WHY_MAX];
        char scratch[32];
        const char *value = "a\"b\\c #: \xC3\xA4\xF0\x9F\x98\x80\xC2\x85\xEF\xBB\xBF'";
        if (option->kind == OPTION_INT)
            value = strcmp(option_value(option, config, scratch), "97") == 0 ? "98" : "97";
        else if (option->kind == OPTION_BOOL)
            value = strcmp(option->initial, "true") == 0 ? "false" : "true";
        else if (option->choices)
            value = option->choices[option->choices[1] ? 1 : 0];
        else if (option->kind == OPTION_ID)
            value = "true";
        else if (option->kind == OPTION_WEIGHTS)
            value = "- gpu.*: #=0.125";
        if (!option_store(option, config, value, strlen(value), why))
            assert_true(option_store(option, config, "1025", 4, why) ||
                        option_store(option, config, "64", 2, why) ||
                        option_store(option, config, "2", 1, why));
    }
    assert_true(config_add_model(config, NULL, "/a b/c: d #.gguf"));
    assert_true(config_add_model(config, "- n", "~"));
}

static void written_yaml_is_read_back_the_same(void **state) {
    (void)state;
    struct config config;
    struct config copy;
    struct error error;
    struct buf first;
    struct buf second;
    config_init(&config);
    config_init(&copy);
    change_all(&config);
    buf_init(&first, 0);
    buf_init(&second, 0);
    config_write_yaml(&config, &first);
    assert_int_equal(config_read_text(&copy, "x", first.data, first.len, &error), STATUS_OK);
    config_write_yaml(&copy, &second);
    assert_string_equal(first.data, second.data);
    for (size_t i = 0; i < option_count; i++) {
        struct buf a, b;
        buf_init(&a, 0);
        buf_init(&b, 0);
        option_append_value(&option_table[i], &copy, &a);
        option_append_value(&option_table[i], &config, &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data ? a.data : "", b.data ? b.data : "", a.len);
        buf_release(&a);
        buf_release(&b);
    }
    assert_int_equal(copy.routing.retry.on_errors.count, 1);
    assert_int_equal(copy.discovery.expected_workers.count, 1);
    assert_string_equal(copy.discovery.expected_workers.items[0], config.discovery.expected_workers.items[0]);
    assert_int_equal(copy.balancing.weights.count, 1);
    assert_string_equal(copy.balancing.weights.rows[0].pattern, "- gpu.*: #");
    assert_int_equal(copy.balancing.weights.rows[0].thousandths, 125);
    assert_int_equal(copy.model_count, 2);
    assert_string_equal(copy.models[0].path, config.models[0].path);
    assert_null(copy.models[0].name);
    assert_string_equal(copy.models[1].name, "- n");
    assert_string_equal(copy.models[1].path, "~");
    buf_release(&first);
    buf_release(&second);
    config_release(&config);
    config_release(&copy);
}

static void an_option_is_written_as_a_flag_that_is_read_back(void **state) {
    (void)state;
    static const struct {
        const char *path, *value, *flag;
    } rows[] = {
        {"cluster.worker.threads", "7", "--threads=7"},
        {"cluster.worker.offload_kqv", "false", "--offload-kqv=false"},
        {"cluster.worker.load_mode", "mmap_mlock", "--load-mode=mmap_mlock"},
        {"cluster.worker.devices", "CUDA1,CUDA0", "--devices=CUDA1,CUDA0"},
        {"cluster.worker.devices", "", "--devices="},
        {"cluster.worker.tensor_split", "1,1,0.25", "--tensor-split=1.000,1.000,0.250"},
        {"cluster.worker.tensor_split", "", "--tensor-split="},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct option *option = option_find_path(rows[i].path);
        struct config config, copy;
        struct error error;
        struct buf flag, again;
        char why[OPTION_WHY_MAX];
        config_init(&config);
        config_init(&copy);
        buf_init(&flag, 0);
        buf_init(&again, 0);
        assert_true(option_store(option, &config, rows[i].value, strlen(rows[i].value), why));
        config_write_flag(&config, rows[i].path, &flag);
        assert_string_equal(flag.data, rows[i].flag);
        char *argv[] = {flag.data};
        assert_int_equal(config_read_flags(&copy, 1, argv, &error), STATUS_OK);
        config_write_flag(&copy, rows[i].path, &again);
        assert_string_equal(again.data, rows[i].flag);
        buf_release(&flag);
        buf_release(&again);
        config_release(&config);
        config_release(&copy);
    }
}

static void the_example_holds_the_defaults(void **state) {
    (void)state;
    struct config config;
    struct error error;
    struct buf example;
    struct buf defaults;
    struct buf read;
    buf_init(&example, 0);
    buf_init(&defaults, 0);
    buf_init(&read, 0);
    config_init(&config);
    config_write_yaml(&config, &defaults);
    config_write_example(&example);
    assert_int_equal(config_read_text(&config, "x", example.data, example.len, &error), STATUS_OK);
    config_write_yaml(&config, &read);
    assert_string_equal(read.data, defaults.data);
    for (const char *line = example.data; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 110);
    config_release(&config);
    buf_release(&example);
    buf_release(&defaults);
    buf_release(&read);
}

static void reference_and_help_name_every_option(void **state) {
    (void)state;
    struct buf page;
    struct buf help;
    buf_init(&page, 0);
    buf_init(&help, 0);
    config_write_reference(&page);
    config_write_flags(&help);
    for (size_t i = 0; i < option_count; i++) {
        char flag[64];
        snprintf(flag, sizeof flag, "`--%s`", option_table[i].flag);
        assert_non_null(strstr(page.data, flag));
        snprintf(flag, sizeof flag, "--%s", option_table[i].flag);
        assert_non_null(strstr(help.data, flag));
    }
    assert_non_null(strstr(help.data, "--config"));
    assert_non_null(strstr(help.data, "--model"));
    buf_release(&page);
    buf_release(&help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_yaml_is_read_back_the_same),
        cmocka_unit_test(an_option_is_written_as_a_flag_that_is_read_back),
        cmocka_unit_test(the_example_holds_the_defaults),
        cmocka_unit_test(reference_and_help_name_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
