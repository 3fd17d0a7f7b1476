/* Conversations that begin alike and grow: each turn sends the whole history, the earlier replies as they
 * came. Compared: time to first token, total time and the part of the prompts that was not computed again,
 * ours next to llama-server with its prompt cache, and next to ourselves without one.
 *
 *     bench_prefix --mlxd PATH --llama-server PATH --model GGUF [--rounds N] [--conversations N] [--turns N]
 *                  [--active N] [--slots N] [--system-words N] [--max-tokens N] [--threads N]
 *
 * --active conversations are going on at a time, each with one request under way; when one has had its turns,
 * the next begins. Without a cache a run takes much longer, so that comparison has a quarter of the
 * conversations and one round. Each round has texts of its own, so that nothing of it is known. */
#include <stdio.h>
#include <stdlib.h>

#include "base/attr.h"
#include "lib/compare.h"
#include "lib/flags.h"
#include "lib/load.h"
#include "lib/request.h"
#include "lib/scratch.h"
#include "lib/server.h"
#include "lib/words.h"

/* The flag of mlxd that switches reuse off. */
#define WITHOUT_CACHE "--no-prefix-cache"
/* Then the last of those that begin together waits for all prompts before it, and all for those of others. */
#define WITHOUT_LIMIT_MS "600000"

enum {
    WITHOUT_SHARE = 4,
    USER_WORDS = 20,
    LIMIT_MS = 20 * 60 * 1000,
    CONTEXT_SPARE_TOKENS = 256,
    WORD_TOKENS_MAX = 4,
    SEED_STEP = 1000000,
};

struct options {
    const char *mlxd, *llama_server, *model;
    int rounds, conversations, turns, active, slots, system_words, max_tokens, threads;
};

struct figures {
    double first_p50_ms, first_p99_ms, seconds, cached_percent, prompt_tokens;
};

/* What one client has going on. */
struct conversation {
    struct buf messages; /* owned; JSON, without the brackets */
    int turns_left;
};

struct run {
    const struct options *options;
    struct conversation *conversations; /* owned; of each client */
    int to_begin;
    uint64_t seed;
    uint64_t texts; /* user messages so far */
};

static void usage(void) {
    fprintf(stderr,
            "usage: bench_prefix --mlxd PATH --llama-server PATH --model GGUF [--rounds 1..%d]\n"
            "       [--conversations N] [--turns N] [--active 1..%d] [--slots N] [--system-words N]\n"
            "       [--max-tokens N] [--threads N]\n",
            SAMPLES_MAX, LOAD_CLIENTS_MAX);
    exit(2);
}

static void read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.rounds = 3,
                          .conversations = 32,
                          .turns = 8,
                          .active = 8,
                          .slots = 8,
                          .system_words = 720,
                          .max_tokens = 32};
    const struct flag flags[] = {{"--mlxd", &o->mlxd, NULL},
                                 {"--llama-server", &o->llama_server, NULL},
                                 {"--model", &o->model, NULL},
                                 {"--rounds", NULL, &o->rounds},
                                 {"--conversations", NULL, &o->conversations},
                                 {"--turns", NULL, &o->turns},
                                 {"--active", NULL, &o->active},
                                 {"--slots", NULL, &o->slots},
                                 {"--system-words", NULL, &o->system_words},
                                 {"--max-tokens", NULL, &o->max_tokens},
                                 {"--threads", NULL, &o->threads}};
    if (!flags_read(argc, argv, flags, ARRAY_LEN(flags)) || !o->mlxd || !o->llama_server || !o->model ||
        o->rounds < 1 || o->rounds > SAMPLES_MAX || o->conversations < WITHOUT_SHARE || o->turns < 1 ||
        o->active < 1 || o->active > LOAD_CLIENTS_MAX || o->slots < 1)
        usage();
}

static void add_user(struct run *run, struct conversation *conversation) {
    buf_append_str(&conversation->messages, ",{\"role\":\"user\",\"content\":\"");
    words_append(&conversation->messages, run->seed + ++run->texts, USER_WORDS);
    buf_append_str(&conversation->messages, "\"}");
}

static void begin(struct run *run, struct conversation *conversation) {
    buf_clear(&conversation->messages);
    buf_append_str(&conversation->messages, "{\"role\":\"system\",\"content\":\"");
    words_append(&conversation->messages, run->seed, run->options->system_words);
    buf_append_str(&conversation->messages, "\"}");
    add_user(run, conversation);
    conversation->turns_left = run->options->turns;
}

/* From half of --max-tokens to one and a half: were all replies of one length, all clients would go on in
 * step, as in no real load. */
static int reply_tokens(const struct run *run, const struct conversation *conversation) {
    int most = run->options->max_tokens, client = (int)(conversation - run->conversations);
    return 1 + most / 2 + (client * 7 + conversation->turns_left * 5) % most;
}

static bool next_turn(void *arg, int client, struct buf *body) {
    struct run *run = arg;
    struct conversation *conversation = &run->conversations[client];
    if (conversation->turns_left == 0) {
        if (run->to_begin == 0)
            return false;
        run->to_begin--;
        begin(run, conversation);
    }
    request_begin(body, reply_tokens(run, conversation));
    buf_append(body, conversation->messages.data, conversation->messages.len);
    request_end(body);
    return true;
}

static void end_turn(void *arg, int client, const struct reply *reply) {
    struct run *run = arg;
    struct conversation *conversation = &run->conversations[client];
    conversation->turns_left--;
    buf_append_str(&conversation->messages, ",{\"role\":\"assistant\",\"content\":\"");
    buf_append(&conversation->messages, reply->text.data, reply->text.len);
    buf_append_str(&conversation->messages, "\"}");
    add_user(run, conversation);
}

static struct figures measure(const struct options *o, const struct server *server, int conversations,
                              uint64_t seed) {
    struct load_result result;
    struct run run = {.options = o,
                      .conversations = calloc((size_t)o->active, sizeof(*run.conversations)),
                      .to_begin = conversations,
                      .seed = seed};
    if (!run.conversations)
        exit(1);
    for (int i = 0; i < o->active; i++)
        buf_init(&run.conversations[i].messages, 0);
    const struct load_options load = {.port = server->port,
                                      .clients = o->active,
                                      .limit_ms = LIMIT_MS,
                                      .next = next_turn,
                                      .done = end_turn,
                                      .arg = &run};
    load_run(&load, &result);
    for (int i = 0; i < o->active; i++)
        buf_release(&run.conversations[i].messages);
    free(run.conversations);
    if (result.errors || result.requests != (uint64_t)conversations * (uint64_t)o->turns) {
        fprintf(stderr, "%s: %llu of %d requests were answered, %llu of them not right\n", server->name,
                (unsigned long long)result.requests, conversations * o->turns,
                (unsigned long long)result.errors);
        exit(1);
    }
    return (struct figures){
        .first_p50_ms = (double)hist_percentile(&result.first_us, 50) / 1000,
        .first_p99_ms = (double)hist_percentile(&result.first_us, 99) / 1000,
        .seconds = result.seconds,
        .cached_percent = 100.0 * (double)result.cached_tokens / (double)result.prompt_tokens,
        .prompt_tokens = (double)result.prompt_tokens / (double)result.requests,
    };
}

static void compare(const struct options *o, const struct server *ours, const struct server *theirs,
                    int conversations, int rounds, uint64_t seed) {
    struct figures a[SAMPLES_MAX], b[SAMPLES_MAX];
    size_t size = sizeof(*a);
    char head[64];
    for (int round = 0; round < rounds; round++, seed += SEED_STEP) {
        if (round % 2 == 0)
            a[round] = measure(o, ours, conversations, seed);
        b[round] = measure(o, theirs, conversations, seed);
        if (round % 2 == 1)
            a[round] = measure(o, ours, conversations, seed);
        fprintf(stderr, "  round %d: %.1f and %.1f s\n", round + 1, a[round].seconds, b[round].seconds);
    }
    snprintf(head, sizeof(head), "%d conversations", conversations);
    compare_print_head(head, ours->name, theirs->name);
    compare_print("first token p50 ms", &a->first_p50_ms, &b->first_p50_ms, size, rounds);
    compare_print("first token p99 ms", &a->first_p99_ms, &b->first_p99_ms, size, rounds);
    compare_print("total s", &a->seconds, &b->seconds, size, rounds);
    compare_print("prompt tokens", &a->prompt_tokens, &b->prompt_tokens, size, rounds);
    compare_print("of these not computed, %", &a->cached_percent, &b->cached_percent, size, rounds);
}

/* Enough for the longest history. */
static int context_tokens(const struct options *o) {
    int words = o->system_words + o->turns * USER_WORDS;
    return words * WORD_TOKENS_MAX / 2 + o->turns * (2 * o->max_tokens + WORD_TOKENS_MAX) +
           CONTEXT_SPARE_TOKENS;
}

int main(int argc, char **argv) {
    struct options o;
    struct scratch scratch;
    struct server ours, without, theirs;
    read_options(argc, argv, &o);
    scratch_make(&scratch);
    const struct server_options mlxd = {.program = o.mlxd,
                                        .model = o.model,
                                        .log_dir = scratch.path,
                                        .slots = o.slots,
                                        .context_tokens = context_tokens(&o),
                                        .threads = o.threads};
    struct server_options no_cache = mlxd, llama = mlxd;
    no_cache.flags = (const char *const[]){
        WITHOUT_CACHE,    "--first-token-timeout-ms", WITHOUT_LIMIT_MS, "--stall-timeout-ms",
        WITHOUT_LIMIT_MS, "--streaming-timeout-ms",   WITHOUT_LIMIT_MS, NULL};
    llama.program = o.llama_server;
    printf(
        "%s, %d turns, %d conversations at a time, %d slots, about %d tokens a reply, median of %d rounds\n",
        o.model, o.turns, o.active, o.slots, o.max_tokens, o.rounds);
    server_start_mlxd(&ours, "mlxd", &mlxd);
    server_start_llama(&theirs, "llama-server", &llama);
    compare(&o, &ours, &theirs, o.conversations, o.rounds, SEED_STEP);
    server_stop(&theirs);
    server_start_mlxd(&without, "mlxd-without", &no_cache);
    compare(&o, &ours, &without, o.conversations / WITHOUT_SHARE, 1, SEED_STEP * ((uint64_t)o.rounds + 1));
    server_stop(&without);
    server_stop(&ours);
    scratch_remove(&scratch);
    return 0;
}
