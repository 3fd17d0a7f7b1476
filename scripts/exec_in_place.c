/* A GNU make extension, for `make serve` only: $(exec-in-place COMMAND) replaces the make process by COMMAND.
 *
 * A recipe's command is a child of make. On Ctrl-C or SIGTERM make waits for the child and then dies of the
 * signal itself, so that the caller sees 130 or 143 although the server went down in order; and a SIGINT to
 * make's process alone never reaches the child. In make's place the server gets every signal and its exit
 * code counts. */
#include <gnumake.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

int plugin_is_GPL_compatible;
int exec_in_place_gmk_setup(void);

/* make raises its soft stack limit and restores it for its children, which a process in its place is not. */
static void restore_stack_limit(void) {
    struct rlimit limit;
    const rlim_t usual = 8u << 20;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > usual) {
        limit.rlim_cur = usual;
        (void)setrlimit(RLIMIT_STACK, &limit);
    }
}

static char *exec_in_place(const char *name, unsigned int argc, char **argv) {
    (void)name;
    (void)argc;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    restore_stack_limit();
    fflush(NULL);
    execl("/bin/sh", "sh", "-c", argv[0], (char *)NULL);
    return NULL;
}

int exec_in_place_gmk_setup(void) {
    gmk_add_function("exec-in-place", exec_in_place, 1, 1, GMK_FUNC_DEFAULT);
    return 1;
}
