#include "lib/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

static void give_up(const char *what, const char *name) {
    fprintf(stderr, "%s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

void process_fork(struct process *process, const char *name, void (*fn)(void *arg), void *arg) {
    pid_t pid = fork();
    if (pid < 0)
        give_up("fork for", name);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        fn(arg);
        _exit(1);
    }
    process->pid = pid;
    process->name = name;
}

void process_start(struct process *process, const char *name, const char *log_path,
                   const char *const argv[]) {
    pid_t pid = fork();
    if (pid < 0)
        give_up("fork for", name);
    if (pid == 0) {
        int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
            give_up("log of", name);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        /* execv changes nothing; its type is older than const. */
        union {
            const char *const *strings;
            char *const *as_execv_wants;
        } arguments = {argv};
        execv(argv[0], arguments.as_execv_wants);
        give_up("cannot run", argv[0]);
    }
    process->pid = pid;
    process->name = name;
}

static int connect_loopback(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool answers_200(int port, const char *path, const char *wanted) {
    int fd = connect_loopback(port);
    if (fd < 0)
        return false;
    char text[4096];
    int len =
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    ssize_t got = write(fd, text, (size_t)len) == len ? 1 : 0;
    size_t have = 0;
    while (got > 0 && have < sizeof(text) - 1) {
        got = read(fd, text + have, sizeof(text) - 1 - have);
        have += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    text[have] = '\0';
    return have >= 12 && memcmp(text + 9, "200", 3) == 0 && strstr(text, wanted);
}

void process_wait_reply(struct process *process, int port, const char *path, const char *text, int limit_s,
                        const char *log_path) {
    for (int64_t end = clock_ms() + limit_s * 1000; clock_ms() < end; clock_sleep_us(50 * 1000)) {
        if (waitpid(process->pid, NULL, WNOHANG) == process->pid) {
            process->pid = 0;
            break;
        }
        if (answers_200(port, path, text))
            return;
    }
    fprintf(stderr, "%s did not become ready; see %s\n", process->name, log_path);
    process_stop(process);
    exit(1);
}

void process_wait_ready(struct process *process, int port, const char *path, int limit_s,
                        const char *log_path) {
    process_wait_reply(process, port, path, "", limit_s, log_path);
}

int process_wait_end(struct process *process, int limit_s) {
    int status;
    for (int64_t end = clock_ms() + limit_s * 1000; clock_ms() < end; clock_sleep_us(10 * 1000)) {
        if (waitpid(process->pid, &status, WNOHANG) == process->pid) {
            process->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
    }
    process_stop(process);
    return -1;
}

void process_stop(struct process *process) {
    if (!process->pid)
        return;
    kill(process->pid, SIGTERM);
    for (int64_t end = clock_ms() + 10000; clock_ms() < end; clock_sleep_us(10 * 1000)) {
        if (waitpid(process->pid, NULL, WNOHANG) == process->pid) {
            process->pid = 0;
            return;
        }
    }
    kill(process->pid, SIGKILL);
    waitpid(process->pid, NULL, 0);
    process->pid = 0;
}

int process_free_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof(address);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        give_up("no free port for", "the benchmark");
    close(fd);
    return ntohs(address.sin_port);
}
