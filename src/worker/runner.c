/* Three bounded channels connect the threads, each with room for every job that may be inside at a time, so
 * no push can fail: `submitted` (loop -> prompt thread), `prepared` (prompt -> engine thread) and `done`
 * (both -> loop, which watches its descriptor). `prepared` has as much room again for notices, which come
 * from the loop; `done` one more place for the runner itself, which says that loading is over.
 *
 * What the loop thread reads of the engine (info) is written before that message and never afterwards.
 */
#include "worker/runner.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/chan.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/engine_config.h"
#include "worker/model_check.h"
#include "worker/scheduler.h"

enum {
    TAKE_MAX = 64,         /* items taken from a channel at once */
    LOAD_LOG_PERCENT = 10, /* a line about loading only after this much progress */
    LOAD_LOG_MS = 1000,    /* and this much time */
    /* For sequences outside of slots, when nothing is said: a part of the machine's memory, up to a limit. */
    MEMORY_PART = 8,
    MEMORY_MB_MAX = 8192,
};

struct runner {
    struct runner_env env;
    struct runner_stats stats;
    struct chan *submitted; /* owned, as are the next two */
    struct chan *prepared;
    struct chan *done;
    struct loop_watch *watch; /* of `done` */
    pthread_t prompt_thread;
    pthread_t engine_thread;
    bool prompt_runs;
    bool engine_runs;
    atomic_bool stopping;
    atomic_bool tell_again;      /* controllers are to be told of all prompts that are held */
    atomic_bool short_of_memory; /* nothing is kept in memory for prompts to come */
    struct notices notices;
    /* Loop thread: */
    bool told; /* whether loading has come to an end */
    bool ready;
    struct admission admission;
    /* The engine thread's; the loop's after loading and for reading, and after the join for closing. */
    struct engine *engine; /* owned; NULL when the load failed */
    struct engine_info info;
    struct error load_error;
    struct scheduler scheduler;
    struct emitter prompt_emitter; /* the prompt thread's */
    int32_t logged_percent;
    int64_t logged_ms;
};

/* Sizes are set before the engine tells how many slots it really has; never more than were asked for. While a
 * step takes long, each level can be filled and evicted for the next higher one. */
static size_t jobs_max(const struct runner *runner) {
    const struct config *config = runner->env.config;
    size_t full = (size_t)(config->worker.max_batch_size + config->worker.max_depth);
    return config->worker.reject_when_full ? full : full * (size_t)config->worker.priority_levels;
}

static void push(struct chan *chan, void *item) {
    bool pushed = chan_push(chan, item);
    assert(pushed);
    (void)pushed;
}

static bool is_stopping(struct runner *runner) {
    return atomic_load_explicit(&runner->stopping, memory_order_acquire);
}

static void push_done(struct job *job, void *arg) {
    struct runner *runner = arg;
    job->notice->job = NULL;
    push(runner->done, job);
}

/* Prompt thread. */

static void fail_prompt(struct runner *runner, struct job *job, const struct error *error) {
    STAT_ADD(runner->stats.waiting[job->waiting.level], -1);
    job->end = job_end_of(error->status);
    if (!atomic_load_explicit(&job->answered, memory_order_relaxed))
        emit_failed(&runner->prompt_emitter, &job->wire, error);
    emit_flush(&runner->prompt_emitter);
    push(runner->done, job);
}

/* What another worker has generated goes behind the prompt: it is computed with it, and the reply goes on
 * there. */
static enum status append_generated(struct runner *runner, struct job *job, struct error *error) {
    struct engine_prompt *prompt = &job->prompt;
    size_t more = job->wire.generated_count;
    if (more == 0)
        return STATUS_OK;
    if (prompt->count + more > (size_t)runner->info.context_tokens)
        return error_set(
            error, STATUS_CONTEXT_LENGTH_EXCEEDED, NULL,
            "the reply has %zu tokens from another worker, more than the context of %d here holds", more,
            runner->info.context_tokens);
    int32_t *tokens = realloc(prompt->tokens, (prompt->count + more) * sizeof *tokens);
    if (!tokens)
        return error_set(error, STATUS_ENGINE_ERROR, NULL, "the worker is out of memory");
    memcpy(tokens + prompt->count, job->wire.generated, more * sizeof *tokens);
    *prompt = (struct engine_prompt){.tokens = tokens, .count = prompt->count + more, .reply = more};
    return STATUS_OK;
}

static void make_prompt(struct runner *runner, struct job *job) {
    struct error error = {.status = STATUS_OK};
    enum status status = job_check(job, clock_ms(), &error);
    if (status == STATUS_OK)
        status = engine_make_prompt(runner->engine, &job->wire.chat, job->wire.now_s, &job->prompt, &error);
    if (status == STATUS_OK)
        status = append_generated(runner, job, &error);
    if (status == STATUS_OK)
        status = job_check(job, clock_ms(), &error);
    if (status == STATUS_OK && runner->env.config->worker.prefix_cache)
        job->blocks = prefix_blocks_new(job->wire.chat.model, job->wire.chat.messages_json);
    if (status == STATUS_OK)
        push(runner->prepared, job);
    else
        fail_prompt(runner, job, &error);
}

static void *prompt_main(void *arg) {
    struct runner *runner = arg;
    for (;;) {
        void *job = NULL;
        size_t count = chan_take(runner->submitted, &job, 1, -1);
        if (is_stopping(runner)) {
            if (count > 0)
                push(runner->done, job);
            return NULL;
        }
        if (count > 0)
            make_prompt(runner, job);
    }
}

/* Engine thread. */

static bool on_progress(int32_t percent, void *arg) {
    struct runner *runner = arg;
    STAT_SET(runner->stats.load_percent, percent);
    int64_t now_ms = clock_ms();
    if (percent - runner->logged_percent >= LOAD_LOG_PERCENT && now_ms - runner->logged_ms >= LOAD_LOG_MS) {
        runner->logged_percent = percent;
        runner->logged_ms = now_ms;
        log_info("model is being loaded", F_STR("model", runner->env.model->name), F_INT("percent", percent));
    }
    return !is_stopping(runner);
}

static bool should_abort(void *arg) {
    const struct runner *runner = arg;
    return scheduler_should_abort(&runner->scheduler);
}

static struct engine_options options_of(struct runner *runner) {
    struct engine_options options = engine_options_of(runner->env.config, runner->env.model->path);
    options.on_progress = on_progress;
    options.should_abort = should_abort;
    options.arg = runner;
    return options;
}

static size_t prefix_memory(const struct runner *runner) {
    int64_t mb = runner->env.config->worker.prefix_cache_memory_mb;
    int64_t part_mb = (runner->env.memory_bytes / MEMORY_PART) >> 20;
    if (mb < 0)
        mb = part_mb < MEMORY_MB_MAX ? part_mb : MEMORY_MB_MAX;
    return (size_t)mb << 20;
}

static bool start_scheduler(struct runner *runner) {
    const struct config *config = runner->env.config;
    const struct scheduler_env env = {
        .engine = runner->engine,
        .stats = &runner->stats,
        .transport = runner->env.transport,
        .worker_id = runner->env.worker_id,
        .incarnation = runner->env.incarnation,
        .jobs_max = jobs_max(runner),
        .aging_ms = config->worker.aging_ms,
        .batching = {.min_jobs = (size_t)config->worker.min_batch_size,
                     .timeout_ms = config->worker.batch_timeout_ms,
                     .adaptive = config->worker.adaptive_timeout},
        .kv = {.reuse = config->worker.prefix_cache, .memory_bytes_max = prefix_memory(runner)},
        .park_max_ms = config->worker.park_max_ms,
        .max_pause_ms = config->worker.max_pause_ms,
        .stream_interval_ms = config->worker.stream_interval_ms,
        .done = push_done,
        .arg = runner,
    };
    return scheduler_init(&runner->scheduler, &env);
}

static bool is_stopping_check(void *arg) {
    return is_stopping(arg);
}

/* false: the reason is in load_error. */
static bool check_model(struct runner *runner) {
    const struct model_check check = {
        .config = runner->env.config,
        .program = runner->env.checker,
        .path = runner->env.model->path,
        .is_stopping = is_stopping_check,
        .arg = runner,
    };
    int64_t began_ms = clock_ms();
    if (model_check_run(&check, &runner->load_error) != STATUS_OK)
        return false;
    log_debug("model is checked", F_STR("model", runner->env.model->name),
              F_INT("ms", clock_ms() - began_ms));
    return true;
}

/* As check_model. */
static bool load(struct runner *runner) {
    const struct engine_options options = options_of(runner);
    if (runner->env.checker && !check_model(runner))
        return false;
    runner->logged_ms = clock_ms();
    runner->engine = runner->env.engine_ops->open(&options, &runner->load_error);
    if (!runner->engine) {
        if (runner->load_error.status == STATUS_OK)
            error_set(&runner->load_error, STATUS_MODEL_LOAD_FAILED, NULL, "the engine gives no reason");
        return false;
    }
    runner->env.engine_ops->info(runner->engine, &runner->info);
    assert(runner->info.slots <= options.slots);
    log_info("engine is open", F_STR("model", runner->env.model->name),
             F_STR("description", runner->info.description), F_INT("threads", runner->info.threads),
             F_INT("threads_batch", runner->info.threads_batch),
             F_INT("batch_tokens", runner->info.batch_tokens),
             F_INT("micro_batch_tokens", runner->info.micro_batch_tokens));
    if (!start_scheduler(runner)) {
        error_set(&runner->load_error, STATUS_MODEL_LOAD_FAILED, NULL, "out of memory for %d slots",
                  runner->info.slots);
        return false;
    }
    STAT_SET(runner->stats.load_percent, 100);
    return true;
}

static void take_prepared(struct runner *runner, void *item, int64_t now_ms) {
    struct notice *notice = notices_find(&runner->notices, item);
    struct job *job = notice ? notice_read(notice) : item;
    if (!notice) {
        job->notice->job = job;
        scheduler_add(&runner->scheduler, job, now_ms);
    } else if (job) {
        scheduler_look_at(&runner->scheduler, job, now_ms);
    }
}

static void follow_flags(struct runner *runner) {
    struct kv_cache *cache = &runner->scheduler.cache;
    if (atomic_load_explicit(&runner->tell_again, memory_order_relaxed) &&
        atomic_exchange(&runner->tell_again, false))
        prefix_report_repeat(&cache->report);
    bool is_short = atomic_load_explicit(&runner->short_of_memory, memory_order_relaxed);
    if (is_short != cache->store.closed)
        prefix_store_close(&cache->store, is_short);
}

static void run_jobs(struct runner *runner) {
    while (!is_stopping(runner)) {
        void *items[TAKE_MAX];
        int64_t wait_ms = scheduler_wait_ms(&runner->scheduler, clock_ms());
        size_t count = chan_take(runner->prepared, items, TAKE_MAX, wait_ms > 0 ? wait_ms * 1000 : wait_ms);
        int64_t now_ms = clock_ms();
        for (size_t i = 0; i < count; i++)
            take_prepared(runner, items[i], now_ms);
        follow_flags(runner);
        scheduler_turn(&runner->scheduler, now_ms);
    }
}

static void *engine_main(void *arg) {
    struct runner *runner = arg;
    bool loaded = load(runner);
    push(runner->done, runner);
    if (loaded) {
        run_jobs(runner);
        scheduler_forget_prefixes(&runner->scheduler);
    }
    scheduler_release(&runner->scheduler);
    pthread_join(runner->prompt_thread, NULL); /* which ends when the runner stops; it uses the engine, too */
    if (runner->engine)
        runner->env.engine_ops->close(runner->engine);
    push(runner->done, runner);
    return NULL;
}

/* Loop thread. */

static void on_loaded(struct runner *runner) {
    const struct config *config = runner->env.config;
    admission_init(&runner->admission, &(struct admission_config){.slots = (size_t)runner->info.slots,
                                                                  .depth = (size_t)config->worker.max_depth,
                                                                  .evict = !config->worker.reject_when_full,
                                                                  .present_max = jobs_max(runner)});
    bool failed = runner->load_error.status != STATUS_OK;
    runner->told = true;
    runner->ready = !failed && !is_stopping(runner);
    if (!is_stopping(runner))
        runner->env.on_loaded(runner, failed ? &runner->load_error : NULL, runner->env.arg);
}

static void give_back(struct runner *runner, struct job *job) {
    admission_leave(&runner->admission, &job->admission);
    notices_give_back(&runner->notices, job->notice);
    runner->env.on_done(job, runner->env.arg);
}

static void on_done_ready(void *arg) {
    struct runner *runner = arg;
    void *items[TAKE_MAX];
    size_t count = chan_take(runner->done, items, TAKE_MAX, 0);
    for (size_t i = 0; i < count; i++) {
        if (items[i] == runner && !runner->told)
            on_loaded(runner);
        else if (items[i] == runner)
            runner->env.on_stopped(runner, runner->env.arg);
        else
            give_back(runner, items[i]);
    }
}

/* Signals are the loop thread's alone. */
static bool start_thread(pthread_t *thread, void *(*fn)(void *), struct runner *runner, const char *name) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, NULL, fn, runner) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_setname_np(*thread, name);
    return started;
}

static bool start(struct runner *runner) {
    runner->submitted = chan_new(jobs_max(runner), false);
    runner->prepared = chan_new(2 * jobs_max(runner), false);
    runner->done = chan_new(jobs_max(runner) + 2, true);
    if (!runner->submitted || !runner->prepared || !runner->done ||
        !notices_init(&runner->notices, jobs_max(runner)))
        return false;
    runner->watch = loop_watch_fd(runner->env.loop, chan_fd(runner->done), on_done_ready, runner);
    if (!runner->watch)
        return false;
    runner->prompt_runs = start_thread(&runner->prompt_thread, prompt_main, runner, "prompt");
    if (runner->prompt_runs)
        runner->engine_runs = start_thread(&runner->engine_thread, engine_main, runner, "engine");
    return runner->engine_runs;
}

struct runner *runner_new(const struct runner_env *env, struct error *error) {
    struct runner *runner = calloc(1, sizeof *runner);
    if (runner) {
        runner->env = *env;
        emitter_init(&runner->prompt_emitter, env->transport, env->worker_id, env->incarnation);
        if (start(runner))
            return runner;
        runner_free(runner);
    }
    error_set(error, STATUS_START_FAILED, NULL, "no memory, threads or descriptors for model %s",
              env->model->name);
    return NULL;
}

static void return_jobs(struct runner *runner, struct chan *chan) {
    void *item;
    while (chan && chan_take(chan, &item, 1, 0) > 0) {
        if (item != runner && !notices_find(&runner->notices, item))
            give_back(runner, item);
    }
    chan_free(chan, NULL);
}

static void ask_to_stop(struct runner *runner) {
    atomic_store_explicit(&runner->stopping, true, memory_order_release);
    if (runner->prompt_runs)
        chan_wake(runner->submitted);
    if (runner->engine_runs)
        chan_wake(runner->prepared);
}

void runner_stop(struct runner *runner) {
    assert(!runner->ready || runner->admission.present == 0);
    runner->ready = false;
    ask_to_stop(runner);
}

void runner_free(struct runner *runner) {
    if (!runner)
        return;
    ask_to_stop(runner);
    if (runner->engine_runs)
        pthread_join(runner->engine_thread, NULL);
    else if (runner->prompt_runs)
        pthread_join(runner->prompt_thread, NULL);
    /* on_done may ask to stop: there is nobody left to wake. */
    runner->prompt_runs = runner->engine_runs = false;
    if (runner->watch)
        loop_unwatch(runner->watch);
    return_jobs(runner, runner->submitted);
    return_jobs(runner, runner->prepared);
    return_jobs(runner, runner->done);
    notices_release(&runner->notices);
    emitter_release(&runner->prompt_emitter);
    free(runner);
}

static int level_of(const struct runner *runner, enum chat_priority priority) {
    return queue_level(priority, (int)runner->env.config->worker.priority_levels);
}

/* After the flag: see scheduler_look_at. */
static void send_notice(struct runner *runner, struct job *job) {
    if (notice_must_be_sent(job->notice))
        push(runner->prepared, job->notice);
}

enum status runner_make_room(struct runner *runner, enum chat_priority priority, struct error *error) {
    assert(runner->ready);
    /* The controller hears of a job's end as soon as we do, and its next job may be quicker than our own
     * loop. */
    if (admission_is_full(&runner->admission))
        on_done_ready(runner);
    struct admission_entry *evicted = NULL;
    if (!admission_make_room(&runner->admission, level_of(runner, priority), &evicted))
        return error_set(error, STATUS_WORKER_OVERLOADED, NULL, "model %s has %zu jobs and a queue of %lld",
                         runner->env.model->name, runner->admission.inside,
                         (long long)runner->env.config->worker.max_depth);
    if (evicted)
        send_notice(runner, container_of(evicted, struct job, admission));
    return STATUS_OK;
}

void runner_submit(struct runner *runner, struct job *job) {
    int level = level_of(runner, job->wire.chat.priority);
    job->notice = notices_take(&runner->notices);
    assert(runner->ready && job->notice);
    job->waiting.level = job->admission.level = level;
    job->waiting.since_ms = job->admission.since_ms = job->since_ms;
    job->waiting.deadline_ms = job->deadline_ms;
    admission_enter(&runner->admission, &job->admission);
    STAT_ADD(runner->stats.waiting[level], 1);
    push(runner->submitted, job);
}

void runner_cancel(struct runner *runner, struct job *job) {
    if (atomic_load_explicit(&job->cancelled, memory_order_relaxed))
        return;
    STAT_SET(job->cancel_step, STAT_GET(runner->stats.steps));
    atomic_store_explicit(&job->cancelled, true, memory_order_release);
    send_notice(runner, job);
}

void runner_drop(struct runner *runner, struct job *job) {
    atomic_store_explicit(&job->drop, true, memory_order_release);
    send_notice(runner, job);
}

void runner_tell_prefixes(struct runner *runner) {
    atomic_store(&runner->tell_again, true);
    chan_wake(runner->prepared);
}

void runner_set_short_of_memory(struct runner *runner, bool is_short) {
    atomic_store(&runner->short_of_memory, is_short);
    chan_wake(runner->prepared);
}

size_t runner_position(const struct runner *runner, enum chat_priority priority) {
    if (runner->admission.inside < runner->admission.config.slots)
        return 0;
    int32_t ahead = 0;
    for (int level = 0; level <= level_of(runner, priority); level++)
        ahead += STAT_GET(runner->stats.waiting[level]);
    return (size_t)ahead + 1;
}

int32_t runner_load_percent(const struct runner *runner) {
    return STAT_GET(runner->stats.load_percent);
}

const struct engine_info *runner_engine_info(const struct runner *runner) {
    return &runner->info;
}

uint32_t runner_capabilities(const struct runner *runner) {
    const struct engine_info *info = &runner->info;
    return (info->can_chat ? model_capability_bit(CAPABILITY_CHAT) : 0) |
           (info->can_use_tools ? model_capability_bit(CAPABILITY_TOOLS) : 0) |
           (info->can_embed ? model_capability_bit(CAPABILITY_EMBEDDINGS) : 0);
}

static void add_queue(struct runner *runner, int64_t now_ms, struct worker_load *load) {
    struct admission *admission = &runner->admission;
    struct worker_queue *queue = &load->queue;
    for (int level = 0; level < CHAT_PRIORITY_COUNT; level++) {
        int32_t waiting = STAT_GET(runner->stats.waiting[level]);
        int64_t oldest_ms = admission_oldest_ms(admission, level);
        int64_t age_ms = oldest_ms >= 0 && now_ms > oldest_ms ? now_ms - oldest_ms : 0;
        load->queued += waiting;
        queue->depth[level] += waiting;
        if (age_ms > queue->oldest_ms[level])
            queue->oldest_ms[level] = age_ms;
    }
    queue->enqueued += admission->entered;
    queue->rejected += admission->refused;
    queue->evicted += admission->evicted;
}

uint64_t runner_progress(const struct runner *runner, bool *busy) {
    *busy = STAT_GET(runner->stats.running) > 0;
    return STAT_GET(runner->stats.progress);
}

void runner_add_load(struct runner *runner, int64_t now_ms, struct worker_load *load) {
    const struct runner_stats *stats = &runner->stats;
    if (runner->told)
        add_queue(runner, now_ms, load);
    load->running += STAT_GET(stats->running);
    load->kv_cells_used += STAT_GET(stats->kv_cells_used);
    if (runner->ready)
        load->kv_cells_total += runner->info.cache_tokens;
    load->kv_cells_cached += STAT_GET(stats->kv_cells_cached);
    load->parked += STAT_GET(stats->parked);
    load->cache_bytes += STAT_GET(stats->cache_bytes);
    load->cache_evicted += STAT_GET(stats->cache_evicted);
    load->cache_skipped += STAT_GET(stats->cache_skipped);
    load->cache_hits += STAT_GET(stats->cache_hits);
    load->cached_tokens += STAT_GET(stats->cached_tokens);
    load->parks += STAT_GET(stats->parks);
    load->handed_back += STAT_GET(stats->handed_back);
    load->steps += STAT_GET(stats->steps);
    load->prompt_tokens += STAT_GET(stats->prompt_tokens);
    load->generated_tokens += STAT_GET(stats->generated_tokens);
    load->batch_sequences += STAT_GET(stats->batch_sequences);
    load->batch_wait_ms += STAT_GET(stats->batch_wait_ms);
    uint32_t batch_max = STAT_GET(stats->batch_max);
    uint32_t cancel_steps_max = STAT_GET(stats->cancel_steps_max);
    load->batch_max = batch_max > load->batch_max ? batch_max : load->batch_max;
    load->cancel_steps_max =
        cancel_steps_max > load->cancel_steps_max ? cancel_steps_max : load->cancel_steps_max;
}
