/* A KV cache that is far too small: many requests at a time, prompts and replies of various lengths, which
 * together need several times the cells there are. What matters is what becomes of them: ours, whose slots
 * share --cells, next to llama-server with the same cells in the same way (--kv-unified), one after the
 * other.
 *
 *     bench_kv_full --mlxd PATH --llama-server PATH --model GGUF [--requests N] [--clients N] [--slots N]
 *                   [--cells N] [--threads N]
 *
 * Neither has a time limit, so that only the cache decides: ours is started with long ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/rng.h"
#include "lib/arguments.h"
#include "lib/flags.h"
#include "lib/load.h"
#include "lib/request.h"
#include "lib/scratch.h"
#include "lib/server.h"
#include "lib/words.h"

enum {
    PROMPT_WORDS_MIN = 20,
    PROMPT_WORDS_MAX = 320,
    REPLY_TOKENS_MIN = 16,
    REPLY_TOKENS_MAX = 240,
    LIMIT_MS = 20 * 60 * 1000,
};

struct options {
    const char *mlxd, *llama_server, *model;
    int requests, clients, slots, cells, threads;
};

struct outcomes {
    int right, refused, refused_for_ever, broken;
    double seconds, first_p50_ms, first_p99_ms;
    uint64_t tokens;       /* of the right ones */
    uint64_t needed_cells; /* of these */
};

struct run {
    const struct options *options;
    struct outcomes *outcomes;
    int sent;
    int max_tokens[LOAD_CLIENTS_MAX]; /* of what each client has under way */
};

static void usage(void) {
    fprintf(stderr,
            "usage: bench_kv_full --mlxd PATH --llama-server PATH --model GGUF [--requests N]\n"
            "       [--clients 1..%d] [--slots N] [--cells N] [--threads N]\n",
            LOAD_CLIENTS_MAX);
    exit(2);
}

static void read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.requests = 200, .clients = 32, .slots = 8, .cells = 2400};
    const struct flag flags[] = {{"--mlxd", &o->mlxd, NULL},       {"--llama-server", &o->llama_server, NULL},
                                 {"--model", &o->model, NULL},     {"--requests", NULL, &o->requests},
                                 {"--clients", NULL, &o->clients}, {"--slots", NULL, &o->slots},
                                 {"--cells", NULL, &o->cells},     {"--threads", NULL, &o->threads}};
    if (!flags_read(argc, argv, flags, ARRAY_LEN(flags)) || !o->mlxd || !o->llama_server || !o->model ||
        o->requests < 1 || o->clients < 1 || o->clients > LOAD_CLIENTS_MAX || o->slots < 1 || o->cells < 1)
        usage();
}

static int between(struct rng *rng, int least, int most) {
    return least + (int)rng_below(rng, (uint64_t)(most - least + 1));
}

/* A function of its number alone, so that both servers get the same. */
static bool next_request(void *arg, int client, struct buf *body) {
    struct run *run = arg;
    struct rng rng;
    if (run->sent == run->options->requests)
        return false;
    rng_seed(&rng, (uint64_t)run->sent);
    int words = between(&rng, PROMPT_WORDS_MIN, PROMPT_WORDS_MAX);
    run->max_tokens[client] = between(&rng, REPLY_TOKENS_MIN, REPLY_TOKENS_MAX);
    request_begin(body, run->max_tokens[client]);
    buf_append_str(body, "{\"role\":\"user\",\"content\":\"");
    words_append(body, (uint64_t)run->sent, words);
    buf_append_str(body, "\"}");
    request_end(body);
    run->sent++;
    return true;
}

/* A reply that was cut off is not right, whatever it says of itself. */
static bool is_right(const struct reply *reply, int max_tokens) {
    return reply_is_right(reply) &&
           (strcmp(reply->finish, "stop") == 0 || reply->completion_tokens == max_tokens);
}

static void end_request(void *arg, int client, const struct reply *reply) {
    struct run *run = arg;
    struct outcomes *outcomes = run->outcomes;
    if (is_right(reply, run->max_tokens[client])) {
        outcomes->right++;
        outcomes->tokens += (uint64_t)reply->completion_tokens;
        outcomes->needed_cells += (uint64_t)(reply->prompt_tokens + reply->completion_tokens);
    } else if (reply->status >= 400) {
        outcomes->refused += reply->retry_after_s > 0;
        outcomes->refused_for_ever += reply->retry_after_s == 0;
    } else {
        outcomes->broken++;
    }
}

static void measure(const struct options *o, const struct server *server, struct outcomes *outcomes) {
    struct load_result result;
    struct run run = {.options = o, .outcomes = outcomes};
    const struct load_options load = {.port = server->port,
                                      .clients = o->clients,
                                      .limit_ms = LIMIT_MS,
                                      .next = next_request,
                                      .done = end_request,
                                      .arg = &run};
    *outcomes = (struct outcomes){0};
    load_run(&load, &result);
    outcomes->seconds = result.seconds;
    outcomes->first_p50_ms = (double)hist_percentile(&result.first_us, 50) / 1000;
    outcomes->first_p99_ms = (double)hist_percentile(&result.first_us, 99) / 1000;
}

static void print(const struct options *o, const struct outcomes *ours, const struct outcomes *theirs) {
    const struct {
        const char *what;
        double ours, theirs;
    } rows[] = {
        {"right", ours->right, theirs->right},
        {"refused, with Retry-After", ours->refused, theirs->refused},
        {"refused, without it", ours->refused_for_ever, theirs->refused_for_ever},
        {"failed midway", ours->broken, theirs->broken},
        {"seconds", ours->seconds, theirs->seconds},
        {"tokens/s of right ones", (double)ours->tokens / ours->seconds,
         (double)theirs->tokens / theirs->seconds},
        {"first token p50 ms", ours->first_p50_ms, theirs->first_p50_ms},
        {"first token p99 ms", ours->first_p99_ms, theirs->first_p99_ms},
    };
    if (ours->right > 0)
        printf("%d requests need %.1f times the cells at a time\n", o->clients,
               (double)ours->needed_cells / ours->right * o->clients / o->cells);
    printf("%-28s %14s %16s\n", "", "mlxd", "llama-server");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        printf("  %-26s %14.1f %16.1f\n", rows[i].what, rows[i].ours, rows[i].theirs);
}

static void measure_mlxd(const struct options *o, struct server_options options, struct outcomes *outcomes) {
    struct arguments flags = {0};
    struct server server;
    arguments_add_number(&flags, "--kv-cache-tokens", o->cells);
    arguments_add_number(&flags, "--streaming-timeout-ms", LIMIT_MS);
    arguments_add_number(&flags, "--queue-timeout-ms", LIMIT_MS);
    options.program = o->mlxd;
    options.flags = flags.list;
    server_start_mlxd(&server, "mlxd", &options);
    measure(o, &server, outcomes);
    server_stop(&server);
}

/* Its last -c counts: that of all slots together. */
static void measure_llama(const struct options *o, struct server_options options, struct outcomes *outcomes) {
    struct arguments flags = {0};
    struct server server;
    arguments_add(&flags, (const char *const[]){"--kv-unified", NULL});
    arguments_add_number(&flags, "-c", o->cells);
    options.program = o->llama_server;
    options.flags = flags.list;
    server_start_llama(&server, "llama-server", &options);
    measure(o, &server, outcomes);
    server_stop(&server);
}

int main(int argc, char **argv) {
    struct options o;
    struct scratch scratch;
    struct outcomes ours, theirs;
    read_options(argc, argv, &o);
    scratch_make(&scratch);
    const struct server_options options = {.model = o.model,
                                           .log_dir = scratch.path,
                                           .slots = o.slots,
                                           .context_tokens = o.cells,
                                           .threads = o.threads};
    printf("%s, %d requests, %d at a time, %d slots, %d cells\n", o.model, o.requests, o.clients, o.slots,
           o.cells);
    measure_mlxd(&o, options, &ours);
    measure_llama(&o, options, &theirs);
    print(&o, &ours, &theirs);
    scratch_remove(&scratch);
    return 0;
}
