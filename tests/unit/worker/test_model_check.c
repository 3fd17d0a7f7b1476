/* The child is a shell script that stands for `mlxd load-model`. */
#include "worker/model_check.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "script.h"

#define MODEL MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf"

static struct {
    struct config config;
    struct error error;
    char script[SCRIPT_PATH_MAX];
} t;

static int setup(void **state) {
    (void)state;
    t.error = (struct error){.status = STATUS_OK};
    config_init(&t.config);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    config_release(&t.config);
    return 0;
}

static enum status check_with(const char *script, const char *path, bool (*is_stopping)(void *)) {
    script_write(t.script, script);
    const struct model_check check = {
        .config = &t.config, .program = t.script, .path = path, .is_stopping = is_stopping};
    enum status status = model_check_run(&check, &t.error);
    unlink(t.script);
    return status;
}

static void a_child_that_ends_well_passes_the_model(void **state) {
    (void)state;
    assert_int_equal(check_with("echo fine", MODEL, NULL), STATUS_OK);
}

static void the_child_gets_the_path_and_what_matters_of_the_options(void **state) {
    (void)state;
    t.config.worker.threads = 3;
    t.config.worker.gpu_layers = 5;
    t.config.worker.cache_type_v = CACHE_KIND_Q8_0;
    t.config.worker.load_mode = LOAD_MODE_KIND_MMAP;
    assert_int_equal(check_with("shift 2; echo \"$@\"; exit 1", MODEL, NULL), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message,
                        "--threads=3 --threads-batch=0 --gpu-layers=5 --devices= --split-mode=layer "
                        "--tensor-split= --main-gpu=0 --offload-kqv=true --cache-type-k=f16 "
                        "--cache-type-v=q8_0 --flash-attention=auto --load-mode=mmap");
    assert_int_equal(check_with("echo $1 $2; exit 1", MODEL, NULL), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "load-model " MODEL);
}

static void the_last_line_is_the_reason_of_a_failure(void **state) {
    (void)state;
    assert_int_equal(check_with("echo first; echo the reason >&2; echo; exit 1", MODEL, NULL),
                     STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "the reason");
    assert_int_equal(check_with("exit 3", MODEL, NULL), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "loading it failed without a reason");
}

static void a_crash_is_told_with_its_signal_and_last_words(void **state) {
    (void)state;
    assert_int_equal(check_with("kill -SEGV $$", MODEL, NULL), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "loading it crashed (signal 11, Segmentation fault)");
    assert_int_equal(check_with("echo 'ASSERT failed' >&2; kill -ABRT $$", MODEL, NULL),
                     STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "loading it crashed (signal 6, Aborted): ASSERT failed");
}

static void much_output_is_read_and_its_end_kept(void **state) {
    (void)state;
    assert_int_equal(
        check_with("i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; i=$((i+1)); done; exit 1", MODEL, NULL),
        STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "line 19999");
}

static void a_child_that_hangs_is_killed_after_the_time_limit(void **state) {
    (void)state;
    t.config.worker.model_check_timeout_ms = 100;
    int64_t began_ms = clock_ms();
    assert_int_equal(check_with("exec sleep 60", MODEL, NULL), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "loading it took longer than model_check_timeout_ms, 100");
    /* One that has closed its output is not taken for one that has ended. */
    assert_int_equal(check_with("exec >/dev/null 2>&1 sleep 60", MODEL, NULL), STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(t.error.message, "took longer"));
    assert_true(clock_ms() - began_ms < 20000);
}

static bool stops(void *arg) {
    (void)arg;
    return true;
}

static void a_worker_that_stops_does_not_wait_for_the_child(void **state) {
    (void)state;
    assert_int_equal(check_with("exec sleep 60", MODEL, stops), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "the load was aborted");
}

static void a_broken_header_is_refused_without_a_child(void **state) {
    (void)state;
    assert_int_equal(check_with("exit 0", MLX_SOURCE_DIR "/models/tiny-chat.md", NULL),
                     STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(t.error.message, "not a GGUF file: it does not begin with GGUF");
}

static void with_header_the_child_is_left_out(void **state) {
    (void)state;
    t.config.worker.model_check = MODEL_CHECK_HEADER;
    assert_int_equal(check_with("exit 1", MODEL, NULL), STATUS_OK);
    assert_int_equal(check_with("exit 0", "/nowhere/x.gguf", NULL), STATUS_MODEL_LOAD_FAILED);
}

static void a_program_that_is_not_there_passes_nothing(void **state) {
    (void)state;
    const struct model_check check = {.config = &t.config, .program = "/nowhere/mlxd", .path = MODEL};
    assert_int_equal(model_check_run(&check, &t.error), STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(t.error.message, "No such file"));
}

/* Nobody can say how such a child ended. */
static void a_child_whose_end_cannot_be_known_passes_nothing(void **state) {
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    enum status status = check_with("sleep 0.2; kill -SEGV $$", MODEL, NULL);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(status, STATUS_MODEL_LOAD_FAILED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_child_that_ends_well_passes_the_model),
        TEST(the_child_gets_the_path_and_what_matters_of_the_options),
        TEST(the_last_line_is_the_reason_of_a_failure),
        TEST(a_crash_is_told_with_its_signal_and_last_words),
        TEST(much_output_is_read_and_its_end_kept),
        TEST(a_child_that_hangs_is_killed_after_the_time_limit),
        TEST(a_worker_that_stops_does_not_wait_for_the_child),
        TEST(a_broken_header_is_refused_without_a_child),
        TEST(with_header_the_child_is_left_out),
        TEST(a_program_that_is_not_there_passes_nothing),
        TEST(a_child_whose_end_cannot_be_known_passes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
