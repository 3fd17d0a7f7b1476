#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static enum status read_text(struct config *config, const char *text, struct error *error) {
    *error = (struct error){0};
    config_init(config);
    return config_read_text(config, "x.yaml", text, strlen(text), error);
}

static void every_kind_of_value_is_read(void **state) {
    (void)state;
    struct config config;
    struct error error;
    const char *text = "logging: {level: warn}\n"
                       "cluster:\n"
                       "  nats:\n"
                       "    mode: external\n"
                       "    url: 'nats://me:pw@host:4222'\n"
                       "  controller:\n"
                       "    port: 8081\n"
                       "    reuse_port: true\n"
                       "  requestRouting:\n"
                       "    timeoutMs: \"5000\"\n"
                       "    retry:\n"
                       "      enabled: false\n"
                       "  worker: # nothing but a comment\n"
                       "  models:\n"
                       "    - a/b.gguf\n"
                       "    - {name: small, path: c.gguf}\n";
    assert_int_equal(read_text(&config, text, &error), STATUS_OK);
    assert_string_equal(config.log_level, "warn");
    assert_int_equal(config.nats.mode, NATS_EXTERNAL);
    assert_string_equal(config.nats.url, "nats://me:pw@host:4222");
    assert_int_equal(config.controller.port, 8081);
    assert_true(config.controller.reuse_port);
    assert_int_equal(config.routing.timeout_ms, 5000);
    assert_false(config.routing.retry.enabled);
    assert_int_equal(config.routing.streaming_timeout_ms, 60000);
    assert_int_equal(config.model_count, 2);
    assert_string_equal(config.models[0].path, "a/b.gguf");
    assert_null(config.models[0].name);
    assert_string_equal(config.models[1].path, "c.gguf");
    assert_string_equal(config.models[1].name, "small");
    config_release(&config);
}

static void an_empty_file_changes_nothing(void **state) {
    (void)state;
    static const char *const texts[] = {"",           "\n", "# nothing\n",        "---\n",
                                        "cluster:\n", "{}", "cluster: {models: }"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct config config;
        struct error error;
        assert_int_equal(read_text(&config, texts[i], &error), STATUS_OK);
        assert_int_equal(config.controller.port, 8080);
        config_release(&config);
    }
}

#define BALANCING "cluster:\n  loadBalancing:\n"

static void weights_are_read_in_their_order_and_replace_those_before(void **state) {
    (void)state;
    struct config config;
    struct error error;
    assert_int_equal(read_text(&config,
                               BALANCING
                               "    strategy: weighted_random\n    weights:\n"
                               "      worker-1: 2\n      'gpu-*.example.com': 0.125\n      '*': 1000\n",
                               &error),
                     STATUS_OK);
    const struct config_weights *weights = &config.balancing.weights;
    assert_int_equal(weights->count, 3);
    assert_string_equal(weights->rows[0].pattern, "worker-1");
    assert_int_equal(weights->rows[0].thousandths, 2000);
    assert_string_equal(weights->rows[1].pattern, "gpu-*.example.com");
    assert_int_equal(weights->rows[1].thousandths, 125);
    assert_int_equal(weights->rows[2].thousandths, 1000000);
    static const char other[] = "cluster: {loadBalancing: {weights: {x: 1.5}}}";
    assert_int_equal(config_read_text(&config, "y", other, sizeof other - 1, &error), STATUS_OK);
    assert_int_equal(weights->count, 1);
    assert_int_equal(weights->rows[0].thousandths, 1500);
    config_release(&config);
}

static void a_list_is_read_in_each_of_its_forms_and_replaces_the_one_before(void **state) {
    (void)state;
    static const char *const texts[] = {
        "cluster: {discovery: {expected_workers: [a, b-*, a]}}",
        "cluster:\n  discovery:\n    expected_workers:\n      - a\n      - \"b-*\"\n",
        "cluster: {discovery: {expected_workers: \"a,b-*\"}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct config config;
        struct error error;
        assert_int_equal(read_text(&config, texts[i], &error), STATUS_OK);
        assert_int_equal(config.discovery.expected_workers.count, 2);
        assert_string_equal(config.discovery.expected_workers.items[0], "a");
        assert_string_equal(config.discovery.expected_workers.items[1], "b-*");
        static const char other[] = "cluster: {discovery: {expected_workers: [c]}}";
        assert_int_equal(config_read_text(&config, "y", other, sizeof other - 1, &error), STATUS_OK);
        assert_int_equal(config.discovery.expected_workers.count, 1);
        static const char none[] = "cluster: {discovery: {expected_workers: []}}";
        assert_int_equal(config_read_text(&config, "y", none, sizeof none - 1, &error), STATUS_OK);
        assert_int_equal(config.discovery.expected_workers.count, 0);
        config_release(&config);
    }
}

static void a_wrong_item_of_a_list_is_told_with_what_would_be_right(void **state) {
    (void)state;
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        {"cluster:\n  requestRouting:\n    retry:\n      retryOnErrors:\n        - WORKER_TIMEOUT\n        - "
         "OOPS\n",
         "x.yaml:6: cluster.requestRouting.retry.retryOnErrors: must be ENGINE_ERROR"},
        {"cluster: {requestRouting: {retry: {retryOnErrors: \"WORKER_TIMEOUT,OOPS\"}}}", "not \"OOPS\""},
        {"cluster: {discovery: {expected_workers: [\"\"]}}", "must not have an empty item"},
        {"cluster: {discovery: {expected_workers: [[a]]}}", "must not have an empty item"},
        {"cluster: {discovery: {expected_workers: {a: b}}}", "must be a list"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config config;
        struct error error;
        assert_int_equal(read_text(&config, rows[i].text, &error), STATUS_CONFIG_INVALID);
        if (!strstr(error.message, rows[i].wanted))
            fail_msg("\"%s\" is not in \"%s\"", rows[i].wanted, error.message);
        config_release(&config);
    }
}

static void a_list_is_bounded(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, "cluster: {discovery: {expected_workers: [w0");
    for (int i = 1; i <= CONFIG_LIST_MAX; i++)
        buf_printf(&text, ", w%d", i);
    buf_append_str(&text, "]}}");
    struct config config;
    struct error error;
    assert_int_equal(read_text(&config, text.data, &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "must not have more than 256 items"));
    config_release(&config);
    buf_release(&text);
}

static void weights_are_bounded(void **state) {
    (void)state;
    struct config config;
    struct error error;
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, BALANCING "    weights:\n");
    for (int i = 0; i < CONFIG_WEIGHTS_MAX; i++)
        buf_printf(&text, "      w%d: 1\n", i);
    assert_int_equal(read_text(&config, text.data, &error), STATUS_OK);
    assert_int_equal(config.balancing.weights.count, CONFIG_WEIGHTS_MAX);
    config_release(&config);
    buf_append_str(&text, "      more: 1\n");
    assert_int_equal(read_text(&config, text.data, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.message,
                        "x.yaml:260: cluster.loadBalancing.weights.more: must not be more than 256");
    config_release(&config);
    buf_release(&text);
}

#define CONTROLLER "cluster:\n  controller:\n"

static void a_mistake_is_told_with_line_key_and_what_would_be_right(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {CONTROLLER "    port: 80a\n",
         "x.yaml:3: cluster.controller.port: must be a whole number from 0 to 65535, not \"80a\""},
        {CONTROLLER "    port: 65536\n",
         "x.yaml:3: cluster.controller.port: must be a whole number from 0 to 65535, not \"65536\""},
        {CONTROLLER "    port:\n",
         "x.yaml:3: cluster.controller.port: has no value; leave the line out for the default, \"8080\""},
        {CONTROLLER "    port: [1]\n",
         "x.yaml:3: cluster.controller.port: must be a single value, not a list"},
        {CONTROLLER "    port: {a: b}\n",
         "x.yaml:3: cluster.controller.port: must be a single value, not a section"},
        {CONTROLLER "    reuse_port: yes\n",
         "x.yaml:3: cluster.controller.reuse_port: must be true or false, not \"yes\""},
        {CONTROLLER "    host: ''\n", "x.yaml:3: cluster.controller.host: must not be empty"},
        {CONTROLLER "    id: a.b\n",
         "x.yaml:3: cluster.controller.id: must consist of letters, digits, '_' and '-', not be \"a.b\""},
        {CONTROLLER "    id: \"a\\0b\"\n",
         "x.yaml:3: cluster.controller.id: must not hold control characters"},
        {CONTROLLER "    port: 1\n    host: x\n    port: 2\n",
         "x.yaml:5: cluster.controller.port: given twice; the first time in line 3"},
        {CONTROLLER "  controller: {}\n",
         "x.yaml:3: cluster.controller: given twice; the first time in line 2"},
        {"cluster:\n  controler:\n    port: 1\n",
         "x.yaml:2: cluster.controler: unknown key; did you mean \"controller\"?"},
        {"cluster:\n  request_routing: {}\n",
         "x.yaml:2: cluster.request_routing: unknown key; did you mean \"requestRouting\"?"},
        {"cluster:\n  model: []\n", "x.yaml:2: cluster.model: unknown key; did you mean \"models\"?"},
        {"port: 8080\n", "x.yaml:1: port: unknown key; did you mean cluster.controller.port?"},
        {"cluster:\n  banana: 1\n", "x.yaml:2: cluster.banana: unknown key"},
        {"cluster: 3\n", "x.yaml:1: cluster: must be a section with keys of its own"},
        {"- a\n", "x.yaml:1: must be a section with keys of its own"},
        {"cluster:\n\tworker: {}\n", "x.yaml:2: not valid YAML: indented with a tab; use spaces"},
        {"cluster: &a {}\n", "x.yaml:1: anchors (&), aliases (*) and tags (!) are not supported"},
        {"cluster: !!map {}\n", "x.yaml:1: anchors (&), aliases (*) and tags (!) are not supported"},
        {CONTROLLER "    <<: {port: 1}\n", "x.yaml:3: cluster.controller.<<: unknown key"},
        {"{}\n---\n{}\n", "x.yaml:2: a second document begins; one is expected"},
        {"? {a: b}\n: c\n", "x.yaml:1: a key must be a name"},
        {"logging: {level: loud}\n",
         "x.yaml:1: logging.level: must be debug, info, warn or error, not \"loud\""},
        {BALANCING "    strategy: fastest\n",
         "x.yaml:3: cluster.loadBalancing.strategy: must be round_robin, least_requests, weighted_random, "
         "skills_based, smart or prefix_aware, not \"fastest\""},
        {BALANCING "    weights: 3\n", "x.yaml:3: cluster.loadBalancing.weights: must be a section of lines "
                                       "like \"worker-1: 2.5\""},
        {BALANCING "    weights:\n      a: 1\n      a: 2\n",
         "x.yaml:5: cluster.loadBalancing.weights.a: given twice; the first time in line 4"},
        {BALANCING "    weights:\n      a: -1\n",
         "x.yaml:4: cluster.loadBalancing.weights.a: must be a number from 0 to 1000 with at most 3 digits "
         "behind the point, not \"-1\""},
        {BALANCING "    weights:\n      a: [1]\n",
         "x.yaml:4: cluster.loadBalancing.weights.a: must be a number from 0 to 1000 with at most 3 digits "
         "behind the point, not \"\""},
        {"cluster:\n  models: a.gguf\n",
         "x.yaml:2: cluster.models: must be a list: one \"- path\" a line, or \"- {name: ..., path: ...}\""},
        {"cluster:\n  models:\n    - {name: a}\n", "x.yaml:3: cluster.models: a model needs a \"path\""},
        {"cluster:\n  models:\n    - {nam: a}\n",
         "x.yaml:3: cluster.models: a model has the keys \"name\" and \"path\" only"},
        {"cluster:\n  models:\n    - {path: a, path: b}\n", "x.yaml:3: cluster.models: \"path\" given twice"},
        {"cluster:\n  models:\n    - [a]\n", "x.yaml:3: cluster.models: name and path must be texts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config config;
        struct error error;
        assert_int_equal(read_text(&config, rows[i].text, &error), STATUS_CONFIG_INVALID);
        assert_string_equal(error.message, rows[i].message);
        config_release(&config);
    }
}

static void broken_yaml_is_told_with_its_line(void **state) {
    (void)state;
    static const char *const texts[] = {
        "cluster:\n  nats: [\n", "cluster:\n  nats: 'a\n", "a: b: c\n", "%YAML 9.9\n---\n", "cluster: {",
        "x: \"\\q\"\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct config config;
        struct error error;
        assert_int_equal(read_text(&config, texts[i], &error), STATUS_CONFIG_INVALID);
        assert_memory_equal(error.message, "x.yaml:", 7);
        config_release(&config);
    }
}

static void nesting_that_means_nothing_ends_the_reading(void **state) {
    (void)state;
    struct config config;
    struct error error;
    char text[4096] = "cluster: {models: ";
    memset(text + strlen(text), '[', 2000);
    assert_int_equal(read_text(&config, text, &error), STATUS_CONFIG_INVALID);
    config_release(&config);
    memset(text, '[', 2000);
    text[0] = '{';
    assert_int_equal(read_text(&config, text, &error), STATUS_CONFIG_INVALID);
    config_release(&config);
}

static void a_file_over_one_mebibyte_is_refused(void **state) {
    (void)state;
    char *text = malloc((1 << 20) + 2);
    assert_non_null(text);
    memset(text, '\n', (1 << 20) + 1);
    text[(1 << 20) + 1] = '\0';
    struct config config;
    struct error error;
    assert_int_equal(read_text(&config, text, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.message, "x.yaml: larger than 1048576 bytes");
    config_release(&config);
    free(text);
}

static void the_list_of_models_is_bounded_and_replaces_the_one_before(void **state) {
    (void)state;
    struct config config;
    struct error error;
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, "cluster: {models: [a");
    for (int i = 0; i < CONFIG_MODELS_MAX - 1; i++)
        buf_append_str(&text, ",b");
    size_t len = text.len;
    buf_append_str(&text, "]}");
    assert_int_equal(read_text(&config, text.data, &error), STATUS_OK);
    assert_int_equal(config.model_count, CONFIG_MODELS_MAX);
    assert_int_equal(config_read_text(&config, "y", "cluster: {models: [z]}", 22, &error), STATUS_OK);
    assert_int_equal(config.model_count, 1);
    assert_string_equal(config.models[0].path, "z");
    config_release(&config);
    text.len = len;
    buf_append_str(&text, ",c]}");
    assert_int_equal(read_text(&config, text.data, &error), STATUS_CONFIG_INVALID);
    assert_string_equal(error.message, "x.yaml:1: cluster.models: more than 32 models");
    config_release(&config);
    buf_release(&text);
}

static void a_file_is_read_from_disk(void **state) {
    (void)state;
    char path[] = "/tmp/mlx-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "cluster: {serve: {workers: 3}}", 30), 30);
    close(fd);
    struct config config;
    struct error error;
    config_init(&config);
    assert_int_equal(config_read_file(&config, path, &error), STATUS_OK);
    assert_int_equal(config.serve.workers, 3);
    unlink(path);
    assert_int_equal(config_read_file(&config, path, &error), STATUS_CONFIG_INVALID);
    assert_non_null(strstr(error.message, "cannot be read: No such file"));
    assert_int_equal(config_read_file(&config, "/", &error), STATUS_CONFIG_INVALID);
    config_release(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(an_empty_file_changes_nothing),
        cmocka_unit_test(weights_are_read_in_their_order_and_replace_those_before),
        cmocka_unit_test(a_list_is_read_in_each_of_its_forms_and_replaces_the_one_before),
        cmocka_unit_test(a_wrong_item_of_a_list_is_told_with_what_would_be_right),
        cmocka_unit_test(a_list_is_bounded),
        cmocka_unit_test(weights_are_bounded),
        cmocka_unit_test(a_mistake_is_told_with_line_key_and_what_would_be_right),
        cmocka_unit_test(broken_yaml_is_told_with_its_line),
        cmocka_unit_test(nesting_that_means_nothing_ends_the_reading),
        cmocka_unit_test(a_file_over_one_mebibyte_is_refused),
        cmocka_unit_test(the_list_of_models_is_bounded_and_replaces_the_one_before),
        cmocka_unit_test(a_file_is_read_from_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
