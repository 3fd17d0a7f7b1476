#include "worker/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static bool ends_before(const struct heap_node *a, const struct heap_node *b) {
    const struct job *x = (const void *)((const char *)a - offsetof(struct job, by_deadline));
    const struct job *y = (const void *)((const char *)b - offsetof(struct job, by_deadline));
    return x->deadline_ms < y->deadline_ms;
}

/* Runs inside emit calls, so it only marks; end_lost_slots does the rest. */
static void on_lost(const char *controller_id, enum status status, void *arg) {
    struct scheduler *scheduler = arg;
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        struct slot *slot = &scheduler->slots[i];
        if (slot->job && strcmp(slot->job->wire.controller_id, controller_id) == 0)
            slot->lost = true;
    }
    if (log_gate_opens(&scheduler->lost_gate, scheduler->now_ms))
        log_warn("events could not be published", F_STR("controller", controller_id),
                 F_STR("status", status_name(status)), F_INT("messages_lost", scheduler->lost_gate.count));
}

bool scheduler_init(struct scheduler *scheduler, const struct scheduler_env *env) {
    *scheduler = (struct scheduler){.env = *env};
    env->engine->ops->info(env->engine, &scheduler->info);
    size_t slots = (size_t)scheduler->info.slots;
    emitter_init(&scheduler->emitter, env->transport, env->worker_id, env->incarnation);
    scheduler->emitter.on_lost = on_lost;
    scheduler->emitter.arg = scheduler;
    queue_init(&scheduler->queue, env->jobs_max);
    heap_init(&scheduler->deadlines, ends_before);
    buf_init(&scheduler->text, 0);
    scheduler->slots = calloc(slots, sizeof *scheduler->slots);
    scheduler->views = calloc(slots, sizeof *scheduler->views);
    scheduler->plan = calloc(slots, sizeof *scheduler->plan);
    scheduler->items = calloc(slots, sizeof *scheduler->items);
    scheduler->swept = calloc(env->jobs_max, sizeof(struct job *));
    scheduler->ended = calloc(env->jobs_max, sizeof(struct job *));
    if (scheduler->slots && scheduler->views && scheduler->plan && scheduler->items && scheduler->swept &&
        scheduler->ended)
        return true;
    scheduler_release(scheduler);
    return false;
}

static void end_job(struct scheduler *scheduler, struct job *job, enum job_end end) {
    job->end = end;
    scheduler->ended[scheduler->ended_count++] = job;
}

static void hand_out(struct scheduler *scheduler) {
    for (size_t i = 0; i < scheduler->ended_count; i++)
        scheduler->env.done(scheduler->ended[i], scheduler->env.arg);
    scheduler->ended_count = 0;
}

/* Steps from the arrival of the cancel to now, when its place is free. */
static void count_cancel(struct scheduler *scheduler, const struct job *job) {
    struct runner_stats *stats = scheduler->env.stats;
    uint64_t steps = STAT_GET(stats->steps) - STAT_GET(job->cancel_step);
    if (steps > STAT_GET(stats->cancel_steps_max))
        STAT_SET(stats->cancel_steps_max, (uint32_t)steps);
}

void scheduler_end_slot(struct scheduler *scheduler, struct slot *slot, enum job_end end) {
    struct job *job = slot->job;
    engine_slot_stop(scheduler->env.engine, (int32_t)(slot - scheduler->slots));
    *slot = (struct slot){.phase = SLOT_FREE};
    scheduler->active--;
    STAT_SET(scheduler->env.stats->running, scheduler->active);
    if (end == JOB_CANCELLED)
        count_cancel(scheduler, job);
    end_job(scheduler, job, end);
}

void scheduler_emit(struct scheduler *scheduler, const struct job *job, struct wire_event event) {
    if (!atomic_load_explicit(&job->answered, memory_order_relaxed))
        emit_event(&scheduler->emitter, &job->wire, event);
}

static void emit_end(struct scheduler *scheduler, const struct job *job, const struct error *error) {
    if (!atomic_load_explicit(&job->answered, memory_order_relaxed))
        emit_failed(&scheduler->emitter, &job->wire, error);
}

static enum job_end end_of(enum status status) {
    return status == STATUS_CANCELLED ? JOB_CANCELLED : JOB_FAILED;
}

void scheduler_fail_slot(struct scheduler *scheduler, struct slot *slot, const struct error *error) {
    emit_end(scheduler, slot->job, error);
    scheduler_end_slot(scheduler, slot, end_of(error->status));
}

/* For a job that is neither in the queue nor in a slot. */
static void fail_waiting(struct scheduler *scheduler, struct job *job, const struct error *error) {
    STAT_ADD(scheduler->env.stats->waiting, -1);
    emit_end(scheduler, job, error);
    if (error->status == STATUS_CANCELLED)
        count_cancel(scheduler, job);
    end_job(scheduler, job, end_of(error->status));
}

static void unqueue(struct scheduler *scheduler, struct job *job) {
    queue_remove(&scheduler->queue, &job->waiting);
    heap_remove(&scheduler->deadlines, &job->by_deadline);
}

static struct job *job_by_deadline(struct heap_node *node) {
    return container_of(node, struct job, by_deadline);
}

void scheduler_release(struct scheduler *scheduler) {
    for (int32_t i = 0; scheduler->slots && i < scheduler->info.slots; i++) {
        if (scheduler->slots[i].job)
            scheduler_end_slot(scheduler, &scheduler->slots[i], JOB_FAILED);
    }
    while (scheduler->deadlines.count > 0) {
        struct job *job = job_by_deadline(heap_peek(&scheduler->deadlines));
        unqueue(scheduler, job);
        STAT_ADD(scheduler->env.stats->waiting, -1);
        end_job(scheduler, job, JOB_FAILED);
    }
    hand_out(scheduler);
    queue_release(&scheduler->queue);
    heap_release(&scheduler->deadlines);
    emitter_release(&scheduler->emitter);
    buf_release(&scheduler->text);
    free(scheduler->slots);
    free(scheduler->views);
    free(scheduler->plan);
    free(scheduler->items);
    free(scheduler->swept);
    free(scheduler->ended);
    *scheduler = (struct scheduler){0};
}

/* The flags are looked at before the job joins the queue: whoever sets one later also moves `attention`
 * later, so the next sweep sees it. */
void scheduler_add(struct scheduler *scheduler, struct job *job, int64_t now_ms) {
    struct error error = {.status = STATUS_OK};
    if (job_check(job, now_ms, &error) != STATUS_OK) {
        fail_waiting(scheduler, job, &error);
        return;
    }
    job->waiting.priority = job->wire.chat.priority;
    if (queue_push(&scheduler->queue, &job->waiting)) {
        if (heap_push(&scheduler->deadlines, &job->by_deadline))
            return;
        queue_remove(&scheduler->queue, &job->waiting);
    }
    error_set(&error, STATUS_ENGINE_ERROR, NULL, "the worker is out of memory for its queue");
    fail_waiting(scheduler, job, &error);
}

bool scheduler_is_idle(const struct scheduler *scheduler) {
    return scheduler->active == 0 && queue_count(&scheduler->queue) == 0;
}

static void sweep_slots(struct scheduler *scheduler) {
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        struct slot *slot = &scheduler->slots[i];
        struct error error;
        if (slot->job && job_check(slot->job, scheduler->now_ms, &error) != STATUS_OK)
            scheduler_fail_slot(scheduler, slot, &error);
    }
}

/* Removing moves others about in the heap, so the search comes first. */
static void sweep_queue(struct scheduler *scheduler) {
    size_t count = 0;
    struct error error;
    for (size_t i = 0; i < scheduler->deadlines.count; i++) {
        struct job *job = job_by_deadline(scheduler->deadlines.nodes[i]);
        if (job_check(job, scheduler->now_ms, &error) != STATUS_OK)
            scheduler->swept[count++] = job;
    }
    for (size_t i = 0; i < count; i++) {
        struct job *job = scheduler->swept[i];
        enum status status = job_check(job, scheduler->now_ms, &error);
        assert(status != STATUS_OK); /* its flags are never taken back */
        unqueue(scheduler, job);
        fail_waiting(scheduler, job, &error);
    }
}

static bool queue_needs_sweep(struct scheduler *scheduler) {
    uint32_t attention = atomic_load_explicit(scheduler->env.attention, memory_order_acquire);
    bool asked = attention != scheduler->attention_seen;
    scheduler->attention_seen = attention;
    struct heap_node *first = heap_peek(&scheduler->deadlines);
    return first && (asked || job_by_deadline(first)->deadline_ms <= scheduler->now_ms);
}

static void start_slot(struct scheduler *scheduler, struct slot *slot, struct job *job) {
    int32_t index = (int32_t)(slot - scheduler->slots);
    enum status status =
        engine_slot_start(scheduler->env.engine, index, &job->wire.chat.sampling, &job->prompt);
    if (status != STATUS_OK) {
        struct error error;
        error_set(&error, status, NULL, "the engine could not prepare a slot: %s", status_text(status));
        engine_slot_stop(scheduler->env.engine, index);
        fail_waiting(scheduler, job, &error);
        return;
    }
    text_filter_init(&job->filter, job->wire.chat.stop, job->wire.chat.stop_count);
    *slot = (struct slot){.job = job, .phase = SLOT_PREFILL, .started = scheduler->starts++};
    scheduler->active++;
    STAT_ADD(scheduler->env.stats->waiting, -1);
    STAT_SET(scheduler->env.stats->running, scheduler->active);
    scheduler_emit(
        scheduler, job,
        (struct wire_event){.kind = WIRE_EVENT_STARTED, .prompt_tokens = (int32_t)job->prompt.count});
}

static void fill_slots(struct scheduler *scheduler) {
    for (int32_t i = 0; i < scheduler->info.slots && queue_count(&scheduler->queue) > 0; i++) {
        while (!scheduler->slots[i].job && queue_count(&scheduler->queue) > 0) {
            struct job *job = container_of(queue_pop(&scheduler->queue), struct job, waiting);
            heap_remove(&scheduler->deadlines, &job->by_deadline);
            start_slot(scheduler, &scheduler->slots[i], job);
        }
    }
}

static void end_lost_slots(struct scheduler *scheduler) {
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        if (scheduler->slots[i].job && scheduler->slots[i].lost)
            scheduler_end_slot(scheduler, &scheduler->slots[i], JOB_FAILED);
    }
}

/* Jobs go out only now, so that a worker without jobs has nothing left to say either. */
static void publish(struct scheduler *scheduler) {
    emit_flush(&scheduler->emitter);
    end_lost_slots(scheduler);
    hand_out(scheduler);
}

static void count_cells(struct scheduler *scheduler) {
    int64_t cells = 0;
    for (int32_t i = 0; i < scheduler->info.slots; i++)
        cells += scheduler->slots[i].computed;
    STAT_SET(scheduler->env.stats->kv_cells_used, cells);
}

void scheduler_turn(struct scheduler *scheduler, int64_t now_ms) {
    scheduler->now_ms = now_ms;
    sweep_slots(scheduler);
    if (queue_needs_sweep(scheduler))
        sweep_queue(scheduler);
    fill_slots(scheduler);
    /* What a long step must not hold up: starts and ends. */
    publish(scheduler);
    if (scheduler->active > 0) {
        scheduler_step(scheduler);
        publish(scheduler);
    }
    count_cells(scheduler);
}
