#include <assert.h>

#include "base/clock.h"
#include "worker/scheduler.h"

enum { PACE_WEIGHT = 4 }; /* the newest pass counts a quarter */

static struct slot *slot_of(struct scheduler *scheduler, const struct engine_item *item) {
    return &scheduler->slots[item->slot];
}

static struct engine_item item_of(struct scheduler *scheduler, const struct plan_item *plan) {
    const struct slot *slot = &scheduler->slots[plan->slot];
    int32_t held = scheduler_held(scheduler, slot), left = (int32_t)slot->job->prompt.count - held;
    int32_t count = plan->count < left ? plan->count : left;
    return (struct engine_item){
        .slot = plan->slot,
        .position = held,
        .tokens = slot->job->prompt.tokens + held,
        .count = count,
        .sample = count == left,
        .next = ENGINE_TOKEN_NONE,
        .status = STATUS_OK,
    };
}

static struct slot_view view_of(const struct scheduler *scheduler, const struct slot *slot) {
    if (!slot->job)
        return (struct slot_view){.phase = SLOT_FREE};
    int32_t count = (int32_t)slot->job->prompt.count, held = scheduler_held(scheduler, slot);
    struct kv_place place; /* what will be copied at its turn */
    if (!slot->alone &&
        kv_cache_find_more(&scheduler->cache, (int32_t)(slot - scheduler->slots), count, &place))
        held = place.held;
    return (struct slot_view){.phase = scheduler_decodes(scheduler, slot) ? SLOT_DECODE : SLOT_PREFILL,
                              .prompt_left = count - held,
                              .started = slot->started};
}

void scheduler_look(struct scheduler *scheduler) {
    for (int32_t i = 0; i < scheduler->info.slots; i++)
        scheduler->views[i] = view_of(scheduler, &scheduler->slots[i]);
}

/* For whose sake alone the pass may be aborted: then its neighbours must be as before. */
static const struct job *find_heavy(struct scheduler *scheduler, const struct engine_item *items,
                                    size_t count) {
    int32_t tokens = 0;
    if (count > 1 && !scheduler->info.can_rewind)
        return NULL;
    for (size_t i = 0; i < count; i++)
        tokens += items[i].count;
    for (size_t i = 0; i < count; i++) {
        if (items[i].count > 1 && items[i].count > tokens / 2)
            return slot_of(scheduler, &items[i])->job;
    }
    return NULL;
}

static void finish(struct scheduler *scheduler, struct slot *slot, enum finish_reason reason) {
    struct job *job = slot->job;
    buf_clear(&scheduler->text);
    text_filter_finish(&job->filter, &scheduler->text);
    scheduler_emit(scheduler, job,
                   (struct wire_event){
                       .kind = WIRE_EVENT_FINISHED,
                       .index = (uint32_t)job_reply_tokens(job),
                       .text = scheduler->text.data,
                       .text_len = scheduler->text.len,
                       .finish = reason,
                       .usage = {.prompt_tokens = job_prompt_tokens(job),
                                 .completion_tokens = job_reply_tokens(job),
                                 .cached_tokens = job->held},
                   });
    scheduler_end_slot(scheduler, slot, JOB_FINISHED);
}

static void fail(struct scheduler *scheduler, struct slot *slot, enum status status, const char *what) {
    struct error error;
    error_set(&error, status, NULL, "%s, after %d tokens of the reply", what, job_reply_tokens(slot->job));
    scheduler_fail_slot(scheduler, slot, &error);
}

/* Prompt and reply together fill the context at most. */
static bool is_full(const struct scheduler *scheduler, const struct job *job) {
    if (job->wire.chat.max_tokens > 0 && job_reply_tokens(job) >= job->wire.chat.max_tokens)
        return true;
    return (int32_t)job->prompt.count >= scheduler->info.context_tokens;
}

void scheduler_replay(struct scheduler *scheduler, struct slot *slot) {
    struct job *job = slot->job;
    bool stopped = false;
    size_t count = job->prompt.reply, shown = 0;
    while (shown < count && !stopped) {
        char piece[ENGINE_PIECE_MAX];
        size_t len = engine_piece(scheduler->env.engine, job->wire.generated[shown++], piece, sizeof piece);
        buf_clear(&scheduler->text);
        stopped = text_filter_add(&job->filter, piece, len, &scheduler->text);
    }
    job->prompt.count -= count - shown;
    job->prompt.reply = shown;
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
    job->prompt.tokens[job->prompt.count++] = token;
    job->prompt.reply++;
    STAT_ADD(scheduler->env.stats->generated_tokens, 1);
    scheduler_emit(scheduler, job,
                   (struct wire_event){
                       .kind = WIRE_EVENT_TOKEN,
                       .index = (uint32_t)job_reply_tokens(job) - 1,
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
    kv_cache_grow(&scheduler->cache, item->slot, item->count);
    if (scheduler->views[item->slot].phase == SLOT_PREFILL)
        STAT_ADD(scheduler->env.stats->prompt_tokens, (uint64_t)item->count);
    if (!item->sample)
        return;
    if (item->next == ENGINE_TOKEN_NONE)
        fail(scheduler, slot, STATUS_ENGINE_ERROR, "the engine found no next token");
    else
        take_token(scheduler, slot, item->next);
}

/* Another slot may hold more of this one's prompt by now than it does itself. */
static void share_prompt(struct scheduler *scheduler, struct slot *slot) {
    struct engine *engine = scheduler->env.engine;
    struct job *job = slot->job;
    int32_t index = (int32_t)(slot - scheduler->slots), held = scheduler_held(scheduler, slot);
    struct kv_place place;
    if (slot->alone || !kv_cache_find_more(&scheduler->cache, index, (int32_t)job->prompt.count, &place))
        return;
    engine_slot_stop(engine, index);
    int32_t more = kv_cache_take_more(&scheduler->cache, &place) - held;
    slot->alone = held + more < place.held;
    scheduler_count_held(scheduler, job, more);
    enum status status =
        engine_slot_start(engine, index, &job->wire.chat.sampling, &job->prompt, held + more);
    if (status != STATUS_OK)
        fail(scheduler, slot, status, "the engine could not go on with a copy of a prompt's beginning");
}

/* The pass before this one may have computed what the prompts of this one begin with. Returns how many items
 * there are. */
static size_t make_items(struct scheduler *scheduler, const struct plan_item *plan, size_t count) {
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = &scheduler->slots[plan[i].slot];
        if (scheduler_is_unwanted(slot->job))
            continue;
        share_prompt(scheduler, slot);
        if (slot->job)
            scheduler->items[made++] = item_of(scheduler, &plan[i]);
    }
    return made;
}

static enum status run_pass(struct scheduler *scheduler, struct engine_item *items, size_t count,
                            struct error *error) {
    *error = (struct error){.status = STATUS_OK};
    enum status status = engine_step(scheduler->env.engine, items, count, error);
    STAT_ADD(scheduler->env.stats->progress, 1);
    return status;
}

/* The pass as a whole failed, most likely because of one of its sequences: each gets a pass of its own, and
 * only those that fail again are given up. */
static void pass_one_by_one(struct scheduler *scheduler, struct engine_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct engine_item *item = &items[i];
        item->next = ENGINE_TOKEN_NONE;
        item->status = STATUS_OK;
        struct error error;
        enum status status = run_pass(scheduler, item, 1, &error);
        if (status == STATUS_OK)
            apply_item(scheduler, item);
        else
            fail(scheduler, slot_of(scheduler, item), status,
                 error.message[0] ? error.message : status_text(status));
    }
}

static void note_pace(struct scheduler *scheduler, size_t count, int64_t us) {
    int32_t tokens = 0, longest = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += scheduler->items[i].count;
        longest = scheduler->items[i].count > longest ? scheduler->items[i].count : longest;
    }
    double pace_us = (double)us / tokens;
    if (longest > 1)
        scheduler->prompt_token_us =
            scheduler->prompt_token_us > 0
                ? scheduler->prompt_token_us + (pace_us - scheduler->prompt_token_us) / PACE_WEIGHT
                : pace_us;
}

/* false: the rest of the step is to be planned anew. */
static bool step_pass(struct scheduler *scheduler, size_t count) {
    struct engine_item *items = scheduler->items;
    struct error error;
    int64_t began_us = clock_us();
    scheduler->heavy = find_heavy(scheduler, items, count);
    enum status status = run_pass(scheduler, items, count, &error);
    scheduler->heavy = NULL;
    if (status == STATUS_WORKER_OVERLOADED) { /* there are fewer cells than we had counted */
        scheduler_make_way(scheduler);
        return false;
    }
    if (status == STATUS_CANCELLED) { /* the next turn ends the job for whose sake it was aborted */
        for (size_t i = 0; i < count; i++)
            slot_of(scheduler, &items[i])->spoiled |= !scheduler->info.can_rewind;
        return false;
    }
    if (status != STATUS_OK) {
        pass_one_by_one(scheduler, items, count);
        return true;
    }
    note_pace(scheduler, count, clock_us() - began_us);
    for (size_t i = 0; i < count; i++)
        apply_item(scheduler, &items[i]);
    return true;
}

static void count_step(struct scheduler *scheduler, size_t sequences) {
    struct runner_stats *stats = scheduler->env.stats;
    STAT_ADD(stats->steps, 1);
    STAT_ADD(stats->batch_sequences, sequences);
    if (sequences > STAT_GET(stats->batch_max))
        STAT_SET(stats->batch_max, (uint32_t)sequences);
}

void scheduler_step(struct scheduler *scheduler) {
    int32_t budget = scheduler_step_budget(scheduler);
    if (budget == 0)
        return;
    const struct batch_pass_rule rule = {.tokens = scheduler->info.pass_tokens,
                                         .even = scheduler->info.pass_is_even};
    struct plan_item *plan = scheduler->plan;
    size_t count = batch_plan(scheduler->views, (size_t)scheduler->info.slots, budget, plan);
    batch_sort(plan, count, &rule);
    size_t planned = 0, done = 0, size;
    for (; planned < count; planned += size) {
        size = batch_pass(plan + planned, count - planned, &rule);
        size_t items = make_items(scheduler, plan + planned, size);
        if (items > 0 && !step_pass(scheduler, items))
            break;
        done += items;
        if (planned + size < count) /* what is done does not wait for the passes that follow */
            scheduler_hand_out(scheduler);
    }
    if (done > 0)
        count_step(scheduler, done);
}
