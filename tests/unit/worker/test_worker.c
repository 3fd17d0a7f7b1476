#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "harness.h"
#include "kernel_tree.h"

static struct {
    struct harness harness;
    struct worker *worker;
    int registrations;
    int heartbeats;
    int deregistrations;
    int replies;
    struct buf told;         /* the latest reply to ask() */
    struct worker_info info; /* the latest */
    struct wire_deregister deregister;
    int ends_at_deregistration;
    int drained;
    int failed;
    struct kernel_tree tree; /* what the worker sees of the machine, when a test wants it to look */
    const char *system_root;
} t;

static void see_info(const struct transport_message *message, void *arg) {
    int *count = arg;
    struct error error;
    assert_int_equal(wire_read_worker_info(message->data, message->len, &t.info, &error), STATUS_OK);
    (*count)++;
}

static void see_told(const struct transport_message *message, void *arg) {
    (void)arg;
    buf_append(&t.told, message->data, message->len);
}

static void see_deregister(const struct transport_message *message, void *arg) {
    (void)arg;
    struct error error;
    assert_int_equal(wire_read_deregister(message->data, message->len, &t.deregister, &error), STATUS_OK);
    t.deregistrations++;
    t.ends_at_deregistration = t.harness.ends;
}

static void on_drained(void *arg) {
    (void)arg;
    t.drained++;
}

static void on_failed(void *arg) {
    (void)arg;
    t.failed++;
}

static int setup(void **state) {
    (void)state;
    memset(&t, 0, sizeof t);
    harness_init(&t.harness);
    t.harness.config.discovery.heartbeat_interval_ms = 20;
    buf_init(&t.told, 0);
    struct transport *link = t.harness.controller_link;
    assert_int_equal(transport_subscribe(link, WIRE_SUBJECT_REGISTER, see_info, &t.registrations), STATUS_OK);
    assert_int_equal(transport_subscribe(link, WIRE_SUBJECT_HEARTBEAT, see_info, &t.heartbeats), STATUS_OK);
    assert_int_equal(transport_subscribe(link, WIRE_SUBJECT_DEREGISTER, see_deregister, NULL), STATUS_OK);
    assert_int_equal(transport_subscribe(link, "reply.c0.control.*", see_info, &t.replies), STATUS_OK);
    assert_int_equal(transport_subscribe(link, "reply.c0.told", see_told, NULL), STATUS_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gate_open();
    worker_free(t.worker);
    harness_release(&t.harness);
    buf_release(&t.told);
    if (t.system_root)
        kernel_tree_release(&t.tree);
    return 0;
}

static void start(void) {
    const struct worker_env env = {
        .config = &t.harness.config,
        .id = "w1",
        .loop = t.harness.loop,
        .transport = t.harness.worker_link,
        .engine_ops = &gate_ops,
        .system_root = t.system_root,
    };
    struct error error;
    t.worker = worker_new(&env, &error);
    assert_non_null(t.worker);
    worker_start(t.worker, on_failed, NULL);
}

static bool is_count(void *arg) {
    const int *const *pair = arg;
    return *pair[0] >= *pair[1];
}

/* Until a counter of `t` has reached the value. */
static void wait_count(const int *counter, int value) {
    const int *pair[2] = {counter, &value};
    harness_wait(&t.harness, is_count, (void *)pair);
}

static bool is_phase(void *arg) {
    return t.info.phase == *(const enum worker_phase *)arg && t.info.pid != 0;
}

static void wait_phase(enum worker_phase phase) {
    harness_wait(&t.harness, is_phase, &phase);
}

static void start_ready(void) {
    start();
    wait_phase(WORKER_PHASE_READY);
}

static void send(const char *subject, const char *reply, const void *data, size_t len) {
    assert_int_equal(transport_publish(t.harness.controller_link, subject, reply, data, len), STATUS_OK);
}

static void send_job(struct wire_job *job) {
    struct buf body;
    buf_init(&body, 0);
    wire_write_job(&body, job);
    send("inference.w1", NULL, body.data, body.len);
    buf_release(&body);
}

static void send_text_job(int index, const char *text) {
    struct wire_job job = harness_job(index, text);
    send_job(&job);
    wire_job_release(&job);
}

static void send_cancel(int index) {
    struct wire_cancel cancel = {.attempt = 1};
    snprintf(cancel.request_id, sizeof cancel.request_id, "r%d", index);
    struct buf body;
    buf_init(&body, 0);
    wire_write_cancel(&body, &cancel);
    send("inference.w1.cancel", NULL, body.data, body.len);
    buf_release(&body);
}

static void send_control(enum wire_control_op op) {
    struct buf body;
    buf_init(&body, 0);
    wire_write_control(&body, op);
    send("worker.w1.control", "reply.c0.control.1", body.data, body.len);
    buf_release(&body);
}

static struct worker_info info_now(void) {
    struct worker_info info;
    worker_get_info(t.worker, &info);
    return info;
}

static bool is_accounted(void *arg) {
    (void)arg;
    struct worker_load load = info_now().load;
    return load.jobs_accepted == load.jobs_finished + load.jobs_cancelled + load.jobs_failed;
}

/* A job leaves the worker's books right after its last event was sent. */
static void wait_accounted(void) {
    harness_wait(&t.harness, is_accounted, NULL);
}

static void check_refused(int index, enum status status) {
    harness_wait_ends(&t.harness, 1);
    assert_int_equal(t.harness.seen[index].status, status);
    assert_int_equal(t.harness.seen[index].accepted, 0);
    assert_int_equal(info_now().load.jobs_rejected, 1);
}

static void a_worker_registers_while_it_loads_and_tells_when_it_is_ready(void **state) {
    (void)state;
    gate_close();
    start();
    wait_count(&t.registrations, 1);
    assert_string_equal(t.info.id, "w1");
    assert_int_equal(strlen(t.info.incarnation), INCARNATION_CHARS);
    assert_int_equal(t.info.pid, getpid());
    assert_int_equal(t.info.phase, WORKER_PHASE_LOADING);
    assert_int_equal(t.info.model_count, 1);
    assert_int_equal(t.info.models[0].state, MODEL_LOADING);
    assert_true(t.info.load.rss_bytes > 0);
    wait_count(&t.heartbeats, 3);
    assert_int_equal(t.info.phase, WORKER_PHASE_LOADING);
    gate_open();
    wait_phase(WORKER_PHASE_READY);
    assert_int_equal(t.info.models[0].state, MODEL_READY);
    assert_string_equal(t.info.models[0].name, "fake");
    assert_int_equal(t.info.models[0].slots, 4);
    assert_int_equal(t.info.load.queue_max, 8);
    assert_int_equal(t.failed, 0);
}

static void a_job_is_accepted_started_and_answered_with_its_text(void **state) {
    (void)state;
    start_ready();
    for (int i = 0; i < 12; i++) {
        char text[64];
        snprintf(text, sizeof text, "question number %d", i);
        send_text_job(i, text);
    }
    harness_wait_ends(&t.harness, 12);
    for (int i = 0; i < 12; i++) {
        char text[64];
        snprintf(text, sizeof text, "question number %d", i);
        struct wire_job job = harness_job(i, text);
        int32_t tokens;
        struct buf expected = harness_expected(&t.harness, &job, &tokens);
        const struct seen *seen = &t.harness.seen[i];
        assert_int_equal(seen->accepted, 1);
        assert_int_equal(seen->started, 1);
        assert_int_equal(seen->status, STATUS_OK);
        assert_int_equal(seen->tokens, tokens);
        assert_string_equal(seen->text.data, expected.data);
        buf_release(&expected);
        wire_job_release(&job);
    }
    wait_accounted();
    struct worker_load load = info_now().load;
    assert_int_equal(load.jobs_accepted, 12);
    assert_int_equal(load.jobs_finished, 12);
    assert_int_equal(load.jobs_rejected, 0);
    assert_int_equal(load.running, 0);
    assert_int_equal(load.queued, 0);
}

static void accepted_jobs_learn_their_place_and_the_books_tell_of_the_queue(void **state) {
    (void)state;
    t.harness.config.worker.max_batch_size = 1;
    start_ready();
    gate_close();
    for (int i = 0; i < 3; i++) {
        send_text_job(i, "[reply 40]");
        harness_wait_starts(&t.harness, 1);
        harness_settle(&t.harness);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(t.harness.seen[i].position, i);
    assert_int_equal(t.harness.seen[0].wait_ms, 0);
    assert_int_equal(t.harness.seen[2].wait_ms, -1); /* nothing has ended yet */
    struct worker_queue queue = info_now().load.queue;
    assert_int_equal(queue.enqueued, 3);
    assert_int_equal(queue.depth[CHAT_PRIORITY_MEDIUM], 2);
    assert_int_equal(queue.depth[CHAT_PRIORITY_HIGH] + queue.depth[CHAT_PRIORITY_LOW], 0);
    assert_int_equal(queue.next_wait_ms, -1);
    send_cancel(2);
    harness_settle(&t.harness);
    gate_open();
    harness_wait_ends(&t.harness, 3);
    wait_accounted();
    queue = info_now().load.queue;
    assert_int_equal(queue.cancelled, 1);
    assert_int_equal(queue.depth[CHAT_PRIORITY_MEDIUM], 0);
    assert_int_equal(queue.next_wait_ms, 0);
    gate_close();
    for (int i = 3; i < 5; i++) {
        send_text_job(i, "[reply 40]");
        harness_wait_starts(&t.harness, 3);
    }
    harness_settle(&t.harness);
    assert_true(t.harness.seen[4].wait_ms > 0); /* two have ended: that is a rate */
    assert_true(info_now().load.queue.next_wait_ms > 0);
    gate_open();
    harness_wait_ends(&t.harness, 5);
}

static void another_model_is_refused(void **state) {
    (void)state;
    start_ready();
    struct wire_job job = harness_job(0, "hello");
    free(job.chat.model);
    job.chat.model = strdup("another");
    send_job(&job);
    wire_job_release(&job);
    check_refused(0, STATUS_MODEL_NOT_LOADED);
}

static void without_loading_on_demand_a_job_for_a_model_that_is_being_loaded_is_refused(void **state) {
    (void)state;
    t.harness.config.worker.load_on_demand = false;
    gate_close();
    start();
    send_text_job(0, "hello");
    check_refused(0, STATUS_MODEL_NOT_LOADED);
}

static void a_job_over_the_limit_is_refused(void **state) {
    (void)state;
    start_ready();
    gate_close();
    for (int i = 0; i < 13; i++)
        send_text_job(i, "hello");
    check_refused(12, STATUS_WORKER_OVERLOADED);
    gate_open();
    harness_wait_ends(&t.harness, 13);
    assert_int_equal(info_now().load.jobs_accepted, 12);
}

static void use_memory(int percent) {
    char text[96];
    snprintf(text, sizeof text, "MemTotal: 102400 kB\nMemAvailable: %d kB\n", 1024 * (100 - percent));
    kernel_tree_write(&t.tree, "/proc/meminfo", text);
}

/* On a machine of 100 MiB that looks often. */
static void start_on_machine(int percent) {
    kernel_tree_init(&t.tree);
    t.system_root = t.tree.root;
    use_memory(percent);
    t.harness.config.worker.limits.check_interval_ms = 10;
    t.harness.config.worker.limits.recover_after_ms = 30;
    start_ready();
}

static bool is_level(void *arg) {
    return t.info.resources.level == *(const enum resource_level *)arg;
}

/* As heartbeats tell. */
static void wait_level(enum resource_level level) {
    harness_wait(&t.harness, is_level, &level);
}

static void send_priority_job(int index, enum chat_priority priority) {
    struct wire_job job = harness_job(index, "[reply 4]");
    job.chat.priority = priority;
    send_job(&job);
    wire_job_release(&job);
}

static void a_worker_short_of_memory_refuses_by_priority_and_takes_all_again(void **state) {
    (void)state;
    start_on_machine(50);
    assert_int_equal(t.info.resources.level, RESOURCE_OK);
    assert_int_equal(t.info.resources.signal, RESOURCE_BY_MACHINE);
    assert_int_equal(t.info.resources.memory_used, 50 << 20);
    use_memory(86);
    wait_level(RESOURCE_SOFT);
    send_priority_job(0, CHAT_PRIORITY_LOW);
    send_priority_job(1, CHAT_PRIORITY_MEDIUM);
    harness_wait_ends(&t.harness, 2);
    assert_int_equal(t.harness.seen[0].status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_string_equal(t.harness.seen[0].message,
                        "the worker takes no new jobs of low priority while it is short of memory (soft): "
                        "machine: 86 MiB used, limits 85 MiB (soft) and 93 MiB (hard)");
    assert_int_equal(t.harness.seen[1].status, STATUS_OK);
    use_memory(93);
    wait_level(RESOURCE_HARD);
    send_priority_job(2, CHAT_PRIORITY_HIGH);
    harness_wait_ends(&t.harness, 3);
    assert_int_equal(t.harness.seen[2].status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_int_equal(info_now().resources.refused, 2);
    assert_int_equal(info_now().load.jobs_rejected, 2);
    use_memory(50);
    wait_level(RESOURCE_OK);
    send_priority_job(3, CHAT_PRIORITY_LOW);
    harness_wait_ends(&t.harness, 4);
    assert_int_equal(t.harness.seen[3].status, STATUS_OK);
}

static void a_worker_that_starts_short_of_memory_says_so_at_once(void **state) {
    (void)state;
    start_on_machine(99);
    assert_int_equal(t.info.resources.level, RESOURCE_HARD);
    send_priority_job(0, CHAT_PRIORITY_HIGH);
    check_refused(0, STATUS_RESOURCE_LIMIT_EXCEEDED);
}

static void jobs_that_run_go_on_when_memory_is_short(void **state) {
    (void)state;
    start_on_machine(50);
    gate_close();
    send_priority_job(0, CHAT_PRIORITY_LOW);
    harness_wait_starts(&t.harness, 1);
    use_memory(99);
    wait_level(RESOURCE_HARD);
    gate_open();
    harness_wait_ends(&t.harness, 1);
    assert_int_equal(t.harness.seen[0].status, STATUS_OK);
    assert_int_equal(t.harness.seen[0].tokens, 4);
}

static void a_change_of_level_is_told_without_waiting_for_the_next_heartbeat(void **state) {
    (void)state;
    t.harness.config.discovery.heartbeat_interval_ms = 60000;
    t.harness.config.worker.load_on_demand = false; /* so that no model is unloaded, which is told, too */
    start_on_machine(50);
    int before = t.heartbeats;
    use_memory(99);
    wait_level(RESOURCE_HARD);
    assert_int_equal(t.heartbeats, before + 1);
}

static void a_job_that_comes_twice_runs_once(void **state) {
    (void)state;
    start_ready();
    gate_close();
    send_text_job(0, "hello");
    send_text_job(0, "hello");
    harness_wait_starts(&t.harness, 1);
    gate_open();
    harness_wait_ends(&t.harness, 1);
    harness_settle(&t.harness);
    assert_int_equal(t.harness.seen[0].accepted, 1);
    assert_int_equal(t.harness.ends, 1);
    assert_int_equal(info_now().load.jobs_accepted, 1);
}

static void invalid_messages_change_nothing(void **state) {
    (void)state;
    static const char *const subjects[] = {"inference.w1", "inference.w1.cancel", "worker.w1.control",
                                           "cluster.discover"};
    static const char *const bodies[] = {"", "{", "[]", "{\"v\":2}", "\xff\xfe", "{\"v\":1,\"request\":7}"};
    start_ready();
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        for (size_t j = 0; j < ARRAY_LEN(bodies); j++)
            send(subjects[i], NULL, bodies[j], strlen(bodies[j]));
    }
    send_text_job(0, "hello");
    harness_wait_ends(&t.harness, 1);
    assert_int_equal(t.harness.seen[0].status, STATUS_OK);
    assert_int_equal(info_now().load.jobs_accepted, 1);
    assert_int_equal(info_now().load.jobs_rejected, ARRAY_LEN(bodies));
}

static void a_job_with_a_readable_head_is_answered_though_invalid(void **state) {
    (void)state;
    start_ready();
    struct wire_job job = harness_job(0, "hello");
    struct buf body;
    buf_init(&body, 0);
    wire_write_job(&body, &job);
    wire_job_release(&job);
    /* Another type than the messages must have. */
    char *role = strstr(body.data, "\"messages\":[");
    assert_non_null(role);
    role[strlen("\"messages\":")] = '7';
    char *end = strstr(body.data, "}]");
    memset(role + strlen("\"messages\":7"), ' ', (size_t)(end + 2 - (role + strlen("\"messages\":7"))));
    send("inference.w1", NULL, body.data, body.len);
    buf_release(&body);
    check_refused(0, STATUS_PROTOCOL_ERROR);
}

static void a_cancel_ends_a_running_job_and_frees_its_place(void **state) {
    (void)state;
    start_ready();
    gate_close();
    send_text_job(0, "[reply 400]");
    harness_wait_starts(&t.harness, 1);
    gate_wait_arrival();
    send_cancel(0);
    harness_settle(&t.harness);
    gate_permit(1);
    harness_wait_ends(&t.harness, 1);
    wait_accounted();
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    struct worker_load load = info_now().load;
    assert_int_equal(load.jobs_cancelled, 1);
    assert_int_equal(load.running, 0);
    assert_in_range(load.cancel_steps_max, 0, 2);
}

static void a_cancel_that_overtakes_its_job_is_applied_to_it(void **state) {
    (void)state;
    start_ready();
    send_cancel(0);
    send_text_job(0, "hello");
    send_text_job(1, "hello");
    harness_wait_ends(&t.harness, 2);
    assert_int_equal(t.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(t.harness.seen[0].started, 0);
    assert_int_equal(t.harness.seen[1].status, STATUS_OK);
}

static void many_cancels_of_unknown_jobs_forget_the_oldest(void **state) {
    (void)state;
    start_ready();
    send_cancel(0);
    for (int i = 1; i <= 64; i++)
        send_cancel(i);
    send_text_job(0, "hello");
    send_text_job(1, "hello");
    harness_wait_ends(&t.harness, 2);
    assert_int_equal(t.harness.seen[0].status, STATUS_OK);
    assert_int_equal(t.harness.seen[1].status, STATUS_CANCELLED);
}

static void a_worker_registers_again_when_asked_and_when_its_link_is_back(void **state) {
    (void)state;
    start_ready();
    wait_count(&t.registrations, 1);
    struct buf body;
    buf_init(&body, 0);
    wire_write_discover(&body, "c0");
    send(WIRE_SUBJECT_DISCOVER, NULL, body.data, body.len);
    buf_release(&body);
    wait_count(&t.registrations, 2);
    transport_memory_set_link(t.harness.worker_link, false);
    harness_settle(&t.harness);
    transport_memory_set_link(t.harness.worker_link, true);
    wait_count(&t.registrations, 3);
}

static void progress_grows_with_the_steps(void **state) {
    (void)state;
    start_ready();
    gate_close();
    send_text_job(0, "[reply 400]");
    harness_wait_starts(&t.harness, 1);
    gate_wait_arrival();
    uint64_t before = info_now().load.progress;
    assert_int_equal(info_now().load.running, 1);
    gate_permit(3);
    gate_wait_arrival();
    assert_int_equal(info_now().load.progress, before + 1);
    assert_int_equal(info_now().load.progress, before + 1); /* nothing was done since */
    assert_int_equal(info_now().load.batch_max, 1);
    gate_open();
    harness_wait_ends(&t.harness, 1);
}

static bool has_progressed(void *arg) {
    return info_now().load.progress > *(const uint64_t *)arg;
}

static void a_model_that_stands_still_does_not_hide_behind_another(void **state) {
    (void)state;
    t.harness.config.worker.fake_step_us = 1000;
    harness_add_model(&t.harness, "second");
    start_ready();
    struct wire_job stands = harness_job(0, "[slow x8000] [reply 9]"), runs = harness_job(1, "[reply 400]");
    config_set_text(&stands.chat.model, "second");
    send_job(&stands);
    wire_job_release(&stands);
    harness_wait_starts(&t.harness, 1);
    send_job(&runs);
    wire_job_release(&runs);
    harness_wait_tokens(&t.harness, 1, 10);
    uint64_t before = info_now().load.progress;
    harness_wait_tokens(&t.harness, 1, 100);
    assert_int_equal(info_now().load.progress, before);
    send_cancel(0); /* which ends the step that takes so long */
    harness_wait(&t.harness, has_progressed, &before);
    harness_wait_ends(&t.harness, 2);
}

static void statistics_are_answered(void **state) {
    (void)state;
    start_ready();
    send_text_job(0, "[reply 9]");
    harness_wait_ends(&t.harness, 1);
    send_control(WIRE_CONTROL_STATS);
    wait_count(&t.replies, 1);
    assert_string_equal(t.info.id, "w1");
    assert_int_equal(t.info.load.generated_tokens, 9);
    assert_int_equal(t.info.load.prompt_tokens, t.harness.seen[0].prompt_tokens);
}

static bool is_told(void *arg) {
    (void)arg;
    return t.told.len > 0;
}

/* The worker's reply to a control message. */
static const char *ask(const char *op) {
    char body[64];
    int len = snprintf(body, sizeof body, "{\"v\":1,\"op\":\"%s\"}", op);
    buf_clear(&t.told);
    send("worker.w1.control", "reply.c0.told", body, (size_t)len);
    harness_wait(&t.harness, is_told, NULL);
    return t.told.data;
}

static void each_part_of_the_statistics_is_answered_alone(void **state) {
    (void)state;
    start_ready();
    send_text_job(0, "[reply 9]");
    harness_wait_ends(&t.harness, 1);
    wait_accounted();
    assert_non_null(strstr(ask("getWorkerStats"), "\"generatedTokens\":9,"));
    assert_non_null(strstr(t.told.data, "\"hostname\":"));
    assert_non_null(strstr(ask("getBatchStats"), "\"running\":0,\"slots\":4,\"steps\":"));
    assert_non_null(strstr(t.told.data, "\"avgBatchSize\":1.000,\"batchMax\":1,"));
    assert_non_null(strstr(t.told.data, "\"generatedTokens\":9}"));
    assert_non_null(strstr(ask("getResourceStats"), "\"level\":\"ok\","));
    assert_non_null(strstr(t.told.data, "\"kvCellsUsed\":0,"));
    assert_non_null(strstr(ask("getQueueStats"), "\"depth\":0,\"maxDepth\":8,\"isFull\":false,"));
    assert_non_null(strstr(t.told.data, "\"enqueued\":1,\"rejected\":0,"));
}

/* 4 run and 8 wait. */
static void a_worker_says_that_its_queue_is_full_when_it_refuses_the_next_job(void **state) {
    (void)state;
    start_ready();
    gate_close();
    for (int i = 0; i < 11; i++)
        send_text_job(i, "hello");
    harness_wait_starts(&t.harness, 1);
    harness_settle(&t.harness);
    assert_non_null(strstr(ask("getQueueStats"), "\"isFull\":false,"));
    send_text_job(11, "hello");
    assert_non_null(strstr(ask("getQueueStats"), "\"isFull\":true,"));
    assert_non_null(strstr(t.told.data, "\"rejected\":0,"));
    send_text_job(12, "hello");
    assert_non_null(strstr(ask("getQueueStats"), "\"rejected\":1,"));
    gate_open();
    harness_wait_ends(&t.harness, 13);
}

static void drain_finishes_what_runs_and_then_deregisters(void **state) {
    (void)state;
    start_ready();
    gate_close();
    for (int i = 0; i < 6; i++)
        send_text_job(i, "hello");
    harness_wait_starts(&t.harness, 1);
    harness_settle(&t.harness);
    worker_drain(t.worker, 60000, on_drained, NULL);
    wait_phase(WORKER_PHASE_DRAINING);
    send_text_job(6, "hello");
    harness_wait_ends(&t.harness, 1);
    assert_int_equal(t.harness.seen[6].status, STATUS_WORKER_DRAINING);
    assert_int_equal(t.deregistrations, 0);
    gate_open();
    wait_count(&t.deregistrations, 1);
    assert_int_equal(t.ends_at_deregistration, 7);
    for (int i = 0; i < 6; i++)
        assert_int_equal(t.harness.seen[i].status, STATUS_OK);
    wait_count(&t.drained, 1);
    assert_string_equal(t.deregister.worker_id, "w1");
    assert_string_equal(t.deregister.incarnation, t.info.incarnation);
}

static void an_idle_worker_drains_at_once_and_is_silent_then(void **state) {
    (void)state;
    start_ready();
    worker_drain(t.worker, 60000, on_drained, NULL);
    wait_count(&t.drained, 1);
    wait_count(&t.deregistrations, 1);
    harness_settle(&t.harness);
    int registrations = t.registrations;
    int heartbeats = t.heartbeats;
    send(WIRE_SUBJECT_DISCOVER, NULL, "{\"v\":1}", 7);
    int64_t end_ms = clock_ms() + 3 * t.harness.config.discovery.heartbeat_interval_ms;
    while (clock_ms() < end_ms)
        loop_run_once(t.harness.loop, 5);
    assert_int_equal(t.registrations, registrations);
    assert_int_equal(t.heartbeats, heartbeats);
    assert_int_equal(t.drained, 1);
}

static void the_drain_limit_answers_the_rest(void **state) {
    (void)state;
    t.harness.config.worker.fake_step_us = 2000;
    start_ready();
    for (int i = 0; i < 8; i++)
        send_text_job(i, "[reply 450]");
    harness_wait_starts(&t.harness, 4);
    worker_drain(t.worker, 20, on_drained, NULL);
    wait_count(&t.drained, 1);
    harness_settle(&t.harness);
    assert_int_equal(t.deregistrations, 1);
    assert_int_equal(t.ends_at_deregistration, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(t.harness.seen[i].status, STATUS_WORKER_DRAINING);
}

static void a_hung_engine_does_not_stop_the_drain(void **state) {
    (void)state;
    start_ready();
    gate_close();
    send_text_job(0, "hello");
    harness_wait_starts(&t.harness, 1);
    gate_wait_arrival();
    worker_drain(t.worker, 1, on_drained, NULL);
    wait_count(&t.drained, 1);
    harness_settle(&t.harness);
    assert_int_equal(t.harness.seen[0].status, STATUS_WORKER_DRAINING);
    assert_int_equal(t.ends_at_deregistration, 1);
}

static void a_control_message_drains_and_a_later_drain_calls_back(void **state) {
    (void)state;
    start_ready();
    send_control(WIRE_CONTROL_DRAIN);
    wait_count(&t.replies, 1);
    assert_int_equal(t.info.phase, WORKER_PHASE_STOPPED);
    wait_count(&t.deregistrations, 1);
    assert_int_equal(t.drained, 0);
    worker_drain(t.worker, 60000, on_drained, NULL);
    wait_count(&t.drained, 1);
    assert_int_equal(t.deregistrations, 1);
}

static void one_model_that_loads_is_enough(void **state) {
    (void)state;
    harness_add_model(&t.harness, "broken");
    gate_fail_loads("broken");
    start_ready();
    struct worker_info info = info_now();
    while (info.models[1].state == MODEL_LOADING) {
        loop_run_once(t.harness.loop, 5);
        info = info_now();
    }
    assert_int_equal(info.models[1].state, MODEL_FAILED);
    assert_int_equal(info.phase, WORKER_PHASE_READY);
    struct wire_job job = harness_job(0, "hello");
    free(job.chat.model);
    job.chat.model = strdup("broken");
    send_job(&job);
    wire_job_release(&job);
    check_refused(0, STATUS_MODEL_LOAD_FAILED);
    send_text_job(1, "hello");
    harness_wait_ends(&t.harness, 2);
    assert_int_equal(t.harness.seen[1].status, STATUS_OK);
    assert_int_equal(t.failed, 0);
}

static void no_model_at_all_is_a_failure(void **state) {
    (void)state;
    gate_fail_loads("fake");
    start();
    wait_count(&t.failed, 1);
    harness_settle(&t.harness);
    assert_int_equal(t.failed, 1);
    assert_int_equal(t.info.models[0].state, MODEL_FAILED);
}

static void restart_on_a_new_link(void) {
    worker_free(t.worker);
    transport_close(t.harness.worker_link);
    t.harness.worker_link = transport_memory_open(t.harness.bus, t.harness.loop);
    start();
}

static void a_worker_goes_through_its_phases_and_can_live_again_as_another_incarnation(void **state) {
    (void)state;
    gate_close();
    transport_memory_set_link(t.harness.worker_link, false);
    start();
    harness_settle(&t.harness);
    assert_int_equal(info_now().phase, WORKER_PHASE_CONNECTING);
    assert_int_equal(t.registrations, 0);
    transport_memory_set_link(t.harness.worker_link, true);
    for (int life = 1; life <= 3; life++) {
        wait_count(&t.registrations, life);
        assert_int_equal(info_now().phase, WORKER_PHASE_LOADING);
        gate_open();
        wait_phase(WORKER_PHASE_READY);
        worker_drain(t.worker, 60000, on_drained, NULL);
        wait_count(&t.drained, life);
        wait_count(&t.deregistrations, life);
        struct worker_info last = info_now();
        assert_int_equal(last.phase, WORKER_PHASE_STOPPED);
        assert_string_equal(t.deregister.incarnation, last.incarnation);
        gate_close();
        restart_on_a_new_link();
        assert_string_not_equal(info_now().incarnation, last.incarnation);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_worker_registers_while_it_loads_and_tells_when_it_is_ready),
        TEST(a_job_is_accepted_started_and_answered_with_its_text),
        TEST(accepted_jobs_learn_their_place_and_the_books_tell_of_the_queue),
        TEST(another_model_is_refused),
        TEST(without_loading_on_demand_a_job_for_a_model_that_is_being_loaded_is_refused),
        TEST(a_job_over_the_limit_is_refused),
        TEST(a_worker_short_of_memory_refuses_by_priority_and_takes_all_again),
        TEST(a_worker_that_starts_short_of_memory_says_so_at_once),
        TEST(jobs_that_run_go_on_when_memory_is_short),
        TEST(a_change_of_level_is_told_without_waiting_for_the_next_heartbeat),
        TEST(a_job_that_comes_twice_runs_once),
        TEST(invalid_messages_change_nothing),
        TEST(a_job_with_a_readable_head_is_answered_though_invalid),
        TEST(a_cancel_ends_a_running_job_and_frees_its_place),
        TEST(a_cancel_that_overtakes_its_job_is_applied_to_it),
        TEST(many_cancels_of_unknown_jobs_forget_the_oldest),
        TEST(a_worker_registers_again_when_asked_and_when_its_link_is_back),
        TEST(progress_grows_with_the_steps),
        TEST(a_model_that_stands_still_does_not_hide_behind_another),
        TEST(statistics_are_answered),
        TEST(each_part_of_the_statistics_is_answered_alone),
        TEST(a_worker_says_that_its_queue_is_full_when_it_refuses_the_next_job),
        TEST(drain_finishes_what_runs_and_then_deregisters),
        TEST(an_idle_worker_drains_at_once_and_is_silent_then),
        TEST(the_drain_limit_answers_the_rest),
        TEST(a_hung_engine_does_not_stop_the_drain),
        TEST(a_control_message_drains_and_a_later_drain_calls_back),
        TEST(one_model_that_loads_is_enough),
        TEST(no_model_at_all_is_a_failure),
        TEST(a_worker_goes_through_its_phases_and_can_live_again_as_another_incarnation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
