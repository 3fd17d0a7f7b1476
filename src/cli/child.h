/* One child process of the supervisor: started by fork and exec, in a process group of its own (so that
 * Ctrl-C reaches the supervisor alone, which then stops the children in order), and killed by the kernel when
 * the supervisor dies. For a process with one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/error.h"

enum { CHILD_ARGS_MAX = 8, CHILD_TEXT_MAX = 512 };

struct child_command {
    const char *program;              /* a path, or a name to be found in PATH */
    const char *args[CHILD_ARGS_MAX]; /* argv, ends with NULL */
    const char *log_path;             /* where stdout and stderr go; NULL: both to our stderr */
    const char *variable;             /* of its environment, with this value; NULL: none is added */
    const char *value;
};

/* Returns the pid, or -1 and START_FAILED when the program cannot be run. */
pid_t child_start(const struct child_command *command, struct error *error);
/* Whether it has ended; then `*how` is its wait status. Never waits. */
MUST_USE bool child_has_ended(pid_t pid, int *how);
/* "exit code 3", "signal 9 (Killed)". */
void child_describe_end(int how, char *out, size_t size);
