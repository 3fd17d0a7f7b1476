#include "cli/child.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"

static int run_to_end(const struct child_command *command) {
    struct error error;
    int how = -1;
    pid_t pid = child_start(command, &error);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return how;
}

static struct child_command shell(const char *script) {
    return (struct child_command){.program = "sh", .args = {"sh", "-c", script}};
}

static void a_program_that_is_not_there_is_told_at_once(void **state) {
    (void)state;
    struct error error;
    const struct child_command command = {.program = "/nonexistent/x", .args = {"x"}};
    assert_int_equal(child_start(&command, &error), -1);
    assert_int_equal(error.status, STATUS_START_FAILED);
    assert_string_equal(error.message, "/nonexistent/x cannot be started: No such file or directory");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
}

static void the_end_is_described(void **state) {
    (void)state;
    char text[64];
    struct child_command command = shell("exit 3");
    child_describe_end(run_to_end(&command), text, sizeof text);
    assert_string_equal(text, "exit code 3");
    command = shell("kill -9 $$");
    child_describe_end(run_to_end(&command), text, sizeof text);
    assert_string_equal(text, "signal 9 (Killed)");
}

static void has_ended_never_waits_and_tells_once(void **state) {
    (void)state;
    struct error error;
    const struct child_command command = shell("exec sleep 60");
    pid_t pid = child_start(&command, &error);
    int how;
    assert_true(pid > 0);
    assert_false(child_has_ended(pid, &how));
    kill(pid, SIGTERM);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(child_has_ended(pid, &how));
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGTERM);
    assert_false(child_has_ended(pid, &how));
}

static void a_child_inherits_no_signal_state(void **state) {
    (void)state;
    sigset_t all;
    sigset_t old;
    const struct child_command blocked = {.program = "grep",
                                          .args = {"grep", "-q", "^SigBlk:.0*$", "/proc/self/status"}};
    /* 32 and 33 belong to the C library, which lets nobody change them; make leaves them ignored. */
    const struct child_command ignored = {
        .program = "grep", .args = {"grep", "-qE", "^SigIgn:.0{7}[01][08]0{7}$", "/proc/self/status"}};
    signal(SIGTERM, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    int how_blocked = run_to_end(&blocked);
    int how_ignored = run_to_end(&ignored);
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGTERM, SIG_DFL);
    assert_int_equal(how_blocked, 0);
    assert_int_equal(how_ignored, 0);
}

static void a_child_inherits_no_descriptors_and_leads_its_group(void **state) {
    (void)state;
    int fds[2];
    char script[256];
    assert_int_equal(pipe(fds), 0); /* not close-on-exec */
    snprintf(script, sizeof script,
             "[ ! -e /proc/self/fd/%d ] || exit 1; "
             "[ \"$(readlink /proc/$$/fd/0)\" = /dev/null ] || exit 2; "
             "[ \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ ] || exit 3",
             fds[1]);
    struct child_command command = shell(script);
    assert_int_equal(run_to_end(&command), 0);
    close(fds[0]);
    close(fds[1]);
}

static void output_goes_to_the_log_and_the_error_file_is_named(void **state) {
    (void)state;
    char path[] = "/tmp/mlx-child-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct child_command command = shell("echo out; echo err >&2; echo $MLXD_ERROR_FILE");
    command.log_path = path;
    command.variable = CLI_ERROR_FILE_VARIABLE;
    command.value = "/some/where";
    assert_int_equal(run_to_end(&command), 0);
    char text[64] = "";
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_string_equal(text, "out\nerr\n/some/where\n");
    close(fd);
    unlink(path);
}

/* A process in between starts a child, tells its pid and is killed. */
static void a_child_dies_with_its_parent(void **state) {
    (void)state;
    int told[2];
    int alive[2];
    assert_int_equal(pipe(told), 0);
    assert_int_equal(pipe(alive), 0);
    pid_t between = fork();
    assert_true(between >= 0);
    if (between == 0) {
        struct error error;
        close(alive[0]);
        /* The grandchild holds the pipe by its stderr alone, which is passed on. */
        dup2(alive[1], STDERR_FILENO);
        close(alive[1]);
        const struct child_command command = shell("exec sleep 60");
        pid_t pid = child_start(&command, &error);
        (void)!write(told[1], &pid, sizeof pid);
        pause();
    }
    close(alive[1]);
    pid_t pid = 0;
    assert_int_equal(read(told[0], &pid, sizeof pid), sizeof pid);
    assert_true(pid > 0);
    kill(between, SIGKILL);
    waitpid(between, NULL, 0);
    struct pollfd poller = {.fd = alive[0], .events = POLLIN};
    assert_int_equal(poll(&poller, 1, 5000), 1); /* its last holder is gone */
    assert_true(poller.revents & POLLHUP);
    close(told[0]);
    close(told[1]);
    close(alive[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_that_is_not_there_is_told_at_once),
        cmocka_unit_test(the_end_is_described),
        cmocka_unit_test(has_ended_never_waits_and_tells_once),
        cmocka_unit_test(a_child_inherits_no_signal_state),
        cmocka_unit_test(a_child_inherits_no_descriptors_and_leads_its_group),
        cmocka_unit_test(output_goes_to_the_log_and_the_error_file_is_named),
        cmocka_unit_test(a_child_dies_with_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
