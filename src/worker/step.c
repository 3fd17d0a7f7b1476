#include <assert.h>

#include "worker/scheduler.h"

static struct slot *slot_of(struct scheduler *scheduler, const struct engine_item *item) {
    return &scheduler->slots[item->slot];
}

static struct engine_item item_of(struct scheduler *scheduler, const struct plan_item *plan) {
    const struct slot *slot = &scheduler->slots[plan->slot];
    bool prefill = slot->phase == SLOT_PREFILL;
    return (struct engine_item){
        .slot = plan->slot,
        .position = slot->computed,
        .tokens = prefill ? slot->job->prompt.tokens + slot->computed : &slot->job->last_token,
        .count = plan->count,
        .sample = plan->last,
        .next = ENGINE_TOKEN_NONE,
        .status = STATUS_OK,
    };
}

static size_t make_items(struct scheduler *scheduler) {
    size_t slots = (size_t)scheduler->info.slots;
    for (size_t i = 0; i < slots; i++) {
        const struct slot *slot = &scheduler->slots[i];
        scheduler->views[i] = (struct slot_view){.phase = slot->phase, .started = slot->started};
        if (slot->phase == SLOT_PREFILL)
            scheduler->views[i].prompt_left = (int32_t)slot->job->prompt.count - slot->computed;
    }
    size_t count = batch_plan(scheduler->views, slots, scheduler->info.batch_tokens, scheduler->plan);
    for (size_t i = 0; i < count; i++)
        scheduler->items[i] = item_of(scheduler, &scheduler->plan[i]);
    return count;
}

/* Those of the request alone. */
static int64_t prompt_tokens(const struct job *job) {
    return (int64_t)(job->prompt.count - job->prompt.replayed);
}

static void finish(struct scheduler *scheduler, struct slot *slot, enum finish_reason reason) {
    struct job *job = slot->job;
    buf_clear(&scheduler->text);
    text_filter_finish(&job->filter, &scheduler->text);
    scheduler_emit(scheduler, job,
                   (struct wire_event){
                       .kind = WIRE_EVENT_FINISHED,
                       .index = (uint32_t)job->generated,
                       .text = scheduler->text.data,
                       .text_len = scheduler->text.len,
                       .finish = reason,
                       .usage = {.prompt_tokens = prompt_tokens(job), .completion_tokens = job->generated},
                   });
    scheduler_end_slot(scheduler, slot, JOB_FINISHED);
}

static void fail(struct scheduler *scheduler, struct slot *slot, enum status status, const char *what) {
    struct error error;
    error_set(&error, status, NULL, "%s, after %d tokens of the reply", what, slot->job->generated);
    scheduler_fail_slot(scheduler, slot, &error);
}

/* Prompt and reply together fill the context at most. */
static bool is_full(const struct scheduler *scheduler, const struct job *job) {
    if (job->wire.chat.max_tokens > 0 && job->generated >= job->wire.chat.max_tokens)
        return true;
    return prompt_tokens(job) + job->generated >= scheduler->info.context_tokens;
}

void scheduler_replay(struct scheduler *scheduler, struct slot *slot) {
    struct job *job = slot->job;
    bool stopped = false;
    for (size_t i = 0; i < job->wire.generated_count && !stopped; i++) {
        char piece[ENGINE_PIECE_MAX];
        size_t len = engine_piece(scheduler->env.engine, job->wire.generated[i], piece, sizeof piece);
        buf_clear(&scheduler->text);
        stopped = text_filter_add(&job->filter, piece, len, &scheduler->text);
        job->generated++;
    }
    if (scheduler->text.failed)
        fail(scheduler, slot, STATUS_ENGINE_ERROR, "the worker is out of memory");
    else if (stopped)
        finish(scheduler, slot, FINISH_STOP);
    else if (is_full(scheduler, job))
        finish(scheduler, slot, FINISH_LENGTH);
}

static void take_token(struct scheduler *scheduler, struct slot *slot, int32_t token) {
    struct job *job = slot->job;
    if (engine_is_end(scheduler->env.engine, token)) {
        finish(scheduler, slot, FINISH_STOP);
        return;
    }
    char piece[ENGINE_PIECE_MAX];
    size_t len = engine_piece(scheduler->env.engine, token, piece, sizeof piece);
    buf_clear(&scheduler->text);
    bool stopped = text_filter_add(&job->filter, piece, len, &scheduler->text);
    if (scheduler->text.failed) {
        fail(scheduler, slot, STATUS_ENGINE_ERROR, "the worker is out of memory");
        return;
    }
    job->last_token = token;
    job->generated++;
    STAT_ADD(scheduler->env.stats->generated_tokens, 1);
    scheduler_emit(scheduler, job,
                   (struct wire_event){
                       .kind = WIRE_EVENT_TOKEN,
                       .index = (uint32_t)job->generated - 1,
                       .token = token,
                       .text = scheduler->text.data,
                       .text_len = scheduler->text.len,
                   });
    if (stopped)
        finish(scheduler, slot, FINISH_STOP);
    else if (is_full(scheduler, job))
        finish(scheduler, slot, FINISH_LENGTH);
}

static void apply_item(struct scheduler *scheduler, const struct engine_item *item) {
    struct slot *slot = slot_of(scheduler, item);
    if (item->status != STATUS_OK) {
        fail(scheduler, slot, item->status, "the engine failed in this job's part of a step");
        return;
    }
    slot->computed += item->count;
    if (slot->phase == SLOT_PREFILL)
        STAT_ADD(scheduler->env.stats->prompt_tokens, (uint64_t)item->count);
    if (!item->sample)
        return;
    slot->phase = SLOT_DECODE;
    if (item->next == ENGINE_TOKEN_NONE)
        fail(scheduler, slot, STATUS_ENGINE_ERROR, "the engine found no next token");
    else
        take_token(scheduler, slot, item->next);
}

static enum status run_step(struct scheduler *scheduler, struct engine_item *items, size_t count,
                            struct error *error) {
    struct runner_stats *stats = scheduler->env.stats;
    *error = (struct error){.status = STATUS_OK};
    enum status status = engine_step(scheduler->env.engine, items, count, error);
    STAT_ADD(stats->progress, 1);
    if (status != STATUS_OK)
        return status;
    STAT_ADD(stats->steps, 1);
    STAT_ADD(stats->batch_sequences, count);
    if (count > STAT_GET(stats->batch_max))
        STAT_SET(stats->batch_max, (uint32_t)count);
    return STATUS_OK;
}

/* The step as a whole failed, most likely because of one of its sequences: each gets a step of its own, and
 * only those that fail again are given up. */
static void step_one_by_one(struct scheduler *scheduler, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct engine_item *item = &scheduler->items[i];
        item->next = ENGINE_TOKEN_NONE;
        item->status = STATUS_OK;
        struct error error;
        enum status status = run_step(scheduler, item, 1, &error);
        if (status == STATUS_OK)
            apply_item(scheduler, item);
        else
            fail(scheduler, slot_of(scheduler, item), status,
                 error.message[0] ? error.message : status_text(status));
    }
}

void scheduler_step(struct scheduler *scheduler) {
    size_t count = make_items(scheduler);
    struct error error;
    if (run_step(scheduler, scheduler->items, count, &error) != STATUS_OK) {
        step_one_by_one(scheduler, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        apply_item(scheduler, &scheduler->items[i]);
}
