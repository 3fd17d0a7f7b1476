/* What operators see: records of requests and metrics, over HTTP, of a whole cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <cmocka.h>

#include "cluster.h"
#include "exposition.h"

static const char plain[] =
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"the secret question\"}]}";
static const char streamed[] = "{\"model\":\"fake\",\"stream\":true,"
                               "\"messages\":[{\"role\":\"user\",\"content\":\"the secret question\"}]}";
static const char failing[] =
    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"[fail at 5]\"}]}";

static json_t *get_json(struct cluster *cluster, const char *path, int status) {
    struct call call = cluster_call(cluster, "GET", path, NULL);
    if (call.status != status)
        fail_msg("GET %s: %d %s", path, call.status, call.reply ? call.reply : "");
    json_t *json = json_loads(call.reply, 0, NULL);
    assert_non_null(json);
    call_release(&call);
    return json;
}

static const char *text_at(const json_t *json, const char *key) {
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "";
}

static long long number_at(const json_t *json, const char *key) {
    return (long long)json_number_value(json_object_get(json, key));
}

/* The records that the list shows for `query`. */
static json_t *list(struct cluster *cluster, const char *query) {
    char path[256];
    snprintf(path, sizeof(path), "/api/controller/requests%s", query);
    return get_json(cluster, path, 200);
}

static size_t listed(struct cluster *cluster, const char *query) {
    json_t *json = list(cluster, query);
    size_t count = json_array_size(json_object_get(json, "requests"));
    assert_int_equal(number_at(json, "count"), count);
    json_decref(json);
    return count;
}

static void post(struct cluster *cluster, const char *body, int status) {
    struct call call = cluster_call(cluster, "POST", "/v1/chat/completions", body);
    assert_int_equal(call.status, status);
    call_release(&call);
}

/* Of the request that ended last. */
static json_t *last_record(struct cluster *cluster) {
    json_t *json = list(cluster, "?limit=1&state=ended");
    json_t *record = json_incref(json_array_get(json_object_get(json, "requests"), 0));
    assert_non_null(record);
    json_decref(json);
    return record;
}

static long long status_number(struct cluster *cluster, const char *key) {
    struct call call = cluster_call(cluster, "GET", "/api/cluster/status", NULL);
    long long number = json_number(call.reply, key);
    call_release(&call);
    return number;
}

static void a_request_is_found_by_the_id_of_its_reply(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", plain);
    json_t *reply = json_loads(call.reply, 0, NULL);
    char path[128];
    snprintf(path, sizeof(path), "/api/controller/requests/%s", text_at(reply, "id"));
    json_t *record = get_json(&cluster, path, 200);
    assert_string_equal(text_at(record, "requestId"), text_at(reply, "id"));
    assert_string_equal(text_at(record, "state"), "succeeded");
    assert_string_equal(text_at(record, "model"), "fake");
    assert_string_equal(text_at(record, "selectedWorker"), "worker-1");
    assert_int_equal(number_at(record, "retryCount"), 0);
    assert_int_equal(number_at(record, "completionTokens"), 24);
    assert_true(number_at(record, "promptTokens") > 0);
    assert_true(json_is_real(json_object_get(record, "queueMs")));
    assert_true(json_is_real(json_object_get(record, "firstTokenMs")));
    assert_true(json_is_real(json_object_get(record, "interTokenMs")));
    assert_true(number_at(record, "endTime") >= number_at(record, "startTime"));
    assert_true(json_is_null(json_object_get(record, "finalError")));
    assert_string_equal(text_at(json_object_get(record, "routing"), "strategy"), "least_requests");
    assert_int_equal(number_at(json_object_get(record, "routing"), "candidates"), 1);
    json_decref(record);
    json_decref(reply);
    call_release(&call);
    cluster_stop(&cluster);
}

static bool job_was_sent_to_worker_1(void *arg) {
    json_t *metrics = get_json(arg, "/api/controller/metrics", 200);
    json_t *worker = json_array_get(json_object_get(metrics, "workers"), 0);
    bool sent = strcmp(text_at(worker, "worker"), "worker-1") == 0 && number_at(worker, "jobsSent") == 1;
    json_decref(metrics);
    return sent;
}

static bool both_are_ready(void *arg) {
    return status_number(arg, "ready") == 2;
}

static void a_retried_request_names_the_worker_that_failed_and_the_one_that_answered(void **state) {
    (void)state;
    struct cluster cluster;
    struct call call = {0};
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 20000;
    cluster.config.worker.fake_reply_tokens = 50;
    cluster_start(&cluster, 1);
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", plain);
    cluster_run_until(&cluster, job_was_sent_to_worker_1, &cluster, 5000);
    cluster_start_worker(&cluster, 1);
    cluster_run_until(&cluster, both_are_ready, &cluster, 5000);
    cluster_kill_worker(&cluster, 0);
    call_finish(&call, 1);
    assert_int_equal(call.status, 200);
    json_t *record = last_record(&cluster);
    json_t *failed = json_object_get(record, "failedWorkers");
    assert_int_equal(json_array_size(failed), 1);
    assert_string_equal(text_at(json_array_get(failed, 0), "worker"), "worker-1");
    assert_true(strlen(text_at(json_array_get(failed, 0), "code")) > 0);
    assert_string_equal(text_at(record, "selectedWorker"), "worker-2");
    assert_int_equal(number_at(record, "retryCount"), 1);
    assert_string_equal(text_at(record, "state"), "succeeded");
    json_decref(record);
    call_release(&call);
    cluster_stop(&cluster);
}

static void a_request_that_failed_everywhere_names_every_try(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 3);
    post(&cluster, failing, 502);
    json_t *record = last_record(&cluster);
    json_t *failed = json_object_get(record, "failedWorkers");
    assert_string_equal(text_at(record, "state"), "failed");
    assert_string_equal(text_at(json_object_get(record, "finalError"), "code"), "ALL_RETRIES_EXHAUSTED");
    assert_int_equal(json_array_size(failed), 3);
    assert_int_equal(number_at(record, "retryCount"), 2);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(text_at(json_array_get(failed, i), "code"), "ENGINE_ERROR");
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(text_at(json_array_get(failed, i), "worker"),
                                    text_at(json_array_get(failed, k), "worker"));
    }
    json_decref(record);
    cluster_stop(&cluster);
}

static void a_time_that_ran_out_is_counted_by_which_one(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 20000;
    cluster.config.worker.fake_reply_tokens = 1000;
    cluster.config.routing.timeout_ms = 200;
    cluster_start(&cluster, 1);
    post(&cluster, plain, 504);
    json_t *record = last_record(&cluster);
    assert_int_equal(number_at(record, "timeouts"), 1);
    assert_string_equal(text_at(record, "state"), "failed");
    assert_string_equal(text_at(json_object_get(record, "finalError"), "code"), "DEADLINE_EXCEEDED");
    assert_true(number_at(record, "completionTokens") > 0);
    json_decref(record);
    json_t *metrics = get_json(&cluster, "/api/controller/metrics", 200);
    json_t *timeouts = json_object_get(metrics, "timeouts");
    assert_int_equal(number_at(timeouts, "deadline"), 1);
    assert_int_equal(number_at(timeouts, "stall"), 0);
    json_decref(metrics);
    cluster_stop(&cluster);
}

static bool one_is_streaming(void *arg) {
    return listed(arg, "?state=streaming") == 1;
}

static void a_request_under_way_is_listed_until_it_ends(void **state) {
    (void)state;
    struct cluster cluster;
    struct call call = {.leave_after_bytes = 20000}; /* about 100 tokens */
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 5000;
    cluster.config.worker.fake_reply_tokens = 200;
    cluster_start(&cluster, 1);
    call_begin(&call, &cluster, "POST", "/v1/chat/completions", streamed);
    cluster_run_until(&cluster, one_is_streaming, &cluster, 5000);
    assert_int_equal(listed(&cluster, "?state=ended"), 0);
    json_t *json = list(&cluster, "?state=active&model=fake");
    json_t *record = json_array_get(json_object_get(json, "requests"), 0);
    char path[128];
    snprintf(path, sizeof(path), "/api/controller/requests/%s", text_at(record, "requestId"));
    assert_true(json_is_null(json_object_get(record, "endTime")));
    json_decref(json);
    json_decref(get_json(&cluster, path, 200));
    call_finish(&call, 1);
    while (status_number(&cluster, "active") != 0)
        loop_run_once(cluster.loop, 5);
    record = get_json(&cluster, path, 200);
    assert_string_equal(text_at(record, "state"), "cancelled");
    assert_true(json_is_true(json_object_get(record, "stream")));
    json_decref(record);
    call_release(&call);
    cluster_stop(&cluster);
}

static void an_unknown_id_is_not_found_in_the_usual_shape(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 0);
    json_t *json = get_json(&cluster, "/api/controller/requests/chatcmpl-never", 404);
    json_t *error = json_object_get(json, "error");
    assert_string_equal(text_at(error, "code"), "REQUEST_NOT_FOUND");
    assert_string_equal(text_at(error, "type"), "invalid_request_error");
    assert_non_null(strstr(text_at(error, "message"), "chatcmpl-never"));
    json_decref(json);
    cluster_stop(&cluster);
}

static void filters_choose_and_the_newest_comes_first(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    for (int i = 0; i < 3; i++)
        post(&cluster, plain, 200);
    post(&cluster, failing, 500);
    assert_int_equal(listed(&cluster, ""), 4);
    assert_int_equal(listed(&cluster, "?limit=2"), 2);
    assert_int_equal(listed(&cluster, "?state=succeeded"), 3);
    assert_int_equal(listed(&cluster, "?state=failed"), 1);
    assert_int_equal(listed(&cluster, "?state=active"), 0);
    assert_int_equal(listed(&cluster, "?model=fake&state=failed"), 1);
    assert_int_equal(listed(&cluster, "?model=other"), 0);
    json_t *json = list(&cluster, "?limit=1000");
    json_t *records = json_object_get(json, "requests");
    assert_string_equal(text_at(json_array_get(records, 0), "state"), "failed");
    for (size_t i = 1; i < 4; i++)
        assert_true(number_at(json_array_get(records, i - 1), "startTime") >=
                    number_at(json_array_get(records, i), "startTime"));
    json_decref(json);
    cluster_stop(&cluster);
}

static void a_bad_filter_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *query, *param;
    } cases[] = {{"limit=0", "limit"},
                 {"limit=1001", "limit"},
                 {"limit=ten", "limit"},
                 {"limit=", "limit"},
                 {"limit=-5", "limit"},
                 {"limit=99999999999999999999", "limit"},
                 {"state=done", "state"},
                 {"state=", "state"},
                 {"model=", "model"},
                 {"model=%zz", "model"},
                 {"colour=red", "colour"},
                 {"limit=5&state=%00", "state"},
                 {"clientRequestId=", "clientRequestId"}};
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/api/controller/requests?%s", cases[i].query);
        json_t *json = get_json(&cluster, path, 400);
        assert_string_equal(text_at(json_object_get(json, "error"), "param"), cases[i].param);
        json_decref(json);
    }
    cluster_stop(&cluster);
}

static void records_are_bounded_by_their_option(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.controller.record_max = 3;
    cluster_start(&cluster, 1);
    for (int i = 0; i < 5; i++)
        post(&cluster, plain, 200);
    assert_int_equal(listed(&cluster, ""), 3);
    json_t *metrics = get_json(&cluster, "/api/controller/metrics", 200);
    assert_int_equal(number_at(json_object_get(metrics, "records"), "displaced"), 2);
    json_decref(metrics);
    cluster_stop(&cluster);
}

static void no_record_holds_text_of_prompt_or_reply(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    struct call call = cluster_call(&cluster, "POST", "/v1/chat/completions", plain);
    char *text = reply_text(call.reply);
    struct call listing = cluster_call(&cluster, "GET", "/api/controller/requests", NULL);
    assert_true(strlen(text) > 20);
    text[20] = '\0';
    assert_null(strstr(listing.reply, text));
    assert_null(strstr(listing.reply, "secret"));
    free(text);
    call_release(&listing);
    call_release(&call);
    cluster_stop(&cluster);
}

static struct call call_with_id(struct cluster *cluster, const char *body, const char *id) {
    struct call call = {0};
    char headers[256];
    snprintf(headers, sizeof(headers), "X-Request-Id: %s\r\n", id);
    call.headers = headers;
    call_begin(&call, cluster, "POST", "/v1/chat/completions", body);
    call_finish(&call, 1);
    return call;
}

static void the_clients_own_id_comes_back_and_is_kept(void **state) {
    (void)state;
    static const char *const bodies[] = {plain, streamed, failing, "{}"};
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct call call = call_with_id(&cluster, bodies[i], "my-order_17");
        assert_non_null(strstr(call.head, "X-Request-Id: my-order_17\r\n"));
        call_release(&call);
    }
    assert_int_equal(listed(&cluster, "?clientRequestId=my-order_17"), 3);
    assert_int_equal(listed(&cluster, "?clientRequestId=my-order_18"), 0);
    json_t *record = last_record(&cluster);
    assert_string_equal(text_at(record, "clientRequestId"), "my-order_17");
    assert_non_null(strstr(text_at(record, "requestId"), "chatcmpl-"));
    json_decref(record);
    cluster_stop(&cluster);
}

static void a_clients_id_that_is_no_token_is_not_repeated(void **state) {
    (void)state;
    static const char *const ids[] = {
        "a b", "a.b", "*", "", "12345678901234567890123456789012345678901234567890123456789012345" /* 65 */};
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct call call = call_with_id(&cluster, plain, ids[i]);
        assert_int_equal(call.status, 200);
        assert_non_null(strstr(call.head, "X-Request-Id: chatcmpl-"));
        call_release(&call);
        json_t *record = last_record(&cluster);
        assert_true(json_is_null(json_object_get(record, "clientRequestId")));
        json_decref(record);
    }
    cluster_stop(&cluster);
}

static char *get_metrics(struct cluster *cluster) {
    struct call call = cluster_call(cluster, "GET", "/metrics", NULL);
    assert_int_equal(call.status, 200);
    assert_non_null(strstr(call.head, "text/plain; version=0.0.4"));
    char *text = strdup(call.reply);
    call_release(&call);
    return text;
}

static void make_traffic(struct cluster *cluster) {
    struct call gone = {.leave_after_bytes = 600};
    post(cluster, plain, 200);
    post(cluster, streamed, 200);
    post(cluster, failing, 502);
    post(cluster, "{}", 400);
    post(cluster, "{\"model\":\"none\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 404);
    call_begin(&gone, cluster, "POST", "/v1/chat/completions",
               "{\"model\":\"fake\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"[reply "
               "4000]\"}]}");
    call_finish(&gone, 1);
    call_release(&gone);
    while (status_number(cluster, "active") != 0)
        loop_run_once(cluster->loop, 5);
    struct call wrong = cluster_call(cluster, "GET", "/nothing/here", NULL);
    assert_int_equal(wrong.status, 404);
    call_release(&wrong);
}

static void the_metrics_parse_and_add_up(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 200;
    cluster_start(&cluster, 2);
    make_traffic(&cluster);
    char *text = get_metrics(&cluster);
    exposition_check(text);
    assert_int_equal(exposition_sum(text, "mlx_controller_requests_received_total "), 6);
    assert_int_equal(exposition_sum(text, "mlx_controller_requests_total{"), 6);
    assert_int_equal(exposition_sum(text, "mlx_controller_requests_total{outcome=\"succeeded\"}"), 2);
    assert_int_equal(exposition_sum(text, "mlx_controller_requests_total{outcome=\"failed\"}"), 1);
    assert_int_equal(exposition_sum(text, "mlx_controller_requests_total{outcome=\"refused\"}"), 2);
    assert_int_equal(exposition_sum(text, "mlx_controller_requests_total{outcome=\"cancelled\"}"), 1);
    assert_int_equal(exposition_sum(text, "mlx_controller_errors_total{"), 4);
    assert_int_equal(exposition_sum(text, "mlx_controller_errors_total{code=\"MODEL_NOT_FOUND\"}"), 1);
    assert_int_equal(exposition_sum(text, "mlx_controller_tries_failed_total{code=\"ENGINE_ERROR\"}"), 2);
    assert_int_equal(exposition_sum(text, "mlx_controller_retries_total "), 1);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_jobs_sent_total{"), 5);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_jobs_failed_total{"), 2);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_leases{"), 0);
    assert_int_equal(exposition_sum(text, "mlx_controller_workers{state=\"online\"}"), 2);
    assert_int_equal(exposition_sum(text, "mlx_controller_workers{"), 2);
    assert_int_equal(exposition_sum(text, "mlx_controller_active_requests "), 0);
    assert_int_equal(exposition_sum(text, "mlx_controller_queue_seconds_count "), 5);
    assert_int_equal(exposition_sum(text, "mlx_controller_request_seconds_count "), 5);
    assert_int_equal(exposition_sum(text, "mlx_controller_request_seconds_bucket{le=\"+Inf\"}"), 5);
    assert_int_equal(exposition_sum(text, "mlx_controller_completion_tokens_total "), 48);
    assert_int_equal(exposition_sum(text, "mlx_controller_impossible_events_total "), 0);
    free(text);
    cluster_stop(&cluster);
}

/* By heartbeat, so they come a little later than the replies. */
static void what_a_worker_tells_of_its_steps_and_cache_is_exposed(void **state) {
    (void)state;
    static const char long_enough[] = /* to be worth being held */
        "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":"
        "\"[reply 24] one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty\"}]}";
    static const char all_generated[] =
        "\nmlx_controller_worker_generated_tokens_total{worker=\"worker-1\"} 48\n";
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 1);
    post(&cluster, long_enough, 200);
    post(&cluster, long_enough, 200);
    cluster_wait_text(&cluster, "/metrics", all_generated, 5000);
    cluster_wait_text(&cluster, "/metrics", "\nmlx_controller_worker_running_jobs{worker=\"worker-1\"} 0\n",
                      5000);
    char *text = get_metrics(&cluster);
    long long steps = exposition_sum(text, "mlx_controller_worker_steps_total{");
    long long computed = exposition_sum(text, "mlx_controller_worker_prompt_tokens_total{");
    long long cached = exposition_sum(text, "mlx_controller_worker_cached_tokens_total{");
    assert_true(steps >= 48);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_batch_sequences_total{"), steps);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_batch_max{"), 1);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_cache_hits_total{"), 1);
    assert_non_null(strstr(text, "\nmlx_controller_worker_cache_evicted_total{worker=\"worker-1\"} 0\n"));
    assert_non_null(strstr(text, "\nmlx_controller_worker_cache_skipped_total{worker=\"worker-1\"} 0\n"));
    assert_non_null(
        strstr(text, "\nmlx_controller_worker_batch_wait_milliseconds_total{worker=\"worker-1\"} "));
    assert_int_equal(exposition_sum(text, "mlx_controller_prompt_tokens_total "), computed + cached);
    assert_true(exposition_sum(text, "mlx_controller_worker_kv_cells{") > 0);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_kv_cells_used{"), 0);
    assert_true(exposition_sum(text, "mlx_controller_worker_kv_cells_cached{") > 0);
    assert_int_equal(exposition_sum(text, "mlx_controller_worker_parks_total{"), 0);
    free(text);
    cluster_stop(&cluster);
}

static void a_cluster_without_workers_has_valid_metrics_too(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_start(&cluster, 0);
    char *text = get_metrics(&cluster);
    exposition_check(text);
    assert_int_equal(exposition_sum(text, "mlx_controller_workers{"), 0);
    assert_int_equal(exposition_sum(text, "mlx_controller_nats_up "), 1);
    free(text);
    cluster_stop(&cluster);
}

static void the_same_counters_are_there_as_json(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.config.worker.fake_step_us = 200;
    cluster_start(&cluster, 2);
    make_traffic(&cluster);
    json_t *metrics = get_json(&cluster, "/api/controller/metrics", 200);
    json_t *requests = json_object_get(metrics, "requests");
    json_t *latency = json_object_get(metrics, "latencyMs");
    assert_int_equal(number_at(requests, "total"), 6);
    assert_int_equal(number_at(requests, "succeeded"), 2);
    assert_int_equal(number_at(requests, "failed"), 1);
    assert_int_equal(number_at(requests, "refused"), 2);
    assert_int_equal(number_at(requests, "cancelled"), 1);
    assert_int_equal(number_at(requests, "retries"), 1);
    assert_int_equal(number_at(metrics, "activeRequests"), 0);
    assert_int_equal(number_at(metrics, "completedRequests"), 6);
    assert_int_equal(number_at(json_object_get(metrics, "errors"), "ALL_RETRIES_EXHAUSTED"), 1);
    assert_int_equal(number_at(json_object_get(metrics, "failedTries"), "ENGINE_ERROR"), 2);
    assert_int_equal(number_at(json_object_get(latency, "total"), "count"), 5);
    assert_int_equal(number_at(json_object_get(latency, "firstToken"), "count"), 4);
    assert_true(json_number_value(json_object_get(json_object_get(latency, "interToken"), "p50")) > 0);
    assert_int_equal(json_array_size(json_object_get(metrics, "workers")), 2);
    json_decref(metrics);
    cluster_stop(&cluster);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_found_by_the_id_of_its_reply),
        cmocka_unit_test(a_retried_request_names_the_worker_that_failed_and_the_one_that_answered),
        cmocka_unit_test(a_request_that_failed_everywhere_names_every_try),
        cmocka_unit_test(a_time_that_ran_out_is_counted_by_which_one),
        cmocka_unit_test(a_request_under_way_is_listed_until_it_ends),
        cmocka_unit_test(an_unknown_id_is_not_found_in_the_usual_shape),
        cmocka_unit_test(filters_choose_and_the_newest_comes_first),
        cmocka_unit_test(a_bad_filter_is_refused_by_name),
        cmocka_unit_test(records_are_bounded_by_their_option),
        cmocka_unit_test(no_record_holds_text_of_prompt_or_reply),
        cmocka_unit_test(the_clients_own_id_comes_back_and_is_kept),
        cmocka_unit_test(a_clients_id_that_is_no_token_is_not_repeated),
        cmocka_unit_test(the_metrics_parse_and_add_up),
        cmocka_unit_test(what_a_worker_tells_of_its_steps_and_cache_is_exposed),
        cmocka_unit_test(a_cluster_without_workers_has_valid_metrics_too),
        cmocka_unit_test(the_same_counters_are_there_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
