/* Child processes of a benchmark: started, watched for being ready, and always ended by us. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct process {
    pid_t pid; /* 0: none */
    const char *name;
};

/* Starts argv[0] with its output in `log_path`; it gets SIGTERM when this program dies. Exits on failure. */
void process_start(struct process *process, const char *name, const char *log_path, const char *const argv[]);
/* Polls GET `path` on the loopback port until it answers 200; exits with the log's path when the process ends
 * or `limit_s` passes. */
void process_wait_ready(struct process *process, int port, const char *path, int limit_s,
                        const char *log_path);
/* The same, and until `text` is in the reply. */
void process_wait_reply(struct process *process, int port, const char *path, const char *text, int limit_s,
                        const char *log_path);
/* Runs fn(arg), which does not return, in a child process; it gets SIGTERM when this program dies. */
void process_fork(struct process *process, const char *name, void (*fn)(void *arg), void *arg);
/* Waits for its own end: what it exits with; -1 after a signal, or when `limit_s` has passed, which ends it.
 */
int process_wait_end(struct process *process, int limit_s);
/* SIGTERM, then SIGKILL after 10 s. */
void process_stop(struct process *process);
/* A loopback port that was free a moment ago. */
int process_free_port(void);
