#include "worker/queue_report.h"

enum { MS_PER_S = 1000 };

void queue_report_note(struct queue_report *report, const struct job *job, int64_t now_ms) {
    if (job->started_ms >= 0) {
        wait_times_add(&report->waits, job->started_ms - job->since_ms, now_ms);
        drain_rate_note(&report->ends, job->wire.chat.model, now_ms);
        return;
    }
    report->expired += job->end == JOB_EXPIRED;
    report->cancelled += job->end == JOB_CANCELLED;
}

int64_t queue_report_wait_ms(struct queue_report *report, const char *model, size_t position,
                             int64_t now_ms) {
    if (position == 0)
        return 0;
    double per_s = drain_rate_per_s(&report->ends, model, now_ms);
    return per_s > 0 ? (int64_t)((double)position * MS_PER_S / per_s) : -1;
}

void queue_report_add(const struct queue_report *report, int64_t now_ms, struct worker_queue *out) {
    struct wait_summary waits = wait_times_summary(&report->waits, now_ms);
    out->expired += report->expired;
    out->cancelled += report->cancelled;
    out->wait_mean_ms = waits.mean_ms;
    out->wait_p50_ms = waits.p50_ms;
    out->wait_p99_ms = waits.p99_ms;
}
