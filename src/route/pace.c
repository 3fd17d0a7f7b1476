#include "route/pace.h"

enum { SAMPLE_MIN_MS = 10 }; /* shorter ones are mostly the jitter of the network */

static const double newest_share = 0.2;

double pace_slowdown(double batch, double slots) {
    if (slots <= 1 || batch <= 1)
        return 1;
    return batch < slots ? 1 + (batch - 1) / (slots - 1) : 2;
}

void pace_update(struct pace *pace, const struct worker_load *before, const struct worker_load *now,
                 int32_t slots, int64_t elapsed_ms, int64_t now_ms) {
    if (pace->tokens_per_s > 0 && now_ms - pace->measured_ms > PACE_MAX_AGE_MS)
        pace->tokens_per_s = 0;
    if (elapsed_ms < SAMPLE_MIN_MS || before->running <= 0 || now->running <= 0 ||
        now->steps <= before->steps || now->generated_tokens <= before->generated_tokens ||
        now->batch_sequences <= before->batch_sequences)
        return;
    double steps = (double)(now->steps - before->steps);
    double batch = (double)(now->batch_sequences - before->batch_sequences) / steps;
    double tokens = (double)(now->generated_tokens - before->generated_tokens);
    double each = tokens / ((double)elapsed_ms / 1000) / (batch > 1 ? batch : 1);
    double sample = each * pace_slowdown(batch, slots);
    bool first = pace->tokens_per_s <= 0;
    pace->tokens_per_s = first ? sample : pace->tokens_per_s + newest_share * (sample - pace->tokens_per_s);
    pace->measured_ms = now_ms;
}
