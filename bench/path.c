/* What the way through the controller costs, beside what it is made of: latency that it adds to a bare NATS
 * request to the same fake worker, and requests per second next to nginx before an instant HTTP server and to
 * NATS alone. Real processes on the loopback interface; the workers answer at once with one token.
 *
 * The machine is noisy: a round measures all of them one after the other, and what is printed is the median
 * of the rounds and of the rounds' differences and ratios.
 *
 *     bench_path --mlxd PATH [--nats-server PATH] [--nginx PATH] [--rounds N] [--limit-ms N] [--workers N]
 *
 * Each measurement takes --limit-ms. Without --nginx its column is left out. */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "lib/cluster.h"
#include "lib/flags.h"
#include "lib/http_load.h"
#include "lib/instant_http.h"
#include "lib/nats_load.h"
#include "lib/nginx.h"
#include "lib/sample.h"
#include "lib/scratch.h"

enum {
    ADDED_P50_TARGET_US = 150,
    UNBOUNDED = 1 << 30,
    REQUEST_BYTES_MAX = 1024,
    WARM_UP_SHARE = 5, /* a fifth of a measurement's time */
};

#define MESSAGES "[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]"

struct options {
    const char *mlxd;
    const char *nats_server;
    const char *nginx;
    int rounds;
    int limit_ms;
    int workers;
};

enum target { CONTROLLER, NGINX, NATS_WORKER, NATS_PLAIN, TARGET_COUNT };

struct figures {
    double per_s, p50_us, p99_us;
};

struct bench {
    struct options options;
    struct cluster cluster;
    struct process instant, nginx, responder;
    int ports[TARGET_COUNT]; /* of those that speak HTTP */
    char request[REQUEST_BYTES_MAX];
    int request_len;
};

static const int levels[] = {1, 16, 64, 256};
enum { LEVEL_COUNT = 4, LEVEL_ONE = 0, LEVEL_64 = 2 };
static_assert(ARRAY_LEN(levels) == LEVEL_COUNT, "a name for each level that is looked at alone");

static struct figures samples[SAMPLES_MAX][LEVEL_COUNT][TARGET_COUNT];

static void usage(void) {
    fprintf(stderr,
            "usage: bench_path --mlxd PATH [--nats-server PATH] [--nginx PATH] [--rounds 1..%d]\n"
            "       [--limit-ms N] [--workers 1..%d]\n",
            SAMPLES_MAX, CLUSTER_WORKERS_MAX);
    exit(2);
}

static void read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.nats_server = "/usr/sbin/nats-server", .rounds = 7, .limit_ms = 700, .workers = 2};
    const struct flag flags[] = {{"--mlxd", &o->mlxd, NULL},         {"--nats-server", &o->nats_server, NULL},
                                 {"--nginx", &o->nginx, NULL},       {"--rounds", NULL, &o->rounds},
                                 {"--limit-ms", NULL, &o->limit_ms}, {"--workers", NULL, &o->workers}};
    if (!flags_read(argc, argv, flags, ARRAY_LEN(flags)) || !o->mlxd || o->rounds < 1 ||
        o->rounds > SAMPLES_MAX || o->limit_ms < 1 || o->workers < 1 || o->workers > CLUSTER_WORKERS_MAX)
        usage();
}

static void make_request(struct bench *bench) {
    static const char body[] = "{\"model\":\"bench\",\"max_tokens\":1,\"messages\":" MESSAGES "}";
    bench->request_len =
        snprintf(bench->request, sizeof(bench->request),
                 "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 "Content-Length: %zu\r\n\r\n%s",
                 sizeof(body) - 1, body);
}

static struct figures figures_of(const char *name, double seconds, uint64_t requests, uint64_t errors,
                                 const struct hist *ns) {
    if (errors > 0 || requests == 0) {
        fprintf(stderr, "%s: %llu of %llu requests failed\n", name, (unsigned long long)errors,
                (unsigned long long)requests);
        exit(1);
    }
    return (struct figures){.per_s = (double)requests / seconds,
                            .p50_us = (double)hist_percentile(ns, 50) / 1000,
                            .p99_us = (double)hist_percentile(ns, 99) / 1000};
}

static struct figures measure_http(const struct bench *bench, enum target target, int clients, int limit_ms,
                                   size_t *body_bytes) {
    static struct http_load_result result;
    http_load_run(&(struct http_load_options){.port = bench->ports[target],
                                              .connections = clients,
                                              .requests = UNBOUNDED,
                                              .limit_ms = limit_ms,
                                              .request = bench->request,
                                              .request_len = (size_t)bench->request_len},
                  &result);
    if (body_bytes)
        *body_bytes = result.body_bytes;
    return figures_of("HTTP", result.seconds, result.requests, result.errors, &result.ns);
}

static struct figures measure_nats(const struct bench *bench, int workers, int clients, int limit_ms) {
    static struct nats_load_result result;
    nats_load_run(&(struct nats_load_options){.url = bench->cluster.nats_url,
                                              .in_flight = clients,
                                              .requests = UNBOUNDED,
                                              .limit_ms = limit_ms,
                                              .workers = workers,
                                              .body = MESSAGES},
                  &result);
    return figures_of("NATS", result.seconds, result.requests, result.errors, &result.ns);
}

static struct figures measure(const struct bench *bench, enum target target, int clients, int limit_ms) {
    switch (target) {
    case CONTROLLER:
    case NGINX:
        return measure_http(bench, target, clients, limit_ms, NULL);
    case NATS_WORKER:
        return measure_nats(bench, bench->options.workers, clients, limit_ms);
    case NATS_PLAIN:
        return measure_nats(bench, 0, clients, limit_ms);
    case TARGET_COUNT:
        break;
    }
    return (struct figures){0};
}

static void start(struct bench *bench, const struct scratch *scratch) {
    const struct options *o = &bench->options;
    size_t body_bytes = 0;
    cluster_start(&bench->cluster,
                  &(struct cluster_options){.mlxd = o->mlxd,
                                            .nats_server = o->nats_server,
                                            .log_dir = scratch->path,
                                            .workers = o->workers,
                                            .worker_flags = (const char *const[]){
                                                "--fake-step-us", "0", "--fake-reply-tokens", "1",
                                                "--max-batch-size", "256", "--max-depth", "1000", NULL}});
    bench->ports[CONTROLLER] = bench->cluster.http_port;
    make_request(bench);
    measure_http(bench, CONTROLLER, 1, 1, &body_bytes);
    nats_responder_start(&bench->responder, bench->cluster.nats_url, body_bytes);
    if (o->nginx) {
        int port;
        instant_http_start(&bench->instant, body_bytes, &port);
        nginx_start(&bench->nginx, o->nginx, scratch->path, port, &bench->ports[NGINX]);
    }
    printf("%d fake workers, replies of %zu bytes, median of %d rounds of %d ms\n\n", o->workers, body_bytes,
           o->rounds, o->limit_ms);
}

static void stop(struct bench *bench) {
    process_stop(&bench->nginx);
    process_stop(&bench->instant);
    process_stop(&bench->responder);
    cluster_stop(&bench->cluster);
}

static bool is_measured(const struct bench *bench, enum target target) {
    return target != NGINX || bench->options.nginx;
}

/* Every other round backwards, so that no target always has the same one before it. */
static void run_round(const struct bench *bench, int round) {
    for (int level = 0; level < LEVEL_COUNT; level++)
        for (int i = 0; i < TARGET_COUNT; i++) {
            enum target target = (enum target)(round % 2 ? TARGET_COUNT - 1 - i : i);
            if (is_measured(bench, target))
                samples[round][level][target] =
                    measure(bench, target, levels[level], bench->options.limit_ms);
        }
    fprintf(stderr, "round %d of %d\n", round + 1, bench->options.rounds);
}

/* The median over the rounds of value(samples of the round at this level). */
static double median_of(const struct bench *bench, int level,
                        double (*value)(const struct figures *figures, int other), int other) {
    double values[SAMPLES_MAX];
    for (int round = 0; round < bench->options.rounds; round++)
        values[round] = value(samples[round][level], other);
    return sample_median(values, (size_t)bench->options.rounds);
}

static double per_s(const struct figures *figures, int target) {
    return figures[target].per_s;
}

static double ratio(const struct figures *figures, int other) {
    return figures[CONTROLLER].per_s / figures[other].per_s;
}

static double p50(const struct figures *figures, int target) {
    return figures[target].p50_us;
}

static double p99(const struct figures *figures, int target) {
    return figures[target].p99_us;
}

static double added_p50(const struct figures *figures, int other) {
    return figures[CONTROLLER].p50_us - figures[other].p50_us;
}

static double added_p99(const struct figures *figures, int other) {
    return figures[CONTROLLER].p99_us - figures[other].p99_us;
}

static void print_added(const struct bench *bench, int level, int target_us) {
    char target[32] = "";
    if (target_us > 0)
        snprintf(target, sizeof(target), "target < %d", target_us);
    printf("%8d %14.0f %14.0f %14.0f   %s\n%8s %14.0f %14.0f %14.0f\n", levels[level],
           median_of(bench, level, p50, NATS_WORKER), median_of(bench, level, p50, CONTROLLER),
           median_of(bench, level, added_p50, NATS_WORKER), target, "p99",
           median_of(bench, level, p99, NATS_WORKER), median_of(bench, level, p99, CONTROLLER),
           median_of(bench, level, added_p99, NATS_WORKER));
}

static void print_latency(const struct bench *bench) {
    printf("Latency in microseconds, p50 and below it p99: a job sent to a worker over NATS by a C client,\n"
           "and the same as an HTTP request through the controller\n"
           "%8s %14s %14s %14s\n",
           "clients", "bare NATS", "controller", "added");
    print_added(bench, LEVEL_ONE, ADDED_P50_TARGET_US);
    print_added(bench, LEVEL_64, 0);
}

static void print_throughput(const struct bench *bench) {
    static const char *const names[TARGET_COUNT] = {[CONTROLLER] = "controller",
                                                    [NGINX] = "nginx",
                                                    [NATS_WORKER] = "NATS to worker",
                                                    [NATS_PLAIN] = "NATS to C"};
    printf("\nRequests per second, and the controller's share of each\n%8s", "clients");
    for (int target = 0; target < TARGET_COUNT; target++)
        if (is_measured(bench, (enum target)target))
            printf(target == CONTROLLER ? " %14s" : " %14s  ratio", names[target]);
    printf("\n");
    for (int level = 0; level < LEVEL_COUNT; level++) {
        printf("%8d", levels[level]);
        for (int target = 0; target < TARGET_COUNT; target++) {
            if (!is_measured(bench, (enum target)target))
                continue;
            printf(" %14.0f", median_of(bench, level, per_s, target));
            if (target != CONTROLLER)
                printf(" %6.2f", median_of(bench, level, ratio, target));
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    static struct bench bench;
    struct scratch scratch;
    read_options(argc, argv, &bench.options);
    scratch_make(&scratch);
    setvbuf(stdout, NULL, _IOLBF, 0);
    start(&bench, &scratch);
    for (int level = 0; level < LEVEL_COUNT; level++)
        for (int target = 0; target < TARGET_COUNT; target++)
            if (is_measured(&bench, (enum target)target))
                measure(&bench, (enum target)target, levels[level],
                        bench.options.limit_ms / WARM_UP_SHARE + 1);
    for (int round = 0; round < bench.options.rounds; round++)
        run_round(&bench, round);
    print_latency(&bench);
    print_throughput(&bench);
    stop(&bench);
    scratch_remove(&scratch);
    return 0;
}
