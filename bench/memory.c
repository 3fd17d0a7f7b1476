/* What the controller needs in memory: for each of many streams that are open and idle, and after many
 * requests. Real processes: fake workers, one controller, NATS.
 *
 *     bench_memory --mlxd PATH [--nats-server PATH] [--streams N] [--step-ms N] [--requests N]
 *
 * The streams: the workers' steps take --step-ms, long enough for all streams to come; the figures are taken
 * when each has its first token and waits for the next. The requests: workers that answer at once, --requests
 * over kept-alive connections; memory is printed ten times on the way. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/attr.h"
#include "lib/cluster.h"
#include "lib/flags.h"
#include "lib/http_load.h"
#include "lib/process_memory.h"
#include "lib/sample.h"
#include "lib/scratch.h"
#include "lib/stream_load.h"

enum {
    STREAM_TARGET_BYTES = 24 * 1024,
    SLOTS = 256, /* of a worker, the most it may have */
    STREAMS_MAX = 15000,
    CONNECTIONS = 64,
    STREAMS_AT_ONCE = 64,
    PARTS = 10, /* of the requests, with a line for each */
    PART_LIMIT_MS = 30 * 60 * 1000,
    SPARE_FILES = 256, /* beside a socket for each stream */
    REQUEST_BYTES_MAX = 1024,
};

struct options {
    const char *mlxd;
    const char *nats_server;
    int streams;
    int step_ms;
    int requests;
};

static void usage(void) {
    fprintf(stderr,
            "usage: bench_memory --mlxd PATH [--nats-server PATH] [--streams 1..%d] [--step-ms N]\n"
            "       [--requests N, %d or more]\n",
            STREAMS_MAX, PARTS);
    exit(2);
}

static void read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){
        .nats_server = "/usr/sbin/nats-server", .streams = 10000, .step_ms = 10000, .requests = 1000000};
    const struct flag flags[] = {{"--mlxd", &o->mlxd, NULL},
                                 {"--nats-server", &o->nats_server, NULL},
                                 {"--streams", NULL, &o->streams},
                                 {"--step-ms", NULL, &o->step_ms},
                                 {"--requests", NULL, &o->requests}};
    if (!flags_read(argc, argv, flags, ARRAY_LEN(flags)) || !o->mlxd || o->streams < 1 ||
        o->streams > STREAMS_MAX || o->step_ms < 1 || o->requests < PARTS)
        usage();
}

/* Children inherit it. */
static void allow_files(int streams) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)streams + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        fprintf(stderr, "%d streams need %llu open files for a process; the limit here is %llu\n", streams,
                (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
        exit(1);
    }
}

static size_t write_request(char out[REQUEST_BYTES_MAX], bool stream) {
    char body[REQUEST_BYTES_MAX / 2];
    int body_len = snprintf(body, sizeof(body),
                            "{\"model\":\"bench\",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":"
                            "\"What is the capital of France?\"}]}",
                            stream ? "true" : "false");
    return (size_t)snprintf(out, REQUEST_BYTES_MAX,
                            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                            body_len, body);
}

static void print_memory(const char *when, const struct process_memory *memory) {
    printf("%-28s %10lld %10lld %10lld\n", when, (long long)memory->rss_kib, (long long)memory->pss_kib,
           (long long)memory->anonymous_kib);
}

static void print_head(const char *what) {
    printf("%s\n%-28s %10s %10s %10s\n", what, "controller's memory, KiB", "rss", "pss", "anonymous");
}

static void measure_streams(const struct options *o, const struct scratch *scratch) {
    char request[REQUEST_BYTES_MAX], step_us[32], when[64];
    struct cluster cluster;
    allow_files(o->streams);
    snprintf(step_us, sizeof(step_us), "%lld", (long long)o->step_ms * 1000);
    cluster_start(
        &cluster,
        &(struct cluster_options){
            .mlxd = o->mlxd,
            .nats_server = o->nats_server,
            .log_dir = scratch->path,
            .workers = (o->streams + SLOTS - 1) / SLOTS,
            .controller_flags =
                (const char *const[]){"--max-requests", "20000", "--max-connections", "20000",
                                      "--streaming-timeout-ms", "600000", "--first-token-timeout-ms",
                                      "300000", "--stall-timeout-ms", "300000", "--log-level", "warn", NULL},
            .worker_flags =
                (const char *const[]){"--max-batch-size", "256", "--batch-tokens", "65536", "--fake-step-us",
                                      step_us, "--fake-reply-tokens", "1000", NULL}});
    print_head("Idle streams");
    struct process_memory before = process_memory_read(cluster.controller.pid);
    print_memory("before", &before);
    size_t len = write_request(request, true);
    struct stream_load *streams =
        stream_load_open(cluster.http_port, o->streams, STREAMS_AT_ONCE, request, len);
    struct process_memory during = process_memory_read(cluster.controller.pid);
    int open = stream_load_count(streams);
    snprintf(when, sizeof(when), "%d streams open", open);
    print_memory(when, &during);
    printf("a stream takes %lld bytes (rss), target < %d\n\n",
           (long long)(during.rss_kib - before.rss_kib) * 1024 / open, STREAM_TARGET_BYTES);
    stream_load_close(streams);
    cluster_stop(&cluster);
}

static void run_part(const struct cluster *cluster, const char *request, size_t len, int requests) {
    static struct http_load_result result;
    http_load_run(&(struct http_load_options){.port = cluster->http_port,
                                              .connections = CONNECTIONS,
                                              .requests = requests,
                                              .limit_ms = PART_LIMIT_MS,
                                              .request = request,
                                              .request_len = len},
                  &result);
    if (result.errors == 0 && result.requests == (uint64_t)requests)
        return;
    fprintf(stderr, "%llu of %llu requests failed\n", (unsigned long long)result.errors,
            (unsigned long long)result.requests);
    exit(1);
}

static void measure_requests(const struct options *o, const struct scratch *scratch) {
    char request[REQUEST_BYTES_MAX], when[64];
    struct cluster cluster;
    cluster_start(&cluster,
                  &(struct cluster_options){
                      .mlxd = o->mlxd,
                      .nats_server = o->nats_server,
                      .log_dir = scratch->path,
                      .workers = 2,
                      .controller_flags = (const char *const[]){"--log-level", "warn", NULL},
                      .worker_flags = (const char *const[]){"--max-batch-size", "256", "--fake-step-us", "0",
                                                            "--fake-reply-tokens", "1", NULL}});
    size_t len = write_request(request, false);
    print_head("Many requests");
    struct process_memory memory = process_memory_read(cluster.controller.pid);
    print_memory("before", &memory);
    int64_t first_kib = 0;
    for (int part = 1; part <= PARTS; part++) {
        run_part(&cluster, request, len, o->requests / PARTS);
        memory = process_memory_read(cluster.controller.pid);
        first_kib = part == 1 ? memory.rss_kib : first_kib;
        snprintf(when, sizeof(when), "after %lld requests", (long long)o->requests / PARTS * part);
        print_memory(when, &memory);
    }
    printf("growth from the first tenth to the last: %lld KiB (rss), target 0: flat\n",
           (long long)(memory.rss_kib - first_kib));
    cluster_stop(&cluster);
}

int main(int argc, char **argv) {
    struct options options;
    struct scratch scratch;
    read_options(argc, argv, &options);
    setvbuf(stdout, NULL, _IOLBF, 0);
    scratch_make(&scratch);
    measure_streams(&options, &scratch);
    measure_requests(&options, &scratch);
    scratch_remove(&scratch);
    return 0;
}
