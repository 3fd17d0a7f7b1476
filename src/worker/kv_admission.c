/* Admission to a KV cache that all slots share: who gets in, and who must make way when it runs full. */
#include <assert.h>

#include "base/log.h"
#include "worker/scheduler.h"

/* A job that is already longer than forecast is expected to go on for so many tokens. */
enum { LONGER_TOKENS = 16 };
/* Of the tokens that a pass can have before it takes in proportion to them. */
enum { PASS_PART = 4 };

/* Cells that the job takes in the end, as far as one can tell; at most what the context allows. */
static int64_t cells_wanted(const struct scheduler *scheduler, const struct job *job) {
    int32_t prompt = job_prompt_tokens(job), reply = job_reply_tokens(job);
    int32_t room = scheduler->info.context_tokens - prompt;
    int32_t expected = forecast_reply(&scheduler->forecast, job->wire.chat.max_tokens, room);
    if (expected < reply + LONGER_TOKENS)
        expected = reply + LONGER_TOKENS < room ? reply + LONGER_TOKENS : room;
    return (int64_t)prompt + expected;
}

/* Cells in use by running jobs, and those that they will take. */
static int64_t cells_promised(const struct scheduler *scheduler) {
    int64_t cells = kv_cache_busy_cells(&scheduler->cache);
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        const struct slot *slot = &scheduler->slots[i];
        int64_t more = slot->job ? cells_wanted(scheduler, slot->job) - scheduler_held(scheduler, slot) : 0;
        cells += more > 0 ? more : 0;
    }
    return cells;
}

/* A job that would be alone always may: no job is larger than the cache. */
static bool fits(const struct scheduler *scheduler, int64_t cells) {
    return !scheduler->info.cache_is_shared || scheduler->active == 0 ||
           cells_promised(scheduler) + cells <= scheduler->info.cache_tokens;
}

bool scheduler_has_room(const struct scheduler *scheduler, const struct job *job,
                        const struct kv_place *place) {
    return fits(scheduler,
                cells_wanted(scheduler, job) - kv_cache_shared_with_busy(&scheduler->cache, place));
}

/* Tokens of prompts for which those that decode wait in a step; no fewer than a pass needs to be worth it. */
static int64_t pause_tokens(const struct scheduler *scheduler) {
    int64_t least = scheduler->info.pass_tokens / PASS_PART, pause_us = scheduler->env.max_pause_ms * 1000;
    if (pause_us == 0 || scheduler->prompt_token_us <= 0)
        return scheduler->info.batch_tokens;
    double tokens = (double)pause_us / scheduler->prompt_token_us;
    if (tokens >= (double)scheduler->info.batch_tokens)
        return scheduler->info.batch_tokens;
    return (int64_t)tokens > least ? (int64_t)tokens : least;
}

/* Tokens that the next step could compute, and those that it must have cells for: one for each that decodes.
 */
static int64_t tokens_wanted(struct scheduler *scheduler, int64_t *needed) {
    int64_t decoding = 0, wanted = 0;
    scheduler_look(scheduler);
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        const struct slot_view *view = &scheduler->views[i];
        decoding += view->phase == SLOT_DECODE;
        wanted += view->phase == SLOT_FREE ? 0 : view->prompt_left;
    }
    *needed = decoding > 0 ? decoding : 1;
    int64_t most = decoding > 0 ? decoding + pause_tokens(scheduler) : INT64_MAX;
    most = most < scheduler->info.batch_tokens ? most : scheduler->info.batch_tokens;
    return wanted < most ? wanted : most;
}

int32_t scheduler_step_budget(struct scheduler *scheduler) {
    int64_t needed, wanted = tokens_wanted(scheduler, &needed);
    while (scheduler->info.cache_is_shared && scheduler->active > 0) {
        int64_t free_cells = kv_cache_reclaim(&scheduler->cache, wanted);
        if (free_cells >= needed)
            return (int32_t)(free_cells < wanted ? free_cells : wanted);
        scheduler_make_way(scheduler);
        wanted = tokens_wanted(scheduler, &needed);
    }
    return (int32_t)wanted;
}

/* The one that a running job of this level and age has to make way for; the other way round it does not. */
static bool goes_before(const struct slot *a, const struct slot *b) {
    if (a->job->waiting.level != b->job->waiting.level)
        return a->job->waiting.level < b->job->waiting.level;
    return a->started < b->started;
}

/* There is a job in a slot. */
static struct slot *find_victim(struct scheduler *scheduler) {
    struct slot *victim = NULL;
    for (int32_t i = 0; i < scheduler->info.slots; i++) {
        struct slot *slot = &scheduler->slots[i];
        if (slot->job && (!victim || goes_before(victim, slot)))
            victim = slot;
    }
    return victim;
}

static void hand_back(struct scheduler *scheduler, struct job *job, const char *why, struct error *error) {
    STAT_ADD(scheduler->env.stats->handed_back, 1);
    error_set(error, STATUS_WORKER_OVERLOADED, NULL,
              "the KV cache of %lld tokens is full, and %s; %d tokens of the reply are done",
              (long long)scheduler->info.cache_tokens, why, job_reply_tokens(job));
}

static void hand_back_slot(struct scheduler *scheduler, struct slot *slot, const char *why) {
    struct error error;
    hand_back(scheduler, slot->job, why, &error);
    scheduler_fail_slot(scheduler, slot, &error);
}

void scheduler_make_way(struct scheduler *scheduler) {
    struct slot *slot = find_victim(scheduler);
    int32_t index = (int32_t)(slot - scheduler->slots);
    struct parked_job parked = {.slot = *slot, .since_ms = scheduler->now_ms};
    if (scheduler->active == 1) {
        hand_back_slot(scheduler, slot, "the job is alone in it");
        return;
    }
    if (!kv_cache_park(&scheduler->cache, index, &parked.kv)) {
        hand_back_slot(scheduler, slot, "there is no memory to park the job in");
        return;
    }
    scheduler_free_slot(scheduler, slot, false);
    STAT_ADD(scheduler->env.stats->parks, 1);
    scheduler->parked[scheduler->parked_count++] = parked;
    log_debug("job is parked, the KV cache is full", F_STR("job", parked.slot.job->key),
              F_INT("tokens", parked.kv.count));
}

static void take_out(struct scheduler *scheduler, int32_t index) {
    scheduler->parked[index] = scheduler->parked[--scheduler->parked_count];
}

void scheduler_end_parked(struct scheduler *scheduler, int32_t index, enum job_end end) {
    struct job *job = scheduler->parked[index].slot.job;
    kv_cache_forget(&scheduler->cache, &scheduler->parked[index].kv);
    take_out(scheduler, index);
    scheduler_end_job(scheduler, job, end);
}

static void fail_parked(struct scheduler *scheduler, int32_t index, const struct error *error) {
    scheduler_emit_failed(scheduler, scheduler->parked[index].slot.job, error);
    scheduler_end_parked(scheduler, index, job_end_of(error->status));
}

static void hand_back_parked(struct scheduler *scheduler, int32_t index, const char *why) {
    struct error error;
    hand_back(scheduler, scheduler->parked[index].slot.job, why, &error);
    fail_parked(scheduler, index, &error);
}

static void sweep_parked(struct scheduler *scheduler) {
    for (int32_t i = scheduler->parked_count - 1; i >= 0; i--) {
        const struct parked_job *parked = &scheduler->parked[i];
        struct error error;
        if (job_check(parked->slot.job, scheduler->now_ms, &error) != STATUS_OK)
            fail_parked(scheduler, i, &error);
        else if (scheduler->now_ms - parked->since_ms >= scheduler->env.park_max_ms)
            hand_back_parked(scheduler, i, "the job was parked for too long");
    }
}

static int32_t find_first_parked(const struct scheduler *scheduler) {
    int32_t first = 0;
    for (int32_t i = 1; i < scheduler->parked_count; i++) {
        if (goes_before(&scheduler->parked[i].slot, &scheduler->parked[first].slot))
            first = i;
    }
    return first;
}

/* false: there is no room for it yet. */
static bool resume(struct scheduler *scheduler, int32_t index) {
    struct parked_job *parked = &scheduler->parked[index];
    struct job *job = parked->slot.job;
    int32_t held = parked->kv.count;
    if (!fits(scheduler, cells_wanted(scheduler, job)))
        return false;
    int32_t place = kv_cache_unpark(&scheduler->cache, &parked->kv, job->prompt.tokens);
    if (place < 0 && scheduler->active > 0)
        return false;
    if (place < 0) {
        hand_back_parked(scheduler, index, "the job does not fit any more");
        return true;
    }
    struct slot *slot = &scheduler->slots[place];
    *slot = parked->slot;
    take_out(scheduler, index);
    scheduler->active++;
    STAT_SET(scheduler->env.stats->running, scheduler->active);
    enum status status =
        engine_slot_start(scheduler->env.engine, place, &job->wire.chat.sampling, &job->prompt, held);
    if (status != STATUS_OK) {
        struct error error;
        error_set(&error, status, NULL, "the engine could not go on with a parked job");
        scheduler_fail_slot(scheduler, slot, &error);
    }
    return true;
}

bool scheduler_resume_parked(struct scheduler *scheduler) {
    sweep_parked(scheduler);
    while (scheduler->parked_count > 0) {
        if (!resume(scheduler, find_first_parked(scheduler)))
            return false;
    }
    return true;
}
