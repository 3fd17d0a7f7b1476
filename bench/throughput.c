/* Tokens a second and time to first token of our full path (HTTP, controller, NATS, worker) next to
 * llama-server built from the same llama.cpp, with the same model, prompts and number of clients, in one run.
 *
 * The machine is noisy: each round measures both one after the other, in changing order, and what is printed
 * is the median of the rounds and of the rounds' ratios.
 *
 *     bench_throughput --mlxd PATH --llama-server PATH --model GGUF [--rounds N] [--requests N] [--max-tokens
 * N]
 *                      [--clients 1,8,32] [--slots N] [--context N] */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "lib/load.h"
#include "lib/process.h"

enum { ROUNDS_MAX = 32, LEVELS_MAX = 8 };

struct options {
    const char *mlxd;
    const char *llama_server;
    const char *model;
    const char *log_dir;
    int rounds;
    int requests; /* for one client; more clients send more */
    int max_tokens;
    int slots;
    int context; /* tokens for each slot */
    int threads; /* 0: each server's own default */
    int clients[LEVELS_MAX];
    int level_count;
};

struct server {
    const char *name;
    struct process process;
    int port;
    const char *model_name;
};

struct sample {
    double tokens_per_s, first_p50_ms, first_p99_ms;
};

static const char *const prompts[] = {
    "Tell me a story about a fox.",    "Tell me a story about a dog.",   "Tell me a story about a bird.",
    "Tell me a story about a cat.",    "Tell me a story about a bear.",  "Tell me a story about a mouse.",
    "Tell me a story about a rabbit.", "Tell me a story about an owl.",  "Tell me a story about a wolf.",
    "Tell me a story about a horse.",  "Tell me a story about a fish.",  "Tell me a story about a frog.",
    "Tell me a story about a lion.",   "Tell me a story about a tiger.", "Tell me a story about a duck.",
    "Tell me a story about a turtle.",
};

static int parse_levels(const char *text, int *out) {
    int count = 0;
    char *end = NULL;
    for (const char *at = text; *at && count < LEVELS_MAX; at = *end ? end + 1 : end)
        out[count++] = (int)strtol(at, &end, 10);
    return count;
}

static void usage(void) {
    fprintf(
        stderr,
        "usage: bench_throughput --mlxd PATH --llama-server PATH --model GGUF [--rounds N] [--requests N]\n"
        "       [--max-tokens N] [--clients 1,8,32] [--slots N] [--context N] [--threads N] [--logs DIR]\n");
    exit(2);
}

static void read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.log_dir = "/tmp",
                          .rounds = 5,
                          .requests = 12,
                          .max_tokens = 128,
                          .slots = 32,
                          .context = 512,
                          .clients = {1, 8, 32},
                          .level_count = 3};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        const struct {
            const char *flag;
            const char **text;
            int *number;
        } flags[] = {{"--mlxd", &o->mlxd, NULL},       {"--llama-server", &o->llama_server, NULL},
                     {"--model", &o->model, NULL},     {"--logs", &o->log_dir, NULL},
                     {"--rounds", NULL, &o->rounds},   {"--requests", NULL, &o->requests},
                     {"--slots", NULL, &o->slots},     {"--max-tokens", NULL, &o->max_tokens},
                     {"--context", NULL, &o->context}, {"--threads", NULL, &o->threads}};
        size_t f = 0;
        while (f < ARRAY_LEN(flags) && strcmp(flags[f].flag, name) != 0)
            f++;
        if (f < ARRAY_LEN(flags) && flags[f].text)
            *flags[f].text = value;
        else if (f < ARRAY_LEN(flags))
            *flags[f].number = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--clients") == 0)
            o->level_count = parse_levels(value, o->clients);
        else
            usage();
    }
    if (!o->mlxd || !o->llama_server || !o->model || o->rounds < 1 || o->rounds > ROUNDS_MAX || argc % 2 == 0)
        usage();
}

static void start_ours(const struct options *o, struct server *server) {
    char port[16], slots[16], context[16], threads[16], model[4096], log[4096];
    server->name = "mlxd";
    server->model_name = "bench";
    server->port = process_free_port();
    snprintf(port, sizeof(port), "%d", server->port);
    snprintf(slots, sizeof(slots), "%d", o->slots);
    snprintf(context, sizeof(context), "%d", o->context);
    snprintf(threads, sizeof(threads), "%d", o->threads);
    snprintf(model, sizeof(model), "bench=%s", o->model);
    snprintf(log, sizeof(log), "%s/bench-mlxd.log", o->log_dir);
    const char *argv[] = {
        o->mlxd, "serve",     "--port", port, "--model", model, "--max-batch-size", slots, "--context-tokens",
        context, "--threads", threads,  NULL};
    process_start(&server->process, server->name, log, argv);
    process_wait_ready(&server->process, server->port, "/health/ready", 120, log);
}

static void start_peer(const struct options *o, struct server *server) {
    char port[16], slots[16], context[16], threads[16], log[4096];
    server->name = "llama-server";
    server->model_name = "bench";
    server->port = process_free_port();
    snprintf(port, sizeof(port), "%d", server->port);
    snprintf(slots, sizeof(slots), "%d", o->slots);
    snprintf(context, sizeof(context), "%d", o->context * o->slots);
    snprintf(threads, sizeof(threads), "%d", o->threads ? o->threads : -1);
    snprintf(log, sizeof(log), "%s/bench-llama-server.log", o->log_dir);
    const char *argv[] = {o->llama_server, "--host",  "127.0.0.1", "--port",  port,    "-m",
                          o->model,        "-np",     slots,       "-c",      context, "-t",
                          threads,         "--alias", "bench",     "--jinja", NULL};
    process_start(&server->process, server->name, log, argv);
    process_wait_ready(&server->process, server->port, "/health", 120, log);
}

static struct sample measure(const struct options *o, const struct server *server, int clients) {
    struct load_options load = {.port = server->port,
                                .clients = clients,
                                .requests = o->requests * (clients < 4 ? 1 : clients / 2),
                                .model = server->model_name,
                                .prompts = prompts,
                                .prompt_count = (int)ARRAY_LEN(prompts),
                                .max_tokens = o->max_tokens};
    struct load_result result;
    load_run(&load, &result);
    if (result.errors)
        printf("  %s: %llu of %llu requests failed\n", server->name, (unsigned long long)result.errors,
               (unsigned long long)result.requests);
    return (struct sample){.tokens_per_s = (double)result.tokens / result.seconds,
                           .first_p50_ms = (double)hist_percentile(&result.first_us, 50) / 1000,
                           .first_p99_ms = (double)hist_percentile(&result.first_us, 99) / 1000};
}

static int compare_doubles(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof(*values), compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The medians of one figure: ours, theirs, and of the rounds' ratios. */
static void print_figure(const char *what, const struct sample *ours, const struct sample *theirs, int rounds,
                         size_t offset) {
    double a[ROUNDS_MAX], b[ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        a[i] = *(const double *)((const char *)&ours[i] + offset);
        b[i] = *(const double *)((const char *)&theirs[i] + offset);
        ratio[i] = a[i] / b[i];
    }
    printf("  %-18s %10.1f %14.1f %8.2f\n", what, median(a, rounds), median(b, rounds),
           median(ratio, rounds));
}

static void compare_at(const struct options *o, const struct server *ours, const struct server *theirs,
                       int clients) {
    struct sample a[ROUNDS_MAX], b[ROUNDS_MAX];
    measure(o, ours, clients); /* warm up both */
    measure(o, theirs, clients);
    for (int round = 0; round < o->rounds; round++) {
        if (round % 2 == 0)
            a[round] = measure(o, ours, clients);
        b[round] = measure(o, theirs, clients);
        if (round % 2 == 1)
            a[round] = measure(o, ours, clients);
        fprintf(stderr, "  round %d, %d clients: %.0f and %.0f tokens/s\n", round + 1, clients,
                a[round].tokens_per_s, b[round].tokens_per_s);
    }
    printf("%d client%s             mlxd   llama-server    ratio\n", clients, clients == 1 ? " " : "s");
    print_figure("tokens/s", a, b, o->rounds, offsetof(struct sample, tokens_per_s));
    print_figure("first token p50 ms", a, b, o->rounds, offsetof(struct sample, first_p50_ms));
    print_figure("first token p99 ms", a, b, o->rounds, offsetof(struct sample, first_p99_ms));
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct options options;
    struct server ours = {0}, theirs = {0};
    read_options(argc, argv, &options);
    start_ours(&options, &ours);
    start_peer(&options, &theirs);
    printf("%s, %d slots of %d tokens, up to %d tokens a reply, median of %d rounds\n", options.model,
           options.slots, options.context, options.max_tokens, options.rounds);
    for (int i = 0; i < options.level_count; i++)
        compare_at(&options, &ours, &theirs, options.clients[i]);
    process_stop(&ours.process);
    process_stop(&theirs.process);
    return 0;
}
