/* Each configured strategy over the whole path, from the configuration to the worker that ran the job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"

enum { WORKERS = 3, REQUESTS = 12 };

static void configure(struct cluster *cluster, const char *yaml) {
    struct error error;
    cluster_init(cluster);
    if (config_read_text(&cluster->config, "test", yaml, strlen(yaml), &error) != STATUS_OK)
        fail_msg("%s", error.message);
}

/* A prompt of `len` times `letter`, more than one block of the prefix index. */
static void ask(struct cluster *cluster, char letter, size_t len) {
    char body[4096];
    int used = snprintf(body, sizeof body,
                        "{\"model\":\"fake\",\"max_tokens\":3,\"messages\":"
                        "[{\"role\":\"user\",\"content\":\"");
    memset(body + used, letter, len);
    snprintf(body + used + len, sizeof body - (size_t)used - len, "\"}]}");
    struct call call = cluster_call(cluster, "POST", "/v1/chat/completions", body);
    assert_int_equal(call.status, 200);
    call_release(&call);
}

static long long jobs_of(struct cluster *cluster, size_t index) {
    char path[64];
    snprintf(path, sizeof path, "/api/cluster/workers/worker-%zu", index + 1);
    struct call call = cluster_call(cluster, "GET", path, NULL);
    long long jobs = json_number(call.reply, "jobsSent");
    call_release(&call);
    return jobs;
}

static void round_robin_gives_each_worker_as_many(void **state) {
    (void)state;
    struct cluster cluster;
    configure(&cluster, "cluster: {loadBalancing: {strategy: round_robin}}");
    cluster_start(&cluster, WORKERS);
    for (int i = 0; i < REQUESTS; i++)
        ask(&cluster, 'a', 10);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(jobs_of(&cluster, i), REQUESTS / WORKERS);
    cluster_stop(&cluster);
}

static void configured_weights_reach_the_strategy(void **state) {
    (void)state;
    struct cluster cluster;
    configure(&cluster, "cluster: {loadBalancing: {strategy: weighted_random, weights: "
                        "{worker-2: 2.5, '*': 0}}}");
    cluster_start(&cluster, WORKERS);
    for (int i = 0; i < REQUESTS; i++)
        ask(&cluster, 'a', 10);
    assert_int_equal(jobs_of(&cluster, 1), REQUESTS);
    cluster_stop(&cluster);
}

static void prefix_aware_keeps_equal_beginnings_together(void **state) {
    (void)state;
    struct cluster cluster;
    configure(&cluster, "cluster: {loadBalancing: {strategy: prefix_aware}}");
    cluster_start(&cluster, WORKERS);
    for (char letter = 'a'; letter < 'a' + 3; letter++) {
        long long before[WORKERS];
        for (size_t i = 0; i < WORKERS; i++)
            before[i] = jobs_of(&cluster, i);
        for (size_t len = 600; len < 600 + 100 * REQUESTS; len += 100)
            ask(&cluster, letter, len);
        int used = 0;
        for (size_t i = 0; i < WORKERS; i++)
            used += jobs_of(&cluster, i) > before[i];
        assert_int_equal(used, 1);
    }
    cluster_stop(&cluster);
}

static void the_other_strategies_serve_too(void **state) {
    (void)state;
    static const char *const names[] = {"least_requests", "skills_based", "smart"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct cluster cluster;
        char yaml[96];
        snprintf(yaml, sizeof yaml, "cluster: {loadBalancing: {strategy: %s}}", names[n]);
        configure(&cluster, yaml);
        cluster_start(&cluster, WORKERS);
        long long jobs = 0;
        for (int i = 0; i < REQUESTS; i++)
            ask(&cluster, 'a', 10);
        for (size_t i = 0; i < WORKERS; i++)
            jobs += jobs_of(&cluster, i);
        assert_int_equal(jobs, REQUESTS);
        cluster_stop(&cluster);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_gives_each_worker_as_many),
        cmocka_unit_test(configured_weights_reach_the_strategy),
        cmocka_unit_test(prefix_aware_keeps_equal_beginnings_together),
        cmocka_unit_test(the_other_strategies_serve_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
