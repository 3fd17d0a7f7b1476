#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "worker/hardware.h"
#include "worker/proc_text.h"
#include "worker/worker_internal.h"

/* After the drain limit, how long the runners have for their last answers. Only an engine step that hangs or
 * takes very long needs more; the loop thread answers for it then. */
enum { DRAIN_ANSWER_MS = 1000 };

/* What the worker says about itself. */

static int64_t rss_bytes(void) {
    char text[PROC_TEXT_MAX];
    int64_t kib;
    bool is_known = proc_read("/proc/self/status", text, sizeof text) && proc_number(text, "VmRSS:", &kib);
    return is_known ? kib * 1024 : 0;
}

static void count_client(struct worker_info *info, const char *controller_id) {
    size_t i = 0;
    while (i < info->client_count && strcmp(info->clients[i].controller_id, controller_id) != 0)
        i++;
    if (i == WORKER_CLIENTS_MAX)
        return;
    if (i == info->client_count) {
        info->client_count++;
        snprintf(info->clients[i].controller_id, sizeof info->clients[i].controller_id, "%s", controller_id);
    }
    info->clients[i].jobs++;
}

static void count_clients(const struct worker *worker, struct worker_info *info) {
    size_t cursor = 0;
    void *value;
    while (map_next(&worker->jobs, &cursor, NULL, &value))
        count_client(info, ((const struct job *)value)->wire.controller_id);
}

/* Of the models that are ready the longest; -1 when there is none, or it is not known of one of them. */
static int64_t next_wait_ms(struct worker *worker, const struct worker_info *info, int64_t now_ms) {
    int64_t longest_ms = -1;
    for (size_t i = 0; i < info->model_count; i++) {
        if (info->models[i].state != MODEL_READY)
            continue;
        size_t position = models_position(worker->models, i, CHAT_PRIORITY_LOW);
        int64_t wait_ms = queue_report_wait_ms(&worker->queue_report, info->models[i].name, position, now_ms);
        if (wait_ms < 0)
            return -1;
        longest_ms = wait_ms > longest_ms ? wait_ms : longest_ms;
    }
    return longest_ms;
}

void worker_get_info(struct worker *worker, struct worker_info *out) {
    int64_t now_ms = clock_ms();
    *out = (struct worker_info){
        .pid = getpid(),
        .phase = worker->phase,
        .uptime_ms = now_ms - worker->started_ms,
        .hardware = worker->hardware,
        .skill_count = worker->skill_count,
        .load =
            {
                .jobs_accepted = worker->jobs_accepted,
                .jobs_finished = worker->jobs_finished,
                .jobs_cancelled = worker->jobs_cancelled,
                .jobs_failed = worker->jobs_failed,
                .jobs_rejected = worker->jobs_rejected,
                .jobs_orphaned = worker->jobs_orphaned,
                .rss_bytes = rss_bytes(),
            },
    };
    snprintf(out->id, sizeof out->id, "%s", worker->env.id);
    snprintf(out->incarnation, sizeof out->incarnation, "%s", worker->incarnation);
    snprintf(out->hostname, sizeof out->hostname, "%s", worker->hostname);
    snprintf(out->version, sizeof out->version, "%s", MLX_VERSION);
    memcpy(out->skills, worker->skills, sizeof out->skills);
    models_get_info(worker->models, now_ms, out);
    queue_report_add(&worker->queue_report, now_ms, &out->load.queue);
    out->load.queue.next_wait_ms = next_wait_ms(worker, out, now_ms);
    count_clients(worker, out);
    resource_watch_get(&worker->resources, &out->resources);
}

/* What cannot be sent is repeated soon enough: by the next heartbeat, or when the link is up again. */
static void publish_body(struct worker *worker, const char *subject, struct buf *body) {
    if (body->failed ||
        transport_publish(worker->env.transport, subject, NULL, body->data, body->len) != STATUS_OK)
        log_debug("not published", F_STR("subject", subject));
    buf_release(body);
}

static void publish_info(struct worker *worker, const char *subject) {
    struct worker_info info;
    worker_get_info(worker, &info);
    struct buf body;
    buf_init(&body, 0);
    wire_write_worker_info(&body, &info);
    publish_body(worker, subject, &body);
}

/* Life. */

static void enter(struct worker *worker, enum worker_phase phase) {
    if (worker->phase == phase)
        return;
    log_info("worker changes phase", F_STR("from", worker_phase_name(worker->phase)),
             F_STR("to", worker_phase_name(phase)));
    worker->phase = phase;
}

bool worker_is_draining(const struct worker *worker) {
    return worker->phase >= WORKER_PHASE_DRAINING;
}

static bool is_registered(const struct worker *worker) {
    return worker->phase >= WORKER_PHASE_LOADING && worker->phase <= WORKER_PHASE_DRAINING;
}

static bool has_model_in(const struct worker *worker, enum model_state state) {
    for (size_t i = 0; i < models_count(worker->models); i++) {
        if (models_state(worker->models, i) == state)
            return true;
    }
    return false;
}

static bool all_failed(const struct worker *worker) {
    for (size_t i = 0; i < models_count(worker->models); i++) {
        if (models_state(worker->models, i) != MODEL_FAILED)
            return false;
    }
    return true;
}

/* It can do something for a job: run it, or load a model for it. */
static bool is_ready(const struct worker *worker) {
    return has_model_in(worker, MODEL_READY) || (worker->warm && !all_failed(worker));
}

/* It can do nothing and will not: told once a tick is over. */
static void note_failed(struct worker *worker) {
    bool failed = worker->warm && !worker_is_draining(worker) && all_failed(worker);
    worker->failed = failed && !models_may_come(worker->models);
    if (worker->failed)
        loop_defer_ask(&worker->tell);
    else if (failed)
        log_warn("no model could be loaded; the worker waits for others to come into its folders");
}

/* From start to drain: as far as it has come. */
static void advance(struct worker *worker) {
    if (worker->phase == WORKER_PHASE_INITIALIZING || worker_is_draining(worker))
        return;
    if (!is_registered(worker) && !transport_is_up(worker->env.transport))
        return;
    if (!is_registered(worker))
        enter(worker, WORKER_PHASE_REGISTERING);
    enum register_when when = worker->env.config->worker.pre_warming.register_when;
    if (!is_registered(worker) && when == REGISTER_WHEN_COMPLETE && !worker->warm)
        return;
    enter(worker, is_ready(worker) ? WORKER_PHASE_READY : WORKER_PHASE_LOADING);
}

void worker_register(struct worker *worker) {
    advance(worker);
    if (!is_registered(worker))
        return;
    publish_info(worker, WIRE_SUBJECT_REGISTER);
    models_tell_prefixes(worker->models);
}

static bool is_orphan(const struct job *job, const char *controller_id, const char *but) {
    return strcmp(job->wire.controller_id, controller_id) == 0 &&
           (!but || strcmp(job->wire.incarnation, but) != 0);
}

void worker_drop_orphans(struct worker *worker, const char *controller_id, const char *but) {
    size_t cursor = 0, orphans = 0;
    void *value;
    while (map_next(&worker->jobs, &cursor, NULL, &value)) {
        struct job *job = value;
        if (!is_orphan(job, controller_id, but))
            continue;
        models_cancel(worker->models, job);
        orphans++;
    }
    worker->jobs_orphaned += orphans;
    if (orphans > 0)
        log_warn("a controller is gone, its jobs end", F_STR("controller", controller_id),
                 F_INT("jobs", orphans));
}

/* While its own link is down, or its process stands still, a worker can hear nobody. */
static void drop_jobs_of_the_silent(struct worker *worker) {
    char id[WIRE_CONTROLLER_ID_MAX + 1];
    int64_t timeout_ms = worker->env.config->discovery.controller_timeout_ms, now_ms = clock_ms();
    if (!transport_is_up(worker->env.transport) || now_ms - worker->looked_ms > timeout_ms / 2)
        watch_restart(&worker->watch, now_ms);
    worker->looked_ms = now_ms;
    while (watch_take_silent(&worker->watch, timeout_ms, now_ms, id))
        worker_drop_orphans(worker, id, NULL);
}

static void beat(void *arg) {
    struct worker *worker = arg;
    if (worker->phase == WORKER_PHASE_INITIALIZING || worker->phase == WORKER_PHASE_STOPPED)
        return;
    advance(worker);
    if (is_registered(worker))
        publish_info(worker, WIRE_SUBJECT_HEARTBEAT);
    drop_jobs_of_the_silent(worker);
    loop_timer_arm(&worker->heartbeat, worker->env.config->discovery.heartbeat_interval_ms);
}

/* Controllers learn of it at once: what they still send meanwhile is refused. */
static void on_resources(enum resource_level level, void *arg) {
    struct worker *worker = arg;
    models_on_pressure(worker->models, level);
    beat(worker);
}

static void on_link(bool up, void *arg) {
    if (up)
        worker_register(arg);
}

/* Drain. */

static void say_goodbye(struct worker *worker) {
    enter(worker, WORKER_PHASE_STOPPED);
    loop_timer_disarm(&worker->heartbeat);
    loop_timer_disarm(&worker->drain_timer);
    struct wire_deregister message;
    snprintf(message.worker_id, sizeof message.worker_id, "%s", worker->env.id);
    snprintf(message.incarnation, sizeof message.incarnation, "%s", worker->incarnation);
    struct buf body;
    buf_init(&body, 0);
    wire_write_deregister(&body, &message);
    publish_body(worker, WIRE_SUBJECT_DEREGISTER, &body);
    log_info("worker is drained", F_INT("jobs_left", worker->jobs.count));
    loop_defer_ask(&worker->tell);
}

static void check_drained(struct worker *worker) {
    if (worker->phase == WORKER_PHASE_DRAINING && worker->jobs.count == 0)
        say_goodbye(worker);
}

static void drop_jobs(struct worker *worker) {
    size_t cursor = 0;
    void *value;
    log_warn("the drain limit is reached", F_INT("jobs", worker->jobs.count));
    while (map_next(&worker->jobs, &cursor, NULL, &value)) {
        struct job *job = value;
        models_drop(job);
    }
}

/* For jobs whose engine thread does not come back from a step. */
static void answer_jobs(struct worker *worker) {
    struct error error;
    error_set(&error, STATUS_WORKER_DRAINING, NULL, "the worker stops and its drain limit is reached");
    size_t cursor = 0;
    void *value;
    while (map_next(&worker->jobs, &cursor, NULL, &value)) {
        struct job *job = value;
        atomic_store_explicit(&job->answered, true, memory_order_relaxed);
        emit_failed(&worker->emitter, &job->wire, &error);
    }
    emit_flush(&worker->emitter);
}

static void on_drain_limit(void *arg) {
    struct worker *worker = arg;
    if (!worker->limit_reached) {
        worker->limit_reached = true;
        drop_jobs(worker);
        loop_timer_arm(&worker->drain_timer, DRAIN_ANSWER_MS);
        return;
    }
    answer_jobs(worker);
    say_goodbye(worker);
}

void worker_drain(struct worker *worker, int64_t limit_ms, void (*on_drained)(void *arg), void *arg) {
    if (on_drained) {
        worker->stops = true;
        worker->on_drained = on_drained;
        worker->on_drained_arg = arg;
    }
    if (worker->phase == WORKER_PHASE_STOPPED) {
        loop_defer_ask(&worker->tell);
        return;
    }
    bool begins = worker->phase != WORKER_PHASE_DRAINING;
    if (begins) {
        enter(worker, WORKER_PHASE_DRAINING);
        log_info("worker drains", F_INT("jobs", worker->jobs.count), F_INT("limit_ms", limit_ms));
        beat(worker);
        models_drain(worker->models);
    }
    /* A drain from afar does not put off the end of one that is under way. */
    if (!worker->limit_reached && worker->phase == WORKER_PHASE_DRAINING && (begins || on_drained))
        loop_timer_arm(&worker->drain_timer, limit_ms);
    check_drained(worker);
}

bool worker_resume(struct worker *worker) {
    if (!worker_is_draining(worker))
        return true;
    if (worker->stops)
        return false;
    log_info("worker resumes", F_INT("jobs", worker->jobs.count));
    worker->limit_reached = false;
    loop_timer_disarm(&worker->drain_timer);
    models_resume(worker->models);
    /* Where it was before is not kept: advance finds out. */
    enter(worker, worker->phase == WORKER_PHASE_STOPPED ? WORKER_PHASE_CONNECTING : WORKER_PHASE_LOADING);
    worker_register(worker);
    note_failed(worker);
    beat(worker);
    return true;
}

/* Callbacks of the models. */

static void count_end(struct worker *worker, enum job_end end) {
    switch (end) {
    case JOB_FINISHED:
        worker->jobs_finished++;
        break;
    case JOB_CANCELLED:
        worker->jobs_cancelled++;
        break;
    case JOB_EXPIRED:
    case JOB_FAILED:
        worker->jobs_failed++;
        break;
    }
}

void worker_take_back(struct worker *worker, struct job *job) {
    map_take(&worker->jobs, job->key);
    count_end(worker, job->end);
    queue_report_note(&worker->queue_report, job, clock_ms());
    job_free(job);
    check_drained(worker);
}

static void on_job_done(struct job *job, const struct error *error, void *arg) {
    struct worker *worker = arg;
    if (error) {
        job->end = job_end_of(error->status);
        emit_failed(&worker->emitter, &job->wire, error);
        emit_flush(&worker->emitter);
    }
    worker_take_back(worker, job);
}

static void on_models_change(void *arg) {
    struct worker *worker = arg;
    if (!worker->warm && models_are_warm(worker->models)) {
        worker->warm = true;
        note_failed(worker);
    }
    beat(worker);
}

/* One callback a tick and nothing after it: the caller may free the worker in there. */
static void tell(void *arg) {
    struct worker *worker = arg;
    if (worker->failed && worker->on_failed) {
        worker->failed = false;
        if (worker->phase == WORKER_PHASE_STOPPED)
            loop_defer_ask(&worker->tell);
        worker->on_failed(worker->on_failed_arg);
    } else if (worker->phase == WORKER_PHASE_STOPPED && worker->on_drained) {
        void (*on_drained)(void *) = worker->on_drained;
        worker->on_drained = NULL;
        on_drained(worker->on_drained_arg);
    }
}

/* From new to free. */

static void on_emit_lost(const char *controller_id, enum status status, void *arg) {
    struct worker *worker = arg;
    worker->emit_lost = true;
    log_debug("answer not published", F_STR("controller", controller_id),
              F_STR("status", status_name(status)));
}

static void learn_skills(struct worker *worker) {
    const struct config_list *skills = &worker->env.config->worker.skills;
    for (size_t i = 0; i < skills->count && i < WORKER_SKILLS_MAX; i++)
        snprintf(worker->skills[worker->skill_count++], sizeof worker->skills[0], "%s", skills->items[i]);
    hardware_find(worker->env.engine_ops, &worker->hardware);
}

static int64_t memory_room(int64_t *own, void *arg) {
    const struct worker *worker = arg;
    return resource_watch_room(&worker->resources, own);
}

/* Integrated ones compute in the memory of the host. */
static bool has_gpu_memory(const struct worker_hardware *hardware) {
    for (size_t i = 0; i < hardware->gpu_count; i++) {
        if (!hardware->gpus[i].integrated)
            return true;
    }
    return false;
}

static struct models *make_models(struct worker *worker) {
    int64_t limit = resource_watch_limit(&worker->resources), bytes = worker->hardware.memory_bytes;
    if (limit < INT64_MAX && (bytes == 0 || limit < bytes))
        bytes = limit;
    const struct models_env env = {
        .runner = {.config = worker->env.config,
                   .worker_id = worker->env.id,
                   .incarnation = worker->incarnation,
                   .loop = worker->env.loop,
                   .transport = worker->env.transport,
                   .engine_ops = worker->env.engine_ops,
                   .checker = worker->env.checker,
                   .memory_bytes = bytes},
        .on_done = on_job_done,
        .on_change = on_models_change,
        .memory_room = memory_room,
        .has_gpu = has_gpu_memory(&worker->hardware),
        .arg = worker,
    };
    return models_new(&env);
}

static bool init(struct worker *worker, const struct worker_env *env) {
    worker->env = *env;
    worker->started_ms = clock_ms();
    rng_id(worker->incarnation, INCARNATION_CHARS);
    if (gethostname(worker->hostname, sizeof worker->hostname - 1) != 0)
        snprintf(worker->hostname, sizeof worker->hostname, "unknown");
    learn_skills(worker);
    map_init(&worker->jobs);
    emitter_init(&worker->emitter, env->transport, env->id, worker->incarnation);
    worker->emitter.on_lost = on_emit_lost;
    worker->emitter.arg = worker;
    if (!resource_watch_init(&worker->resources, env->config, env->system_root, env->loop, on_resources,
                             worker))
        return false;
    worker->models = make_models(worker);
    return worker->models && loop_timer_init(&worker->heartbeat, env->loop, beat, worker) &&
           loop_timer_init(&worker->drain_timer, env->loop, on_drain_limit, worker) &&
           loop_defer_init(&worker->tell, env->loop, tell, worker);
}

struct worker *worker_new(const struct worker_env *env, struct error *error) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker || !init(worker, env)) {
        error_set(error, STATUS_START_FAILED, NULL, "out of memory for the worker");
        worker_free(worker);
        return NULL;
    }
    if (worker_subscribe(worker, error) != STATUS_OK) {
        worker_free(worker);
        return NULL;
    }
    transport_on_link(env->transport, on_link, worker);
    return worker;
}

void worker_start(struct worker *worker, void (*on_failed)(void *arg), void *arg) {
    worker->on_failed = on_failed;
    worker->on_failed_arg = arg;
    models_on_pressure(worker->models, resource_watch_level(&worker->resources));
    models_start(worker->models);
    worker->warm = models_are_warm(worker->models);
    enter(worker, WORKER_PHASE_CONNECTING);
    log_info("worker starts", F_STR("incarnation", worker->incarnation),
             F_INT("models", models_count(worker->models)), F_STR("engine", worker->env.engine_ops->name));
    worker_register(worker);
    beat(worker);
}

void worker_free(struct worker *worker) {
    if (!worker)
        return;
    worker->phase = WORKER_PHASE_STOPPED; /* jobs come back from the runners, and nothing follows from it */
    models_free(worker->models);
    resource_watch_release(&worker->resources);
    loop_timer_release(&worker->heartbeat);
    loop_timer_release(&worker->drain_timer);
    loop_defer_release(&worker->tell);
    emitter_release(&worker->emitter);
    map_release(&worker->jobs);
    free(worker);
}
