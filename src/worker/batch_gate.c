#include "worker/batch_gate.h"

enum {
    GAP_WEIGHT = 4, /* the newest gap counts a quarter */
    /* A longer gap counts as this many timeouts: both say that nobody comes in time, and after the next rush
     * it is soon forgotten. */
    GAP_TIMEOUTS_MAX = 8,
    PATIENCE = 2,
};

void batch_gate_init(struct batch_gate *gate, const struct batch_gate_config *config) {
    *gate = (struct batch_gate){.config = *config, .arrived_ms = -1, .gap_ms = -1};
}

static void note_gap(struct batch_gate *gate, int64_t gap_ms) {
    int64_t max_ms = gate->config.timeout_ms * GAP_TIMEOUTS_MAX;
    double gap = (double)(gap_ms < max_ms ? gap_ms : max_ms);
    gate->gap_ms = gate->gap_ms < 0 ? gap : gate->gap_ms + (gap - gate->gap_ms) / GAP_WEIGHT;
}

void batch_gate_note(struct batch_gate *gate, bool idle, int64_t now_ms) {
    if (gate->arrived_ms >= 0)
        note_gap(gate, now_ms - gate->arrived_ms);
    gate->arrived_ms = now_ms;
    if (idle && !gate->holds) {
        gate->holds = true;
        gate->held_ms = now_ms;
    }
}

int64_t batch_gate_wait_ms(const struct batch_gate *gate, size_t waiting, int64_t now_ms) {
    const struct batch_gate_config *config = &gate->config;
    if (!gate->holds || waiting >= config->min_jobs)
        return 0;
    int64_t until_ms = gate->held_ms + config->timeout_ms;
    if (config->adaptive) {
        double expected_ms = gate->gap_ms * (double)(config->min_jobs - waiting);
        if (gate->gap_ms < 0 || expected_ms > (double)config->timeout_ms)
            return 0;
        int64_t patient_ms = gate->arrived_ms + (int64_t)(PATIENCE * expected_ms);
        until_ms = patient_ms < until_ms ? patient_ms : until_ms;
    }
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

void batch_gate_open(struct batch_gate *gate) {
    gate->holds = false;
}
