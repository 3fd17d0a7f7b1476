#include "controller/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/breakers.h"
#include "controller/peers.h"
#include "controller/room.h"

enum {
    PROBES_MAX = 64,       /* at once; others are due at the next tick, too */
    PROBE_LIMIT_MS = 5000, /* for one token of a tiny prompt */
    PROBE_GRACE_MS = 1000, /* the job's own time is longer, so that the verdict is ours */
    PROBE_AGAIN_MS = 1000, /* after one that told nothing, as that the worker is full */
    PROBE_ID_CHARS = 24,
};

struct probe {
    TAILQ_ENTRY(probe) link;
    struct controller *controller;
    char id[WIRE_REQUEST_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1];
    struct lease lease;
    struct guard_ticket ticket;
    bool accepted, started;
    struct loop_timer timer;
};

static struct probe *find_probe(const struct controller *controller, const char *id) {
    struct probe *probe;
    TAILQ_FOREACH(probe, &controller->probes, link) {
        if (strcmp(probe->id, id) == 0)
            return probe;
    }
    return NULL;
}

static void free_probe(struct probe *probe) {
    TAILQ_REMOVE(&probe->controller->probes, probe, link);
    probe->controller->probe_count--;
    loop_timer_release(&probe->timer);
    free(probe);
}

static void end_probe(struct probe *probe, enum status status) {
    struct controller *controller = probe->controller;
    struct worker_model *model = lease_model(&controller->registry, &probe->lease);
    if (model && status != STATUS_OK)
        model->probe_after_ms = clock_ms() + PROBE_AGAIN_MS;
    controller->stats.probes_passed += status == STATUS_OK;
    controller->stats.probes_failed += status_is_failure(status);
    log_info("probe", F_STR("id", probe->id), F_STR("worker", probe->lease.worker_id),
             F_STR("status", status_name(status)));
    breakers_end(controller, &probe->lease, &probe->ticket, status);
    lease_give_back(&controller->registry, &probe->lease);
    free_probe(probe);
    room_call(controller);
}

/* Waiting in the worker's queue says nothing about its health. */
static enum status status_of_timeout(const struct probe *probe) {
    if (!controller_heard_since(probe->controller, clock_ms() - PROBE_LIMIT_MS))
        return STATUS_NATS_ERROR;
    return probe->accepted && !probe->started ? STATUS_WORKER_OVERLOADED : STATUS_WORKER_TIMEOUT;
}

/* No cancel: the worker ends the job itself when its time is over. */
static void on_timer(void *arg) {
    end_probe(arg, status_of_timeout(arg));
}

static enum status send_job(struct probe *probe, char *model) {
    struct controller *controller = probe->controller;
    char messages[] = "[{\"role\":\"user\",\"content\":\"Hello\"}]";
    struct wire_job job = {
        .attempt = 1, .remaining_ms = PROBE_LIMIT_MS + PROBE_GRACE_MS, .now_s = clock_wall_ms() / 1000};
    chat_request_init(&job.chat);
    job.chat.model = model;
    job.chat.messages_json = messages;
    job.chat.max_tokens = 1;
    job.chat.priority = CHAT_PRIORITY_LOW;
    memcpy(job.request_id, probe->id, sizeof(job.request_id));
    memcpy(job.controller_id, controller->id, sizeof(job.controller_id));
    memcpy(job.incarnation, controller->peers->incarnation, sizeof(job.incarnation));
    char subject[WIRE_SUBJECT_MAX], reply[WIRE_SUBJECT_MAX];
    wire_subject_job(subject, probe->lease.worker_id);
    wire_subject_job_reply(reply, controller->id, probe->id, job.attempt);
    buf_clear(&controller->scratch);
    wire_write_job(&controller->scratch, &job);
    return transport_publish(controller->transport, subject, reply, controller->scratch.data,
                             controller->scratch.len);
}

static struct probe *new_probe(struct controller *controller, const struct registry_worker *worker) {
    struct probe *probe = calloc(1, sizeof(*probe));
    if (!probe || !loop_timer_init(&probe->timer, controller->loop, on_timer, probe)) {
        free(probe);
        return NULL;
    }
    probe->controller = controller;
    memcpy(probe->id, "probe-", 6);
    rng_id(probe->id + 6, PROBE_ID_CHARS);
    memcpy(probe->incarnation, worker->info.incarnation, sizeof(probe->incarnation));
    TAILQ_INSERT_TAIL(&controller->probes, probe, link);
    controller->probe_count++;
    return probe;
}

/* Without memory there is no probe now; there will be other ticks. */
static void start_probe(struct controller *controller, struct registry_worker *worker, char *model) {
    struct probe *probe = new_probe(controller, worker);
    if (!probe)
        return;
    if (!breakers_begin(controller, worker, model, false, &probe->ticket)) {
        free_probe(probe);
        return;
    }
    lease_take(worker, model, &probe->lease);
    controller->stats.probes_sent++;
    enum status status = send_job(probe, model);
    if (status == STATUS_OK)
        loop_timer_arm(&probe->timer, PROBE_LIMIT_MS);
    else
        end_probe(probe, status);
}

static bool is_due(struct registry_worker *worker, size_t index, int64_t now_ms) {
    struct worker_model *model = &worker->models[index];
    struct guard guard = worker_guard(worker, model);
    return worker->info.models[index].state == MODEL_READY && !model->full &&
           resource_level_admits(worker->gauge->resources, CHAT_PRIORITY_LOW) &&
           now_ms >= model->probe_after_ms && registry_busy_ms(worker, now_ms) == 0 &&
           guard_peek(&guard, now_ms) == BREAKER_PROBE;
}

void probe_tick(struct controller *controller) {
    if (!controller->config->routing.breaker.probe || controller->draining ||
        !transport_is_up(controller->transport))
        return;
    for (size_t w = 0; w < controller->registry.count; w++) {
        struct registry_worker *worker = controller->registry.workers[w];
        if (worker->breakers_calm || worker->state != WORKER_ONLINE ||
            worker->info.phase == WORKER_PHASE_DRAINING)
            continue;
        for (size_t i = 0; i < worker->info.model_count && controller->probe_count < PROBES_MAX; i++)
            if (is_due(worker, i, clock_ms()))
                start_probe(controller, worker, worker->info.models[i].name);
    }
}

bool probe_take_event(struct controller *controller, const struct wire_events_source *source,
                      const struct wire_event *event) {
    struct probe *probe = find_probe(controller, event->request_id);
    if (!probe || strcmp(probe->lease.worker_id, source->worker_id) != 0 ||
        strcmp(probe->incarnation, source->incarnation) != 0)
        return false;
    switch (event->kind) {
    case WIRE_EVENT_ACCEPTED:
        probe->accepted = true;
        break;
    case WIRE_EVENT_STARTED:
        probe->started = true;
        break;
    case WIRE_EVENT_TOKEN:
        breakers_first_token(controller, &probe->lease, &probe->ticket);
        break;
    case WIRE_EVENT_FINISHED:
        end_probe(probe, STATUS_OK);
        break;
    case WIRE_EVENT_FAILED:
        end_probe(probe, event->status);
        break;
    }
    return true;
}

bool probe_take_no_responders(struct controller *controller, const struct wire_reply *reply) {
    struct probe *probe = find_probe(controller, reply->request_id);
    if (!probe)
        return false;
    struct lease lease = probe->lease;
    end_probe(probe, STATUS_WORKER_UNAVAILABLE);
    controller_suspect(controller, &lease);
    return true;
}

void probe_fail_on(struct controller *controller, uint64_t generation, enum status status) {
    struct probe *probe, *next;
    for (probe = TAILQ_FIRST(&controller->probes); probe; probe = next) {
        next = TAILQ_NEXT(probe, link);
        if (probe->lease.generation == generation)
            end_probe(probe, status);
    }
}

void probe_release_all(struct controller *controller) {
    struct probe *next;
    for (struct probe *probe = TAILQ_FIRST(&controller->probes); probe; probe = next) {
        next = TAILQ_NEXT(probe, link);
        free_probe(probe);
    }
}
