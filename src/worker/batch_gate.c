#include "worker/batch_gate.h"

enum {
    GAP_WEIGHT = 4, /* the newest gap counts a quarter */
    /* A longer gap counts as this many timeouts: both say that nobody comes in time, and after the next rush
     * it is soon forgotten. */
    GAP_TIMEOUTS_MAX = 8,
    PATIENCE = 2,
    COST_PART = 6,    /* of what a prompt takes, to wait for others beside it */
    SOON_MS_MAX = 15, /* whatever it takes */
    FORGET_MS = 1000, /* who has not come back by then does something else */
    RUSH_MS = 2,      /* between two jobs that are sent at once, about */
};

void batch_gate_init(struct batch_gate *gate, const struct batch_gate_config *config, size_t slots) {
    *gate = (struct batch_gate){.config = *config, .slots = slots, .arrived_ms = -1, .gap_ms = -1};
    if (gate->config.min_jobs > slots)
        gate->config.min_jobs = slots;
}

static void note_gap(struct batch_gate *gate, int64_t gap_ms) {
    int64_t max_ms = gate->config.timeout_ms * GAP_TIMEOUTS_MAX;
    double gap = (double)(gap_ms < max_ms ? gap_ms : max_ms);
    gate->gap_ms = gate->gap_ms < 0 ? gap : gate->gap_ms + (gap - gate->gap_ms) / GAP_WEIGHT;
}

void batch_gate_note(struct batch_gate *gate, bool idle, int64_t now_ms) {
    if (gate->arrived_ms >= 0)
        note_gap(gate, now_ms - gate->arrived_ms);
    gate->rush = gate->arrived_ms >= 0 && now_ms - gate->arrived_ms <= RUSH_MS;
    gate->arrived_ms = now_ms;
    if (gate->missing > 0)
        gate->missing--;
    if (idle && !gate->holds) {
        gate->holds = true;
        gate->held_ms = now_ms;
    }
}

void batch_gate_served(struct batch_gate *gate, int64_t now_ms) {
    if (now_ms - gate->served_ms > FORGET_MS)
        gate->missing = 0;
    if (gate->missing < gate->slots)
        gate->missing++;
    gate->served_ms = now_ms;
}

/* Until when to wait for `min_jobs`. */
static int64_t until_enough(const struct batch_gate *gate, size_t waiting) {
    const struct batch_gate_config *config = &gate->config;
    if (waiting >= config->min_jobs)
        return gate->held_ms;
    int64_t until_ms = gate->held_ms + config->timeout_ms;
    if (!config->adaptive)
        return until_ms;
    double expected_ms = gate->gap_ms * (double)(config->min_jobs - waiting);
    if (gate->gap_ms < 0 || expected_ms > (double)config->timeout_ms)
        return gate->held_ms;
    int64_t patient_ms = gate->arrived_ms + (int64_t)(PATIENCE * expected_ms);
    return patient_ms < until_ms ? patient_ms : until_ms;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

bool batch_gate_expects(const struct batch_gate *gate, size_t coming) {
    return gate->holds && (coming > 0 || gate->missing > 0 || gate->rush);
}

/* Until when to wait for those that are on their way: as long as each comes soon after the one before it. */
static int64_t until_there(const struct batch_gate *gate, const struct batch_gate_jobs *jobs) {
    int64_t soon_ms = least(least(jobs->cost_ms / COST_PART, SOON_MS_MAX), gate->config.timeout_ms);
    bool just_served = gate->held_ms - gate->served_ms <= soon_ms; /* so that it is known who is missing */
    int64_t next_ms = soon_ms;
    if (jobs->coming == 0 && !(just_served && gate->missing > 0))
        next_ms = gate->rush && !just_served ? least(soon_ms, RUSH_MS) : 0;
    return least(gate->arrived_ms + next_ms, gate->held_ms + PATIENCE * soon_ms);
}

int64_t batch_gate_wait_ms(const struct batch_gate *gate, const struct batch_gate_jobs *jobs,
                           int64_t now_ms) {
    if (!gate->holds || jobs->waiting >= gate->slots)
        return 0;
    int64_t enough_ms = until_enough(gate, jobs->waiting), there_ms = until_there(gate, jobs);
    int64_t until_ms = enough_ms > there_ms ? enough_ms : there_ms;
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

void batch_gate_open(struct batch_gate *gate, int64_t now_ms) {
    if (gate->holds)
        gate->waited_ms += now_ms - gate->held_ms;
    gate->holds = false;
}
