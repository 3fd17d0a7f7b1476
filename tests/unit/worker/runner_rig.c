#include "runner_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

struct runner_rig t;

static void on_done(struct job *job, void *arg) {
    (void)arg;
    t.done++;
    t.ends[job->end]++;
    job_free(job);
}

static void on_loaded(struct runner *runner, const struct error *error, void *arg) {
    (void)arg;
    assert_ptr_equal(runner, t.runner);
    t.loads++;
    t.load_error = error ? *error : (struct error){.status = STATUS_OK};
}

static void on_stopped(struct runner *runner, void *arg) {
    (void)arg;
    assert_ptr_equal(runner, t.runner);
    t.stops++;
}

bool is_loaded(void *arg) {
    (void)arg;
    return t.loads > 0;
}

void new_runner(void) {
    const struct runner_env env = {
        .config = &t.harness.config,
        .model = &t.harness.config.models[0],
        .worker_id = "w1",
        .incarnation = "incarnation1",
        .loop = t.harness.loop,
        .transport = t.harness.worker_link,
        .engine_ops = &gate_ops,
        .checker = t.checker,
        .memory_bytes = 1 << 30,
        .on_done = on_done,
        .on_loaded = on_loaded,
        .on_stopped = on_stopped,
    };
    struct error error;
    t.runner = runner_new(&env, &error);
    assert_non_null(t.runner);
}

void start(void) {
    new_runner();
    harness_wait(&t.harness, is_loaded, NULL);
    assert_int_equal(t.load_error.status, STATUS_OK);
}

int rig_setup(void **state) {
    (void)state;
    memset(&t, 0, sizeof t);
    harness_init(&t.harness);
    t.harness.config.worker.stream_interval_ms = 0; /* each step shows at once */
    return 0;
}

int rig_teardown(void **state) {
    (void)state;
    gate_open();
    runner_free(t.runner);
    harness_release(&t.harness);
    return 0;
}

struct job *submit(struct wire_job *wire) {
    struct job *job = job_new(wire, clock_ms());
    struct error error;
    assert_non_null(job);
    assert_int_equal(runner_make_room(t.runner, job->wire.chat.priority, &error), STATUS_OK);
    runner_submit(t.runner, job);
    return job;
}

struct job *submit_text(int index, const char *text) {
    struct wire_job wire = harness_job(index, text);
    return submit(&wire);
}

static bool all_done(void *arg) {
    return t.done >= *(const int *)arg;
}

/* Their last events were sent before they were done, and are delivered by then. */
void wait_done(int done) {
    harness_wait(&t.harness, all_done, &done);
    harness_settle(&t.harness);
}

struct worker_load load_now(void) {
    bool busy;
    struct worker_load load = {.progress = runner_progress(t.runner, &busy)};
    runner_add_load(t.runner, clock_ms(), &load);
    return load;
}

bool prompts_made(void *arg) {
    return gate_prompts() >= *(const int *)arg;
}

/* Lets single steps through until so many jobs have slots. */
void step_until_starts(int starts) {
    harness_wait(&t.harness, prompts_made, &starts);
    for (int i = 0; t.harness.starts < starts && i < 1000; i++) {
        gate_wait_arrival();
        harness_settle(&t.harness);
        if (t.harness.starts < starts)
            gate_permit(1);
    }
    assert_int_equal(t.harness.starts, starts);
}

void step(void) {
    gate_permit(1);
    gate_wait_arrival();
    harness_settle(&t.harness);
}

void step_until_first_token(void) {
    for (int i = 0; i < 20 && t.harness.seen[0].tokens == 0; i++) {
        gate_wait_arrival();
        step();
    }
    assert_true(t.harness.seen[0].tokens > 0);
}
