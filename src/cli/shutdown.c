/* The way down: one kind of process after the other, each with its share of the time. */
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/supervisor_internal.h"

/* Of stop_timeout_ms, in percent from the beginning: when those that are still there are killed. */
static const int patience_percent[SUPERVISED_KINDS] = {
    [SUPERVISED_CONTROLLER] = 60,
    [SUPERVISED_WORKER] = 85,
    [SUPERVISED_NATS] = 95,
};

static size_t send_signal(struct supervisor *supervisor, enum supervised_kind kind, int number) {
    size_t running = 0;
    for (size_t i = 0; i < supervisor->child_count; i++) {
        const struct supervised *child = &supervisor->children[i];
        if (child->kind != kind || !child->pid)
            continue;
        if (number)
            kill(child->pid, number);
        running++;
    }
    return running;
}

/* Asks the next kind that still runs to stop; when none does, that was it. */
static void stop_next(struct supervisor *supervisor) {
    while (supervisor->stopping < SUPERVISED_KINDS &&
           send_signal(supervisor, supervisor->stopping, SIGTERM) == 0)
        supervisor->stopping++;
    supervisor->kill_sent = false;
    if (supervisor->stopping == SUPERVISED_KINDS) {
        log_info("stopped", F_INT("ms", clock_ms() - supervisor->stop_ms));
        loop_stop(supervisor->loop);
        return;
    }
    int64_t until_ms = supervisor->stop_ms + supervisor->config->serve.stop_timeout_ms *
                                                 patience_percent[supervisor->stopping] / 100;
    int64_t left_ms = until_ms - clock_ms();
    loop_timer_arm(&supervisor->tick, left_ms > 0 ? left_ms : 0);
}

void shutdown_begin(struct supervisor *supervisor, int exit_code) {
    if (supervisor->phase == PHASE_STOPPING)
        return;
    log_info("stopping");
    supervisor->phase = PHASE_STOPPING;
    supervisor->exit_code = exit_code;
    supervisor->stop_ms = clock_ms();
    supervisor->stopping = SUPERVISED_CONTROLLER;
    stop_next(supervisor);
}

void shutdown_child_ended(struct supervisor *supervisor) {
    if (supervisor->stopping < SUPERVISED_KINDS && send_signal(supervisor, supervisor->stopping, 0) == 0)
        stop_next(supervisor);
}

void shutdown_tick(struct supervisor *supervisor) {
    if (supervisor->kill_sent || supervisor->stopping == SUPERVISED_KINDS)
        return;
    supervisor->kill_sent = true;
    size_t killed = send_signal(supervisor, supervisor->stopping, SIGKILL);
    log_warn("processes did not stop in time and were killed", F_INT("processes", killed));
}

void shutdown_kill(struct supervisor *supervisor) {
    for (int kind = 0; kind < SUPERVISED_KINDS; kind++)
        send_signal(supervisor, (enum supervised_kind)kind, SIGKILL);
}
