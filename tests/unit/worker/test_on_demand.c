/* A worker whose models are not all loaded: the jobs that wait for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker_rig.h"

/* Two models of which only one has room. */
static void begin_with_room_for_one(void) {
    harness_add_model(&w.harness, "other");
    w.harness.config.worker.models_memory_mb = 100;
    w.harness.config.worker.fake_model_mb = 60;
    begin();
    wait_state(0, MODEL_READY);
    assert_int_equal(model_now(1).state, MODEL_UNLOADED);
}

static bool is_accepted(void *arg) {
    return w.harness.seen[*(int *)arg].accepted > 0;
}

static void wait_accepted(int index) {
    harness_wait(&w.harness, is_accepted, &index);
}

static void jobs_wait_accepted_for_a_model_that_is_being_loaded_and_run_then(void **state) {
    (void)state;
    gate_close();
    begin();
    for (int i = 0; i < 6; i++)
        send_text(i, "fake", "hello");
    wait_accepted(5);
    assert_int_equal(w.harness.seen[0].position, 1);
    assert_int_equal(w.harness.seen[5].position, 6);
    assert_int_equal(w.harness.seen[5].wait_ms, -1);
    struct worker_info info = info_now();
    assert_int_equal(info.models[0].waiting, 6);
    assert_true(info.models[0].on_demand);
    assert_int_equal(info.load.queued, 6);
    assert_int_equal(info.load.queue.depth[CHAT_PRIORITY_MEDIUM], 6);
    gate_open();
    harness_wait_ends(&w.harness, 6);
    for (int i = 0; i < 6; i++)
        check_text(i, "fake", "hello");
    info = info_now();
    assert_int_equal(info.load.queue.enqueued, 6);
    assert_int_equal(info.load.jobs_accepted, 6);
    assert_int_equal(info.models[0].loads, 1);
    assert_false(info.models[0].on_demand);
}

static void a_cancel_ends_a_job_that_waits_for_a_load_at_once(void **state) {
    (void)state;
    gate_close();
    begin();
    send_text(0, "fake", "hello");
    send_text(1, "fake", "hello");
    wait_accepted(1);
    struct buf body;
    buf_init(&body, 0);
    wire_write_cancel(&body, &(struct wire_cancel){.request_id = "r0", .attempt = 1});
    assert_int_equal(
        transport_publish(w.harness.controller_link, "inference.w1.cancel", NULL, body.data, body.len),
        STATUS_OK);
    buf_release(&body);
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_CANCELLED);
    assert_int_equal(model_now(0).waiting, 1);
    assert_int_equal(info_now().load.jobs_cancelled, 1);
}

static void a_deadline_ends_a_job_that_waits_for_a_load(void **state) {
    (void)state;
    gate_close();
    begin();
    struct wire_job job = job_for(0, "fake", "hello");
    job.remaining_ms = 30;
    send_text(1, "fake", "hello");
    send_job(&job);
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(model_now(0).waiting, 1);
    assert_int_equal(info_now().load.queue.expired, 1);
}

static void as_many_wait_as_would_be_inside_and_a_higher_level_makes_the_youngest_give_way(void **state) {
    (void)state;
    w.harness.config.worker.reject_when_full = false;
    gate_close();
    begin();
    for (int i = 0; i < 12; i++)
        send_text(i, "fake", "hello");
    wait_accepted(11);
    send_text(12, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[12].status, STATUS_WORKER_OVERLOADED);
    assert_int_equal(w.harness.seen[12].accepted, 0);
    struct wire_job job = job_for(13, "fake", "hello");
    job.chat.priority = CHAT_PRIORITY_HIGH;
    send_job(&job);
    wait_accepted(13);
    assert_int_equal(w.harness.seen[11].status, STATUS_WORKER_OVERLOADED);
    assert_non_null(strstr(w.harness.seen[11].message, "gave way"));
    assert_int_equal(info_now().load.queue.evicted, 1);
    assert_int_equal(info_now().load.queue.rejected, 1);
}

static void a_load_that_fails_answers_all_that_wait_and_those_that_come_soon_after(void **state) {
    (void)state;
    harness_add_model(&w.harness, "good");
    gate_fail_loads("fake");
    gate_close();
    begin();
    send_text(0, "fake", "hello");
    send_text(1, "fake", "hello");
    wait_accepted(1);
    gate_open();
    harness_wait_ends(&w.harness, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(w.harness.seen[i].status, STATUS_MODEL_LOAD_FAILED);
        assert_non_null(strstr(w.harness.seen[i].message, "fake is broken"));
    }
    send_text(2, "fake", "hello");
    harness_wait_ends(&w.harness, 3);
    assert_int_equal(w.harness.seen[2].status, STATUS_MODEL_LOAD_FAILED);
    assert_int_equal(w.harness.seen[2].accepted, 0);
    assert_non_null(strstr(w.harness.seen[2].message, "not tried again for"));
    struct model_info model = model_now(0);
    assert_string_equal(model.error, "fake is broken");
    assert_int_equal(model.load_failures, 1);
    assert_in_range(model.retry_ms, 1, 30000);
    assert_false(model.on_demand);
    assert_int_equal(w.failed, 0);
}

static bool takes_jobs_again(void *arg) {
    return model_now(*(const size_t *)arg).on_demand;
}

static void a_model_that_failed_is_loaded_for_a_job_when_its_time_has_come(void **state) {
    (void)state;
    harness_add_model(&w.harness, "good");
    w.harness.config.worker.load_retry_ms = 10;
    gate_fail_loads("fake");
    begin();
    wait_state(0, MODEL_FAILED);
    harness_wait(&w.harness, takes_jobs_again, &(size_t){0});
    assert_int_equal(model_now(0).retry_ms, 0);
    gate_fail_loads(NULL);
    send_text(0, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    check_text(0, "fake", "hello");
    assert_string_equal(model_now(0).error, "");
}

static void a_drain_answers_what_waits_for_a_load_and_does_not_wait_for_the_load(void **state) {
    (void)state;
    gate_close();
    begin();
    send_text(0, "fake", "hello");
    wait_accepted(0);
    gate_wait_arrival();
    worker_drain(w.worker, 60000, on_drained, NULL);
    harness_settle(&w.harness);
    assert_int_equal(w.harness.seen[0].status, STATUS_WORKER_DRAINING);
    assert_int_equal(w.drained, 1);
}

static void jobs_of_a_controller_that_left_do_not_wait_on(void **state) {
    (void)state;
    gate_close();
    begin();
    send_text(0, "fake", "hello");
    wait_accepted(0);
    struct buf body;
    buf_init(&body, 0);
    wire_write_controller(
        &body, &(struct wire_controller){.id = "c0", .incarnation = "i", .state = WIRE_CONTROLLER_LEFT});
    assert_int_equal(
        transport_publish(w.harness.controller_link, "controller.heartbeat", NULL, body.data, body.len),
        STATUS_OK);
    buf_release(&body);
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(info_now().load.jobs_orphaned, 1);
    assert_int_equal(model_now(0).waiting, 0);
}

static void an_idle_model_makes_room_for_one_that_is_asked_for(void **state) {
    (void)state;
    begin_with_room_for_one();
    assert_int_equal(info_now().models_bytes, 60 << 20);
    assert_int_equal(info_now().models_bytes_max, 100 << 20);
    send_text(0, "fake", "[reply 3]");
    harness_wait_ends(&w.harness, 1);
    send_text(1, "other", "[reply 4]");
    harness_wait_ends(&w.harness, 2);
    check_text(1, "other", "[reply 4]");
    assert_int_equal(model_now(0).state, MODEL_UNLOADED);
    assert_int_equal(model_now(0).unloads, 1);
    assert_int_equal(gate_engines(), 1);
    send_text(2, "fake", "[reply 5]");
    harness_wait_ends(&w.harness, 3);
    check_text(2, "fake", "[reply 5]");
    struct worker_info info = info_now();
    assert_int_equal(info.models[0].loads, 2);
    assert_int_equal(info.models[1].unloads, 1);
    assert_int_equal(info.load.generated_tokens, 3 + 4 + 5); /* what is unloaded still counts */
    assert_int_equal(info.load.queue.enqueued, 3);
}

/* The machine's memory counts, too, on which nothing else bounds the models. */
static void a_model_is_loaded_only_while_memory_lasts(void **state) {
    (void)state;
    kernel_tree_init(&w.tree);
    w.system_root = w.tree.root;
    use_memory(20); /* of 100 MiB; the hard limit is at 93 */
    harness_add_model(&w.harness, "other");
    w.harness.config.worker.fake_model_mb = 60;
    w.harness.config.worker.pre_warming.enabled = false;
    w.harness.config.worker.load_retry_ms = 1000;
    begin();
    send_text(0, "fake", "[reply 3]");
    harness_wait_ends(&w.harness, 1);
    check_text(0, "fake", "[reply 3]");
    use_memory(80);
    send_text(1, "other", "[reply 4]");
    harness_wait_ends(&w.harness, 2);
    assert_int_equal(w.harness.seen[1].status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_non_null(strstr(w.harness.seen[1].message, "other takes about 60 MB"));
    assert_non_null(strstr(w.harness.seen[1].message, "13 MB more"));
    assert_int_equal(model_now(0).unloads, 1); /* which did not help */
    assert_int_equal(model_now(1).state, MODEL_UNLOADED);
    use_memory(20);
    assert_false(model_now(1).on_demand);
    assert_in_range(model_now(1).retry_ms, 1, 1000);
    assert_non_null(strstr(model_now(1).error, "13 MB more"));
    send_text(2, "other", "[reply 4]"); /* of a controller that does not know yet */
    harness_wait_ends(&w.harness, 3);
    assert_int_equal(w.harness.seen[2].status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_non_null(strstr(w.harness.seen[2].message, "not tried again for"));
    harness_wait(&w.harness, takes_jobs_again, &(size_t){1});
    send_text(3, "other", "[reply 5]");
    harness_wait_ends(&w.harness, 4);
    check_text(3, "other", "[reply 5]");
}

static void a_busy_model_is_not_unloaded_and_the_other_one_waits_for_its_end(void **state) {
    (void)state;
    begin_with_room_for_one();
    gate_close();
    send_text(0, "fake", "[reply 20]");
    harness_wait_starts(&w.harness, 1);
    send_text(1, "other", "[reply 4]");
    wait_accepted(1);
    harness_settle(&w.harness);
    assert_int_equal(model_now(0).state, MODEL_READY);
    assert_int_equal(model_now(1).state, MODEL_WAITING);
    assert_int_equal(model_now(1).waiting, 1);
    gate_open();
    harness_wait_ends(&w.harness, 2);
    check_text(0, "fake", "[reply 20]");
    check_text(1, "other", "[reply 4]");
    assert_true(w.harness.seen[0].end_order < w.harness.seen[1].end_order);
}

static void a_model_that_is_always_busy_makes_way_and_comes_back(void **state) {
    (void)state;
    w.harness.config.worker.load_patience_ms = 50;
    w.harness.config.worker.fake_step_us = 500;
    begin_with_room_for_one();
    int sent = 0;
    send_text(sent++, "fake", "[reply 400]");
    send_text(sent++, "fake", "[reply 9]");
    send_text(sent++, "other", "[reply 9]");
    for (int ended = 1; model_now(1).loads == 0; ended++) { /* one of it is always under way */
        harness_wait_ends(&w.harness, ended);
        send_text(sent++, "fake", "[reply 9]");
    }
    harness_wait_ends(&w.harness, sent);
    check_text(0, "fake", "[reply 400]");
    check_text(2, "other", "[reply 9]");
    for (int i = 3; i < sent; i++)
        check_text(i, "fake", "[reply 9]");
    assert_int_equal(model_now(0).loads, 2);
    assert_int_equal(model_now(0).unloads, 1);
    assert_int_equal(w.failed, 0);
}

static void a_model_that_is_too_large_is_refused_with_numbers_and_not_tried(void **state) {
    (void)state;
    w.harness.config.worker.models_memory_mb = 50;
    w.harness.config.worker.fake_model_mb = 60;
    begin();
    harness_settle(&w.harness);
    assert_int_equal(model_now(0).state, MODEL_UNLOADED);
    send_text(0, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(w.harness.seen[0].message, "it takes 60 MB"));
    assert_non_null(strstr(w.harness.seen[0].message, "models_memory_mb is 50"));
    assert_int_equal(model_now(0).state, MODEL_FAILED);
    assert_int_equal(model_now(0).retry_ms, -1);
    assert_int_equal(gate_engines(), 0);
}

static void see_heartbeat(const struct transport_message *message, void *arg) {
    (void)message;
    (*(int *)arg)++;
}

static void a_worker_may_register_only_when_its_models_are_warm(void **state) {
    (void)state;
    int heard = 0;
    w.harness.config.worker.pre_warming.register_when = REGISTER_WHEN_COMPLETE;
    assert_int_equal(transport_subscribe(w.harness.controller_link, "worker.>", see_heartbeat, &heard),
                     STATUS_OK);
    gate_close();
    begin();
    wait_state(0, MODEL_LOADING);
    gate_wait_arrival();
    assert_int_equal(info_now().phase, WORKER_PHASE_REGISTERING);
    assert_int_equal(heard, 0);
    gate_open();
    wait_state(0, MODEL_READY);
    harness_settle(&w.harness);
    assert_int_equal(info_now().phase, WORKER_PHASE_READY);
    assert_true(heard > 0);
}

static void named_models_are_warmed_in_their_order_and_pinned_the_others_wait_for_jobs(void **state) {
    (void)state;
    struct config *config = &w.harness.config;
    harness_add_model(&w.harness, "b");
    harness_add_model(&w.harness, "c");
    config->worker.models_memory_mb = 120;
    config->worker.fake_model_mb = 60;
    config->worker.pre_warming.models.items[0] = strdup("c");
    config->worker.pre_warming.models.items[1] = strdup("fake");
    config->worker.pre_warming.models.count = 2;
    gate_close();
    begin();
    wait_state(2, MODEL_LOADING);
    gate_wait_arrival();
    assert_int_equal(model_now(0).state, MODEL_WAITING);
    assert_int_equal(model_now(1).state, MODEL_UNLOADED);
    gate_open();
    wait_state(0, MODEL_READY);
    assert_true(model_now(0).pinned && model_now(2).pinned && !model_now(1).pinned);
    send_text(0, "b", "hello");
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(w.harness.seen[0].message, "pinned models take 120 MB"));
}

static void without_pre_warming_a_worker_is_ready_and_loads_for_the_first_job(void **state) {
    (void)state;
    w.harness.config.worker.pre_warming.enabled = false;
    begin();
    harness_settle(&w.harness);
    assert_int_equal(info_now().phase, WORKER_PHASE_READY);
    assert_int_equal(model_now(0).state, MODEL_UNLOADED);
    assert_int_equal(gate_engines(), 0);
    send_text(0, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    check_text(0, "fake", "hello");
}

static bool is_ready(void *arg) {
    (void)arg;
    return info_now().phase == WORKER_PHASE_READY;
}

static void a_model_that_is_not_warm_in_time_is_left_for_who_asks_for_it(void **state) {
    (void)state;
    harness_add_model(&w.harness, "b");
    w.harness.config.worker.fake_load_ms = 100;
    w.harness.config.worker.pre_warming.timeout_per_model_ms = 20;
    begin();
    wait_state(0, MODEL_LOADING);
    wait_state(1, MODEL_LOADING);
    harness_wait(&w.harness, is_ready, NULL);
    wait_state(0, MODEL_UNLOADED);
    assert_int_equal(model_now(0).loads + model_now(0).unloads, 0);
    send_text(0, "fake", "hello");
    harness_wait_ends(&w.harness, 1);
    check_text(0, "fake", "hello");
}

static void a_worker_may_end_while_a_busy_model_makes_way(void **state) {
    (void)state;
    w.harness.config.worker.load_patience_ms = 20;
    begin_with_room_for_one();
    gate_close();
    send_text(0, "fake", "[reply 20]");
    harness_wait_starts(&w.harness, 1);
    send_text(1, "other", "[reply 4]");
    wait_state(0, MODEL_UNLOADING);
    worker_drain(w.worker, 1, on_drained, NULL);
    wait_count(&w.drained, 1);
    gate_open(); /* the step, longer than the drain, ends in here */
    worker_free(w.worker);
    w.worker = NULL;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, worker_rig_setup, worker_rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(jobs_wait_accepted_for_a_model_that_is_being_loaded_and_run_then),
        TEST(a_cancel_ends_a_job_that_waits_for_a_load_at_once),
        TEST(a_deadline_ends_a_job_that_waits_for_a_load),
        TEST(as_many_wait_as_would_be_inside_and_a_higher_level_makes_the_youngest_give_way),
        TEST(a_load_that_fails_answers_all_that_wait_and_those_that_come_soon_after),
        TEST(a_model_that_failed_is_loaded_for_a_job_when_its_time_has_come),
        TEST(a_drain_answers_what_waits_for_a_load_and_does_not_wait_for_the_load),
        TEST(jobs_of_a_controller_that_left_do_not_wait_on),
        TEST(an_idle_model_makes_room_for_one_that_is_asked_for),
        TEST(a_model_is_loaded_only_while_memory_lasts),
        TEST(a_busy_model_is_not_unloaded_and_the_other_one_waits_for_its_end),
        TEST(a_model_that_is_always_busy_makes_way_and_comes_back),
        TEST(a_worker_may_register_only_when_its_models_are_warm),
        TEST(named_models_are_warmed_in_their_order_and_pinned_the_others_wait_for_jobs),
        TEST(without_pre_warming_a_worker_is_ready_and_loads_for_the_first_job),
        TEST(a_model_that_is_not_warm_in_time_is_left_for_who_asks_for_it),
        TEST(a_model_that_is_too_large_is_refused_with_numbers_and_not_tried),
        TEST(a_worker_may_end_while_a_busy_model_makes_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
