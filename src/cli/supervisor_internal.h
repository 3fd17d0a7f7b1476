/* What the files of the supervisor share. Not for others. */
#pragma once

#include "cli/child.h"
#include "cli/nats_server.h"
#include "cli/restart.h"
#include "cli/runtime_dir.h"
#include "cli/supervisor.h"
#include "net/loop.h"

enum {
    SUPERVISOR_WORKERS_MAX = 64,
    SUPERVISOR_CONTROLLERS_MAX = 64,
    SUPERVISED_MAX = SUPERVISOR_WORKERS_MAX + SUPERVISOR_CONTROLLERS_MAX + 1,
    SUPERVISED_NAME_MAX = 72,
};

/* In the order in which they are stopped. */
enum supervised_kind { SUPERVISED_CONTROLLER, SUPERVISED_WORKER, SUPERVISED_NATS, SUPERVISED_KINDS };

/* A process that is kept running. */
struct supervised {
    struct supervisor *supervisor;
    enum supervised_kind kind;
    char name[SUPERVISED_NAME_MAX];         /* "worker-1"; of a worker also its id */
    char id_flag[SUPERVISED_NAME_MAX + 24]; /* of a worker, and of controllers that have an id; else empty */
    char error_name[SUPERVISED_NAME_MAX + 8];
    char error_path[RUNTIME_PATH_MAX];
    struct child_command command;
    pid_t pid; /* 0: does not run */
    struct restart restart;
    struct loop_timer again; /* to start it once more */
};

enum supervisor_phase {
    PHASE_BEGIN,
    PHASE_NATS,       /* waits until nats-server accepts connections */
    PHASE_CONTROLLER, /* waits until all controllers answer */
    PHASE_WORKERS,    /* waits until all workers have loaded their models */
    PHASE_READY,
    PHASE_STOPPING,
};

struct supervisor {
    struct config *config;
    struct loop *loop;
    struct loop_watch *signals; /* SIGCHLD and SIGHUP */
    int signal_fd;
    struct runtime_dir dir;
    struct nats_server nats;
    int port_fd; /* keeps the controller's port */
    char config_path[RUNTIME_PATH_MAX];
    struct supervised children[SUPERVISED_MAX];
    size_t child_count;

    enum supervisor_phase phase;
    struct loop_timer tick; /* starting: asks how far it is; stopping: the patience with one kind is over */
    int64_t phase_ms;       /* when the phase began */
    int64_t told_ms;        /* when progress was last told */

    enum supervised_kind stopping;
    bool kill_sent; /* to those that are being stopped */
    int64_t stop_ms;
    int exit_code;
};

/* startup.c */
void startup_tick(struct supervisor *supervisor);

/* shutdown.c. Starts to stop everything; the first exit code counts. */
void shutdown_begin(struct supervisor *supervisor, int exit_code);
void shutdown_child_ended(struct supervisor *supervisor);
void shutdown_tick(struct supervisor *supervisor);
/* Kills what runs, at once. */
void shutdown_kill(struct supervisor *supervisor);

/* supervisor.c */
void supervised_start(struct supervised *child);
/* Says why and begins to stop with an exit code that tells of failure. */
void supervisor_give_up(struct supervisor *supervisor, const char *what, const char *reason);
