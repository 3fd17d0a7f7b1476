/* A closed-loop load of streamed chat completions: each client sends its next request when the last one has
 * ended, on a new connection, because llama-server ends the old one after a stream without saying so. One
 * thread, so that the load itself costs little; loopback only. */
#pragma once

#include <stdint.h>

#include "base/hist.h"

struct load_options {
    int port;
    int clients;
    int requests; /* in all; the load stops by itself */
    const char *model;
    const char *const *prompts; /* taken in turn */
    int prompt_count;
    int max_tokens;
};

struct load_result {
    double seconds;
    uint64_t tokens; /* completion tokens as the server counts them */
    uint64_t requests;
    uint64_t errors;      /* replies that were no complete stream */
    struct hist first_us; /* from sending a request to its first text */
    struct hist total_us;
};

void load_run(const struct load_options *options, struct load_result *result);
