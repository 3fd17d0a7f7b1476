/* Lets one log line through in a second, for what others can cause at any rate. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { LOG_GATE_INTERVAL_MS = 1000 };

struct log_gate {
    int64_t next_ms;
    uint64_t count; /* how often it was asked since the start */
};

static inline bool log_gate_opens(struct log_gate *gate, int64_t now_ms) {
    gate->count++;
    if (now_ms < gate->next_ms)
        return false;
    gate->next_ms = now_ms + LOG_GATE_INTERVAL_MS;
    return true;
}
