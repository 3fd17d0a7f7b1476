#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

enum { EXIT_NOT_STARTED = 127 };

/* A handler of the supervisor must never run in the child: it would write into pipes that both share. All
 * signals are blocked across the fork, and unblocked here where nothing is handled any more. */
static void reset_signals(void) {
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool redirect(const char *log_path) {
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0)
        return false;
    if (log_path) {
        int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (log < 0 || dup2(log, STDERR_FILENO) < 0)
            return false;
    }
    return dup2(STDERR_FILENO, STDOUT_FILENO) >= 0;
}

static void become(const struct child_command *command, pid_t parent, int failed_fd) {
    /* The parent may have died before prctl: then nobody would ever send the signal. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(EXIT_NOT_STARTED);
    setpgid(0, 0);
    reset_signals();
    if (command->variable)
        setenv(command->variable, command->value, 1);
    if (redirect(command->log_path)) {
        close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
        char *argv[CHILD_ARGS_MAX + 1] = {NULL};
        for (size_t i = 0; i < CHILD_ARGS_MAX && command->args[i]; i++)
            argv[i] = strdup(command->args[i]);
        execvp(command->program, argv);
    }
    int why = errno;
    (void)!write(failed_fd, &why, sizeof why);
    _exit(EXIT_NOT_STARTED);
}

/* The child writes errno into the pipe when exec fails; a successful exec closes it. */
static int read_failure(int fd) {
    int why = 0;
    ssize_t got;
    do
        got = read(fd, &why, sizeof why);
    while (got < 0 && errno == EINTR);
    return got == sizeof why ? why : 0;
}

static pid_t fork_blocked(void) {
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &old, NULL);
    return pid;
}

pid_t child_start(const struct child_command *command, struct error *error) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        error_set(error, STATUS_START_FAILED, NULL, "no pipe for a child process: %s", strerror(errno));
        return -1;
    }
    pid_t parent = getpid();
    pid_t pid = fork_blocked();
    if (pid == 0)
        become(command, parent, fds[1]);
    int why = pid < 0 ? errno : 0;
    close(fds[1]);
    if (pid > 0)
        why = read_failure(fds[0]);
    close(fds[0]);
    if (!why)
        return pid;
    if (pid > 0)
        waitpid(pid, NULL, 0);
    error_set(error, STATUS_START_FAILED, NULL, "%s cannot be started: %s", command->program, strerror(why));
    return -1;
}

bool child_has_ended(pid_t pid, int *how) {
    return waitpid(pid, how, WNOHANG) == pid;
}

void child_describe_end(int how, char *out, size_t size) {
    if (WIFSIGNALED(how))
        snprintf(out, size, "signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)));
    else
        snprintf(out, size, "exit code %d", WEXITSTATUS(how));
}
