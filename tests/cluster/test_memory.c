/* Workers that are short of memory: what still goes to them, who waits, who is refused. Each worker sees a
 * made-up machine of 100 MiB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"
#include "proto/wire.h"

#define CHAT(priority) \
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"priority\":\"" priority "\"}"

enum { LIMIT_MS = 10000 };

struct machine {
    char root[32];
};

static void machine_path(const struct machine *machine, const char *name, char out[64]) {
    snprintf(out, 64, "%s%s", machine->root, name);
}

static void use_memory(const struct machine *machine, int percent) {
    char path[64];
    machine_path(machine, "/proc/meminfo", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "MemTotal: 102400 kB\nMemAvailable: %d kB\n", 1024 * (100 - percent));
    assert_int_equal(fclose(file), 0);
}

static void make_machine(struct machine *machine) {
    char path[64];
    snprintf(machine->root, sizeof machine->root, "/tmp/mlx-machine-XXXXXX");
    assert_non_null(mkdtemp(machine->root));
    machine_path(machine, "/proc", path);
    assert_int_equal(mkdir(path, 0700), 0);
    use_memory(machine, 10);
}

static void drop_machine(const struct machine *machine) {
    static const char *const names[] = {"/proc/meminfo", "/proc", ""};
    char path[64];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        machine_path(machine, names[i], path);
        assert_int_equal(remove(path), 0);
    }
}

static void start(struct cluster *cluster, struct machine *machines, size_t count, int64_t wait_ms) {
    cluster_init(cluster);
    cluster->config.worker.limits.check_interval_ms = 10;
    cluster->config.worker.limits.recover_after_ms = 50;
    cluster->config.routing.queue.timeout_ms = wait_ms;
    cluster->config.routing.queue.aging_ms = 100;
    for (size_t i = 0; i < count; i++) {
        make_machine(&machines[i]);
        cluster->workers[i].system_root = machines[i].root;
    }
    cluster_start(cluster, count);
}

static void stop(struct cluster *cluster, const struct machine *machines, size_t count) {
    cluster_stop_idle(cluster);
    for (size_t i = 0; i < count; i++)
        drop_machine(&machines[i]);
}

static void wait_for(struct cluster *cluster, const char *path, const char *text) {
    cluster_wait_text(cluster, path, text, LIMIT_MS);
}

/* Until the controller knows of a level by heartbeat. */
static void wait_level(struct cluster *cluster, const char *worker_id, int level) {
    char text[96];
    snprintf(text, sizeof text, "\nmlx_controller_worker_memory_level{worker=\"%s\"} %d\n", worker_id, level);
    wait_for(cluster, "/metrics", text);
}

static void begin(struct call *call, struct cluster *cluster, const char *body, const char *headers) {
    *call = (struct call){.headers = headers};
    call_begin(call, cluster, "POST", "/v1/chat/completions", body);
}

static int ask(struct cluster *cluster, const char *body) {
    struct call call = cluster_call(cluster, "POST", "/v1/chat/completions", body);
    int status = call.status;
    call_release(&call);
    return status;
}

static long long jobs_of(struct cluster *cluster, const char *worker_id) {
    char path[64];
    snprintf(path, sizeof path, "/api/cluster/workers/%s", worker_id);
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long jobs = json_number(call.reply, "jobsSent");
    call_release(&call);
    return jobs;
}

static void low_priority_goes_where_memory_is_and_the_record_says_why(void **state) {
    (void)state;
    struct cluster cluster;
    struct machine machines[2];
    start(&cluster, machines, 2, 2000);
    use_memory(&machines[0], 86);
    wait_level(&cluster, "worker-1", RESOURCE_SOFT);
    for (int i = 0; i < 8; i++)
        assert_int_equal(ask(&cluster, CHAT("low")), 200);
    assert_int_equal(jobs_of(&cluster, "worker-1"), 0);
    assert_int_equal(jobs_of(&cluster, "worker-2"), 8);
    struct call list = cluster_call(&cluster, "GET", "/api/controller/requests?limit=1", NULL);
    assert_non_null(strstr(list.reply, "{\"worker\":\"worker-1\",\"reason\":\"memory\"}"));
    assert_int_equal(json_number(list.reply, "memory"), 1);
    call_release(&list);
    for (int i = 0; i < 16; i++)
        assert_int_equal(ask(&cluster, CHAT("medium")), 200);
    assert_true(jobs_of(&cluster, "worker-1") > 0);
    struct call one = cluster_call(&cluster, "GET", "/api/cluster/workers/worker-1", NULL);
    assert_non_null(strstr(one.reply, "\"resources\":{\"level\":\"soft\",\"signal\":\"machine\","
                                      "\"underPressure\":true,\"canAcceptRequest\":true,"
                                      "\"memoryUsed\":90177536,\"softLimit\":89128960,"
                                      "\"hardLimit\":97517568,"));
    call_release(&one);
    stop(&cluster, machines, 2);
}

static void a_cluster_without_memory_refuses_when_the_wait_is_over(void **state) {
    (void)state;
    struct cluster cluster;
    struct machine machine;
    start(&cluster, &machine, 1, 50);
    use_memory(&machine, 95);
    wait_level(&cluster, "worker-1", RESOURCE_HARD);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", CHAT("high"));
    assert_int_equal(call.status, 503);
    assert_non_null(strstr(call.reply, "\"code\":\"RESOURCE_LIMIT_EXCEEDED\""));
    assert_non_null(strstr(call.reply, "1 short of memory"));
    assert_non_null(strstr(call.reply, "(worker-1: 95 MiB used, soft limit 85, hard limit 93, by machine)"));
    assert_non_null(strstr(call.head, "Retry-After: "));
    call_release(&call);
    assert_int_equal(jobs_of(&cluster, "worker-1"), 0);
    stop(&cluster, &machine, 1);
}

/* It has waited so long that it would go before all others. */
static void who_waits_for_memory_holds_up_nobody_and_is_served_when_there_is_some(void **state) {
    (void)state;
    struct cluster cluster;
    struct machine machine;
    static struct call low;
    start(&cluster, &machine, 1, LIMIT_MS);
    use_memory(&machine, 86);
    wait_level(&cluster, "worker-1", RESOURCE_SOFT);
    begin(&low, &cluster, CHAT("low"), NULL);
    wait_for(&cluster, "/metrics", "\nmlx_controller_waiting_requests 1\n");
    for (int i = 0; i < 50; i++) {
        assert_int_equal(ask(&cluster, CHAT("medium")), 200);
        loop_run_once(cluster.loop, 5);
    }
    assert_false(low.done);
    wait_for(&cluster, "/metrics", "\nmlx_controller_waiting_entered_total 1\n"); /* none of those had to */
    use_memory(&machine, 10);
    call_finish(&low, 1);
    assert_int_equal(low.status, 200);
    call_release(&low);
    stop(&cluster, &machine, 1);
}

/* A worker on the bus that says that all is well and then refuses. */
struct puppet {
    struct transport *transport;
    int jobs;
};

static void refuse(const struct transport_message *message, void *arg) {
    struct puppet *puppet = arg;
    struct wire_job job;
    struct error error;
    char subject[WIRE_SUBJECT_MAX];
    struct buf out;
    puppet->jobs++;
    assert_int_equal(wire_read_job(message->data, message->len, &job, &error), STATUS_OK);
    const struct wire_event event = {.kind = WIRE_EVENT_FAILED,
                                     .request_id = job.request_id,
                                     .attempt = job.attempt,
                                     .status = STATUS_RESOURCE_LIMIT_EXCEEDED,
                                     .message = "short"};
    buf_init(&out, 0);
    wire_subject_events(subject, job.controller_id, "puppet");
    wire_events_open(&out, "puppet", "abcdefghijkl");
    wire_events_add(&out, &event);
    wire_events_close(&out);
    assert_int_equal(transport_publish(puppet->transport, subject, NULL, out.data, out.len), STATUS_OK);
    buf_release(&out);
    wire_job_release(&job);
}

static void say_hello(struct puppet *puppet) {
    static const struct worker_info info = {.id = "puppet",
                                            .incarnation = "abcdefghijkl",
                                            .phase = WORKER_PHASE_READY,
                                            .model_count = 1,
                                            .models[0] = {.name = "fake", .state = MODEL_READY, .slots = 4}};
    struct buf out;
    buf_init(&out, 0);
    wire_write_worker_info(&out, &info);
    assert_int_equal(transport_publish(puppet->transport, WIRE_SUBJECT_HEARTBEAT, NULL, out.data, out.len),
                     STATUS_OK);
    buf_release(&out);
}

static void a_refusal_sends_the_request_elsewhere_and_others_of_its_priority_too(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet = {.jobs = 0};
    cluster_init(&cluster);
    cluster.config.controller.worker_offline_timeout_ms = 60000;
    cluster.config.discovery.heartbeat_interval_ms = 10000;
    cluster.config.discovery.controller_timeout_ms = 30000;
    cluster_start(&cluster, 1);
    puppet.transport = transport_memory_open(cluster.bus, cluster.loop);
    assert_int_equal(transport_subscribe(puppet.transport, "inference.puppet", refuse, &puppet), STATUS_OK);
    say_hello(&puppet);
    wait_for(&cluster, "/api/cluster/status", "\"ready\":2");
    for (int i = 0; i < 30 && puppet.jobs == 0; i++)
        assert_int_equal(ask(&cluster, CHAT("low")), 200);
    assert_int_equal(puppet.jobs, 1);
    for (int i = 0; i < 30; i++)
        assert_int_equal(ask(&cluster, CHAT("low")), 200);
    assert_int_equal(puppet.jobs, 1);
    struct call list = cluster_call(&cluster, "GET", "/api/controller/requests?state=succeeded", NULL);
    assert_non_null(strstr(list.reply, "{\"worker\":\"puppet\",\"code\":\"RESOURCE_LIMIT_EXCEEDED\""));
    call_release(&list);
    for (int i = 0; i < 60 && puppet.jobs == 1; i++)
        assert_int_equal(ask(&cluster, CHAT("medium")), 200);
    assert_int_equal(puppet.jobs, 2); /* higher ones still try it */
    say_hello(&puppet);
    for (int i = 0; i < 60 && puppet.jobs == 2; i++)
        assert_int_equal(ask(&cluster, CHAT("low")), 200);
    assert_int_equal(puppet.jobs, 3); /* what it says counts more than what it said */
    transport_close(puppet.transport);
    cluster_stop(&cluster);
}

static void idle_models_are_unloaded_while_memory_is_short_and_come_back_for_requests(void **state) {
    (void)state;
    struct cluster cluster;
    struct machine machine;
    cluster_init(&cluster);
    cluster.config.worker.limits.check_interval_ms = 10;
    cluster.config.worker.limits.recover_after_ms = 50;
    cluster.config.models[1].name = strdup("second");
    cluster.config.models[1].path = strdup("second.gguf");
    cluster.config.model_count = 2;
    make_machine(&machine);
    cluster.workers[0].system_root = machine.root;
    cluster_start(&cluster, 1);
    wait_for(&cluster, "/metrics", "\nmlx_controller_models{state=\"ready\"} 2\n");
    assert_int_equal(ask(&cluster, CHAT("high")), 200); /* "fake" is the one that was used last */
    use_memory(&machine, 86);
    wait_level(&cluster, "worker-1", RESOURCE_SOFT);
    wait_for(&cluster, "/metrics", "\nmlx_controller_models{state=\"unloaded\"} 1\n");
    wait_for(&cluster, "/api/cluster/workers/worker-1", "\"name\":\"fake\",\"state\":\"ready\"");
    use_memory(&machine, 99);
    wait_for(&cluster, "/metrics", "\nmlx_controller_models{state=\"unloaded\"} 2\n");
    wait_for(&cluster, "/metrics", "\nmlx_controller_worker_model_unloads_total{worker=\"worker-1\"} 2\n");
    use_memory(&machine, 10);
    wait_level(&cluster, "worker-1", RESOURCE_OK);
    assert_int_equal(ask(&cluster, CHAT("low")), 200);
    wait_for(&cluster, "/api/cluster/workers/worker-1", "\"name\":\"second\",\"state\":\"unloaded\"");
    stop(&cluster, &machine, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(low_priority_goes_where_memory_is_and_the_record_says_why),
        cmocka_unit_test(a_cluster_without_memory_refuses_when_the_wait_is_over),
        cmocka_unit_test(who_waits_for_memory_holds_up_nobody_and_is_served_when_there_is_some),
        cmocka_unit_test(a_refusal_sends_the_request_elsewhere_and_others_of_its_priority_too),
        cmocka_unit_test(idle_models_are_unloaded_while_memory_is_short_and_come_back_for_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
