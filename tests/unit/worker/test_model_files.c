/* A worker whose model files come, go and change. */
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

#include "base/clock.h"
#include "worker_rig.h"

/* A folder that is looked at often. */
static char folder[] = "/tmp/mlx-models-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *content) {
    char partial[64];
    snprintf(partial, sizeof partial, "%s", in_folder("partial"));
    FILE *file = fopen(partial, "w");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(partial, in_folder(name)), 0);
}

static int setup_folder(void **state) {
    worker_rig_setup(state);
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    w.harness.config.worker.model_scan_interval_ms = 5;
    w.harness.config.worker.model_dirs.items[0] = strdup(folder);
    w.harness.config.worker.model_dirs.count = 1;
    return 0;
}

static int teardown_folder(void **state) {
    worker_rig_teardown(state);
    unlink(in_folder("new-Q8_0.gguf"));
    unlink(in_folder("fake-Q8_0.gguf"));
    return rmdir(folder);
}

static bool has_models(void *arg) {
    return info_now().model_count == *(size_t *)arg;
}

static void wait_models(size_t count) {
    harness_wait(&w.harness, has_models, &count);
}

static void a_new_file_is_served_and_with_the_file_the_model_goes(void **state) {
    (void)state;
    begin();
    wait_state(0, MODEL_READY);
    write_file("new-Q8_0.gguf", "a model");
    wait_models(2);
    assert_string_equal(model_now(1).name, "new");
    assert_int_equal(model_now(1).state, MODEL_UNLOADED);
    send_text(0, "new", "[reply 3]");
    harness_wait_ends(&w.harness, 1);
    check_text(0, "new", "[reply 3]");
    assert_int_equal(gate_engines(), 2);
    unlink(in_folder("new-Q8_0.gguf"));
    wait_models(1);
    assert_int_equal(gate_engines(), 1);
    assert_string_equal(model_now(0).name, "fake");
    assert_int_equal(info_now().load.queue.enqueued, 1);
}

static void a_new_file_whose_short_name_is_taken_is_known_by_its_long_one(void **state) {
    (void)state;
    begin();
    write_file("fake-Q8_0.gguf", "a model");
    wait_models(2);
    assert_string_equal(model_now(1).name, "fake-Q8_0");
}

static bool is_refused(void *arg) {
    int index = *(int *)arg;
    if (w.harness.seen[index].ended == 0)
        return false;
    assert_int_equal(w.harness.seen[index].status, STATUS_MODEL_NOT_LOADED);
    return true;
}

static bool takes_no_jobs(void *arg) {
    (void)arg;
    struct model_info model = model_now(1);
    return model.state == MODEL_LOADING && !model.on_demand;
}

static void jobs_go_on_when_the_file_of_their_model_goes_and_no_others_come_in(void **state) {
    (void)state;
    begin();
    wait_state(0, MODEL_READY);
    write_file("new-Q8_0.gguf", "a model");
    wait_models(2);
    gate_close();
    send_text(0, "new", "[reply 3]");
    wait_state(1, MODEL_LOADING);
    unlink(in_folder("new-Q8_0.gguf"));
    harness_wait(&w.harness, takes_no_jobs, NULL);
    send_text(1, "new", "[reply 3]");
    int index = 1;
    harness_wait(&w.harness, is_refused, &index);
    gate_open();
    harness_wait_ends(&w.harness, 2);
    check_text(0, "new", "[reply 3]");
    wait_models(1);
}

static bool is_loaded_again(void *arg) {
    (void)arg;
    struct model_info model = model_now(1);
    return model.loads == 2 && model.state == MODEL_READY;
}

static void a_changed_file_is_loaded_again(void **state) {
    (void)state;
    begin();
    write_file("new-Q8_0.gguf", "a model");
    wait_models(2);
    send_text(0, "new", "[reply 3]");
    harness_wait_ends(&w.harness, 1);
    write_file("new-Q8_0.gguf", "another model");
    harness_wait(&w.harness, is_loaded_again, NULL);
    assert_int_equal(model_now(1).unloads, 1);
    assert_int_equal(info_now().model_count, 2);
}

static bool is_in(enum model_state state) {
    struct worker_info info = info_now();
    return info.model_count == 2 && info.models[1].state == state;
}

static bool new_is_ready(void *arg) {
    (void)arg;
    return is_in(MODEL_READY);
}

static bool new_has_failed(void *arg) {
    (void)arg;
    return is_in(MODEL_FAILED);
}

static void repair_new(void) {
    gate_fail_loads(in_folder("new-Q8_0.gguf"));
    begin();
    write_file("new-Q8_0.gguf", "half a model");
    harness_wait(&w.harness, new_has_failed, NULL);
    gate_fail_loads(NULL);
    write_file("new-Q8_0.gguf", "the whole model");
    harness_wait(&w.harness, new_is_ready, NULL);
}

static void a_repaired_file_is_loaded_where_nothing_is_loaded_on_demand(void **state) {
    (void)state;
    w.harness.config.worker.load_on_demand = false;
    repair_new();
}

static void a_repaired_file_of_a_pinned_model_is_loaded(void **state) {
    (void)state;
    w.harness.config.worker.pre_warming.models.items[0] = strdup("new");
    w.harness.config.worker.pre_warming.models.count = 1;
    repair_new();
}

static bool is_over(void *arg) {
    return clock_ms() >= *(const int64_t *)arg;
}

/* For many looks the folder can be listed and nothing in it be looked at, as when a file system is away. Root
 * may always look, so the test is somebody else meanwhile. */
static void models_stay_while_their_files_cannot_be_looked_at(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip();
    begin();
    write_file("new-Q8_0.gguf", "a model");
    wait_models(2);
    assert_int_equal(chmod(folder, 0444), 0);
    assert_int_equal(seteuid(65534), 0);
    int64_t end_ms = clock_ms() + 200;
    harness_wait(&w.harness, is_over, &end_ms);
    size_t count = info_now().model_count;
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(count, 2);
    assert_false(info_now().models[1].state == MODEL_FAILED);
}

static void a_file_that_comes_during_a_drain_is_served_after_it(void **state) {
    (void)state;
    begin();
    wait_state(0, MODEL_READY);
    worker_drain(w.worker, 1000, NULL, NULL);
    write_file("new-Q8_0.gguf", "a model");
    int64_t end_ms = clock_ms() + 100;
    harness_wait(&w.harness, is_over, &end_ms);
    assert_int_equal(info_now().model_count, 1);
    assert_true(worker_resume(w.worker));
    wait_models(2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_folder, teardown_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_new_file_is_served_and_with_the_file_the_model_goes),
        TEST(a_new_file_whose_short_name_is_taken_is_known_by_its_long_one),
        TEST(jobs_go_on_when_the_file_of_their_model_goes_and_no_others_come_in),
        TEST(a_changed_file_is_loaded_again),
        TEST(a_repaired_file_is_loaded_where_nothing_is_loaded_on_demand),
        TEST(a_repaired_file_of_a_pinned_model_is_loaded),
        TEST(models_stay_while_their_files_cannot_be_looked_at),
        TEST(a_file_that_comes_during_a_drain_is_served_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
