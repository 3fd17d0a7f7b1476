#include "route/retry.h"

static bool never_started(enum status status) {
    return status == STATUS_WORKER_UNAVAILABLE || status == STATUS_WORKER_OVERLOADED ||
           status == STATUS_RESOURCE_LIMIT_EXCEEDED || status == STATUS_WORKER_DRAINING ||
           status == STATUS_MODEL_NOT_LOADED;
}

static int64_t backoff_ceiling(const struct retry_config *config, int64_t retries) {
    int64_t ceiling = config->delay_ms;
    for (int64_t i = 0; i < retries && ceiling < config->max_delay_ms; i++)
        ceiling *= 2;
    return ceiling < config->max_delay_ms ? ceiling : config->max_delay_ms;
}

enum retry_verdict retry_decide(const struct retry_config *config, const struct retry_case *failed,
                                struct rng *rng, int64_t *delay_ms) {
    *delay_ms = 0;
    if (!config->enabled || failed->text_shown || !status_is_retryable(failed->status) ||
        !config->on[failed->status] || failed->retries >= config->max_retries ||
        failed->worker_deaths >= RETRY_WORKER_DEATHS_MAX || failed->remaining_ms <= 0)
        return RETRY_NO;
    if (never_started(failed->status))
        return RETRY_NOW;
    *delay_ms = (int64_t)rng_below(rng, (uint64_t)backoff_ceiling(config, failed->retries) + 1);
    return *delay_ms < failed->remaining_ms ? RETRY_LATER : RETRY_NO;
}
