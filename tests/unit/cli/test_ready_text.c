#include "cli/ready_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct buf write_text(const char *host, const struct cluster_view *view) {
    struct config config;
    struct buf text;
    config_init(&config);
    config_set_text(&config.controller.host, host);
    config.controller.port = 8081;
    buf_init(&text, 0);
    ready_text_write(&config, view, &text);
    config_release(&config);
    return text;
}

static void the_text_is_complete(void **state) {
    (void)state;
    const struct cluster_view view = {
        .workers_ready = 2, .models = {{"tiny-chat", 2, 0, 0}, {"big", 1, 1, 0}}, .model_count = 2};
    struct buf text = write_text("0.0.0.0", &view);
    assert_string_equal(
        text.data,
        "mlxd is ready: http://127.0.0.1:8081/v1 | models: tiny-chat, big (1 of 2 workers could not load it) "
        "| "
        "workers: 2 | try: curl -s http://127.0.0.1:8081/v1/chat/completions -H 'Content-Type: "
        "application/json' "
        "-d '{\"model\":\"tiny-chat\",\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of "
        "France?\"}]}'\n");
    buf_release(&text);
}

static void the_example_uses_a_model_that_works_and_survives_the_shell(void **state) {
    (void)state;
    const struct cluster_view view = {
        .workers_ready = 1, .models = {{"broken", 0, 1, 0}, {"it's \"x\"", 1, 0, 0}}, .model_count = 2};
    struct buf text = write_text("::1", &view);
    assert_non_null(strstr(text.data, "curl -s http://[::1]:8081/v1/"));
    assert_non_null(strstr(text.data, "-d '{\"model\":\"it'\\''s \\\"x\\\"\","));
    buf_release(&text);
}

static void a_model_that_is_loaded_on_demand_says_so_and_is_the_example_without_a_better_one(void **state) {
    (void)state;
    const struct cluster_view view = {
        .workers_ready = 1, .models = {{"broken", 0, 1, 0}, {"later", 0, 0, 1}}, .model_count = 2};
    struct buf text = write_text("127.0.0.1", &view);
    assert_non_null(strstr(text.data, ", later (loaded on demand) |"));
    assert_non_null(strstr(text.data, "{\"model\":\"later\","));
    buf_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_complete),
        cmocka_unit_test(the_example_uses_a_model_that_works_and_survives_the_shell),
        cmocka_unit_test(a_model_that_is_loaded_on_demand_says_so_and_is_the_example_without_a_better_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
