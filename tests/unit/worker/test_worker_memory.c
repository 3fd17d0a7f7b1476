/* A worker that is short of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker_rig.h"

/* On a machine of 100 MiB that looks often. */
static void start_on_machine(int percent) {
    kernel_tree_init(&w.tree);
    w.system_root = w.tree.root;
    use_memory(percent);
    w.harness.config.worker.limits.check_interval_ms = 10;
    w.harness.config.worker.limits.recover_after_ms = 30;
    begin_ready();
}

static bool is_level(void *arg) {
    return w.info.resources.level == *(const enum resource_level *)arg;
}

/* As heartbeats tell. */
static void wait_level(enum resource_level level) {
    harness_wait(&w.harness, is_level, &level);
}

static void send_priority_job(int index, enum chat_priority priority) {
    struct wire_job job = harness_job(index, "[reply 4]");
    job.chat.priority = priority;
    send_job(&job);
}

static void a_worker_short_of_memory_refuses_by_priority_and_takes_all_again(void **state) {
    (void)state;
    start_on_machine(50);
    assert_int_equal(w.info.resources.level, RESOURCE_OK);
    assert_int_equal(w.info.resources.signal, RESOURCE_BY_MACHINE);
    assert_int_equal(w.info.resources.memory_used, 50 << 20);
    use_memory(86);
    wait_level(RESOURCE_SOFT);
    send_priority_job(0, CHAT_PRIORITY_LOW);
    send_priority_job(1, CHAT_PRIORITY_MEDIUM);
    harness_wait_ends(&w.harness, 2);
    assert_int_equal(w.harness.seen[0].status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_string_equal(w.harness.seen[0].message,
                        "the worker takes no new jobs of low priority while it is short of memory (soft): "
                        "machine: 86 MiB used, limits 85 MiB (soft) and 93 MiB (hard)");
    assert_int_equal(w.harness.seen[1].status, STATUS_OK);
    use_memory(93);
    wait_level(RESOURCE_HARD);
    send_priority_job(2, CHAT_PRIORITY_HIGH);
    harness_wait_ends(&w.harness, 3);
    assert_int_equal(w.harness.seen[2].status, STATUS_RESOURCE_LIMIT_EXCEEDED);
    assert_int_equal(info_now().resources.refused, 2);
    assert_int_equal(info_now().load.jobs_rejected, 2);
    use_memory(50);
    wait_level(RESOURCE_OK);
    send_priority_job(3, CHAT_PRIORITY_LOW);
    harness_wait_ends(&w.harness, 4);
    assert_int_equal(w.harness.seen[3].status, STATUS_OK);
}

static void a_worker_that_starts_short_of_memory_says_so_at_once(void **state) {
    (void)state;
    start_on_machine(99);
    assert_int_equal(w.info.resources.level, RESOURCE_HARD);
    send_priority_job(0, CHAT_PRIORITY_HIGH);
    check_refused(0, STATUS_RESOURCE_LIMIT_EXCEEDED);
}

static void jobs_that_run_go_on_when_memory_is_short(void **state) {
    (void)state;
    start_on_machine(50);
    gate_close();
    send_priority_job(0, CHAT_PRIORITY_LOW);
    harness_wait_starts(&w.harness, 1);
    use_memory(99);
    wait_level(RESOURCE_HARD);
    gate_open();
    harness_wait_ends(&w.harness, 1);
    assert_int_equal(w.harness.seen[0].status, STATUS_OK);
    assert_int_equal(w.harness.seen[0].tokens, 4);
}

static void a_change_of_level_is_told_without_waiting_for_the_next_heartbeat(void **state) {
    (void)state;
    w.harness.config.discovery.heartbeat_interval_ms = 60000;
    w.harness.config.worker.load_on_demand = false; /* so that no model is unloaded, which is told, too */
    start_on_machine(50);
    int before = w.heartbeats;
    use_memory(99);
    wait_level(RESOURCE_HARD);
    assert_int_equal(w.heartbeats, before + 1);
}

/* Memory is read when the load is decided, the level only every check_interval_ms. */
static void a_model_is_loaded_though_memory_was_short_for_a_moment(void **state) {
    (void)state;
    kernel_tree_init(&w.tree);
    w.system_root = w.tree.root;
    w.harness.config.worker.load_on_demand = false;
    w.harness.config.worker.limits.check_interval_ms = 60000;
    use_memory(50);
    new_worker();
    use_memory(95);
    start_worker();
    loop_run_once(w.harness.loop, 0);
    assert_int_equal(model_now(0).state, MODEL_WAITING);
    use_memory(50);
    wait_state(0, MODEL_READY);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, worker_rig_setup, worker_rig_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_worker_short_of_memory_refuses_by_priority_and_takes_all_again),
        TEST(a_worker_that_starts_short_of_memory_says_so_at_once),
        TEST(jobs_that_run_go_on_when_memory_is_short),
        TEST(a_change_of_level_is_told_without_waiting_for_the_next_heartbeat),
        TEST(a_model_is_loaded_though_memory_was_short_for_a_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
