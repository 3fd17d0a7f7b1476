/* Walks the whole state table with real requests: each is brought into a state in which it waits for
 * somebody, gets each event that the table has a step for there, and must end as a request does: answered,
 * with nothing held. Pairs without a step must leave it untouched, and those that are impossible must be
 * counted. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"
#include "controller/controller_internal.h"

static const char *body_for(enum request_state state) {
    if (state == REQUEST_BACKOFF)
        return "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"[fail at 0]\"}]}";
    return "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"[reply 200] walk\"}]}";
}

/* Fast where nothing is to be seen, slow where the request must stay for a while. */
static void configure(struct cluster *cluster, enum request_state state) {
    cluster_init(cluster);
    cluster->config.discovery.heartbeat_interval_ms = 60000;
    cluster->config.controller.worker_offline_timeout_ms = 600000;
    cluster->config.routing.queue.no_workers_timeout_ms = 20000;
    cluster->config.routing.ack_timeout_ms = 20000;
    cluster->config.routing.timeout_ms = 600000; /* over any delay */
    cluster->config.routing.retry.max_retries = state == REQUEST_BACKOFF ? 1 : 0;
    cluster->config.routing.retry.retry_delay_ms = 60000;
    cluster->config.routing.retry.max_delay_ms = 60000;
    cluster->config.worker.batch_tokens = 8;
    if (state == REQUEST_ACCEPTED)
        cluster->config.worker.fake_prompt_token_us = 30000;
    if (state == REQUEST_STREAMING)
        cluster->config.worker.fake_step_us = 20000;
}

struct goal {
    struct cluster *cluster;
    enum request_state state;
};

static struct request *only_request(struct cluster *cluster) {
    return TAILQ_FIRST(&cluster->controller->active);
}

static bool is_there(void *arg) {
    struct goal *goal = arg;
    struct request *request = only_request(goal->cluster);
    return request && request->state == goal->state;
}

/* A request that waits in this state, in a cluster of its own. */
static struct request *bring_into(struct cluster *cluster, struct call *call, enum request_state state) {
    configure(cluster, state);
    cluster_start(cluster, state == REQUEST_WAITING ? 0 : 1);
    if (state == REQUEST_SENT)
        transport_memory_set_frozen(cluster->workers[0].transport, true);
    call->leave_after_bytes = 0;
    call->headers = NULL;
    call_begin(call, cluster, "POST", "/v1/chat/completions", body_for(state));
    struct goal goal = {cluster, state};
    cluster_run_until(cluster, is_there, &goal, 10000);
    return only_request(cluster);
}

static bool is_idle(void *arg) {
    struct cluster *cluster = arg;
    return cluster->controller->active_count == 0;
}

/* What a worker's message carries. */
static const struct wire_event *event_of(const struct request *request, enum request_event event) {
    static struct wire_event carried;
    carried = (struct wire_event){.text = "x",
                                  .text_len = 1,
                                  .index = request->next_index,
                                  .prompt_tokens = 3,
                                  .finish = FINISH_STOP,
                                  .usage = {.prompt_tokens = 3, .completion_tokens = 1}};
    bool carries =
        event == EVENT_TOKEN || event == EVENT_FINISHED || event == EVENT_STARTED || event == EVENT_ACCEPTED;
    return carries ? &carried : NULL;
}

/* What its sender does besides: the client's exchange is gone, a try has a reason to fail. */
static void prepare(struct request *request, enum request_event event) {
    request->event = event_of(request, event);
    if (event == EVENT_TRY_FAILED)
        error_set(&request->failure, STATUS_ENGINE_ERROR, NULL, "walked");
    if (event == EVENT_EVICTED) {
        error_set(&request->failure, STATUS_CONTROLLER_OVERLOADED, NULL, "walked");
        waiting_leave(&request->controller->room, &request->waiter);
    }
    if (event == EVENT_CLIENT_GONE) {
        http_abort(request->exchange);
        request->exchange = NULL;
    }
}

static void assert_settled(struct cluster *cluster) {
    const struct controller *controller = cluster->controller;
    assert_int_equal(controller->stats.impossible_events, 0);
    assert_int_equal(controller->room.count, 0);
    for (size_t i = 0; i < controller->registry.count; i++)
        assert_int_equal(controller->registry.workers[i]->gauge->leases, 0);
}

/* After one step it is ended (by its deadline, if the step left it waiting for something that will not come).
 */
static void walk_step(enum request_state state, enum request_event event) {
    struct cluster cluster;
    static struct call call;
    struct request *request = bring_into(&cluster, &call, state);
    const struct request_row *row = request_row(state, event);
    assert_int_equal(row->kind, ROW_GO);
    prepare(request, event);
    request_dispatch(request, event);
    request->event = NULL;
    if (row->next == REQUEST_ENDED)
        assert_int_equal(request->state, REQUEST_ENDED);
    if (request->state != REQUEST_ENDED)
        request_dispatch(request, EVENT_DEADLINE);
    cluster_run_until(&cluster, is_idle, &cluster, 5000);
    call_finish(&call, 1);
    assert_int_equal(call.status == 0, event == EVENT_CLIENT_GONE);
    call_release(&call);
    assert_settled(&cluster);
    cluster_stop(&cluster);
}

static void walk_state(enum request_state state) {
    for (int event = 0; event < EVENT_COUNT; event++)
        if (request_row(state, (enum request_event)event)->kind == ROW_GO)
            walk_step(state, (enum request_event)event);
}

static void every_step_of_a_waiting_request_leads_to_an_end_with_nothing_held(void **state) {
    (void)state;
    walk_state(REQUEST_WAITING);
}
static void every_step_of_a_sent_job_leads_to_an_end_with_nothing_held(void **state) {
    (void)state;
    walk_state(REQUEST_SENT);
}
static void every_step_of_an_accepted_job_leads_to_an_end_with_nothing_held(void **state) {
    (void)state;
    walk_state(REQUEST_ACCEPTED);
}
static void every_step_of_a_stream_leads_to_an_end_with_nothing_held(void **state) {
    (void)state;
    walk_state(REQUEST_STREAMING);
}
static void every_step_of_a_request_between_tries_leads_to_an_end_with_nothing_held(void **state) {
    (void)state;
    walk_state(REQUEST_BACKOFF);
}

/* The steps left over are those of states that are passed through within one call: their events come from
 * actions alone, and the walks above take them. */
static void only_actions_make_the_events_of_passing_states(void **state) {
    (void)state;
    static const enum request_state passing[] = {REQUEST_NEW, REQUEST_ROUTING, REQUEST_JUDGING};
    for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
        for (int event = 0; event < EVENT_COUNT; event++) {
            bool inner = event == EVENT_START || event == EVENT_PICKED || event == EVENT_NO_WORKER ||
                         event == EVENT_MUST_WAIT || event == EVENT_RETRY_NOW || event == EVENT_RETRY_LATER ||
                         event == EVENT_GIVE_UP;
            if (request_row(passing[i], (enum request_event)event)->kind != ROW_IMPOSSIBLE)
                assert_true(inner);
        }
    }
}

/* Each impossible event is logged as the defect that it would be. */
static int silence_stderr(void) {
    int copy = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
    return copy;
}

static void other_events_change_nothing_and_impossible_ones_are_counted(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call call;
    uint64_t impossible = 0;
    struct request *request = bring_into(&cluster, &call, REQUEST_WAITING);
    int stderr_copy = silence_stderr();
    for (int s = 0; s < REQUEST_STATE_COUNT; s++) {
        for (int event = 0; event < EVENT_COUNT; event++) {
            const struct request_row *row = request_row((enum request_state)s, (enum request_event)event);
            if (row->kind == ROW_GO)
                continue;
            request->state = (enum request_state)s;
            request_dispatch(request, (enum request_event)event);
            assert_int_equal(request->state, s);
            impossible += row->kind == ROW_IMPOSSIBLE;
            assert_int_equal(cluster.controller->stats.impossible_events, impossible);
        }
    }
    dup2(stderr_copy, STDERR_FILENO);
    close(stderr_copy);
    assert_true(impossible > 0);
    request->state = REQUEST_WAITING;
    request_dispatch(request, EVENT_STOP);
    call_finish(&call, 1);
    assert_int_equal(call.status, 503);
    call_release(&call);
    cluster_stop(&cluster);
}

static bool has_its_slot(void *arg) {
    return ((struct request *)arg)->queue_us >= 0;
}

/* Its last events were lost on the way: nobody would ever end it but its deadline. */
static void an_accepted_job_that_its_worker_does_not_have_is_sent_again(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call call;
    struct request *request = bring_into(&cluster, &call, REQUEST_ACCEPTED);
    cluster_run_until(&cluster, has_its_slot, request, 10000); /* or STARTED would come between */
    struct worker_info idle = cluster.controller->registry.workers[0]->info;
    idle.load.running = idle.load.queued = 0;
    idle.client_count = 0;
    request->last_heard_ms = 0; /* long ago */
    struct buf body;
    buf_init(&body, 0);
    wire_write_worker_info(&body, &idle);
    assert_int_equal(
        transport_publish(cluster.workers[0].transport, WIRE_SUBJECT_HEARTBEAT, NULL, body.data, body.len),
        STATUS_OK);
    buf_release(&body);
    cluster_run_until(&cluster, is_idle, &cluster, 5000);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200); /* sent once more */
    assert_int_equal(cluster.controller->stats.failed_tries[STATUS_WORKER_UNAVAILABLE], 1);
    call_release(&call);
    assert_settled(&cluster);
    cluster_stop(&cluster);
}

static bool three_wait(void *arg) {
    struct cluster *cluster = arg;
    return cluster->controller->room.count == 3;
}

/* Ending one request can end another one, also the one that a walk over all would visit next. */
static void a_walk_over_all_goes_on_when_the_next_one_ends(void **state) {
    (void)state;
    struct cluster cluster;
    static struct call calls[3];
    configure(&cluster, REQUEST_WAITING);
    cluster_start(&cluster, 0);
    for (size_t i = 0; i < 3; i++) {
        calls[i].leave_after_bytes = 0;
        calls[i].headers = NULL;
        call_begin(&calls[i], &cluster, "POST", "/v1/chat/completions", body_for(REQUEST_WAITING));
    }
    cluster_run_until(&cluster, three_wait, &cluster, 10000);
    struct request_walk walk, inner;
    controller_walk_begin(cluster.controller, &walk);
    struct request *first = controller_walk_next(cluster.controller, &walk);
    struct request *second = walk.next, *third = TAILQ_NEXT(second, link);
    controller_walk_begin(cluster.controller, &inner);
    request_dispatch(second, EVENT_STOP);
    request_dispatch(first, EVENT_STOP);
    assert_ptr_equal(controller_walk_next(cluster.controller, &inner), third);
    assert_null(controller_walk_next(cluster.controller, &inner));
    assert_ptr_equal(controller_walk_next(cluster.controller, &walk), third);
    request_dispatch(third, EVENT_STOP);
    assert_null(controller_walk_next(cluster.controller, &walk));
    assert_null(cluster.controller->walks);
    call_finish(calls, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(calls[i].status, 503);
        call_release(&calls[i]);
    }
    assert_settled(&cluster);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_of_a_waiting_request_leads_to_an_end_with_nothing_held),
        cmocka_unit_test(every_step_of_a_sent_job_leads_to_an_end_with_nothing_held),
        cmocka_unit_test(every_step_of_an_accepted_job_leads_to_an_end_with_nothing_held),
        cmocka_unit_test(every_step_of_a_stream_leads_to_an_end_with_nothing_held),
        cmocka_unit_test(every_step_of_a_request_between_tries_leads_to_an_end_with_nothing_held),
        cmocka_unit_test(an_accepted_job_that_its_worker_does_not_have_is_sent_again),
        cmocka_unit_test(a_walk_over_all_goes_on_when_the_next_one_ends),
        cmocka_unit_test(only_actions_make_the_events_of_passing_states),
        cmocka_unit_test(other_events_change_nothing_and_impossible_ones_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
