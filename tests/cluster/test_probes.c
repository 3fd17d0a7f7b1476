/* The controller's own probes: what they are, what they find out, and whom they spare. The worker is a puppet
 * on the bus that says what the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster.h"
#include "proto/wire.h"

#define CHAT "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

enum { BEAT_MS = 50, LIMIT_MS = 20000 };

enum answer { ANSWER_GOOD, ANSWER_FAIL, ANSWER_REFUSE, ANSWER_NONE };

struct puppet {
    struct cluster *cluster;
    struct transport *transport;
    struct loop_timer timer;
    struct worker_info info;
    enum answer answer;
    int requests, probes; /* jobs that came */
    struct {
        int32_t max_tokens;
        enum chat_priority priority;
        int64_t remaining_ms;
        int64_t came_ms;
    } newest;          /* probe */
    int64_t before_ms; /* when the probe before that came */
};

static void publish(struct puppet *puppet, const char *subject, struct buf *message) {
    assert_int_equal(transport_publish(puppet->transport, subject, NULL, message->data, message->len),
                     STATUS_OK);
    buf_release(message);
}

static void beat(void *arg) {
    struct puppet *puppet = arg;
    struct buf message;
    buf_init(&message, 0);
    wire_write_worker_info(&message, &puppet->info);
    publish(puppet, WIRE_SUBJECT_HEARTBEAT, &message);
    loop_timer_arm(&puppet->timer, BEAT_MS);
}

static void say(struct puppet *puppet, const struct wire_job *job) {
    const struct wire_event good[] = {
        {.kind = WIRE_EVENT_ACCEPTED},
        {.kind = WIRE_EVENT_STARTED, .prompt_tokens = 1},
        {.kind = WIRE_EVENT_TOKEN, .token = 1, .text = "a", .text_len = 1},
        {.kind = WIRE_EVENT_FINISHED, .index = 1, .text = "", .finish = FINISH_LENGTH, .usage = {1, 1, 0}}};
    const struct wire_event failed = {
        .kind = WIRE_EVENT_FAILED, .status = STATUS_ENGINE_ERROR, .message = "no"};
    const struct wire_event refused = {
        .kind = WIRE_EVENT_FAILED, .status = STATUS_WORKER_OVERLOADED, .message = "full"};
    const struct wire_event *events = puppet->answer == ANSWER_GOOD   ? good
                                      : puppet->answer == ANSWER_FAIL ? &failed
                                                                      : &refused;
    char subject[WIRE_SUBJECT_MAX];
    struct buf message;
    buf_init(&message, 0);
    wire_subject_events(subject, job->controller_id, puppet->info.id);
    wire_events_open(&message, puppet->info.id, puppet->info.incarnation);
    for (size_t i = 0; i < (puppet->answer == ANSWER_GOOD ? 4 : 1); i++) {
        struct wire_event event = events[i];
        event.request_id = job->request_id;
        event.attempt = job->attempt;
        wire_events_add(&message, &event);
    }
    wire_events_close(&message);
    publish(puppet, subject, &message);
}

static void on_job(const struct transport_message *message, void *arg) {
    struct puppet *puppet = arg;
    struct wire_job job;
    struct error error;
    assert_int_equal(wire_read_job(message->data, message->len, &job, &error), STATUS_OK);
    if (strncmp(job.request_id, "probe-", 6) == 0) {
        puppet->probes++;
        puppet->before_ms = puppet->newest.came_ms;
        puppet->newest.max_tokens = job.chat.max_tokens;
        puppet->newest.priority = job.chat.priority;
        puppet->newest.remaining_ms = job.remaining_ms;
        puppet->newest.came_ms = clock_ms();
    } else {
        puppet->requests++;
    }
    if (puppet->answer != ANSWER_NONE)
        say(puppet, &job);
    wire_job_release(&job);
}

static bool is_known(void *arg) {
    struct call call = cluster_call(arg, "GET", "/api/cluster/workers/puppet", NULL);
    bool known = call.status == 200;
    call_release(&call);
    return known;
}

static void setup(struct cluster *cluster) {
    cluster_init(cluster);
    cluster->config.routing.retry.enabled = false;
    cluster->config.routing.breaker.failure_threshold = 1;
    cluster->config.routing.breaker.timeout_ms = 100;
    cluster->config.routing.queue.no_workers_timeout_ms = 0;
}

static void start(struct puppet *puppet, struct cluster *cluster, size_t others) {
    cluster_start(cluster, others);
    *puppet = (struct puppet){.cluster = cluster, .answer = ANSWER_FAIL};
    puppet->info = (struct worker_info){
        .id = "puppet", .incarnation = "abcdefghijkl", .phase = WORKER_PHASE_READY, .model_count = 1};
    memcpy(puppet->info.models[0].name, "fake", 5);
    puppet->info.models[0].state = MODEL_READY;
    puppet->info.models[0].slots = 4;
    puppet->info.models[0].context_tokens = 1000;
    puppet->transport = transport_memory_open(cluster->bus, cluster->loop);
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_job(subject, puppet->info.id);
    assert_int_equal(transport_subscribe(puppet->transport, subject, on_job, puppet), STATUS_OK);
    assert_true(loop_timer_init(&puppet->timer, cluster->loop, beat, puppet));
    beat(puppet);
    cluster_run_until(cluster, is_known, cluster, 5000);
}

static void teardown(struct puppet *puppet) {
    loop_timer_release(&puppet->timer);
    transport_close(puppet->transport);
    cluster_stop(puppet->cluster);
}

static int ask(struct cluster *cluster) {
    struct call call = cluster_call(cluster, "POST", "/v1/chat/completions", CHAT);
    int status = call.status;
    call_release(&call);
    return status;
}

/* Of the part "probes" of the metrics. */
static long long probes(struct cluster *cluster, const char *key) {
    struct call call = cluster_call(cluster, "GET", "/api/controller/metrics", NULL);
    const char *part = strstr(call.reply, "\"probes\":");
    assert_non_null(part);
    long long number = json_number(part, key);
    call_release(&call);
    return number;
}

static bool breaker_is(struct cluster *cluster, const char *state) {
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "\"fake\":{\"state\":\"%s\"", state);
    struct call call = cluster_call(cluster, "GET", "/api/controller/circuit-breakers", NULL);
    const char *puppet = strstr(call.reply, "\"puppet\"");
    bool is = puppet && strstr(puppet, wanted);
    call_release(&call);
    return is;
}

static bool is_closed(void *arg) {
    struct puppet *puppet = arg;
    return breaker_is(puppet->cluster, "CLOSED");
}

static bool has_failed_twice(void *arg) {
    struct puppet *puppet = arg;
    return probes(puppet->cluster, "failed") >= 2;
}

static bool has_no_lease(void *arg) {
    struct puppet *puppet = arg;
    struct call call = cluster_call(puppet->cluster, "GET", "/api/cluster/workers/puppet", NULL);
    bool none = json_number(call.reply, "leases") == 0;
    call_release(&call);
    return none;
}

static void a_worker_that_is_well_again_is_found_without_a_request(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet;
    setup(&cluster);
    start(&puppet, &cluster, 0);
    assert_int_equal(ask(&cluster), 500);
    cluster_run_until(&cluster, has_failed_twice, &puppet, 10000);
    assert_false(breaker_is(&cluster, "CLOSED"));
    puppet.answer = ANSWER_GOOD;
    cluster_run_until(&cluster, is_closed, &puppet, 10000);
    assert_int_equal(probes(&cluster, "passed"), 2);
    assert_int_equal(puppet.requests, 1);
    assert_int_equal(puppet.probes, probes(&cluster, "sent"));
    assert_int_equal(puppet.newest.max_tokens, 1);
    assert_int_equal(puppet.newest.priority, CHAT_PRIORITY_LOW);
    assert_in_range(puppet.newest.remaining_ms, 1, 6000);
    cluster_run_until(&cluster, has_no_lease, &puppet, 1000);
    assert_int_equal(ask(&cluster), 200);
    teardown(&puppet);
}

static void requests_go_elsewhere_while_a_worker_is_probed(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet;
    setup(&cluster);
    start(&puppet, &cluster, 1);
    for (int64_t end_ms = clock_ms() + LIMIT_MS; clock_ms() < end_ms && !breaker_is(&cluster, "OPEN");)
        ask(&cluster);
    int before = puppet.requests;
    for (int64_t end_ms = clock_ms() + LIMIT_MS; clock_ms() < end_ms && !has_failed_twice(&puppet);)
        assert_int_equal(ask(&cluster), 200);
    assert_true(has_failed_twice(&puppet));
    assert_int_equal(puppet.requests, before);
    teardown(&puppet);
}

static bool has_been_probed_twice(void *arg) {
    const struct puppet *puppet = arg;
    return puppet->probes >= 2;
}

static void a_refusal_tells_nothing_and_is_not_asked_for_again_at_once(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet;
    setup(&cluster);
    start(&puppet, &cluster, 0);
    assert_int_equal(ask(&cluster), 500);
    puppet.answer = ANSWER_REFUSE;
    cluster_run_until(&cluster, has_been_probed_twice, &puppet, 10000);
    assert_true(puppet.newest.came_ms - puppet.before_ms >= 900);
    assert_int_equal(probes(&cluster, "failed"), 0);
    assert_int_equal(probes(&cluster, "passed"), 0);
    assert_true(breaker_is(&cluster, "HALF_OPEN"));
    teardown(&puppet);
}

static bool has_failed(void *arg) {
    struct puppet *puppet = arg;
    return probes(puppet->cluster, "failed") >= 1;
}

static void a_probe_that_nobody_answers_fails(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet;
    setup(&cluster);
    start(&puppet, &cluster, 0);
    assert_int_equal(ask(&cluster), 500);
    puppet.answer = ANSWER_NONE;
    cluster_run_until(&cluster, has_failed, &puppet, 10000);
    cluster_run_until(&cluster, has_no_lease, &puppet, 10000);
    teardown(&puppet);
}

static void without_own_probes_a_request_is_the_probe(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet;
    setup(&cluster);
    cluster.config.routing.breaker.probe = false;
    start(&puppet, &cluster, 0);
    assert_int_equal(ask(&cluster), 500);
    puppet.answer = ANSWER_GOOD;
    for (int64_t end_ms = clock_ms() + LIMIT_MS; clock_ms() < end_ms && !is_closed(&puppet);)
        ask(&cluster);
    assert_true(is_closed(&puppet));
    assert_int_equal(puppet.probes, 0);
    assert_int_equal(probes(&cluster, "sent"), 0);
    teardown(&puppet);
}

static void a_controller_may_end_while_a_probe_is_under_way(void **state) {
    (void)state;
    struct cluster cluster;
    struct puppet puppet;
    setup(&cluster);
    start(&puppet, &cluster, 0);
    assert_int_equal(ask(&cluster), 500);
    puppet.answer = ANSWER_NONE;
    for (int64_t end_ms = clock_ms() + LIMIT_MS; clock_ms() < end_ms && puppet.probes == 0;)
        loop_run_once(cluster.loop, 20);
    assert_int_equal(puppet.probes, 1);
    teardown(&puppet);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_is_well_again_is_found_without_a_request),
        cmocka_unit_test(requests_go_elsewhere_while_a_worker_is_probed),
        cmocka_unit_test(a_refusal_tells_nothing_and_is_not_asked_for_again_at_once),
        cmocka_unit_test(a_probe_that_nobody_answers_fails),
        cmocka_unit_test(without_own_probes_a_request_is_the_probe),
        cmocka_unit_test(a_controller_may_end_while_a_probe_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
