#include "worker/model_check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"
#include "engine/gguf.h"

enum {
    LOOK_EVERY_MS = 50, /* for whether the worker stops */
    OUTPUT_MAX = 2048,  /* bytes of the child's output that are kept, the last ones */
    REASON_MAX = 300,
};

extern char **environ;

struct child {
    pid_t pid;
    int pid_fd;
    int output_fd;
    size_t output_len;
    char output[OUTPUT_MAX + 1];
};

static enum status fail(struct error *error, const char *what, int why) {
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "the file cannot be checked: %s: %s", what,
                     strerror(why));
}

/* The child gets no descriptor but its output, and signals as a new program expects them. */
static int spawn(const struct model_check *check, const char *const *argv, int output_fd, pid_t *pid) {
    char *const *unchanged; /* posix_spawn takes them without const and changes nothing */
    memcpy(&unchanged, &argv, sizeof unchanged);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int why = posix_spawn_file_actions_init(&files);
    if (why)
        return why;
    why = posix_spawnattr_init(&attributes);
    if (!why) {
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        why = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (!why)
            why = posix_spawn_file_actions_adddup2(&files, output_fd, STDOUT_FILENO);
        if (!why)
            why = posix_spawn_file_actions_adddup2(&files, output_fd, STDERR_FILENO);
        if (!why)
            why = posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
        if (!why)
            why = posix_spawn(pid, check->program, &files, &attributes, unchanged, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    return why;
}

/* What decides whether the load that counts will succeed. Slots and context are small in the trial. */
static const char *const passed_on[] = {
    "cluster.worker.threads",      "cluster.worker.threads_batch",   "cluster.worker.gpu_layers",
    "cluster.worker.devices",      "cluster.worker.split_mode",      "cluster.worker.tensor_split",
    "cluster.worker.main_gpu",     "cluster.worker.offload_kqv",     "cluster.worker.cache_type_k",
    "cluster.worker.cache_type_v", "cluster.worker.flash_attention", "cluster.worker.load_mode",
};

/* argv[0..2] and the end beside them. */
enum { ARGS_MAX = 4 + sizeof passed_on / sizeof *passed_on };

/* The texts are in `flags`. */
static void make_arguments(const struct model_check *check, struct buf flags[], const char *argv[ARGS_MAX]) {
    size_t count = 0;
    argv[count++] = "mlxd";
    argv[count++] = "load-model";
    argv[count++] = check->path;
    for (size_t i = 0; i < ARRAY_LEN(passed_on); i++) {
        buf_init(&flags[i], 0);
        config_write_flag(check->config, passed_on[i], &flags[i]);
        argv[count++] = flags[i].data;
    }
    argv[count] = NULL;
}

static int start(struct child *child, const struct model_check *check) {
    struct buf flags[ARRAY_LEN(passed_on)];
    const char *argv[ARGS_MAX];
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return errno;
    make_arguments(check, flags, argv);
    int why = spawn(check, argv, fds[1], &child->pid);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        buf_release(&flags[i]);
    close(fds[1]);
    child->output_fd = fds[0];
    child->pid_fd = why ? -1 : pidfd_open(child->pid, 0);
    if (!why && child->pid_fd < 0) {
        why = errno;
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
    }
    if (why)
        close(fds[0]);
    return why;
}

/* Keeps the end of what it says. */
static void read_output(struct child *child) {
    char chunk[512];
    ssize_t got;
    while ((got = read(child->output_fd, chunk, sizeof chunk)) > 0) {
        size_t len = (size_t)got;
        size_t over = child->output_len + len > OUTPUT_MAX ? child->output_len + len - OUTPUT_MAX : 0;
        memmove(child->output, child->output + over, child->output_len - over);
        memcpy(child->output + child->output_len - over, chunk, len);
        child->output_len += len - over;
    }
    child->output[child->output_len] = '\0';
}

/* Until it has ended, by itself or by us; false in the second case, and then the error is filled. */
static bool wait_for(struct child *child, const struct model_check *check, int *how, struct error *error) {
    int64_t limit_ms = check->config->worker.model_check_timeout_ms;
    int64_t end_ms = clock_ms() + limit_ms;
    enum status status = STATUS_OK;
    for (bool ended = false; !ended;) {
        struct pollfd watched[] = {{.fd = child->pid_fd, .events = POLLIN},
                                   {.fd = child->output_fd, .events = POLLIN}};
        poll(watched, 2, LOOK_EVERY_MS);
        ended = watched[0].revents != 0;
        read_output(child);
        if (watched[1].revents & (POLLHUP | POLLERR) && !ended)
            poll(watched, 1,
                 LOOK_EVERY_MS); /* nothing more will be said, and that is told at once each time */
        if (ended || status != STATUS_OK)
            continue;
        if (check->is_stopping && check->is_stopping(check->arg))
            status = error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "the load was aborted");
        else if (clock_ms() >= end_ms)
            status =
                error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                          "loading it took longer than model_check_timeout_ms, %lld", (long long)limit_ms);
        if (status != STATUS_OK)
            kill(child->pid, SIGKILL);
    }
    if (waitpid(child->pid, how, 0) != child->pid && status == STATUS_OK)
        status = fail(error, "how its child process ended", errno);
    return status == STATUS_OK;
}

/* The last line that is not empty; "" when there is none. */
static const char *last_line(struct child *child) {
    char *text = child->output;
    size_t len = child->output_len;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
        len--;
    text[len] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\0')
            text[i] = ' ';
    }
    const char *newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

static enum status judge(struct child *child, int how, struct error *error) {
    const char *line = last_line(child);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return STATUS_OK;
    if (WIFSIGNALED(how))
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "loading it crashed (signal %d, %s)%s%.*s",
                         WTERMSIG(how), strsignal(WTERMSIG(how)), *line ? ": " : "", REASON_MAX, line);
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%.*s", REASON_MAX,
                     *line ? line : "loading it failed without a reason");
}

static enum status try_in_child(const struct model_check *check, struct error *error) {
    struct child child = {.pid = 0};
    int how = 0;
    int why = start(&child, check);
    if (why)
        return fail(error, "no child process for it", why);
    bool ended = wait_for(&child, check, &how, error);
    close(child.pid_fd);
    close(child.output_fd);
    return ended ? judge(&child, how, error) : STATUS_MODEL_LOAD_FAILED;
}

enum status model_check_run(const struct model_check *check, struct error *error) {
    struct gguf_info info;
    enum status status = gguf_read_model(check->path, &info, error);
    if (status != STATUS_OK || check->config->worker.model_check == MODEL_CHECK_HEADER)
        return status;
    return try_in_child(check, error);
}
