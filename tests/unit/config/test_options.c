/* The table itself: what its readers and writers rely on. */
#include "config/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void every_path_flag_and_letter_is_unique(void **state) {
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *a = &option_table[i];
        assert_ptr_equal(option_find_path(a->path), a);
        assert_ptr_equal(option_find_flag(a->flag, strlen(a->flag)), a);
        if (a->letter)
            assert_ptr_equal(option_find_flag(&a->letter, 1), a);
        for (size_t j = 0; j < i; j++)
            assert_true(option_table[j].offset != a->offset);
    }
}

static void every_option_lies_in_a_section_that_has_a_title(void **state) {
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const char *dot = strrchr(option_table[i].path, '.');
        size_t len = (size_t)(dot - option_table[i].path);
        size_t found = 0;
        for (size_t j = 0; j < option_section_count; j++)
            found += strlen(option_sections[j].path) == len &&
                     memcmp(option_sections[j].path, option_table[i].path, len) == 0;
        assert_int_equal(found, 1);
    }
}

static void defaults_are_what_the_rows_say(void **state) {
    (void)state;
    struct config config;
    config_init(&config);
    for (size_t i = 0; i < option_count; i++) {
        char scratch[32];
        if (option_table[i].kind != OPTION_LIST)
            assert_string_equal(option_value(&option_table[i], &config, scratch), option_table[i].initial);
    }
    assert_int_equal(config.controller.port, 8080);
    assert_int_equal(config.discovery.expected_workers.count, 0);
    assert_int_equal(config.nats.mode, NATS_EMBEDDED);
    assert_true(config.routing.retry.enabled);
    assert_int_equal(config.model_count, 0);
    config_release(&config);
}

static void every_retryable_error_is_retried_by_default(void **state) {
    (void)state;
    struct config config;
    config_init(&config);
    size_t retryable = 0;
    for (int i = 0; i < STATUS_COUNT; i++) {
        bool on = config_list_has(&config.routing.retry.on_errors, status_name((enum status)i));
        assert_int_equal(on, status_is_retryable((enum status)i));
        retryable += on;
    }
    assert_int_equal(config.routing.retry.on_errors.count, retryable);
    config_release(&config);
}

static void defaults_pass_the_check(void **state) {
    (void)state;
    struct config config;
    struct error error;
    config_init(&config);
    assert_int_equal(config_check(&config, &error), STATUS_OK);
    config_release(&config);
}

static void a_refused_value_leaves_the_old_one(void **state) {
    (void)state;
    struct config config;
    config_init(&config);
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        char before[32];
        char after[32];
        char why[OPTION_WHY_MAX] = "";
        const char *old = option_value(option, &config, before);
        assert_false(option_store(option, &config, "\x01", 1, why));
        assert_string_equal(option_value(option, &config, after), old);
        assert_memory_equal(why, "must ", 5);
    }
    config_release(&config);
}

static void shares_are_numbers_that_may_be_the_same(void **state) {
    (void)state;
    struct config config;
    char why[OPTION_WHY_MAX];
    const struct option *split = option_find_path("cluster.worker.tensor_split");
    const struct config_shares *shares = &config.worker.tensor_split;
    config_init(&config);
    assert_true(option_store(split, &config, "1,1,0.5", 7, why));
    assert_int_equal(shares->count, 3);
    assert_int_equal(shares->thousandths[1], 1000);
    assert_int_equal(shares->thousandths[2], 500);
    static const char *const wrong[] = {
        "1,x", "1,,1", ",", "-1", "1001", "0.0001", "1 , 1", "1;1", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (option_store(split, &config, wrong[i], strlen(wrong[i]), why))
            fail_msg("\"%s\" is taken", wrong[i]);
        assert_int_equal(shares->count, 3); /* what was there before */
    }
    assert_true(option_store(split, &config, "", 0, why));
    assert_int_equal(shares->count, 0);
    config_release(&config);
}

static void numbers_are_taken_up_to_both_ends_of_their_range(void **state) {
    (void)state;
    struct config config;
    config_init(&config);
    const struct option *layers = option_find_path("cluster.worker.gpu_layers");
    char why[OPTION_WHY_MAX];
    static const struct {
        const char *text;
        bool taken;
    } rows[] = {{"-1", true},
                {"-2", false},
                {"10000", true},
                {"10001", false},
                {"", false},
                {"1 ", false},
                {"+1", false},
                {"0x10", false},
                {"1.5", false},
                {"1e3", false},
                {"--1", false},
                {"-", false},
                {"1-", false},
                {"007", true},
                {"9223372036854775808", false},
                {" 1", false},
                {"000000000000000000000000000000001", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool taken = option_store(layers, &config, rows[i].text, strlen(rows[i].text), why);
        assert_int_equal(taken, rows[i].taken);
    }
    assert_false(option_store(layers, &config, "-1\0x", 4, why));
    config_release(&config);
}

static void weights_are_exact_to_a_thousandth(void **state) {
    (void)state;
    struct config config;
    config_init(&config);
    const struct option *weight = option_find_path("cluster.loadBalancing.weights");
    const struct config_weights *weights = &config.balancing.weights;
    static const struct {
        const char *text;
        int64_t thousandths; /* -1: refused */
    } rows[] = {{"a=1", 1000},          {"a=0", 0},         {"a=0.001", 1},   {"a=1.5", 1500},
                {"a=1000", 1000000},    {"a=1000.001", -1}, {"a=0.0001", -1}, {"a=.5", -1},
                {"a=1.", -1},           {"a=", -1},         {"a=1.2.3", -1},  {"a=1e3", -1},
                {"a= 1", -1},           {"a=-1", -1},       {"a", -1},        {"=1", -1},
                {"a=999999999999", -1}, {"b=c=2.25", 2250}};
    char why[OPTION_WHY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool taken = option_store(weight, &config, rows[i].text, strlen(rows[i].text), why);
        assert_int_equal(taken, rows[i].thousandths >= 0);
        if (taken)
            assert_int_equal(weights->rows[weights->count - 1].thousandths, rows[i].thousandths);
    }
    assert_int_equal(weights->count, 2);
    assert_string_equal(weights->rows[1].pattern, "b=c");
    assert_true(option_store(weight, &config, "", 0, why));
    assert_int_equal(weights->count, 0);
    config_release(&config);
}

static void release_takes_null_and_zeroes(void **state) {
    (void)state;
    config_release(NULL);
    struct config config;
    config_init(&config);
    assert_true(config_add_model(&config, "a", "b"));
    config_release(&config);
    assert_null(config.log_level);
    assert_int_equal(config.model_count, 0);
    config_release(&config);
}

static void the_closest_word_is_close(void **state) {
    (void)state;
    static const char *const words[] = {"serve", "controller", "worker", "docs"};
    assert_string_equal(config_closest_word("controler", words, 4), "controller");
    assert_string_equal(config_closest_word("sevre", words, 4), "serve");
    assert_string_equal(config_closest_word("WORKER", words, 4), "worker");
    assert_null(config_closest_word("banana", words, 4));
    assert_null(config_closest_word("", words, 0));
}

static void word_distance_counts_edits(void **state) {
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        size_t distance;
    } rows[] = {{"", "", 0},
                {"a", "", 1},
                {"port", "prot", 1},
                {"port", "post", 1},
                {"port", "ports", 1},
                {"kitten", "sitting", 3},
                {"max_depth", "maxDepth", 0},
                {"ab", "ba", 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(word_distance(rows[i].a, rows[i].b), rows[i].distance);
        assert_int_equal(word_distance(rows[i].b, rows[i].a), rows[i].distance);
    }
    char huge[500];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_false(word_is_close(huge, word_distance(huge, "a")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_flag_and_letter_is_unique),
        cmocka_unit_test(every_option_lies_in_a_section_that_has_a_title),
        cmocka_unit_test(defaults_are_what_the_rows_say),
        cmocka_unit_test(every_retryable_error_is_retried_by_default),
        cmocka_unit_test(defaults_pass_the_check),
        cmocka_unit_test(a_refused_value_leaves_the_old_one),
        cmocka_unit_test(shares_are_numbers_that_may_be_the_same),
        cmocka_unit_test(numbers_are_taken_up_to_both_ends_of_their_range),
        cmocka_unit_test(weights_are_exact_to_a_thousandth),
        cmocka_unit_test(release_takes_null_and_zeroes),
        cmocka_unit_test(the_closest_word_is_close),
        cmocka_unit_test(word_distance_counts_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
