#include "cli/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/port.h"
#include "cli/supervisor_internal.h"

#define CONFIG_NAME "mlxd.yaml"

void supervisor_give_up(struct supervisor *supervisor, const char *what, const char *reason) {
    log_error(what, F_STR("reason", reason));
    shutdown_begin(supervisor, EXIT_FAILED);
}

static void plan_restart(struct supervised *child, bool hopeless, const char *how) {
    int64_t delay_ms = restart_ended(&child->restart, clock_ms(), hopeless);
    if (delay_ms >= 0) {
        log_warn("a process ended by itself and is restarted", F_STR("process", child->name),
                 F_STR("how", how), F_INT("after_ms", delay_ms), F_INT("failures", child->restart.failures));
        loop_timer_arm(&child->again, delay_ms);
        return;
    }
    char what[SUPERVISED_NAME_MAX + 32];
    char reason[CHILD_TEXT_MAX];
    snprintf(what, sizeof what, "%s does not start", child->name);
    runtime_dir_last_line(&child->supervisor->dir, child->error_name, reason, sizeof reason);
    supervisor_give_up(child->supervisor, what, *reason ? reason : how);
}

void supervised_start(struct supervised *child) {
    struct error error = {0};
    if (child->kind != SUPERVISED_NATS)
        unlink(child->error_path);
    restart_started(&child->restart, clock_ms());
    pid_t pid = child_start(&child->command, &error);
    if (pid > 0) {
        child->pid = pid;
        log_debug("process started", F_STR("process", child->name), F_INT("pid", pid));
        return;
    }
    bool first_nats = child->kind == SUPERVISED_NATS && !child->restart.was_ready;
    if (first_nats)
        supervisor_give_up(
            child->supervisor,
            "NATS does not start; install nats-server, name it with --nats-server PATH, or use "
            "another NATS with --nats URL",
            error.message);
    else
        plan_restart(child, false, error.message);
}

static void start_again(void *arg) {
    struct supervised *child = arg;
    if (child->supervisor->phase != PHASE_STOPPING)
        supervised_start(child);
}

static void on_ended(struct supervised *child, int how) {
    char text[64];
    child_describe_end(how, text, sizeof text);
    child->pid = 0;
    if (child->supervisor->phase == PHASE_STOPPING) {
        log_debug("process ended", F_STR("process", child->name), F_STR("how", text));
        shutdown_child_ended(child->supervisor);
        return;
    }
    plan_restart(child, WIFEXITED(how) && WEXITSTATUS(how) == EXIT_USAGE, text);
}

static void reap(struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->child_count; i++) {
        struct supervised *child = &supervisor->children[i];
        int how;
        if (child->pid && child_has_ended(child->pid, &how))
            on_ended(child, how);
    }
}

static void on_stop_signal(void *arg) {
    struct supervisor *supervisor = arg;
    if (supervisor->phase != PHASE_STOPPING) {
        shutdown_begin(supervisor, EXIT_OK);
        return;
    }
    log_warn("second signal: stopping at once");
    supervisor->exit_code = EXIT_FAILED;
    shutdown_kill(supervisor);
}

static void on_signal_fd(void *arg) {
    struct supervisor *supervisor = arg;
    struct signalfd_siginfo info;
    bool hangup = false;
    while (read(supervisor->signal_fd, &info, sizeof info) == sizeof info)
        hangup |= info.ssi_signo == SIGHUP;
    reap(supervisor);
    if (hangup)
        on_stop_signal(supervisor);
}

static void on_tick(void *arg) {
    struct supervisor *supervisor = arg;
    if (supervisor->phase == PHASE_STOPPING)
        shutdown_tick(supervisor);
    else
        startup_tick(supervisor);
}

static enum status watch_signals(struct supervisor *supervisor, struct error *error) {
    sigset_t set;
    struct sigaction hangup;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    /* Under nohup it stays ignored. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    supervisor->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (supervisor->signal_fd >= 0)
        supervisor->signals =
            loop_watch_fd(supervisor->loop, supervisor->signal_fd, on_signal_fd, supervisor);
    if (supervisor->signals && loop_on_signal(supervisor->loop, on_stop_signal, supervisor))
        return STATUS_OK;
    return error_set(error, STATUS_START_FAILED, NULL, "signals cannot be watched: %s", strerror(errno));
}

static void set_command(struct supervised *child, const char *subcommand) {
    const struct supervisor *supervisor = child->supervisor;
    snprintf(child->error_name, sizeof child->error_name, "%s.error", child->name);
    runtime_dir_path(&supervisor->dir, child->error_name, child->error_path);
    child->command = (struct child_command){
        .program = "/proc/self/exe", .variable = CLI_ERROR_FILE_VARIABLE, .value = child->error_path};
    const char *args[] = {"mlxd", subcommand, "--config", supervisor->config_path};
    memcpy(child->command.args, args, sizeof args);
    if (*child->id_flag)
        child->command.args[ARRAY_LEN(args)] = child->id_flag;
}

static struct supervised *add_child(struct supervisor *supervisor, enum supervised_kind kind,
                                    const char *name) {
    struct supervised *child = &supervisor->children[supervisor->child_count];
    child->supervisor = supervisor;
    child->kind = kind;
    snprintf(child->name, sizeof child->name, "%s", name);
    if (!loop_timer_init(&child->again, supervisor->loop, start_again, child))
        return NULL;
    supervisor->child_count++;
    return child;
}

static bool add_nats(struct supervisor *supervisor) {
    struct supervised *child = add_child(supervisor, SUPERVISED_NATS, "nats-server");
    if (!child)
        return false;
    child->command = nats_server_command(&supervisor->nats, supervisor->config->nats.server_path);
    snprintf(child->error_name, sizeof child->error_name, "%s", NATS_LOG_NAME);
    return true;
}

/* One has the id of the configuration, several that one and a number: no two may have the same. */
static bool add_controller(struct supervisor *supervisor, int64_t number) {
    const struct config *config = supervisor->config;
    char name[SUPERVISED_NAME_MAX];
    bool only_one = config->serve.controllers == 1;
    snprintf(name, sizeof name, only_one ? "controller" : "controller-%lld", (long long)number);
    struct supervised *child = add_child(supervisor, SUPERVISED_CONTROLLER, name);
    if (!child)
        return false;
    if (!only_one && *config->controller.id)
        snprintf(child->id_flag, sizeof child->id_flag, "--controller-id=%s-%lld", config->controller.id,
                 (long long)number);
    set_command(child, "controller");
    return true;
}

/* The name is also what is shown, and its id. */
static bool add_worker(struct supervisor *supervisor, int64_t number) {
    char name[SUPERVISED_NAME_MAX];
    snprintf(name, sizeof name, "%s-%lld", supervisor->config->worker.id, (long long)number);
    struct supervised *child = add_child(supervisor, SUPERVISED_WORKER, name);
    if (!child)
        return false;
    snprintf(child->id_flag, sizeof child->id_flag, "--worker-id=%s", name);
    set_command(child, "worker");
    return true;
}

static enum status add_children(struct supervisor *supervisor, struct error *error) {
    const struct config *config = supervisor->config;
    bool added = config->nats.mode == NATS_EXTERNAL || add_nats(supervisor);
    for (int64_t i = 1; added && i <= config->serve.controllers; i++)
        added = add_controller(supervisor, i);
    for (int64_t i = 1; added && i <= config->serve.workers; i++)
        added = add_worker(supervisor, i);
    return added ? STATUS_OK : error_set(error, STATUS_START_FAILED, NULL, "out of memory");
}

static enum status write_config(struct supervisor *supervisor, struct error *error) {
    struct config *config = supervisor->config;
    enum nats_mode mode = config->nats.mode;
    if (mode == NATS_EMBEDDED)
        config_set_text(&config->nats.url, supervisor->nats.url);
    config->nats.mode = NATS_EXTERNAL; /* from the children's point of view */
    struct buf text;
    buf_init(&text, 0);
    config_write_yaml(config, &text);
    config->nats.mode = mode;
    runtime_dir_path(&supervisor->dir, CONFIG_NAME, supervisor->config_path);
    enum status status = runtime_dir_write(&supervisor->dir, CONFIG_NAME, &text, error);
    buf_release(&text);
    return status;
}

static enum status prepare(struct supervisor *supervisor, struct error *error) {
    struct config *config = supervisor->config;
    supervisor->port_fd =
        port_keep(config->controller.host, &config->controller.port, config->controller.reuse_port, error);
    if (supervisor->port_fd < 0)
        return error->status;
    supervisor->loop = loop_new();
    if (!supervisor->loop || !loop_timer_init(&supervisor->tick, supervisor->loop, on_tick, supervisor))
        return error_set(error, STATUS_START_FAILED, NULL, "no memory or descriptors for the event loop");
    enum status status = watch_signals(supervisor, error);
    if (status == STATUS_OK)
        status = runtime_dir_make(&supervisor->dir, config->serve.runtime_dir, error);
    if (status == STATUS_OK && config->nats.mode == NATS_EMBEDDED)
        status = nats_server_prepare(&supervisor->nats, &supervisor->dir, error);
    if (status == STATUS_OK)
        status = write_config(supervisor, error);
    return status == STATUS_OK ? add_children(supervisor, error) : status;
}

static void release(struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->child_count; i++)
        loop_timer_release(&supervisor->children[i].again);
    loop_timer_release(&supervisor->tick);
    nats_server_release(&supervisor->nats);
    runtime_dir_remove(&supervisor->dir);
    if (supervisor->signals)
        loop_unwatch(supervisor->signals);
    if (supervisor->loop)
        loop_free(supervisor->loop);
    if (supervisor->signal_fd >= 0)
        close(supervisor->signal_fd);
    if (supervisor->port_fd >= 0)
        close(supervisor->port_fd);
}

int supervisor_run(struct config *config) {
    static struct supervisor supervisor; /* too large for the stack; one for each process */
    struct error error = {0};
    supervisor = (struct supervisor){.config = config, .signal_fd = -1, .port_fd = -1, .exit_code = EXIT_OK};
    if (prepare(&supervisor, &error) == STATUS_OK) {
        loop_timer_arm(&supervisor.tick, 0);
        loop_run(supervisor.loop);
    } else {
        supervisor.exit_code = cli_fail("mlxd serve cannot start", &error);
    }
    release(&supervisor);
    return supervisor.exit_code;
}
