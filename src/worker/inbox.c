#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/worker_internal.h"

static void count_invalid(struct worker *worker, const struct transport_message *message,
                          const struct error *error) {
    if (log_gate_opens(&worker->invalid_gate, clock_ms()))
        log_warn("invalid message", F_STR("subject", message->subject), F_STR("error", error->message),
                 F_INT("bytes", message->len), F_INT("invalid_messages", worker->invalid_gate.count));
}

static void refuse(struct worker *worker, const struct wire_job *wire, const struct error *error) {
    worker->jobs_rejected++;
    log_debug("job refused", F_STR("request", wire->request_id), F_INT("attempt", wire->attempt),
              F_STR("status", status_name(error->status)), F_STR("reason", error->message));
    emit_failed(&worker->emitter, wire, error);
    emit_flush(&worker->emitter);
}

/* `*model` is where it may go; otherwise it is refused, with the reason in `error`. */
static enum status admit(struct worker *worker, const struct wire_job *wire, const char *key, int64_t now_ms,
                         size_t *model, struct error *error) {
    if (early_cancels_take(&worker->early_cancels, key, now_ms))
        return error_set(error, STATUS_CANCELLED, NULL, "the request was cancelled before its job arrived");
    if (worker_is_draining(worker))
        return error_set(error, STATUS_WORKER_DRAINING, NULL, "the worker stops and takes no new jobs");
    if (worker->phase == WORKER_PHASE_INITIALIZING)
        return error_set(error, STATUS_MODEL_NOT_LOADED, NULL, "the worker is about to start");
    *model = models_find(worker->models, wire->chat.model);
    /* The controller thought so, from an older heartbeat: another worker may have it. */
    if (*model == models_count(worker->models))
        return error_set(error, STATUS_MODEL_NOT_LOADED, "model", "this worker does not serve %s",
                         wire->chat.model);
    enum status status = resource_watch_admit(&worker->resources, wire->chat.priority, error);
    return status == STATUS_OK ? models_make_room(worker->models, *model, wire->chat.priority, error)
                               : status;
}

/* The job is told to be accepted before the runner has it, so that nothing of the runner can come first. */
static void accept(struct worker *worker, size_t model, struct job *job) {
    worker->jobs_accepted++;
    worker->emit_lost = false;
    size_t position = models_position(worker->models, model, job->wire.chat.priority);
    bool ready = models_state(worker->models, model) == MODEL_READY;
    emit_event(&worker->emitter, &job->wire,
               (struct wire_event){
                   .kind = WIRE_EVENT_ACCEPTED,
                   .position = (int32_t)position,
                   .wait_ms = ready ? queue_report_wait_ms(&worker->queue_report, job->wire.chat.model,
                                                           position, job->since_ms)
                                    : -1,
               });
    emit_flush(&worker->emitter);
    if (worker->emit_lost) {
        worker_take_back(worker, job);
        return;
    }
    models_submit(worker->models, model, job);
}

static void take_job(struct worker *worker, struct wire_job *wire) {
    char key[JOB_KEY_MAX];
    job_key(key, wire->request_id, wire->attempt);
    if (map_find(&worker->jobs, key)) {
        log_debug("job came twice", F_STR("job", key));
        return;
    }
    int64_t now_ms = clock_ms();
    watch_job(&worker->watch, wire->controller_id, now_ms);
    struct error error = {.status = STATUS_OK};
    size_t model = 0;
    if (admit(worker, wire, key, now_ms, &model, &error) != STATUS_OK) {
        refuse(worker, wire, &error);
        return;
    }
    struct job *job = job_new(wire, now_ms);
    if (job && map_put(&worker->jobs, key, job)) {
        accept(worker, model, job);
        return;
    }
    error_set(&error, STATUS_WORKER_OVERLOADED, NULL, "the worker is out of memory");
    refuse(worker, job ? &job->wire : wire, &error);
    job_free(job);
}

static void on_job(const struct transport_message *message, void *arg) {
    struct worker *worker = arg;
    struct wire_job wire = {.attempt = 0};
    struct error error = {.status = STATUS_OK};
    if (wire_read_job(message->data, message->len, &wire, &error) == STATUS_OK) {
        take_job(worker, &wire);
    } else {
        count_invalid(worker, message, &error);
        if (wire.request_id[0] && wire.controller_id[0] && wire.attempt > 0)
            refuse(worker, &wire, &error);
        else
            worker->jobs_rejected++;
    }
    wire_job_release(&wire);
}

static void on_cancel(const struct transport_message *message, void *arg) {
    struct worker *worker = arg;
    struct wire_cancel cancel;
    struct error error;
    if (wire_read_cancel(message->data, message->len, &cancel, &error) != STATUS_OK) {
        count_invalid(worker, message, &error);
        return;
    }
    char key[JOB_KEY_MAX];
    job_key(key, cancel.request_id, cancel.attempt);
    struct job *job = map_find(&worker->jobs, key);
    if (job)
        models_cancel(worker->models, job);
    else
        early_cancels_add(&worker->early_cancels, key, clock_ms());
}

static void reply_info(struct worker *worker, const char *subject, enum wire_control_op op) {
    struct worker_info info;
    worker_get_info(worker, &info);
    struct buf body;
    buf_init(&body, 0);
    wire_write_control_reply(&body, op, &info);
    if (body.failed ||
        transport_publish(worker->env.transport, subject, NULL, body.data, body.len) != STATUS_OK)
        log_warn("a control message could not be answered", F_STR("subject", subject));
    buf_release(&body);
}

static void on_control(const struct transport_message *message, void *arg) {
    struct worker *worker = arg;
    enum wire_control_op op;
    struct error error;
    if (wire_read_control(message->data, message->len, &op, &error) != STATUS_OK) {
        count_invalid(worker, message, &error);
        return;
    }
    if (op == WIRE_CONTROL_DRAIN)
        worker_drain(worker, worker->env.config->worker.drain_timeout_ms, NULL, NULL);
    if (op == WIRE_CONTROL_RESUME && !worker_resume(worker))
        log_info("the worker stops and does not resume");
    if (message->reply)
        reply_info(worker, message->reply, op);
}

static void on_discover(const struct transport_message *message, void *arg) {
    (void)message;
    worker_register(arg);
}

static void on_controller(const struct transport_message *message, void *arg) {
    struct worker *worker = arg;
    struct wire_controller controller;
    struct error error;
    if (wire_read_controller(message->data, message->len, &controller, &error) != STATUS_OK)
        count_invalid(worker, message, &error);
    else if (watch_heartbeat(&worker->watch, &controller, clock_ms()))
        worker_drop_orphans(worker, controller.id,
                            controller.state == WIRE_CONTROLLER_LEFT ? NULL : controller.incarnation);
}

static enum status subscribe(struct worker *worker, const char *subject, transport_fn *fn,
                             struct error *error) {
    enum status status = transport_subscribe(worker->env.transport, subject, fn, worker);
    if (status == STATUS_OK)
        return STATUS_OK;
    return error_set(error, status, NULL, "could not subscribe to %s", subject);
}

enum status worker_subscribe(struct worker *worker, struct error *error) {
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_job(subject, worker->env.id);
    enum status status = subscribe(worker, subject, on_job, error);
    wire_subject_cancel(subject, worker->env.id);
    if (status == STATUS_OK)
        status = subscribe(worker, subject, on_cancel, error);
    wire_subject_control(subject, worker->env.id);
    if (status == STATUS_OK)
        status = subscribe(worker, subject, on_control, error);
    if (status == STATUS_OK)
        status = subscribe(worker, WIRE_SUBJECT_CONTROLLER_HEARTBEAT, on_controller, error);
    return status == STATUS_OK ? subscribe(worker, WIRE_SUBJECT_DISCOVER, on_discover, error) : status;
}
