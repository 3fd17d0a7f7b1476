/* A worker that several controllers fill: who gives way in its queue is served elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"
#include "proto/wire.h"

#define CHAT(prompt, more) \
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"" prompt "\"}]" more "}"

static long long number(struct cluster *cluster, const char *path, const char *key) {
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long value = json_number(call.reply, key);
    call_release(&call);
    return value;
}

struct wanted {
    struct cluster *cluster;
    const char *path;
    const char *key;
    long long value;
};
static bool is_so(void *arg) {
    const struct wanted *wanted = arg;
    return number(wanted->cluster, wanted->path, wanted->key) == wanted->value;
}
static void wait_for(struct cluster *cluster, const char *path, const char *key, long long value) {
    struct wanted wanted = {cluster, path, key, value};
    cluster_run_until(cluster, is_so, &wanted, 5000);
}

static void begin(struct call *call, struct cluster *cluster, const char *body, const char *headers) {
    call->leave_after_bytes = 0;
    call->headers = headers;
    call_begin(call, cluster, "POST", "/v1/chat/completions", body);
}

/* What a controller sends that knows nothing of this one's jobs. */
static void send_foreign_job(struct transport *link, const char *worker_id, enum chat_priority priority) {
    struct wire_job job = {
        .request_id = "foreign", .controller_id = "other", .attempt = 1, .remaining_ms = 60000, .now_s = 1};
    char subject[WIRE_SUBJECT_MAX];
    struct buf body;
    buf_init(&body, 0);
    chat_request_init(&job.chat);
    job.chat.model = strdup("fake");
    job.chat.messages_json = strdup("[{\"role\":\"user\",\"content\":\"[reply 2] urgent\"}]");
    job.chat.priority = priority;
    wire_write_job(&body, &job);
    wire_subject_job(subject, worker_id);
    assert_int_equal(transport_publish(link, subject, NULL, body.data, body.len), STATUS_OK);
    wire_job_release(&job);
    buf_release(&body);
}

/* One slot, which the first call holds until its worker dies, and one place behind it, where the second
 * call waits; a second worker that is free. */
static void fill_first_worker(struct cluster *cluster, struct call calls[2], bool reject_when_full) {
    cluster_init(cluster);
    cluster->config.worker.max_batch_size = 1;
    cluster->config.worker.max_depth = 1;
    cluster->config.worker.fake_step_us = 2000;
    cluster->config.worker.reject_when_full = reject_when_full;
    cluster_start(cluster, 1);
    begin(&calls[0], cluster, CHAT("[reply 1200] long", ",\"stream\":true"), NULL);
    wait_for(cluster, "/api/cluster/workers/worker-1", "running", 1);
    begin(&calls[1], cluster, CHAT("[reply 2] low", ",\"priority\":\"low\""), "X-Request-Id: low\r\n");
    wait_for(cluster, "/api/cluster/workers/worker-1", "queued", 1);
    cluster_start_worker(cluster, 1);
    wait_for(cluster, "/api/cluster/status", "ready", 2);
}

/* The worker with the long job dies; whatever else it has is served by the other one. */
static void finish(struct cluster *cluster, struct call calls[2], struct transport *foreign) {
    assert_false(calls[0].done);
    cluster_kill_worker(cluster, 0);
    call_finish(calls, 2);
    assert_int_equal(calls[1].status, 200);
    for (size_t i = 0; i < 2; i++)
        call_release(&calls[i]);
    wait_for(cluster, "/api/cluster/status", "active", 0);
    transport_close(foreign);
    cluster_stop(cluster);
}

/* With the next heartbeat. */
static bool metrics_tell_of_the_eviction(void *arg) {
    struct call metrics = cluster_call(arg, "GET", "/metrics", NULL);
    bool told =
        strstr(metrics.reply, "\nmlx_controller_worker_queue_evicted_total{worker=\"worker-1\"} 1\n") != NULL;
    call_release(&metrics);
    return told;
}

static void the_youngest_low_job_gives_way_and_is_served_by_another_worker(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[2];
    fill_first_worker(&cluster, calls, false);
    struct transport *foreign = transport_memory_open(cluster.bus, cluster.loop);
    send_foreign_job(foreign, "worker-1", CHAT_PRIORITY_HIGH);
    wait_for(&cluster, "/api/cluster/status", "active", 1);
    struct call list = cluster_call(&cluster, "GET", "/api/controller/requests?clientRequestId=low", NULL);
    assert_non_null(strstr(list.reply, "\"selectedWorker\":\"worker-2\""));
    assert_non_null(strstr(list.reply, "{\"worker\":\"worker-1\",\"code\":\"WORKER_OVERLOADED\""));
    assert_int_equal(json_number(list.reply, "queuePosition"), 0); /* of the newest try */
    call_release(&list);
    wait_for(&cluster, "/api/cluster/workers/worker-1", "evicted", 1);
    cluster_run_until(&cluster, metrics_tell_of_the_eviction, &cluster, 5000);
    finish(&cluster, calls, foreign);
}

static void a_queue_that_rejects_keeps_what_it_has(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[2];
    fill_first_worker(&cluster, calls, true);
    struct transport *foreign = transport_memory_open(cluster.bus, cluster.loop);
    send_foreign_job(foreign, "worker-1", CHAT_PRIORITY_HIGH);
    wait_for(&cluster, "/api/cluster/workers/worker-1", "rejected", 1);
    assert_int_equal(number(&cluster, "/api/cluster/workers/worker-1", "evicted"), 0);
    struct call list = cluster_call(&cluster, "GET", "/api/controller/requests?clientRequestId=low", NULL);
    assert_non_null(strstr(list.reply, "\"selectedWorker\":\"worker-1\""));
    assert_int_equal(json_number(list.reply, "queuePosition"), 1);
    call_release(&list);
    finish(&cluster, calls, foreign);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_youngest_low_job_gives_way_and_is_served_by_another_worker),
        cmocka_unit_test(a_queue_that_rejects_keeps_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
