/* What llama.cpp's engine can do when nothing is around it: llama-batched-bench computes the prompts of all
 * sequences, then a token of each in every step. */
#pragma once

struct batched_bench_options {
    const char *program;
    const char *model;
    const char *log_dir;
    int sequences;
    int prompt_tokens, reply_tokens; /* of each */
    int cells;                       /* of the KV cache */
    int threads;                     /* 0: its default */
};

/* Tokens of the replies for each second, that of the prompts included. Exits on failure. */
double batched_bench_run(const struct batched_bench_options *options);
