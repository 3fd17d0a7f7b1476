#include "cli/cluster_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MODEL(name, state) "{\"name\":\"" name "\",\"state\":\"" state "\"}"
#define WORKER(id, status, models) \
    "{\"workerId\":\"" id "\",\"status\":\"" status "\",\"models\":[" models "]}"

static struct config config;

static int make_config(void **state) {
    (void)state;
    config_init(&config);
    config.serve.workers = 2;
    return config_add_model(&config, "a", "a.gguf") && config_add_model(&config, "b", "b.gguf") ? 0 : -1;
}

static int release_config(void **state) {
    (void)state;
    config_release(&config);
    return 0;
}

static struct cluster_view read_view(const char *json) {
    struct cluster_view view;
    assert_true(cluster_view_read(json, strlen(json), "w", &config, &view));
    return view;
}

static void a_worker_is_ready_when_no_model_is_on_its_way_to_be_loaded(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int ready;
        int loading;
    } rows[] = {
        {"[" WORKER("w-1", "online", MODEL("a", "ready") "," MODEL("b", "ready")) "]", 1, 0},
        {"[" WORKER("w-1", "degraded", MODEL("a", "ready") "," MODEL("b", "failed")) "]", 1, 0},
        {"[" WORKER("w-1", "online", MODEL("a", "ready") "," MODEL("b", "loading")) "]", 0, 1},
        {"[" WORKER("w-1", "online", MODEL("a", "ready") "," MODEL("b", "waiting")) "]", 0, 1},
        {"[" WORKER("w-1", "online", MODEL("a", "ready") "," MODEL("b", "unloaded")) "]", 1, 0},
        {"[" WORKER("w-1", "online", MODEL("a", "ready")) "]", 0, 1},
        {"[" WORKER("w-1", "warming", MODEL("a", "loading") "," MODEL("b", "loading")) "]", 0, 1},
        {"[" WORKER("w-1", "suspect", MODEL("a", "ready") "," MODEL("b", "ready")) "]", 0, 0},
        {"[" WORKER("w-1", "offline", MODEL("a", "ready") "," MODEL("b", "ready")) "]", 0, 0},
        {"[]", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster_view view = read_view(rows[i].json);
        assert_int_equal(view.workers_ready, rows[i].ready);
        assert_int_equal(view.workers_loading, rows[i].loading);
    }
}

static void workers_of_others_do_not_count(void **state) {
    (void)state;
    static const char *const ids[] = {"w-0", "w-3", "w-", "w", "x-1", "w-1x", "ww-1", ""};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        char json[256];
        snprintf(json, sizeof json,
                 "[{\"status\":\"online\",\"models\":[" MODEL("a", "ready") "," MODEL(
                     "b", "ready") "],\"workerId\":\"%s\"}]",
                 ids[i]);
        assert_int_equal(read_view(json).workers_ready, 0);
    }
}

static void models_are_counted_in_the_order_of_the_configuration(void **state) {
    (void)state;
    struct cluster_view view =
        read_view("[" WORKER("w-1", "online", MODEL("b", "ready") "," MODEL("a", "failed")) "," WORKER(
            "w-2", "online", MODEL("b", "ready") "," MODEL("a", "ready") "," MODEL("c", "ready")) "]");
    assert_int_equal(view.model_count, 2);
    assert_string_equal(view.models[0].name, "a");
    assert_int_equal(view.models[0].workers_ready, 1);
    assert_int_equal(view.models[0].workers_failed, 1);
    assert_int_equal(view.models[1].workers_ready, 2);
    assert_int_equal(view.workers_ready, 2);
}

static void what_is_no_list_of_workers_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{", "{}", "null", "[", "[] x"};
    struct cluster_view view;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(cluster_view_read(texts[i], strlen(texts[i]), "w", &config, &view));
    assert_int_equal(
        read_view("[null, 3, {}, {\"workerId\":7}, {\"workerId\":\"w-1\",\"models\":5}]").workers_ready, 0);
}

static void the_controllers_of_a_status_are_counted(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int64_t count;
    } rows[] = {{"{\"controllers\":[{\"id\":\"a\"},{\"id\":\"b\"}]}", 2},
                {"{\"controllers\":[]}", 0},
                {"{}", 0},
                {"[1,2]", 0},
                {"{\"controllers\":[", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(cluster_view_controllers(rows[i].json, strlen(rows[i].json)), rows[i].count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_is_ready_when_no_model_is_on_its_way_to_be_loaded),
        cmocka_unit_test(workers_of_others_do_not_count),
        cmocka_unit_test(models_are_counted_in_the_order_of_the_configuration),
        cmocka_unit_test(what_is_no_list_of_workers_is_refused),
        cmocka_unit_test(the_controllers_of_a_status_are_counted),
    };
    return cmocka_run_group_tests(tests, make_config, release_config);
}
