/* Nanoseconds for a pick: each strategy among 10, 100 and 1000 workers, the strategy alone and the router as
 * a whole (filter of the eligible ones, strategy), when all may take the request and when one is busy; and
 * for asking the breakers of one worker. Nothing else runs: no network, no JSON.
 *
 * Between picks leases are taken and given back, so that load is never the same twice. Prompts are 4 KiB, of
 * which the first half is one of eight system prompts that all workers have seen. What is printed is the
 * median of the batches, the machine being noisy.
 *
 *     bench_routing [BATCHES] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/attr.h"
#include "route/router.h"

enum {
    PROMPT_BYTES = 4096,
    SHARED_BYTES = 2048,
    SYSTEM_PROMPTS = 8,
    PROMPTS = 64,
    PICKS_IN_BATCH = 2000,
    BATCHES_DEFAULT = 21,
    BATCHES_MAX = 1001,
    LEASES_PER_WORKER = 4,
    QUEUE_MAX = 1000, /* no worker is ever full */
};

struct bench {
    struct registry registry;
    struct balancer balancer;
    struct router router;
    struct lease *leases; /* a ring of those held */
    size_t lease_count;
    struct rng rng;
    char prompts[PROMPTS][PROMPT_BYTES];
};

static const char *const strategies[] = {"round_robin",  "least_requests", "weighted_random",
                                         "skills_based", "smart",          "prefix_aware"};

static void ignore_change(enum registry_change change, const struct registry_worker *worker,
                          uint64_t old_generation, void *arg) {
    (void)change, (void)worker, (void)old_generation, (void)arg;
}

static void add_worker(struct bench *bench, size_t number) {
    struct worker_info info = {.phase = WORKER_PHASE_READY, .model_count = 1, .incarnation = "a"};
    snprintf(info.id, sizeof(info.id), "worker-%zu", number);
    snprintf(info.hostname, sizeof(info.hostname), "host-%zu", number % 10);
    snprintf(info.models[0].name, sizeof(info.models[0].name), "llama-3.1-8b-instruct");
    info.models[0].state = MODEL_READY;
    info.models[0].slots = 8;
    info.models[0].context_tokens = 8192;
    info.load.kv_cells_total = 65536;
    info.load.queue_max = QUEUE_MAX;
    for (int second = 0; second < 3; second++) {
        registry_update(&bench->registry, &info, second * 1000, ignore_change, NULL);
        info.load.running = 4;
        info.load.kv_cells_used = (int64_t)rng_below(&bench->rng, 65536);
        info.load.steps += 50;
        info.load.batch_sequences += 200;
        info.load.generated_tokens += 150 + rng_below(&bench->rng, 100);
    }
}

static void fill_prompts(struct bench *bench) {
    for (size_t i = 0; i < PROMPTS; i++) {
        memset(bench->prompts[i], 'a' + (int)(i % SYSTEM_PROMPTS), SHARED_BYTES);
        for (size_t at = SHARED_BYTES; at < PROMPT_BYTES; at++)
            bench->prompts[i][at] = (char)('a' + rng_below(&bench->rng, 26));
    }
}

static struct route_request request_of(const struct bench *bench, size_t number) {
    return (struct route_request){.model = "llama-3.1-8b-instruct",
                                  .prompt = bench->prompts[number % PROMPTS],
                                  .prompt_len = PROMPT_BYTES,
                                  .max_tokens = 256};
}

static void setup(struct bench *bench, const char *strategy, size_t workers) {
    const struct registry_config config = {.suspect_after_ms = 2500,
                                           .offline_after_ms = 15000,
                                           .forget_after_ms = 600000,
                                           .queued_per_worker_max = QUEUE_MAX};
    rng_seed(&bench->rng, 42);
    registry_init(&bench->registry, &config);
    if (!balancer_init(&bench->balancer, strategy, 7) ||
        !balancer_add_weight(&bench->balancer, "host-1*", 2500))
        abort();
    router_init(&bench->router, &bench->registry, &bench->balancer);
    fill_prompts(bench);
    for (size_t i = 0; i < workers; i++)
        add_worker(bench, i);
    for (size_t i = 0; i < workers; i++)
        for (size_t j = 0; j < SYSTEM_PROMPTS; j++) {
            struct route_request request = request_of(bench, j);
            request.prompt_len = SHARED_BYTES;
            balancer_note_sent(&bench->balancer, &request, bench->registry.workers[i]);
        }
    bench->lease_count = workers * LEASES_PER_WORKER;
    bench->leases = calloc(bench->lease_count, sizeof(*bench->leases));
    if (!bench->leases)
        abort();
}

static void teardown(struct bench *bench) {
    free(bench->leases);
    router_release(&bench->router);
    balancer_release(&bench->balancer);
    registry_release(&bench->registry);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What a pick costs is timed, what follows from it (lease, note of where it went) is not. */
static struct registry_worker *pick_timed(struct bench *bench, const struct route_request *request,
                                          bool whole_router, int64_t *spent_ns) {
    static const struct route_exclusion none;
    const struct roster *roster = rosters_get(&bench->router.rosters, &bench->registry, request->model);
    struct route_decision decision;
    struct error error;
    if (!roster)
        abort();
    int64_t begun_ns = now_ns();
    struct registry_worker *worker;
    if (whole_router)
        worker = router_pick(&bench->router, request, &none, 0, &decision, &error);
    else
        worker = roster
                     ->candidates[bench->balancer.ops->pick(&bench->balancer, request, roster->candidates,
                                                            roster->count, &decision.score)]
                     .gauge->worker;
    *spent_ns += now_ns() - begun_ns;
    return worker;
}

static double run_batch(struct bench *bench, bool whole_router) {
    int64_t spent_ns = 0;
    for (size_t i = 0; i < PICKS_IN_BATCH; i++) {
        struct route_request request = request_of(bench, (size_t)rng_below(&bench->rng, PROMPTS));
        struct registry_worker *worker = pick_timed(bench, &request, whole_router, &spent_ns);
        struct lease *lease = &bench->leases[rng_below(&bench->rng, bench->lease_count)];
        lease_give_back(&bench->registry, lease);
        lease_take(worker, request.model, lease);
        balancer_note_sent(&bench->balancer, &request, worker);
    }
    return (double)spent_ns / PICKS_IN_BATCH;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ns(struct bench *bench, bool whole_router, int batches) {
    static double samples[BATCHES_MAX];
    run_batch(bench, whole_router); /* warm caches, filled ring of leases */
    for (int i = 0; i < batches; i++)
        samples[i] = run_batch(bench, whole_router);
    qsort(samples, (size_t)batches, sizeof(*samples), compare_doubles);
    return samples[batches / 2];
}

/* Nanoseconds to ask whether the breakers let a job through: of the worker and of the model there. */
static double breaker_ns(const struct bench *bench, int batches) {
    static double samples[BATCHES_MAX];
    volatile size_t allowed = 0;
    for (int i = 0; i < batches; i++) {
        int64_t begun_ns = now_ns();
        for (size_t w = 0; w < bench->registry.count; w++) {
            struct registry_worker *worker = bench->registry.workers[w];
            struct guard guard = worker_guard(worker, &worker->models[0]);
            allowed += breaker_may_use(guard_peek(&guard, i), false);
        }
        samples[i] = (double)(now_ns() - begun_ns) / (double)bench->registry.count;
    }
    qsort(samples, (size_t)batches, sizeof(*samples), compare_doubles);
    return samples[batches / 2];
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {10, 100, 1000};
    static struct bench bench;
    int batches = argc > 1 ? (int)strtol(argv[1], NULL, 10) : BATCHES_DEFAULT;
    if (batches < 1 || batches > BATCHES_MAX) {
        fprintf(stderr, "usage: bench_routing [BATCHES], 1 to %d\n", BATCHES_MAX);
        return 2;
    }
    printf("%-16s %8s %16s %16s %16s\n", "strategy", "workers", "strategy ns", "whole pick ns",
           "one busy ns");
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
            setup(&bench, strategies[i], sizes[j]);
            double alone = median_ns(&bench, false, batches);
            double whole = median_ns(&bench, true, batches);
            registry_note_busy(bench.registry.workers[0], INT64_MAX);
            double sifted = median_ns(&bench, true, batches);
            printf("%-16s %8zu %16.0f %16.0f %16.0f\n", strategies[i], sizes[j], alone, whole, sifted);
            teardown(&bench);
        }
    setup(&bench, "least_requests", 1000);
    printf("breaker check, ns: %.0f\n", breaker_ns(&bench, batches));
    teardown(&bench);
    return 0;
}
