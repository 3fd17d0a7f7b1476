#include "cli/runtime_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char parent[] = "/tmp/mlx-runtime-XXXXXX";

static int make_parent(void **state) {
    (void)state;
    return mkdtemp(parent) ? 0 : -1;
}

/* Fails when a test left something behind. */
static int remove_parent(void **state) {
    (void)state;
    return rmdir(parent);
}

static struct runtime_dir make_dir(void) {
    struct runtime_dir dir;
    struct error error;
    assert_int_equal(runtime_dir_make(&dir, parent, &error), STATUS_OK);
    return dir;
}

static void write_text(const struct runtime_dir *dir, const char *name, const char *text) {
    struct buf buf;
    struct error error;
    buf_init(&buf, 0);
    buf_append_str(&buf, text);
    assert_int_equal(runtime_dir_write(dir, name, &buf, &error), STATUS_OK);
    buf_release(&buf);
}

static void only_the_owner_may_look_inside(void **state) {
    (void)state;
    struct runtime_dir dir = make_dir();
    struct stat st;
    char path[RUNTIME_PATH_MAX];
    assert_int_equal(stat(dir.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    write_text(&dir, "secret", "x");
    runtime_dir_path(&dir, "secret", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    runtime_dir_remove(&dir);
    assert_int_not_equal(stat(path, &st), 0);
}

static void removing_follows_no_link(void **state) {
    (void)state;
    struct runtime_dir dir = make_dir();
    char link_path[RUNTIME_PATH_MAX];
    char outside[128];
    snprintf(outside, sizeof outside, "%s/outside", parent);
    close(open(outside, O_CREAT | O_WRONLY, 0600));
    runtime_dir_path(&dir, "link", link_path);
    assert_int_equal(symlink(outside, link_path), 0);
    runtime_dir_remove(&dir);
    assert_int_equal(unlink(outside), 0);
}

static void a_folder_that_was_left_behind_is_removed_and_a_living_one_is_not(void **state) {
    (void)state;
    struct runtime_dir left = make_dir();
    struct runtime_dir living = make_dir();
    write_text(&left, "mlxd.yaml", "x");
    close(left.lock_fd); /* as the kernel does when its process dies */
    struct runtime_dir fresh = make_dir();
    assert_int_not_equal(access(left.path, F_OK), 0);
    assert_int_equal(access(living.path, F_OK), 0);
    runtime_dir_remove(&living);
    runtime_dir_remove(&fresh);
}

static void folders_of_others_are_left_alone(void **state) {
    (void)state;
    char unlocked[128];
    char other[128];
    snprintf(unlocked, sizeof unlocked, "%s/mlxd-abcdef", parent);
    snprintf(other, sizeof other, "%s/mlxd-something-else", parent);
    assert_int_equal(mkdir(unlocked, 0700), 0);
    assert_int_equal(mkdir(other, 0700), 0);
    struct runtime_dir dir = make_dir();
    runtime_dir_remove(&dir);
    assert_int_equal(rmdir(unlocked), 0);
    assert_int_equal(rmdir(other), 0);
}

static void a_parent_that_is_not_there_is_named(void **state) {
    (void)state;
    struct runtime_dir dir;
    struct error error;
    assert_int_equal(runtime_dir_make(&dir, "/nonexistent/x", &error), STATUS_START_FAILED);
    assert_non_null(strstr(error.message, "/nonexistent/x: No such file or directory"));
    runtime_dir_remove(&dir);
}

static void the_last_line_is_found(void **state) {
    (void)state;
    struct runtime_dir dir = make_dir();
    char line[64];
    static const char *const rows[][2] = {
        {"", ""}, {"\n\n", ""}, {"one", "one"}, {"one\ntwo\n", "two"}, {"one\ntwo\n\n  \n", "two"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_text(&dir, "log", rows[i][0]);
        runtime_dir_last_line(&dir, "log", line, sizeof line);
        assert_string_equal(line, rows[i][1]);
    }
    char *long_text = malloc(20001);
    assert_non_null(long_text);
    memset(long_text, 'a', 20000);
    memcpy(long_text + 19990, "\nlast line", 11);
    write_text(&dir, "log", long_text);
    free(long_text);
    runtime_dir_last_line(&dir, "log", line, sizeof line);
    assert_string_equal(line, "last line");
    runtime_dir_last_line(&dir, "nothing", line, sizeof line);
    assert_string_equal(line, "");
    runtime_dir_remove(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_owner_may_look_inside),
        cmocka_unit_test(removing_follows_no_link),
        cmocka_unit_test(a_folder_that_was_left_behind_is_removed_and_a_living_one_is_not),
        cmocka_unit_test(folders_of_others_are_left_alone),
        cmocka_unit_test(a_parent_that_is_not_there_is_named),
        cmocka_unit_test(the_last_line_is_found),
    };
    return cmocka_run_group_tests(tests, make_parent, remove_parent);
}
