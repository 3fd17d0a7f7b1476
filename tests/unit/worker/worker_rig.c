#include "worker_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct worker_rig w;

static void see_info(const struct transport_message *message, void *arg) {
    int *count = arg;
    struct error error;
    assert_int_equal(wire_read_worker_info(message->data, message->len, &w.info, &error), STATUS_OK);
    (*count)++;
}

static void see_told(const struct transport_message *message, void *arg) {
    (void)arg;
    buf_append(&w.told, message->data, message->len);
}

static void see_deregister(const struct transport_message *message, void *arg) {
    (void)arg;
    struct error error;
    assert_int_equal(wire_read_deregister(message->data, message->len, &w.deregister, &error), STATUS_OK);
    w.deregistrations++;
    w.ends_at_deregistration = w.harness.ends;
}

void on_drained(void *arg) {
    (void)arg;
    w.drained++;
}

static void on_failed(void *arg) {
    (void)arg;
    w.failed++;
}

int worker_rig_setup(void **state) {
    (void)state;
    memset(&w, 0, sizeof w);
    harness_init(&w.harness);
    w.harness.config.discovery.heartbeat_interval_ms = 20;
    buf_init(&w.told, 0);
    struct transport *link = w.harness.controller_link;
    assert_int_equal(transport_subscribe(link, WIRE_SUBJECT_REGISTER, see_info, &w.registrations), STATUS_OK);
    assert_int_equal(transport_subscribe(link, WIRE_SUBJECT_HEARTBEAT, see_info, &w.heartbeats), STATUS_OK);
    assert_int_equal(transport_subscribe(link, WIRE_SUBJECT_DEREGISTER, see_deregister, NULL), STATUS_OK);
    assert_int_equal(transport_subscribe(link, "reply.c0.control.*", see_info, &w.replies), STATUS_OK);
    assert_int_equal(transport_subscribe(link, "reply.c0.told", see_told, NULL), STATUS_OK);
    return 0;
}

int worker_rig_teardown(void **state) {
    (void)state;
    gate_open();
    worker_free(w.worker);
    harness_release(&w.harness);
    buf_release(&w.told);
    if (w.system_root)
        kernel_tree_release(&w.tree);
    return 0;
}

void new_worker(void) {
    const struct worker_env env = {
        .config = &w.harness.config,
        .id = "w1",
        .loop = w.harness.loop,
        .transport = w.harness.worker_link,
        .engine_ops = &gate_ops,
        .system_root = w.system_root,
    };
    struct error error;
    w.worker = worker_new(&env, &error);
    assert_non_null(w.worker);
}

void start_worker(void) {
    worker_start(w.worker, on_failed, NULL);
}

void begin(void) {
    new_worker();
    start_worker();
}

static bool is_count(void *arg) {
    const int *const *pair = arg;
    return *pair[0] >= *pair[1];
}

void wait_count(const int *counter, int value) {
    const int *pair[2] = {counter, &value};
    harness_wait(&w.harness, is_count, (void *)pair);
}

static bool is_phase(void *arg) {
    return w.info.phase == *(const enum worker_phase *)arg && w.info.pid != 0;
}

void wait_phase(enum worker_phase phase) {
    harness_wait(&w.harness, is_phase, &phase);
}

void begin_ready(void) {
    begin();
    wait_phase(WORKER_PHASE_READY);
}

void send_to_worker(const char *subject, const char *reply, const void *data, size_t len) {
    assert_int_equal(transport_publish(w.harness.controller_link, subject, reply, data, len), STATUS_OK);
}

void send_job(struct wire_job *job) {
    struct buf body;
    buf_init(&body, 0);
    wire_write_job(&body, job);
    send_to_worker("inference.w1", NULL, body.data, body.len);
    buf_release(&body);
    wire_job_release(job);
}

struct wire_job job_for(int index, const char *model, const char *text) {
    struct wire_job job = harness_job(index, text);
    free(job.chat.model);
    job.chat.model = strdup(model);
    return job;
}

void send_text(int index, const char *model, const char *text) {
    struct wire_job job = job_for(index, model, text);
    send_job(&job);
}

void begin_at_gate(const char *text) {
    begin_ready();
    gate_close();
    send_text(0, "fake", text);
    harness_wait_starts(&w.harness, 1);
    gate_wait_arrival();
}

void send_cancel(int index) {
    struct wire_cancel cancel = {.attempt = 1};
    snprintf(cancel.request_id, sizeof cancel.request_id, "r%d", index);
    struct buf body;
    buf_init(&body, 0);
    wire_write_cancel(&body, &cancel);
    send_to_worker("inference.w1.cancel", NULL, body.data, body.len);
    buf_release(&body);
}

void send_control(enum wire_control_op op) {
    struct buf body;
    buf_init(&body, 0);
    wire_write_control(&body, op);
    send_to_worker("worker.w1.control", "reply.c0.control.1", body.data, body.len);
    buf_release(&body);
}

struct worker_info info_now(void) {
    struct worker_info info;
    worker_get_info(w.worker, &info);
    return info;
}

static bool is_accounted(void *arg) {
    (void)arg;
    struct worker_load load = info_now().load;
    return load.jobs_accepted == load.jobs_finished + load.jobs_cancelled + load.jobs_failed;
}

void wait_accounted(void) {
    harness_wait(&w.harness, is_accounted, NULL);
}

void check_refused(int index, enum status status) {
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[index].status, status);
    assert_int_equal(w.harness.seen[index].accepted, 0);
    assert_int_equal(info_now().load.jobs_rejected, 1);
}

void check_text(int index, const char *model, const char *text) {
    int32_t tokens;
    struct wire_job job = job_for(index, model, text);
    struct buf expected = harness_expected(&w.harness, &job, &tokens);
    assert_int_equal(w.harness.seen[index].status, STATUS_OK);
    assert_string_equal(w.harness.seen[index].text.data, expected.data);
    buf_release(&expected);
    wire_job_release(&job);
}

struct model_info model_now(size_t index) {
    return info_now().models[index];
}

struct target {
    size_t index;
    enum model_state state;
};

static bool is_in_state(void *arg) {
    const struct target *target = arg;
    return model_now(target->index).state == target->state;
}

void wait_state(size_t index, enum model_state state) {
    struct target target = {index, state};
    harness_wait(&w.harness, is_in_state, &target);
}

void use_memory(int percent) {
    char text[96];
    snprintf(text, sizeof text, "MemTotal: 102400 kB\nMemAvailable: %d kB\n", 1024 * (100 - percent));
    kernel_tree_write(&w.tree, "/proc/meminfo", text);
}
