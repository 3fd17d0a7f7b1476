/* A closed-loop load of NATS messages, without anything of ours between: what the same work costs on the bus
 * alone. Either plain request and reply with a responder of C, or a worker's own wire protocol: a job for
 * one token, and its events until the last one. */
#pragma once

#include <stdint.h>

#include "base/hist.h"
#include "lib/process.h"

enum { NATS_LOAD_IN_FLIGHT_MAX = 1024 };

struct nats_load_options {
    const char *url;
    int in_flight;
    int64_t requests; /* the load stops at either bound */
    int64_t limit_ms;
    int workers;      /* jobs go to worker-0 .. in turn; 0: plain requests to the responder */
    const char *body; /* of a plain request; of a job: the JSON array of messages */
};

struct nats_load_result {
    double seconds;
    uint64_t requests;
    uint64_t errors; /* nobody listened, or the job failed */
    struct hist ns;  /* from publishing to the last event or the reply */
};

/* Exits when NATS cannot be reached or is silent for ten seconds. */
void nats_load_run(const struct nats_load_options *options, struct nats_load_result *result);

/* The responder, as a child process: answers with `reply_bytes` bytes, at most 64 KiB. To be called before
 * any load has run, since a process with threads is not forked. `url` must live on. */
void nats_responder_start(struct process *process, const char *url, size_t reply_bytes);
