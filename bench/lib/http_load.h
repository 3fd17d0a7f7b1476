/* A closed-loop load of one HTTP request over kept-alive connections: each sends its next request when its
 * reply is complete. One thread, loopback only, bounded in requests and in time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/hist.h"

enum { HTTP_LOAD_CONNECTIONS_MAX = 1024 };

struct http_load_options {
    int port;
    int connections;
    int64_t requests; /* the load stops at either bound */
    int64_t limit_ms;
    const char *request; /* head and body */
    size_t request_len;
};

struct http_load_result {
    double seconds;
    uint64_t requests;
    uint64_t errors;   /* of them, those whose status was not 200 */
    size_t body_bytes; /* of the last reply */
    struct hist ns;    /* from sending a request to the end of its reply */
};

/* Exits when the server refuses a connection, ends one, or is silent for ten seconds. */
void http_load_run(const struct http_load_options *options, struct http_load_result *result);
