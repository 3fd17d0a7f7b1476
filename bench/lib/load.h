/* A closed-loop load of streamed chat completions: each client sends its next request when its last one has
 * ended, on a new connection, because llama-server ends the old one after a stream without saying so. One
 * thread, so that the load itself costs little; loopback only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hist.h"
#include "lib/reply.h"

enum { LOAD_CLIENTS_MAX = 256 };

struct load_options {
    int port;
    int clients;
    int64_t limit_ms; /* after this nothing new is sent */
    /* Writes the body of the client's next request; false: it has none for now, and is asked again when
     * another reply has ended. */
    bool (*next)(void *arg, int client, struct buf *body);
    /* The client's request has ended; may be NULL. */
    void (*done)(void *arg, int client, const struct reply *reply);
    void *arg;
};

struct load_result {
    double seconds;
    uint64_t tokens; /* completion tokens as the server counts them */
    uint64_t requests;
    uint64_t errors; /* replies that were no whole stream; what follows is of the others */
    uint64_t prompt_tokens;
    uint64_t cached_tokens; /* of these */
    struct hist first_us;   /* from sending a request to its first text */
    struct hist total_us;
};

/* Returns when no client has a request under way. Exits when the server refuses a connection or is silent for
 * two minutes. */
void load_run(const struct load_options *options, struct load_result *result);
