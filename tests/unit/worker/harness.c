#include "harness.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_fake.h"

enum { WAIT_MAX_MS = 10000 };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool closed;
    bool waiting;
    int permits;
    int engines;
    int prompts;
    int steps;
    int last_tokens;
    int32_t broken_slot;
    const char *broken_path;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .broken_slot = -1};

int32_t gate_pass_tokens;
bool gate_cannot_rewind;

static void set(void (*change)(int value), int value) {
    pthread_mutex_lock(&gate.mutex);
    change(value);
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
}

static void change_closed(int value) {
    gate.closed = value;
    gate.permits = 0;
}

static void change_permits(int value) {
    gate.permits += value;
}

static void change_engines(int value) {
    gate.engines += value;
}

static void change_broken(int value) {
    gate.broken_slot = value;
}

void gate_close(void) {
    set(change_closed, true);
}

void gate_open(void) {
    set(change_closed, false);
}

void gate_permit(int steps) {
    set(change_permits, steps);
}

void gate_break_slot(int32_t slot) {
    set(change_broken, slot);
}

void gate_fail_loads(const char *model_path) {
    pthread_mutex_lock(&gate.mutex);
    gate.broken_path = model_path;
    pthread_mutex_unlock(&gate.mutex);
}

void gate_reset(void) {
    gate_pass_tokens = 0;
    gate_cannot_rewind = false;
    gate_open();
    gate_break_slot(-1);
    gate_fail_loads(NULL);
    pthread_mutex_lock(&gate.mutex);
    gate.steps = 0;
    gate.prompts = 0;
    pthread_mutex_unlock(&gate.mutex);
}

void gate_wait_arrival(void) {
    pthread_mutex_lock(&gate.mutex);
    while (!gate.waiting || gate.permits > 0)
        pthread_cond_wait(&gate.changed, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
}

static int get(const int *value) {
    pthread_mutex_lock(&gate.mutex);
    int copy = *value;
    pthread_mutex_unlock(&gate.mutex);
    return copy;
}

int gate_engines(void) {
    return get(&gate.engines);
}

int gate_prompts(void) {
    return get(&gate.prompts);
}

int gate_steps(void) {
    return get(&gate.steps);
}

int gate_last_tokens(void) {
    return get(&gate.last_tokens);
}

static void pass_gate(void) {
    gate.waiting = true;
    pthread_cond_broadcast(&gate.changed);
    while (gate.closed && gate.permits == 0)
        pthread_cond_wait(&gate.changed, &gate.mutex);
    gate.waiting = false;
    if (gate.closed)
        gate.permits--;
}

static struct engine *gate_engine_open(const struct engine_options *options, struct error *error) {
    pthread_mutex_lock(&gate.mutex);
    pass_gate();
    bool broken = gate.broken_path && strcmp(gate.broken_path, options->model_path) == 0;
    pthread_mutex_unlock(&gate.mutex);
    if (broken) {
        error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s is broken", options->model_path);
        return NULL;
    }
    struct engine *engine = engine_fake_ops.open(options, error);
    if (engine) {
        engine->ops = &gate_ops;
        set(change_engines, 1);
    }
    return engine;
}

static void gate_engine_close(struct engine *engine) {
    set(change_engines, -1);
    engine_fake_ops.close(engine);
}

static void gate_info(const struct engine *engine, struct engine_info *out) {
    engine_fake_ops.info(engine, out);
    if (gate_pass_tokens > 0)
        out->pass_tokens = gate_pass_tokens;
    out->can_rewind = out->can_rewind && !gate_cannot_rewind;
}

static enum status gate_prompt(struct engine *engine, const struct chat_request *chat, int64_t now_s,
                               struct engine_prompt *out, struct error *error) {
    enum status status = engine_fake_ops.prompt(engine, chat, now_s, out, error);
    pthread_mutex_lock(&gate.mutex);
    gate.prompts++;
    pthread_mutex_unlock(&gate.mutex);
    return status;
}

static enum status gate_slot_start(struct engine *engine, int32_t slot, const struct sampling *sampling,
                                   const struct engine_prompt *prompt, int32_t held) {
    return engine_fake_ops.slot_start(engine, slot, sampling, prompt, held);
}

static void gate_slot_stop(struct engine *engine, int32_t slot) {
    engine_fake_ops.slot_stop(engine, slot);
}

static int32_t gate_slot_trim(struct engine *engine, int32_t slot, int32_t tokens) {
    return engine_fake_ops.slot_trim(engine, slot, tokens);
}

static int32_t gate_slot_copy(struct engine *engine, int32_t from, int32_t to, int32_t tokens) {
    return engine_fake_ops.slot_copy(engine, from, to, tokens);
}

static bool gate_slot_save(struct engine *engine, int32_t slot, struct engine_state *out) {
    return engine_fake_ops.slot_save(engine, slot, out);
}

static bool gate_slot_load(struct engine *engine, int32_t slot, const struct engine_state *state) {
    return engine_fake_ops.slot_load(engine, slot, state);
}

static enum status gate_step(struct engine *engine, struct engine_item *items, size_t count,
                             struct error *error) {
    bool broken = false;
    pthread_mutex_lock(&gate.mutex);
    pass_gate();
    gate.steps++;
    gate.last_tokens = 0;
    for (size_t i = 0; i < count; i++) {
        gate.last_tokens += items[i].count;
        broken = broken || items[i].slot == gate.broken_slot;
    }
    pthread_mutex_unlock(&gate.mutex);
    if (broken)
        return error_set(error, STATUS_ENGINE_ERROR, NULL, "a slot is broken");
    return engine_fake_ops.step(engine, items, count, error);
}

static size_t gate_piece(struct engine *engine, int32_t token, char *out, size_t cap) {
    return engine_fake_ops.piece(engine, token, out, cap);
}

static bool gate_is_end(struct engine *engine, int32_t token) {
    return engine_fake_ops.is_end(engine, token);
}

const struct engine_ops gate_ops = {
    .name = "gate",
    .open = gate_engine_open,
    .close = gate_engine_close,
    .info = gate_info,
    .prompt = gate_prompt,
    .slot_start = gate_slot_start,
    .slot_stop = gate_slot_stop,
    .slot_trim = gate_slot_trim,
    .slot_copy = gate_slot_copy,
    .slot_save = gate_slot_save,
    .slot_load = gate_slot_load,
    .step = gate_step,
    .piece = gate_piece,
    .is_end = gate_is_end,
};

static void see_end(struct harness *harness, struct seen *seen, const struct wire_event *event) {
    seen->ended++;
    seen->end_order = ++harness->ends;
    seen->status = event->kind == WIRE_EVENT_FAILED ? event->status : STATUS_OK;
    seen->finish = event->finish;
    seen->usage = event->usage;
    if (event->kind == WIRE_EVENT_FAILED) {
        snprintf(seen->message, sizeof seen->message, "%s", event->message);
        snprintf(seen->param, sizeof seen->param, "%s", event->param ? event->param : "");
        return;
    }
    assert_int_equal(event->index, seen->first_index + seen->tokens);
    buf_append(&seen->text, event->text, event->text_len);
}

/* The order of the protocol: ACCEPTED, STARTED, TOKEN with 0, 1, 2..., then one last event. */
static void see_event(const struct wire_events_source *source, const struct wire_event *event, void *arg) {
    struct harness *harness = arg;
    (void)source;
    int index = (int)strtol(event->request_id + 1, NULL, 10);
    assert_in_range(index, 0, JOBS_MAX - 1);
    struct seen *seen = &harness->seen[index];
    harness->message_events++;
    assert_true(seen->controller < 0 || seen->controller == harness->message_controller);
    seen->controller = harness->message_controller;
    assert_int_equal(seen->ended, 0);
    switch (event->kind) {
    case WIRE_EVENT_ACCEPTED:
        assert_int_equal(seen->started, 0);
        seen->accepted++;
        seen->position = event->position;
        seen->wait_ms = event->wait_ms;
        break;
    case WIRE_EVENT_STARTED:
        seen->started++;
        seen->order = ++harness->starts;
        seen->prompt_tokens = event->prompt_tokens;
        break;
    case WIRE_EVENT_TOKEN:
        assert_int_equal(seen->started, 1);
        assert_int_equal(event->index, seen->first_index + seen->tokens);
        buf_append(&seen->text, event->text, event->text_len);
        if (seen->tokens < IDS_MAX) {
            seen->ids[seen->tokens] = event->token;
            seen->shown_at[seen->tokens] = seen->text.len;
        }
        seen->tokens++;
        break;
    case WIRE_EVENT_FINISHED:
    case WIRE_EVENT_FAILED:
        see_end(harness, seen, event);
        break;
    }
}

static void see_message(const struct transport_message *message, void *arg) {
    struct harness *harness = arg;
    struct error error;
    harness->message_events = 0;
    harness->message_controller = message->subject[strlen("reply.c")] - '0';
    assert_in_range(harness->message_controller, 0, CONTROLLERS - 1);
    assert_int_equal(wire_read_events(message->data, message->len, see_event, harness, &error), STATUS_OK);
    harness->messages[harness->message_controller]++;
    if (harness->message_events > harness->most_events)
        harness->most_events = harness->message_events;
}

void harness_add_model(struct harness *harness, const char *name) {
    struct config_model *model = &harness->config.models[harness->config.model_count++];
    model->name = strdup(name);
    model->path = strdup(name);
}

void harness_init(struct harness *harness) {
    gate_reset();
    log_setup(LOG_ERROR, NULL);
    *harness = (struct harness){.starts = 0};
    config_init(&harness->config);
    harness->config.worker.engine = ENGINE_KIND_FAKE;
    harness->config.worker.max_batch_size = 4;
    harness->config.worker.max_depth = 8;
    harness->config.worker.context_tokens = 512;
    harness->config.worker.batch_tokens = 256;
    harness->config.worker.fake_step_us = 0;
    harness->config.worker.fake_prompt_token_us = 0;
    harness->config.worker.fake_reply_tokens = 0;
    harness_add_model(harness, "fake");
    for (int i = 0; i < JOBS_MAX; i++) {
        harness->seen[i].controller = -1;
        buf_init(&harness->seen[i].text, 0);
    }
    harness->loop = loop_new();
    harness->bus = memory_bus_new();
    harness->worker_link = transport_memory_open(harness->bus, harness->loop);
    harness->controller_link = transport_memory_open(harness->bus, harness->loop);
    for (int i = 0; i < CONTROLLERS; i++) {
        char subject[WIRE_SUBJECT_MAX];
        snprintf(subject, sizeof subject, "reply.c%d.events.>", i);
        assert_int_equal(transport_subscribe(harness->controller_link, subject, see_message, harness),
                         STATUS_OK);
    }
}

void harness_release(struct harness *harness) {
    transport_close(harness->worker_link);
    transport_close(harness->controller_link);
    memory_bus_free(harness->bus);
    loop_free(harness->loop);
    config_release(&harness->config);
    for (int i = 0; i < JOBS_MAX; i++)
        buf_release(&harness->seen[i].text);
}

void harness_wait(struct harness *harness, bool (*done)(void *arg), void *arg) {
    int64_t end_ms = clock_ms() + WAIT_MAX_MS;
    while (!done(arg)) {
        if (clock_ms() >= end_ms)
            fail_msg("waited too long");
        loop_run_once(harness->loop, 20);
    }
}

struct target {
    struct harness *harness;
    int job;
    int count;
};

static bool has_ends(void *arg) {
    const struct target *target = arg;
    return target->harness->ends >= target->count;
}

static bool has_starts(void *arg) {
    const struct target *target = arg;
    return target->harness->starts >= target->count;
}

static bool has_tokens(void *arg) {
    const struct target *target = arg;
    return target->harness->seen[target->job].tokens >= target->count;
}

void harness_wait_ends(struct harness *harness, int ends) {
    harness_wait(harness, has_ends, &(struct target){harness, 0, ends});
}

void harness_wait_starts(struct harness *harness, int starts) {
    harness_wait(harness, has_starts, &(struct target){harness, 0, starts});
}

void harness_wait_tokens(struct harness *harness, int job, int tokens) {
    harness_wait(harness, has_tokens, &(struct target){harness, job, tokens});
}

void harness_settle(struct harness *harness) {
    for (int i = 0; i < 5; i++)
        loop_run_once(harness->loop, 0);
}

struct wire_job harness_job(int index, const char *text) {
    struct wire_job job = {.attempt = 1, .remaining_ms = 60000, .now_s = 1700000000};
    snprintf(job.request_id, sizeof job.request_id, "r%d", index);
    snprintf(job.controller_id, sizeof job.controller_id, "c0");
    chat_request_init(&job.chat);
    job.chat.model = strdup("fake");
    job.chat.stream = true;
    job.chat.priority = CHAT_PRIORITY_MEDIUM;
    struct buf messages;
    buf_init(&messages, 0);
    buf_append_str(&messages, "[{\"role\":\"user\",\"content\":");
    buf_append_json(&messages, text, strlen(text));
    buf_append_str(&messages, "}]");
    job.chat.messages_json = buf_take(&messages);
    return job;
}

void harness_set_stop(struct wire_job *job, const char *stop) {
    job->chat.stop[job->chat.stop_count++] = strdup(stop);
}

struct buf harness_expected(const struct harness *harness, const struct wire_job *job, int32_t *tokens) {
    const struct engine_options options = {
        .slots = (int32_t)harness->config.worker.max_batch_size,
        .context_tokens = (int32_t)harness->config.worker.context_tokens,
        .batch_tokens = (int32_t)harness->config.worker.batch_tokens,
        .fake_reply_tokens = (int32_t)harness->config.worker.fake_reply_tokens,
    };
    struct buf text;
    buf_init(&text, 0);
    int32_t count = engine_fake_reply(&job->chat, &options, &text);
    assert_true(count >= 0);
    if (tokens)
        *tokens = count;
    return text;
}
