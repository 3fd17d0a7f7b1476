#include "worker/model_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "config/config.h"

enum { PATH_CHARS = 128 };

/* In the order in which they are made; removed in the reverse one. */
static const char *const files[] = {"b-q8_0.gguf",   "a.GGUF",
                                    "notes.txt",     ".hidden.gguf",
                                    "gguf",          "split-00001-of-00002.gguf",
                                    "b-Q4_K_M.gguf", "split-00002-of-00002.gguf"};
static char folder[PATH_CHARS];
static char outside[PATH_CHARS];

static const char *in_folder(const char *name) {
    static char path[2 * PATH_CHARS];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_file(const char *path) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mlx-folder-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(outside, sizeof outside, "%.100s-outside.gguf", folder);
    make_file(outside);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        make_file(in_folder(files[i]));
    assert_int_equal(mkdir(in_folder("folder.gguf"), 0700), 0);
    assert_int_equal(symlink(outside, in_folder("out.gguf")), 0);
    assert_int_equal(symlink("/nowhere", in_folder("nowhere.gguf")), 0);
    assert_int_equal(symlink("a.GGUF", in_folder("in.gguf")), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    static const char *const others[] = {"out.gguf", "nowhere.gguf", "in.gguf"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        unlink(in_folder(files[i]));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        unlink(in_folder(others[i]));
    rmdir(in_folder("folder.gguf"));
    rmdir(folder);
    unlink(outside);
    return 0;
}

static void its_models_are_listed_in_order_and_links_out_of_it_are_not(void **state) {
    (void)state;
    static const char *const expected[] = {"a.GGUF", "b-Q4_K_M.gguf", "b-q8_0.gguf", "in.gguf",
                                           "split-00001-of-00002.gguf"};
    struct model_folder found;
    struct error error;
    assert_int_equal(model_folder_read(folder, &found, &error), STATUS_OK);
    assert_int_equal(found.count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_string_equal(found.paths[i], in_folder(expected[i]));
    model_folder_release(&found);
}

static void a_folder_without_models_or_none_at_all_is_refused(void **state) {
    (void)state;
    struct model_folder found;
    struct error error;
    assert_int_equal(model_folder_read("/nowhere", &found, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.message, "/nowhere: No such file or directory");
    model_folder_release(&found);
    assert_int_equal(model_folder_read(in_folder("folder.gguf"), &found, &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "there is no model (*.gguf) in this folder"));
    model_folder_release(&found);
}

static enum status find(struct config *config, const char *model_name, const char *model_path,
                        struct error *error) {
    config_init(config);
    config->worker.engine = ENGINE_KIND_FAKE;
    if (model_path)
        assert_true(config_add_model(config, model_name, model_path));
    config_set_text(&config->worker.model_dirs.items[0], folder);
    config->worker.model_dirs.count = 1;
    assert_int_equal(config_check(config, error), STATUS_OK);
    return cli_find_models(config, error);
}

static void two_quantizations_of_a_model_keep_them_in_their_names(void **state) {
    (void)state;
    static const char *const names[] = {"b", "a", "b-Q4_K_M", "b-q8_0", "in", "split"};
    struct config config;
    struct error error;
    assert_int_equal(find(&config, "b", "/nowhere/other.gguf", &error), STATUS_OK);
    assert_int_equal(config.model_count, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_string_equal(config.models[i].name, names[i]);
        assert_int_equal(config.models[i].found, i > 0);
    }
    config_release(&config);
}

static void a_model_that_is_also_configured_is_there_once(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(find(&config, "mine", in_folder("a.GGUF"), &error), STATUS_OK);
    assert_int_equal(config.model_count, 5);
    assert_string_equal(config.models[0].name, "mine");
    config_release(&config);
}

static void two_models_of_one_name_are_refused_with_both_paths(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(find(&config, "b-q8_0", "/nowhere/other.gguf", &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "/nowhere/other.gguf"));
    assert_non_null(strstr(error.message, "b-q8_0.gguf"));
    config_release(&config);
}

static void what_was_found_is_not_written_for_children_who_look_themselves(void **state) {
    (void)state;
    struct config config, copy;
    struct error error;
    struct buf text;
    assert_int_equal(find(&config, "mine", "/nowhere/other.gguf", &error), STATUS_OK);
    buf_init(&text, 0);
    config_write_yaml(&config, &text);
    config_init(&copy);
    assert_int_equal(config_read_text(&copy, "x", text.data, text.len, &error), STATUS_OK);
    assert_int_equal(copy.model_count, 1);
    assert_string_equal(copy.worker.model_dirs.items[0], folder);
    buf_release(&text);
    config_release(&copy);
    config_release(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_models_are_listed_in_order_and_links_out_of_it_are_not),
        cmocka_unit_test(a_folder_without_models_or_none_at_all_is_refused),
        cmocka_unit_test(two_quantizations_of_a_model_keep_them_in_their_names),
        cmocka_unit_test(a_model_that_is_also_configured_is_there_once),
        cmocka_unit_test(two_models_of_one_name_are_refused_with_both_paths),
        cmocka_unit_test(what_was_found_is_not_written_for_children_who_look_themselves),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
