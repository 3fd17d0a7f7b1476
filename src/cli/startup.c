/* The way up, asked for in steps: nothing tells the supervisor that a process is ready, so it looks. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/cluster_view.h"
#include "cli/port.h"
#include "cli/ready_text.h"
#include "cli/supervisor_internal.h"

enum {
    LOOK_EVERY_MS = 25,
    PROBE_WAIT_MS = 250, /* of one look: signals are not handled meanwhile */
    NATS_WAIT_MS = 10 * 1000,
    TELL_EVERY_MS = 10 * 1000,
    ANSWER_MAX_BYTES = 4 << 20,
};

static void enter(struct supervisor *supervisor, enum supervisor_phase phase) {
    supervisor->phase = phase;
    supervisor->phase_ms = clock_ms();
    supervisor->told_ms = supervisor->phase_ms;
}

static void start_all(struct supervisor *supervisor, enum supervised_kind kind) {
    for (size_t i = 0; i < supervisor->child_count && supervisor->phase != PHASE_STOPPING; i++) {
        if (supervisor->children[i].kind == kind)
            supervised_start(&supervisor->children[i]);
    }
}

static void mark_ready(struct supervisor *supervisor, enum supervised_kind kind) {
    for (size_t i = 0; i < supervisor->child_count; i++) {
        if (supervisor->children[i].kind == kind)
            supervisor->children[i].restart.was_ready = true;
    }
}

static void begin(struct supervisor *supervisor) {
    enter(supervisor, PHASE_NATS);
    if (supervisor->config->nats.mode == NATS_EXTERNAL)
        return;
    log_info("starting NATS");
    start_all(supervisor, SUPERVISED_NATS);
}

static void look_for_nats(struct supervisor *supervisor) {
    bool external = supervisor->config->nats.mode == NATS_EXTERNAL;
    if (!external && !nats_server_is_up(&supervisor->nats)) {
        if (clock_ms() - supervisor->phase_ms > NATS_WAIT_MS)
            supervisor_give_up(supervisor, "nats-server does not start", "it accepts no connections");
        return;
    }
    mark_ready(supervisor, SUPERVISED_NATS);
    log_info("starting the controllers and the workers",
             F_INT("controllers", supervisor->config->serve.controllers),
             F_INT("workers", supervisor->config->serve.workers));
    enter(supervisor, PHASE_CONTROLLER);
    start_all(supervisor, SUPERVISED_CONTROLLER);
    start_all(supervisor, SUPERVISED_WORKER);
}

static bool ask_controller(struct supervisor *supervisor, const char *path, struct buf *body) {
    const struct config *config = supervisor->config;
    buf_init(body, ANSWER_MAX_BYTES);
    return port_http_get(port_local_host(config->controller.host), config->controller.port, path,
                         PROBE_WAIT_MS, body);
}

/* Whichever answers on the port knows all. */
static void look_for_controllers(struct supervisor *supervisor) {
    struct buf body;
    int64_t wanted = supervisor->config->serve.controllers;
    if (ask_controller(supervisor, "/api/cluster/status", &body) &&
        cluster_view_controllers(body.data, body.len) >= wanted) {
        mark_ready(supervisor, SUPERVISED_CONTROLLER);
        log_info("the controllers answer; waiting for the workers to load their models",
                 F_INT("models", supervisor->config->model_count));
        enter(supervisor, PHASE_WORKERS);
    }
    buf_release(&body);
}

static void tell_progress(struct supervisor *supervisor, const struct cluster_view *view) {
    if (clock_ms() - supervisor->told_ms < TELL_EVERY_MS)
        return;
    supervisor->told_ms = clock_ms();
    log_info("still loading models", F_INT("workers_ready", view->workers_ready),
             F_INT("workers_loading", view->workers_loading),
             F_INT("workers", supervisor->config->serve.workers));
}

static void say_ready(struct supervisor *supervisor, const struct cluster_view *view) {
    struct buf text;
    buf_init(&text, 0);
    ready_text_write(supervisor->config, view, &text);
    fputs(text.data, stdout);
    fflush(stdout);
    buf_release(&text);
}

static void look_for_workers(struct supervisor *supervisor) {
    struct buf body;
    struct cluster_view view = {0};
    const struct config *config = supervisor->config;
    bool known = ask_controller(supervisor, "/api/cluster/workers", &body) &&
                 cluster_view_read(body.data, body.len, config->worker.id, config, &view);
    buf_release(&body);
    if (!known || view.workers_ready < config->serve.workers) {
        tell_progress(supervisor, &view);
        return;
    }
    mark_ready(supervisor, SUPERVISED_WORKER);
    enter(supervisor, PHASE_READY);
    say_ready(supervisor, &view);
}

void startup_tick(struct supervisor *supervisor) {
    switch (supervisor->phase) {
    case PHASE_BEGIN:
        begin(supervisor);
        break;
    case PHASE_NATS:
        look_for_nats(supervisor);
        break;
    case PHASE_CONTROLLER:
        look_for_controllers(supervisor);
        break;
    case PHASE_WORKERS:
        look_for_workers(supervisor);
        break;
    case PHASE_READY:
    case PHASE_STOPPING:
        return;
    }
    if (supervisor->phase < PHASE_READY)
        loop_timer_arm(&supervisor->tick, LOOK_EVERY_MS);
}
