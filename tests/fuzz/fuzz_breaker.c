/* Input: one byte with the thresholds, then pairs of bytes, an event and its argument. The breaker is
 * compared after each event with a model that is as plain as the rules: it keeps everything that was counted
 * since the breaker closed and goes through all of it each time. Only the length of an OPEN is not in the
 * model: that it lies between half and all of its ceiling is. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "route/breaker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { JOBS = 16, EVENTS_MAX = 2048, NOTES_MAX = 2 * EVENTS_MAX };

/* What was counted: one start or stream. */
struct note {
    int64_t bucket; /* since the breaker closed */
    enum breaker_phase phase;
    bool bad;
};

struct model_job {
    struct breaker_ticket ticket; /* the breaker's own */
    bool held, current, probe, started;
};

struct model {
    struct breaker_config config;
    enum breaker_state state;
    int64_t now_ms, closed_ms, open_end_ms, lease_end_ms;
    int64_t openings, passed;
    bool unproven;
    struct note notes[NOTES_MAX];
    size_t note_count;
    struct model_job jobs[JOBS];
};

static void must(bool condition) {
    if (!condition)
        abort();
}

static void enter(struct model *model, enum breaker_state state) {
    model->state = state;
    model->passed = 0;
    model->unproven = false;
    model->note_count = 0;
    for (size_t i = 0; i < JOBS; i++)
        model->jobs[i].current = false;
}

static void enter_closed(struct model *model) {
    enter(model, BREAKER_CLOSED);
    model->closed_ms = model->now_ms;
}

static int64_t ceiling_ms(const struct model *model) {
    int64_t limit = model->config.timeout_ms > 300000 ? model->config.timeout_ms : 300000;
    int64_t ceiling = model->config.timeout_ms;
    for (int64_t i = 1; i < model->openings; i++)
        ceiling *= 2;
    return ceiling < limit ? ceiling : limit;
}

/* Takes over the length that was drawn, once it has been checked. */
static void enter_open(struct model *model, const struct breaker *breaker) {
    if (model->state == BREAKER_CLOSED)
        for (int64_t ms = model->closed_ms + 60000; ms <= model->now_ms && model->openings > 0; ms += 60000)
            model->openings--;
    if (model->openings == 0 || ceiling_ms(model) < BREAKER_OPEN_MAX_MS)
        model->openings++;
    enter(model, BREAKER_OPEN);
    must(breaker->openings == model->openings);
    must(breaker->open_ms * 2 >= ceiling_ms(model) && breaker->open_ms <= ceiling_ms(model));
    model->open_end_ms = model->now_ms + breaker->open_ms;
}

static void fail_probe(struct model *model, const struct breaker *breaker) {
    if (model->now_ms < model->open_end_ms)
        enter(model, BREAKER_OPEN);
    else
        enter_open(model, breaker);
}

static struct model_job *find_probe(struct model *model) {
    struct model_job *found = NULL;
    for (size_t i = 0; i < JOBS; i++) {
        struct model_job *job = &model->jobs[i];
        if (!job->held || !job->current || !job->probe || job->started)
            continue;
        must(!found);
        found = job;
    }
    return found;
}

static void pass_time(struct model *model, const struct breaker *breaker) {
    if (model->state == BREAKER_OPEN && model->now_ms >= model->open_end_ms)
        enter(model, BREAKER_HALF_OPEN);
    else if (find_probe(model) && model->now_ms >= model->lease_end_ms)
        fail_probe(model, breaker);
}

static void note(struct model *model, enum breaker_phase phase, bool bad) {
    must(model->note_count < NOTES_MAX);
    model->notes[model->note_count++] = (struct note){
        .bucket = (model->now_ms - model->closed_ms) / BREAKER_BUCKET_MS, .phase = phase, .bad = bad};
}

static int64_t count_row(const struct model *model) {
    int64_t row = 0;
    bool start_passed = false;
    for (size_t i = model->note_count; i-- > 0;) {
        const struct note *seen = &model->notes[i];
        if (!seen->bad && seen->phase == BREAKER_STREAM)
            break;
        start_passed = start_passed || !seen->bad;
        if (seen->bad && !(start_passed && seen->phase == BREAKER_START))
            row++;
    }
    return row;
}

static bool trips(const struct model *model, enum breaker_phase phase) {
    int64_t bucket = (model->now_ms - model->closed_ms) / BREAKER_BUCKET_MS;
    size_t all = 0, bad = 0;
    for (size_t i = 0; i < model->note_count; i++) {
        const struct note *seen = &model->notes[i];
        if (seen->phase == phase && seen->bucket > bucket - BREAKER_BUCKETS) {
            all++;
            bad += seen->bad;
        }
    }
    return count_row(model) >= model->config.failure_threshold || (all >= 20 && bad * 2 >= all);
}

static void pass_start(struct model *model, struct model_job *job) {
    if (job->started)
        return;
    job->started = true;
    if (!job->current)
        return;
    if (model->state == BREAKER_CLOSED)
        note(model, BREAKER_START, false);
    if (model->state == BREAKER_HALF_OPEN && ++model->passed == model->config.success_threshold)
        enter_closed(model);
}

static void fail(struct model *model, const struct model_job *job, const struct breaker *breaker) {
    if (!job->current)
        return;
    if (model->state == BREAKER_HALF_OPEN) {
        fail_probe(model, breaker);
    } else if (model->state == BREAKER_CLOSED) {
        enum breaker_phase phase = job->started ? BREAKER_STREAM : BREAKER_START;
        note(model, phase, true);
        if (model->config.enabled && trips(model, phase))
            enter_open(model, breaker);
    }
}

static void end(struct model *model, struct model_job *job, enum outcome outcome,
                const struct breaker *breaker) {
    switch (outcome) {
    case OUTCOME_SUCCESS:
        pass_start(model, job);
        if (job->current && model->state == BREAKER_CLOSED)
            note(model, BREAKER_STREAM, false);
        break;
    case OUTCOME_WORKER_FAILURE:
    case OUTCOME_MODEL_FAILURE:
        fail(model, job, breaker);
        break;
    case OUTCOME_NEUTRAL:
        if (job == find_probe(model) && model->passed == 0 && model->now_ms < model->open_end_ms)
            enter(model, BREAKER_OPEN);
        break;
    }
    *job = (struct model_job){.held = false};
}

static bool grant(struct model *model, struct model_job *job, bool panic) {
    bool early = panic && model->state == BREAKER_OPEN;
    bool beside = panic && model->unproven && find_probe(model);
    if (early)
        enter(model, BREAKER_HALF_OPEN);
    bool probe = model->state == BREAKER_HALF_OPEN && !find_probe(model);
    if (model->state != BREAKER_CLOSED && model->state != BREAKER_FORCED_CLOSED && !probe && !beside)
        return false;
    if (probe)
        model->lease_end_ms = model->now_ms + model->config.probe_lease_ms;
    job->held = true;
    job->current = true;
    job->probe = probe;
    return true;
}

static void restart(struct model *model) {
    bool forced = model->state == BREAKER_FORCED_OPEN || model->state == BREAKER_FORCED_CLOSED;
    enum breaker_state state = forced                  ? model->state
                               : model->config.enabled ? BREAKER_HALF_OPEN
                                                       : BREAKER_CLOSED;
    enter_closed(model);
    enter(model, state);
    model->unproven = state == BREAKER_HALF_OPEN;
    model->openings = 0;
    model->open_end_ms = INT64_MIN;
}

static void check(struct model *model, const struct breaker *breaker) {
    struct breaker before = *breaker;
    enum breaker_answer answer = breaker_peek(breaker, model->now_ms);
    must(memcmp(&before, breaker, sizeof(before)) == 0);
    must(breaker->state == model->state);
    must((breaker->probe != 0) == (find_probe(model) != NULL));
    must(breaker_failures_in_row(breaker) == count_row(model));
    must(breaker->probes_passed == model->passed);
    must((answer == BREAKER_FORBIDDEN) == (model->state == BREAKER_FORCED_OPEN));
    int64_t share = breaker_share(breaker, model->now_ms);
    must(share >= BREAKER_SHARE_MIN && share <= 100);
}

static const enum status ends[] = {STATUS_OK, STATUS_WORKER_TIMEOUT, STATUS_CANCELLED};
static const int64_t spans_ms[] = {0, 1, 100, 1000, 3000, 10000, 60000, 600000};

/* Events that concern a job, which the low bits of `arg` name. */
static void do_job(struct model *model, struct breaker *breaker, struct rng *rng, uint8_t event,
                   uint8_t arg) {
    struct model_job *job = &model->jobs[arg % JOBS];
    if (!job->held) {
        bool panic = event % 2;
        struct breaker_ticket ticket;
        bool granted = breaker_acquire(breaker, &model->config, panic, model->now_ms, rng, &ticket);
        must(granted == grant(model, job, panic));
        must(granted == (ticket.generation != 0) && (ticket.probe != 0) == job->probe);
        job->ticket = ticket;
    } else if (event % 4 == 0) {
        breaker_first_token(breaker, &model->config, &job->ticket, model->now_ms, rng);
        pass_start(model, job);
    } else {
        enum status status = ends[event % 4 - 1];
        breaker_report(breaker, &model->config, &job->ticket, status, model->now_ms, rng);
        end(model, job, status_outcome(status), breaker);
    }
}

static void do_event(struct model *model, struct breaker *breaker, struct rng *rng, uint8_t event,
                     uint8_t arg) {
    struct model_job *job = &model->jobs[arg % JOBS];
    breaker_tick(breaker, &model->config, model->now_ms, rng);
    pass_time(model, breaker);
    switch (event % 16) {
    case 0:
    case 1:
        model->now_ms += spans_ms[arg % 8] * (1 + arg / 8);
        break;
    case 2:
        breaker_renew(breaker, &job->ticket, 1 + arg * 100, model->now_ms);
        if (job->held && job == find_probe(model))
            model->lease_end_ms = model->now_ms + 1 + arg * 100;
        break;
    case 3:
        if (arg < 128) {
            breaker_restart(breaker, &model->config, model->now_ms);
            restart(model);
        } else if (arg < 160) {
            enum breaker_state forced = arg % 2 ? BREAKER_FORCED_OPEN : BREAKER_FORCED_CLOSED;
            breaker_force(breaker, forced);
            enter(model, forced);
        } else {
            breaker_reset(breaker, model->now_ms);
            enter_closed(model);
            model->openings = 0;
            model->open_end_ms = INT64_MIN;
        }
        break;
    default:
        do_job(model, breaker, rng, event / 16, arg);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model model; /* too large for the stack */
    if (size == 0)
        return 0;
    memset(&model, 0, sizeof(model));
    model.config = (struct breaker_config){.enabled = data[0] != 0,
                                           .failure_threshold = 1 + data[0] % 8,
                                           .success_threshold = 1 + data[0] / 8 % 4,
                                           .timeout_ms = data[0] / 32 % 2 ? 500000 : 30000,
                                           .probe_lease_ms = 7000};
    model.open_end_ms = INT64_MIN;
    struct breaker breaker;
    struct rng rng;
    rng_seed(&rng, size);
    breaker_init(&breaker, 0);
    for (size_t i = 1; i + 1 < size && i / 2 < EVENTS_MAX; i += 2) {
        do_event(&model, &breaker, &rng, data[i], data[i + 1]);
        breaker_tick(&breaker, &model.config, model.now_ms, &rng);
        pass_time(&model, &breaker);
        check(&model, &breaker);
    }
    return 0;
}
