#include "proto/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire_harm.h"

static bool accepts(const char *data, size_t len) {
    enum wire_control_op op;
    struct error error;
    return wire_read_control(data, len, &op, &error) == STATUS_OK;
}

static void requests_come_back_and_others_are_refused(void **state) {
    (void)state;
    static const struct {
        enum wire_control_op op;
        const char *text;
    } cases[] = {
        {WIRE_CONTROL_STATS, "{\"v\":1,\"op\":\"stats\"}"},
        {WIRE_CONTROL_DRAIN, "{\"v\":1,\"op\":\"drain\"}"},
        {WIRE_CONTROL_RESUME, "{\"v\":1,\"op\":\"resume\"}"},
        {WIRE_CONTROL_QUEUE_STATS, "{\"v\":1,\"op\":\"getQueueStats\"}"},
        {WIRE_CONTROL_BATCH_STATS, "{\"v\":1,\"op\":\"getBatchStats\"}"},
        {WIRE_CONTROL_RESOURCE_STATS, "{\"v\":1,\"op\":\"getResourceStats\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text;
        struct error error;
        enum wire_control_op back;
        buf_init(&text, 0);
        wire_write_control(&text, cases[i].op);
        assert_string_equal(text.data, cases[i].text);
        assert_int_equal(wire_read_control(text.data, text.len, &back, &error), STATUS_OK);
        assert_int_equal(back, cases[i].op);
        wire_harm(accepts, text.data, text.len);
        wire_harm_version(accepts, text.data, text.len);
        buf_release(&text);
    }
    assert_false(accepts("{\"v\":1}", 7));
    assert_false(accepts("{\"v\":1,\"op\":\"Stats\"}", 20));
    assert_false(accepts("{\"v\":1,\"op\":1}", 14));
    static const char with_nul[] = "{\"v\":1,\"op\":\"stats\\u0000\"}";
    assert_false(accepts(with_nul, strlen(with_nul)));
}

static void the_whole_info_has_a_second_name(void **state) {
    (void)state;
    static const char text[] = "{\"v\":1,\"op\":\"getWorkerStats\"}";
    enum wire_control_op op = WIRE_CONTROL_DRAIN;
    struct error error;
    assert_int_equal(wire_read_control(text, strlen(text), &op, &error), STATUS_OK);
    assert_int_equal(op, WIRE_CONTROL_STATS);
}

static void an_unknown_request_is_told_what_there_is(void **state) {
    (void)state;
    static const char text[] = "{\"v\":1,\"op\":\"getStats\"}";
    enum wire_control_op op;
    struct error error;
    assert_int_equal(wire_read_control(text, strlen(text), &op, &error), STATUS_PROTOCOL_ERROR);
    assert_string_equal(error.param, "op");
    assert_string_equal(error.message, "op must be stats, drain, resume, getWorkerStats, getQueueStats, "
                                       "getBatchStats or getResourceStats");
}

/* 13 places, and all are taken: 4 slots of each model and 5 to wait in. */
static struct worker_info busy_info(void) {
    return (struct worker_info){
        .id = "w1",
        .incarnation = "abc",
        .models = {{.name = "a", .state = MODEL_READY, .slots = 4},
                   {.name = "b", .state = MODEL_UNLOADED, .slots = 4}},
        .model_count = 2,
        .models_bytes = 5000,
        .load = {.running = 3,
                 .queued = 9,
                 .queue_max = 5,
                 .kv_cells_used = 70,
                 .kv_cells_total = 100,
                 .kv_cells_cached = 20,
                 .parked = 1,
                 .steps = 4,
                 .prompt_tokens = 31,
                 .generated_tokens = 12,
                 .batch_sequences = 10,
                 .batch_max = 3,
                 .batch_wait_ms = 7,
                 .rss_bytes = 6000,
                 .queue = {.depth = {1, 2, 6},
                           .oldest_ms = {10, 20, 30},
                           .enqueued = 40,
                           .rejected = 4,
                           .evicted = 3,
                           .expired = 2,
                           .cancelled = 1,
                           .wait_mean_ms = 15,
                           .wait_p50_ms = 14,
                           .wait_p99_ms = 29,
                           .next_wait_ms = 50}},
        .resources = {.level = RESOURCE_SOFT,
                      .signal = RESOURCE_BY_CGROUP,
                      .memory_used = 90,
                      .soft_limit = 85,
                      .hard_limit = 93,
                      .refused = 8},
    };
}

static void check_reply(enum wire_control_op op, const struct worker_info *info, const char *expected) {
    struct buf text;
    buf_init(&text, 0);
    wire_write_control_reply(&text, op, info);
    assert_false(text.failed);
    assert_string_equal(text.data, expected);
    buf_release(&text);
}

static void each_request_gets_its_part(void **state) {
    (void)state;
    struct worker_info info = busy_info();
    check_reply(WIRE_CONTROL_QUEUE_STATS, &info,
                "{\"v\":1,\"workerId\":\"w1\",\"incarnation\":\"abc\",\"depth\":9,\"maxDepth\":5,"
                "\"isFull\":true,\"depthByLevel\":[1,2,6],\"oldestMs\":[10,20,30],\"enqueued\":40,"
                "\"rejected\":4,\"evicted\":3,\"expired\":2,\"cancelled\":1,\"waitMeanMs\":15,"
                "\"waitP50Ms\":14,\"waitP99Ms\":29,\"nextWaitMs\":50}");
    check_reply(WIRE_CONTROL_BATCH_STATS, &info,
                "{\"v\":1,\"workerId\":\"w1\",\"incarnation\":\"abc\",\"running\":3,\"slots\":4,\"steps\":4,"
                "\"batchSequences\":10,\"avgBatchSize\":2.500,\"batchMax\":3,\"batchWaitMs\":7,"
                "\"promptTokens\":31,\"generatedTokens\":12}");
    check_reply(WIRE_CONTROL_RESOURCE_STATS, &info,
                "{\"v\":1,\"workerId\":\"w1\",\"incarnation\":\"abc\",\"level\":\"soft\","
                "\"signal\":\"cgroup\",\"underPressure\":true,\"canAcceptRequest\":true,\"memoryUsed\":90,"
                "\"softLimit\":85,\"hardLimit\":93,\"pressureSome\":0,\"pressureFull\":0,\"refused\":8,"
                "\"rssBytes\":6000,\"modelsBytes\":5000,\"kvCellsUsed\":70,\"kvCellsTotal\":100,"
                "\"kvCellsCached\":20,\"parked\":1}");
}

static void a_queue_is_full_when_the_last_place_is_taken(void **state) {
    (void)state;
    struct worker_info info = busy_info();
    info.load.queued--;
    struct buf text;
    buf_init(&text, 0);
    wire_write_control_reply(&text, WIRE_CONTROL_QUEUE_STATS, &info);
    assert_non_null(strstr(text.data, "\"depth\":8,\"maxDepth\":5,\"isFull\":false,"));
    buf_release(&text);
}

static void before_the_first_step_a_batch_has_the_mean_size_0(void **state) {
    (void)state;
    struct worker_info info = {.id = "w1", .incarnation = "abc"};
    check_reply(WIRE_CONTROL_BATCH_STATS, &info,
                "{\"v\":1,\"workerId\":\"w1\",\"incarnation\":\"abc\",\"running\":0,\"slots\":0,\"steps\":0,"
                "\"batchSequences\":0,\"avgBatchSize\":0.000,\"batchMax\":0,\"batchWaitMs\":0,"
                "\"promptTokens\":0,\"generatedTokens\":0}");
}

static void stats_drain_and_resume_are_answered_with_the_whole_info(void **state) {
    (void)state;
    static const enum wire_control_op ops[] = {WIRE_CONTROL_STATS, WIRE_CONTROL_DRAIN, WIRE_CONTROL_RESUME};
    struct worker_info info = busy_info(), back;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct buf text;
        struct error error;
        buf_init(&text, 0);
        wire_write_control_reply(&text, ops[i], &info);
        assert_int_equal(wire_read_worker_info(text.data, text.len, &back, &error), STATUS_OK);
        assert_int_equal(back.load.generated_tokens, 12);
        buf_release(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_come_back_and_others_are_refused),
        cmocka_unit_test(the_whole_info_has_a_second_name),
        cmocka_unit_test(an_unknown_request_is_told_what_there_is),
        cmocka_unit_test(each_request_gets_its_part),
        cmocka_unit_test(a_queue_is_full_when_the_last_place_is_taken),
        cmocka_unit_test(before_the_first_step_a_batch_has_the_mean_size_0),
        cmocka_unit_test(stats_drain_and_resume_are_answered_with_the_whole_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
