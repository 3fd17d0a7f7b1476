#include "worker/model_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static struct {
    char folder[32];
    char file[64];
    struct config config;
    struct loop *loop;
    struct model_scan *scan;
    int looks;
} s;

static void on_scan(void *arg) {
    (void)arg;
    s.looks++;
}

static int setup(void **state) {
    (void)state;
    memset(&s, 0, sizeof s);
    snprintf(s.folder, sizeof s.folder, "/tmp/mlx-scan-XXXXXX");
    assert_non_null(mkdtemp(s.folder));
    snprintf(s.file, sizeof s.file, "%s/m.gguf", s.folder);
    config_init(&s.config);
    s.config.worker.engine = ENGINE_KIND_FAKE;
    s.config.worker.model_scan_interval_ms = 5;
    s.config.worker.model_dirs.items[0] = strdup(s.folder);
    s.config.worker.model_dirs.count = 1;
    s.loop = loop_new();
    s.scan = model_scan_new(&s.config, s.loop, on_scan, NULL);
    assert_non_null(s.scan);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    model_scan_free(s.scan);
    loop_free(s.loop);
    config_release(&s.config);
    unlink(s.file);
    rmdir(s.folder);
    return 0;
}

/* `count` whole looks from now on: one that is under way may have seen what was before. */
static void wait_looks(int count) {
    int64_t end_ms = clock_ms() + 10000;
    for (int until = s.looks + count; s.looks < until;) {
        assert_true(clock_ms() < end_ms);
        loop_run_once(s.loop, 5);
    }
}

static void put(const char *content) {
    FILE *file = fopen(s.file, "a");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

static void a_file_settles_only_when_it_does_not_change_between_two_looks(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        put("more");
        wait_looks(1);
        const struct model_file *file = model_scan_find(s.scan, s.file);
        if (file)
            assert_false(file->settled && file->stamp.size == (i + 1) * 4);
    }
    wait_looks(2);
    assert_true(model_scan_find(s.scan, s.file)->settled);
    assert_true(model_scan_find(s.scan, s.file)->sound);
    put("more");
    wait_looks(1);
    wait_looks(2);
    assert_int_equal(model_scan_find(s.scan, s.file)->stamp.size, 20);
    assert_true(model_scan_find(s.scan, s.file)->settled);
}

static void a_file_whose_header_is_not_sound_is_told_so(void **state) {
    (void)state;
    s.config.worker.engine = ENGINE_KIND_LLAMA;
    put("no model");
    wait_looks(3);
    assert_true(model_scan_find(s.scan, s.file)->settled);
    assert_false(model_scan_find(s.scan, s.file)->sound);
}

static void a_folder_that_cannot_be_read_says_nothing_about_what_is_gone(void **state) {
    (void)state;
    wait_looks(1);
    assert_true(model_scan_is_complete(s.scan)); /* empty, but there */
    rmdir(s.folder);
    wait_looks(2);
    assert_false(model_scan_is_complete(s.scan));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_file_settles_only_when_it_does_not_change_between_two_looks),
        TEST(a_file_whose_header_is_not_sound_is_told_so),
        TEST(a_folder_that_cannot_be_read_says_nothing_about_what_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
