/* Tokens a second and time to first token of our full path (HTTP, controller, NATS, worker) next to
 * llama-server built from the same llama.cpp, with the same model, prompts and number of clients, in one run;
 * and next to llama-batched-bench, which runs nothing but the engine: its limit.
 *
 * The machine is noisy: each round measures all one after the other, in changing order, and what is printed
 * is the median of the rounds and of the rounds' ratios. No prompt comes twice, so that nobody's prompt cache
 * helps.
 *
 *     bench_throughput --mlxd PATH --llama-server PATH --model GGUF [--batched-bench PATH] [--rounds N]
 *                      [--requests N] [--max-tokens N] [--clients 1,8,32] [--slots N] [--context N]
 *                      [--threads N] [--prompt-words N] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "lib/batched_bench.h"
#include "lib/compare.h"
#include "lib/flags.h"
#include "lib/load.h"
#include "lib/request.h"
#include "lib/scratch.h"
#include "lib/server.h"
#include "lib/words.h"

enum {
    LEVELS_MAX = 8,
    LIMIT_MS = 10 * 60 * 1000,
    ROUND_REQUESTS_MIN = 12, /* percentiles of fewer say nothing */
};

struct options {
    const char *mlxd;
    const char *llama_server;
    const char *batched_bench; /* NULL: left out */
    const char *model;
    const char *levels;
    int rounds;
    int requests; /* of each client before it is the other server's turn */
    int max_tokens;
    int slots;
    int context; /* tokens for each slot */
    int threads; /* 0: each server's own default */
    int prompt_words;
    int clients[LEVELS_MAX];
    int level_count;
};

struct figures {
    double tokens_per_s, first_p50_ms, first_p99_ms;
    int prompt_tokens; /* of a request, on average */
};

struct requests {
    const struct options *options;
    int left;
    uint64_t seed; /* of the next prompt */
};

static const char *const animals[] = {"fox",  "dog",   "bird", "cat",  "bear", "mouse", "rabbit", "owl",
                                      "wolf", "horse", "fish", "frog", "lion", "tiger", "duck",   "turtle"};

static void usage(void) {
    fprintf(stderr,
            "usage: bench_throughput --mlxd PATH --llama-server PATH --model GGUF [--batched-bench PATH]\n"
            "       [--rounds 1..%d] [--requests N] [--max-tokens N] [--clients 1,8,32] [--slots N]\n"
            "       [--context N] [--threads N] [--prompt-words N]\n",
            SAMPLES_MAX);
    exit(2);
}

static void read_levels(struct options *o) {
    char *end = NULL;
    for (const char *at = o->levels; *at; at = *end == ',' ? end + 1 : end) {
        long clients = strtol(at, &end, 10);
        if (end == at || clients < 1 || clients > LOAD_CLIENTS_MAX || o->level_count == LEVELS_MAX)
            usage();
        o->clients[o->level_count++] = (int)clients;
    }
}

static void read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){
        .levels = "1,8,32", .rounds = 5, .requests = 6, .max_tokens = 128, .slots = 32, .context = 512};
    const struct flag flags[] = {{"--mlxd", &o->mlxd, NULL},
                                 {"--llama-server", &o->llama_server, NULL},
                                 {"--batched-bench", &o->batched_bench, NULL},
                                 {"--model", &o->model, NULL},
                                 {"--clients", &o->levels, NULL},
                                 {"--rounds", NULL, &o->rounds},
                                 {"--requests", NULL, &o->requests},
                                 {"--slots", NULL, &o->slots},
                                 {"--max-tokens", NULL, &o->max_tokens},
                                 {"--context", NULL, &o->context},
                                 {"--threads", NULL, &o->threads},
                                 {"--prompt-words", NULL, &o->prompt_words}};
    if (!flags_read(argc, argv, flags, ARRAY_LEN(flags)) || !o->mlxd || !o->llama_server || !o->model ||
        o->rounds < 1 || o->rounds > SAMPLES_MAX || o->requests < 1 || o->slots < 1 ||
        o->slots > LOAD_CLIENTS_MAX)
        usage();
    read_levels(o);
}

/* The number comes first, so that no two prompts have a beginning in common but the template's. */
static bool next_request(void *arg, int client, struct buf *body) {
    struct requests *requests = arg;
    const struct options *o = requests->options;
    (void)client;
    if (requests->left == 0)
        return false;
    requests->left--;
    request_begin(body, o->max_tokens);
    buf_printf(body, "{\"role\":\"user\",\"content\":\"%llu: ", (unsigned long long)requests->seed);
    words_append(body, requests->seed, o->prompt_words);
    buf_printf(body, "Tell me a story about a %s.\"}", animals[requests->seed % ARRAY_LEN(animals)]);
    request_end(body);
    requests->seed++;
    return true;
}

/* The servers take turns, as often in a round as it takes for percentiles: what this machine does besides
 * changes within seconds. */
static int turns_in_round(const struct options *o, int clients) {
    int requests = o->requests * clients;
    return (ROUND_REQUESTS_MIN + requests - 1) / requests;
}

static void take_turn(const struct options *o, const struct server *server, int clients, uint64_t seed,
                      struct load_result *sum) {
    struct load_result result;
    struct requests requests = {.options = o, .left = o->requests * clients, .seed = seed};
    const struct load_options load = {.port = server->port,
                                      .clients = clients,
                                      .limit_ms = LIMIT_MS,
                                      .next = next_request,
                                      .arg = &requests};
    load_run(&load, &result);
    if (result.errors) {
        fprintf(stderr, "%s: %llu of %llu requests failed\n", server->name, (unsigned long long)result.errors,
                (unsigned long long)result.requests);
        exit(1);
    }
    sum->seconds += result.seconds;
    sum->tokens += result.tokens;
    sum->requests += result.requests;
    sum->prompt_tokens += result.prompt_tokens;
    hist_merge(&sum->first_us, &result.first_us);
}

static struct figures figures_of(const struct load_result *sum) {
    return (struct figures){.tokens_per_s = (double)sum->tokens / sum->seconds,
                            .first_p50_ms = (double)hist_percentile(&sum->first_us, 50) / 1000,
                            .first_p99_ms = (double)hist_percentile(&sum->first_us, 99) / 1000,
                            .prompt_tokens = (int)(sum->prompt_tokens / sum->requests)};
}

static void measure(const struct options *o, const struct server *ours, const struct server *theirs,
                    int clients, int round, struct figures *our_figures, struct figures *their_figures) {
    struct load_result our_sum = {0}, their_sum = {0};
    int turns = turns_in_round(o, clients);
    for (int turn = 0; turn < turns; turn++) {
        int before = round * turns + turn;
        uint64_t seed = (uint64_t)clients * 1000000 + (uint64_t)(before * o->requests * clients);
        bool ours_first = before % 2 == 0;
        if (ours_first)
            take_turn(o, ours, clients, seed, &our_sum);
        take_turn(o, theirs, clients, seed, &their_sum);
        if (!ours_first)
            take_turn(o, ours, clients, seed, &our_sum);
    }
    *our_figures = figures_of(&our_sum);
    *their_figures = figures_of(&their_sum);
}

static struct figures measure_engine(const struct options *o, const struct scratch *scratch, int clients,
                                     int prompt_tokens) {
    const struct batched_bench_options options = {.program = o->batched_bench,
                                                  .model = o->model,
                                                  .log_dir = scratch->path,
                                                  .sequences = clients < o->slots ? clients : o->slots,
                                                  .prompt_tokens = prompt_tokens,
                                                  .reply_tokens = o->max_tokens,
                                                  .cells = o->slots * o->context,
                                                  .threads = o->threads};
    return (struct figures){.tokens_per_s = batched_bench_run(&options)};
}

static void print_level(const struct options *o, int clients, const struct figures *ours,
                        const struct figures *theirs, const struct figures *engine) {
    char head[32];
    size_t size = sizeof(*ours);
    snprintf(head, sizeof(head), "%d client%s", clients, clients == 1 ? "" : "s");
    compare_print_head(head, "mlxd", "llama-server");
    compare_print("tokens/s", &ours->tokens_per_s, &theirs->tokens_per_s, size, o->rounds);
    compare_print("first token p50 ms", &ours->first_p50_ms, &theirs->first_p50_ms, size, o->rounds);
    compare_print("first token p99 ms", &ours->first_p99_ms, &theirs->first_p99_ms, size, o->rounds);
    if (!o->batched_bench)
        return;
    compare_print_head("", "mlxd", "batched-bench");
    compare_print("tokens/s", &ours->tokens_per_s, &engine->tokens_per_s, size, o->rounds);
}

static void compare_at(const struct options *o, const struct scratch *scratch, const struct server *ours,
                       const struct server *theirs, int clients) {
    struct figures a[SAMPLES_MAX], b[SAMPLES_MAX], engine[SAMPLES_MAX] = {0};
    for (int round = 0; round < o->rounds; round++) {
        measure(o, ours, theirs, clients, round, &a[round], &b[round]);
        if (o->batched_bench)
            engine[round] = measure_engine(o, scratch, clients, a[round].prompt_tokens);
        fprintf(stderr, "  round %d, %d clients: %.0f and %.0f tokens/s; the engine alone %.0f\n", round + 1,
                clients, a[round].tokens_per_s, b[round].tokens_per_s, engine[round].tokens_per_s);
    }
    print_level(o, clients, a, b, engine);
}

int main(int argc, char **argv) {
    struct options o;
    struct scratch scratch;
    struct server ours, theirs;
    read_options(argc, argv, &o);
    scratch_make(&scratch);
    const struct server_options mlxd = {.program = o.mlxd,
                                        .model = o.model,
                                        .log_dir = scratch.path,
                                        .slots = o.slots,
                                        .context_tokens = o.context,
                                        .threads = o.threads};
    struct server_options llama = mlxd;
    llama.program = o.llama_server;
    server_start_mlxd(&ours, "mlxd", &mlxd);
    server_start_llama(&theirs, "llama-server", &llama);
    printf("%s, %d slots of %d tokens, up to %d tokens a reply, median of %d rounds\n", o.model, o.slots,
           o.context, o.max_tokens, o.rounds);
    /* Warm: each slot has been used, so that it holds the template's beginning. A round of its own, so that
     * no prompt comes again. */
    struct figures cold;
    measure(&o, &ours, &theirs, o.slots, SAMPLES_MAX, &cold, &cold);
    for (int i = 0; i < o.level_count; i++)
        compare_at(&o, &scratch, &ours, &theirs, o.clients[i]);
    server_stop(&ours);
    server_stop(&theirs);
    scratch_remove(&scratch);
    return 0;
}
