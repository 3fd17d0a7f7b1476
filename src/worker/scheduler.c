#include "worker/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* Controllers learn of prompts that are held soon, but not with a message for each job. */
enum { TELL_INTERVAL_MS = 200 };

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
    queue_init(&scheduler->queue, env->aging_ms);
    batch_gate_init(&scheduler->gate, &env->batching, slots);
    buf_init(&scheduler->text, 0);
    scheduler->parked = calloc(slots, sizeof *scheduler->parked);
    scheduler->slots = calloc(slots, sizeof *scheduler->slots);
    scheduler->views = calloc(slots, sizeof *scheduler->views);
    scheduler->plan = calloc(slots, sizeof *scheduler->plan);
    scheduler->items = calloc(slots, sizeof *scheduler->items);
    scheduler->ended = calloc(env->jobs_max, sizeof(struct job *));
    if (kv_cache_init(&scheduler->cache, env->engine, &env->kv) && scheduler->parked && scheduler->slots &&
        scheduler->views && scheduler->plan && scheduler->items && scheduler->ended)
        return true;
    scheduler_release(scheduler);
    return false;
}

/* Steps from the arrival of the cancel to now, when its place is free. */
static void count_cancel(struct scheduler *scheduler, const struct job *job) {
    struct runner_stats *stats = scheduler->env.stats;
    uint64_t steps = STAT_GET(stats->steps) - STAT_GET(job->cancel_step);
    if (steps > STAT_GET(stats->cancel_steps_max))
        STAT_SET(stats->cancel_steps_max, (uint32_t)steps);
}

void scheduler_end_job(struct scheduler *scheduler, struct job *job, enum job_end end) {
    if (end == JOB_CANCELLED)
        count_cancel(scheduler, job);
    job->end = end;
    scheduler->ended[scheduler->ended_count++] = job;
}

static void hand_out(struct scheduler *scheduler) {
    for (size_t i = 0; i < scheduler->ended_count; i++)
        scheduler->env.done(scheduler->ended[i], scheduler->env.arg);
    scheduler->ended_count = 0;
}

void scheduler_free_slot(struct scheduler *scheduler, struct slot *slot, bool keep) {
    int32_t index = (int32_t)(slot - scheduler->slots);
    engine_slot_stop(scheduler->env.engine, index);
    if (keep) {
        kv_cache_leave(&scheduler->cache, index);
        slot->job->prompt.tokens = NULL;
    } else {
        kv_cache_drop(&scheduler->cache, index);
    }
    *slot = (struct slot){0};
    scheduler->active--;
    STAT_SET(scheduler->env.stats->running, scheduler->active);
}

void scheduler_end_slot(struct scheduler *scheduler, struct slot *slot, enum job_end end) {
    struct job *job = slot->job;
    if (end == JOB_FINISHED) {
        forecast_note(&scheduler->forecast, job->wire.chat.max_tokens, job_reply_tokens(job));
        batch_gate_served(&scheduler->gate, clock_ms());
    }
    /* Of one that failed its part of a step may have gone wrong. */
    scheduler_free_slot(scheduler, slot, end != JOB_FAILED && !slot->spoiled);
    scheduler_end_job(scheduler, job, end);
}

static void note_event(struct scheduler *scheduler, bool urgent) {
    if (scheduler->held_us == 0)
        scheduler->held_us = clock_us();
    scheduler->urgent |= urgent;
}

void scheduler_emit(struct scheduler *scheduler, const struct job *job, struct wire_event event) {
    if (atomic_load_explicit(&job->answered, memory_order_relaxed))
        return;
    emit_event(&scheduler->emitter, &job->wire, event);
    note_event(scheduler, event.kind != WIRE_EVENT_TOKEN || event.index == 0);
}

void scheduler_emit_failed(struct scheduler *scheduler, const struct job *job, const struct error *error) {
    if (atomic_load_explicit(&job->answered, memory_order_relaxed))
        return;
    emit_failed(&scheduler->emitter, &job->wire, error);
    note_event(scheduler, true);
}

void scheduler_fail_slot(struct scheduler *scheduler, struct slot *slot, const struct error *error) {
    scheduler_emit_failed(scheduler, slot->job, error);
    scheduler_end_slot(scheduler, slot, job_end_of(error->status));
}

static void count_out(struct scheduler *scheduler, const struct job *job) {
    STAT_ADD(scheduler->env.stats->waiting[job->waiting.level], -1);
}

/* For a job that is neither in the queue nor in a slot. */
static void fail_waiting(struct scheduler *scheduler, struct job *job, const struct error *error) {
    count_out(scheduler, job);
    scheduler_emit_failed(scheduler, job, error);
    scheduler_end_job(scheduler, job, job_end_of(error->status));
}

static struct job *job_of(struct queue_entry *entry) {
    return container_of(entry, struct job, waiting);
}

void scheduler_release(struct scheduler *scheduler) {
    for (int32_t i = 0; scheduler->slots && i < scheduler->info.slots; i++) {
        if (scheduler->slots[i].job)
            scheduler_end_slot(scheduler, &scheduler->slots[i], JOB_FAILED);
    }
    while (scheduler->parked_count > 0)
        scheduler_end_parked(scheduler, 0, JOB_FAILED);
    struct queue_entry *entry;
    while ((entry = queue_pop(&scheduler->queue, scheduler->now_ms))) {
        count_out(scheduler, job_of(entry));
        scheduler_end_job(scheduler, job_of(entry), JOB_FAILED);
    }
    hand_out(scheduler);
    queue_release(&scheduler->queue);
    emitter_release(&scheduler->emitter);
    buf_release(&scheduler->text);
    kv_cache_release(&scheduler->cache);
    free(scheduler->parked);
    free(scheduler->slots);
    free(scheduler->views);
    free(scheduler->plan);
    free(scheduler->items);
    free(scheduler->ended);
    *scheduler = (struct scheduler){0};
}

/* false: it ends with what `error` says. */
static bool may_wait(const struct job *job, int64_t now_ms, struct error *error) {
    *error = (struct error){.status = STATUS_OK};
    return job_check(job, now_ms, error) == STATUS_OK;
}

void scheduler_add(struct scheduler *scheduler, struct job *job, int64_t now_ms) {
    struct error error;
    if (!may_wait(job, now_ms, &error)) {
        fail_waiting(scheduler, job, &error);
        return;
    }
    if (queue_push(&scheduler->queue, &job->waiting)) {
        batch_gate_note(&scheduler->gate, scheduler->active == 0, now_ms);
        return;
    }
    error_set(&error, STATUS_ENGINE_ERROR, NULL, "the worker is out of memory for its queue");
    fail_waiting(scheduler, job, &error);
}

void scheduler_look_at(struct scheduler *scheduler, struct job *job, int64_t now_ms) {
    struct error error;
    if (!queue_has(&job->waiting) || may_wait(job, now_ms, &error))
        return;
    queue_remove(&scheduler->queue, &job->waiting);
    fail_waiting(scheduler, job, &error);
}

/* How long until controllers are to be told of the prompts that are held; -1 when there is nothing new. */
static int64_t tell_due_ms(const struct scheduler *scheduler, int64_t now_ms) {
    if (!prefix_report_has_news(&scheduler->cache.report))
        return -1;
    int64_t left_ms = scheduler->told_ms + TELL_INTERVAL_MS - now_ms;
    return left_ms > 0 ? left_ms : 0;
}

/* Until there is something to do without a job, while none waits. */
static int64_t idle_ms(const struct scheduler *scheduler, bool comes, int64_t now_ms) {
    int64_t tell_ms = tell_due_ms(scheduler, now_ms);
    int64_t tidy_ms = comes ? -1 : kv_cache_tidy_due_ms(&scheduler->cache, now_ms);
    if (tell_ms < 0 || tidy_ms < 0)
        return tell_ms < 0 ? tidy_ms : tell_ms;
    return tell_ms < tidy_ms ? tell_ms : tidy_ms;
}

/* All of them are in the queue or with the prompt thread. */
static size_t submitted(const struct scheduler *scheduler) {
    int32_t count = 0;
    for (int level = 0; level < CHAT_PRIORITY_COUNT; level++)
        count += STAT_GET(scheduler->env.stats->waiting[level]);
    return (size_t)count;
}

static int64_t prompt_cost_ms(struct scheduler *scheduler, int64_t now_ms) {
    const struct job *job = job_of(queue_first(&scheduler->queue, now_ms));
    int32_t count = (int32_t)job->prompt.count;
    struct kv_place place;
    if (!kv_cache_find(&scheduler->cache, job->prompt.tokens, count, &place))
        return 0;
    return (int64_t)((count - place.held) * scheduler->prompt_token_us / 1000);
}

int64_t scheduler_wait_ms(struct scheduler *scheduler, int64_t now_ms) {
    if (scheduler->active > 0 || scheduler->parked_count > 0)
        return 0;
    size_t waiting = queue_count(&scheduler->queue), all = submitted(scheduler);
    if (waiting == 0)
        return idle_ms(scheduler, all > 0, now_ms);
    struct batch_gate_jobs jobs = {.waiting = waiting, .coming = all > waiting ? all - waiting : 0};
    if (batch_gate_expects(&scheduler->gate, jobs.coming))
        jobs.cost_ms = prompt_cost_ms(scheduler, now_ms);
    int64_t wait_ms = batch_gate_wait_ms(&scheduler->gate, &jobs, now_ms);
    /* Nobody's time is to end while the engine waits for more. */
    return queue_deadline_ms(&scheduler->queue) - now_ms > wait_ms ? wait_ms : 0;
}

static void sweep_slots(struct scheduler *scheduler) {
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        struct slot *slot = &scheduler->slots[i];
        struct error error;
        if (slot->job && job_check(slot->job, scheduler->now_ms, &error) != STATUS_OK)
            scheduler_fail_slot(scheduler, slot, &error);
    }
}

/* Was taken out of the queue because job_check says so. */
static void end_waiting(struct scheduler *scheduler, struct job *job) {
    struct error error;
    bool may = may_wait(job, scheduler->now_ms, &error);
    assert(!may);
    (void)may;
    fail_waiting(scheduler, job, &error);
}

static void sweep_queue(struct scheduler *scheduler) {
    struct queue_entry *entry;
    while ((entry = queue_pop_expired(&scheduler->queue, scheduler->now_ms))) {
        end_waiting(scheduler, job_of(entry));
    }
}

/* Room for the whole reply, so that the tokens never move while the cache looks at them. */
static bool reserve_reply(const struct scheduler *scheduler, struct job *job) {
    int64_t most = scheduler->info.context_tokens, asked = job->wire.chat.max_tokens;
    if (asked > 0 && job_prompt_tokens(job) + asked < most)
        most = job_prompt_tokens(job) + asked;
    if (most < (int64_t)job->prompt.count)
        most = (int64_t)job->prompt.count;
    int32_t *tokens = realloc(job->prompt.tokens, (size_t)most * sizeof *tokens);
    if (tokens)
        job->prompt.tokens = tokens;
    return tokens != NULL;
}

void scheduler_count_held(struct scheduler *scheduler, struct job *job, int32_t tokens) {
    int32_t held = job->held + tokens, most = job_prompt_tokens(job);
    if (tokens > 0) {
        STAT_ADD(scheduler->env.stats->cache_hits, job->held == 0);
        STAT_ADD(scheduler->env.stats->cached_tokens, (uint64_t)tokens);
    }
    job->held = held < 0 ? 0 : (held < most ? held : most);
}

static void fail_start(struct scheduler *scheduler, struct job *job, enum status status) {
    struct error error;
    error_set(&error, status, NULL, "the engine could not prepare a slot: %s", status_text(status));
    fail_waiting(scheduler, job, &error);
}

static void start_slot(struct scheduler *scheduler, const struct kv_place *place, struct job *job) {
    if (!reserve_reply(scheduler, job)) {
        fail_start(scheduler, job, STATUS_ENGINE_ERROR);
        return;
    }
    int32_t held = kv_cache_take(&scheduler->cache, place, job->prompt.tokens, job->blocks);
    job->blocks = NULL;
    enum status status =
        engine_slot_start(scheduler->env.engine, place->slot, &job->wire.chat.sampling, &job->prompt, held);
    if (status != STATUS_OK) {
        engine_slot_stop(scheduler->env.engine, place->slot);
        kv_cache_drop(&scheduler->cache, place->slot);
        fail_start(scheduler, job, status);
        return;
    }
    struct slot *slot = &scheduler->slots[place->slot];
    text_filter_init(&job->filter, job->wire.chat.stop, job->wire.chat.stop_count);
    *slot = (struct slot){.job = job, .started = scheduler->starts++};
    job->started_ms = scheduler->now_ms;
    scheduler->active++;
    count_out(scheduler, job);
    scheduler_count_held(scheduler, job, held);
    STAT_SET(scheduler->env.stats->running, scheduler->active);
    scheduler_emit(scheduler, job,
                   (struct wire_event){.kind = WIRE_EVENT_STARTED, .prompt_tokens = job_prompt_tokens(job)});
    if (job->prompt.reply > 0)
        scheduler_replay(scheduler, slot);
}

/* NULL when nobody waits, or when there is no place for who is next: nobody overtakes him. One that was
 * evicted while it waited never gets a slot. */
static struct job *next_job(struct scheduler *scheduler, struct kv_place *place) {
    struct queue_entry *entry;
    while ((entry = queue_first(&scheduler->queue, scheduler->now_ms))) {
        struct job *job = job_of(entry);
        if (!kv_cache_find(&scheduler->cache, job->prompt.tokens, (int32_t)job->prompt.count, place) ||
            !scheduler_has_room(scheduler, job, place))
            return NULL;
        queue_take(&scheduler->queue, entry);
        if (admission_start(&job->admission))
            return job;
        end_waiting(scheduler, job);
    }
    return NULL;
}

static void fill_slots(struct scheduler *scheduler) {
    struct kv_place place;
    struct job *job;
    while (scheduler_resume_parked(scheduler) && (job = next_job(scheduler, &place)))
        start_slot(scheduler, &place, job);
    batch_gate_open(&scheduler->gate, scheduler->now_ms);
    STAT_SET(scheduler->env.stats->batch_wait_ms, (uint64_t)scheduler->gate.waited_ms);
}

bool scheduler_should_abort(const struct scheduler *scheduler) {
    const struct job *job = scheduler->heavy;
    return job && scheduler_is_unwanted(job);
}

static void end_lost_slots(struct scheduler *scheduler) {
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        if (scheduler->slots[i].job && scheduler->slots[i].lost)
            scheduler_end_slot(scheduler, &scheduler->slots[i], JOB_FAILED);
    }
}

static void count_cells(struct scheduler *scheduler) {
    struct runner_stats *stats = scheduler->env.stats;
    const struct prefix_store *store = &scheduler->cache.store;
    int64_t busy = kv_cache_busy_cells(&scheduler->cache);
    STAT_SET(stats->kv_cells_used, busy);
    STAT_SET(stats->kv_cells_cached, kv_cache_cells(&scheduler->cache) - busy);
    STAT_SET(stats->cache_bytes, (int64_t)store->bytes);
    STAT_SET(stats->cache_evicted, store->evicted);
    STAT_SET(stats->cache_skipped, store->skipped);
    STAT_SET(stats->parked, scheduler->parked_count);
}

/* Each message costs worker, nats-server, controller and client some hundred microseconds together, which on
 * a small machine the engine lacks. So tokens wait for those of the next step when they will be here soon. */
static bool may_wait_for_more(const struct scheduler *scheduler) {
    if (scheduler->urgent || scheduler->active == 0 || scheduler->ended_count > 0)
        return false;
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        const struct slot *slot = &scheduler->slots[i];
        if (slot->job && !scheduler_decodes(scheduler, slot)) /* a step with prompts takes longer */
            return false;
    }
    return clock_us() - scheduler->held_us + scheduler->step_us < scheduler->env.stream_interval_ms * 1000;
}

static void flush(struct scheduler *scheduler) {
    if (scheduler->held_us == 0 || may_wait_for_more(scheduler))
        return;
    emit_flush(&scheduler->emitter);
    scheduler->held_us = 0;
    scheduler->urgent = false;
}

/* Jobs go out only now, so that a worker without jobs has nothing left to say either. */
void scheduler_hand_out(struct scheduler *scheduler) {
    flush(scheduler);
    count_cells(scheduler);
    hand_out(scheduler);
}

static void publish(struct scheduler *scheduler) {
    flush(scheduler);
    end_lost_slots(scheduler);
    scheduler_hand_out(scheduler);
}

static void tell_prefixes(struct scheduler *scheduler) {
    struct prefix_news news;
    scheduler->told_ms = scheduler->now_ms;
    while (prefix_report_take(&scheduler->cache.report, &news)) {
        buf_clear(&scheduler->text);
        wire_write_prefixes(&scheduler->text, scheduler->env.worker_id, scheduler->env.incarnation, &news);
        if (scheduler->text.failed ||
            transport_publish(scheduler->env.transport, WIRE_SUBJECT_PREFIXES, NULL, scheduler->text.data,
                              scheduler->text.len) != STATUS_OK)
            log_debug("not published", F_STR("subject", WIRE_SUBJECT_PREFIXES));
    }
}

void scheduler_forget_prefixes(struct scheduler *scheduler) {
    kv_cache_clear(&scheduler->cache);
    tell_prefixes(scheduler);
}

void scheduler_turn(struct scheduler *scheduler, int64_t now_ms) {
    scheduler->now_ms = scheduler->cache.now_ms = now_ms;
    sweep_slots(scheduler);
    sweep_queue(scheduler);
    /* With nobody left the wait is over, too: the next one begins its own. */
    if (queue_count(&scheduler->queue) == 0 || scheduler_wait_ms(scheduler, now_ms) <= 0)
        fill_slots(scheduler);
    /* What a long step must not hold up: starts and ends. */
    publish(scheduler);
    if (scheduler->active > 0) {
        int64_t began_us = clock_us();
        scheduler_step(scheduler);
        scheduler->step_us = clock_us() - began_us;
        publish(scheduler);
    }
    if (submitted(scheduler) == 0 && kv_cache_tidy(&scheduler->cache, scheduler->active == 0))
        count_cells(scheduler);
    if (tell_due_ms(scheduler, now_ms) == 0)
        tell_prefixes(scheduler);
}
