/* What /metrics tells of each worker and of its models. */
#include <string.h>

#include "controller/monitoring.h"
#include "controller/prometheus.h"

static void expose_worker_states(struct buf *out, const struct registry *registry) {
    const char *name = "mlx_controller_workers";
    prometheus_head(out, name, "gauge", "Known workers, by state.");
    for (size_t s = 0; s < WORKER_STATE_NAMES; s++) {
        uint64_t count = 0;
        for (size_t i = 0; i < registry->count; i++)
            count += strcmp(worker_state_name(registry->workers[i]), worker_state_names[s]) == 0;
        prometheus_labelled(out, name, "state", worker_state_names[s], count);
    }
}

static void expose_model_states(struct buf *out, const struct registry *registry) {
    const char *name = "mlx_controller_models";
    uint64_t counts[MODEL_STATE_COUNT] = {0};
    for (size_t i = 0; i < registry->count; i++) {
        const struct registry_worker *worker = registry->workers[i];
        for (size_t m = 0; m < worker->info.model_count && worker->state != WORKER_OFFLINE; m++)
            counts[worker->info.models[m].state]++;
    }
    prometheus_head(out, name, "gauge", "Models of workers that are not offline, by state.");
    for (int state = 0; state < MODEL_STATE_COUNT; state++)
        prometheus_labelled(out, name, "state", model_state_name((enum model_state)state), counts[state]);
}

static uint64_t leases_of(const struct registry_worker *worker) {
    return (uint64_t)worker->gauge->leases;
}
static uint64_t sent_to(const struct registry_worker *worker) {
    return worker->jobs_sent;
}
static uint64_t failed_on(const struct registry_worker *worker) {
    return worker->jobs_failed;
}

static uint64_t breaker_state_of(const struct registry_worker *worker) {
    return worker->breaker.state;
}
static uint64_t breaker_opened_of(const struct registry_worker *worker) {
    return worker->breaker.opened;
}

static uint64_t queued_on(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.queued;
}
static uint64_t rejected_by(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.queue.rejected;
}
static uint64_t evicted_by(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.queue.evicted;
}
static uint64_t expired_on(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.queue.expired;
}

static uint64_t running_on(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.running;
}
static uint64_t steps_of(const struct registry_worker *worker) {
    return worker->info.load.steps;
}
static uint64_t batch_sequences_of(const struct registry_worker *worker) {
    return worker->info.load.batch_sequences;
}
static uint64_t batch_max_of(const struct registry_worker *worker) {
    return worker->info.load.batch_max;
}
static uint64_t batch_wait_of(const struct registry_worker *worker) {
    return worker->info.load.batch_wait_ms;
}
static uint64_t prompt_tokens_of(const struct registry_worker *worker) {
    return worker->info.load.prompt_tokens;
}
static uint64_t generated_tokens_of(const struct registry_worker *worker) {
    return worker->info.load.generated_tokens;
}

static uint64_t cells_used_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.kv_cells_used;
}
static uint64_t cells_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.kv_cells_total;
}
static uint64_t cells_cached_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.kv_cells_cached;
}
static uint64_t cache_hits_of(const struct registry_worker *worker) {
    return worker->info.load.cache_hits;
}
static uint64_t cached_tokens_of(const struct registry_worker *worker) {
    return worker->info.load.cached_tokens;
}
static uint64_t cache_bytes_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.cache_bytes;
}
static uint64_t cache_evicted_of(const struct registry_worker *worker) {
    return worker->info.load.cache_evicted;
}
static uint64_t cache_skipped_of(const struct registry_worker *worker) {
    return worker->info.load.cache_skipped;
}
static uint64_t parked_on(const struct registry_worker *worker) {
    return (uint64_t)worker->info.load.parked;
}
static uint64_t parks_of(const struct registry_worker *worker) {
    return worker->info.load.parks;
}
static uint64_t handed_back_by(const struct registry_worker *worker) {
    return worker->info.load.handed_back;
}
static uint64_t memory_level_of(const struct registry_worker *worker) {
    return worker->info.resources.level;
}
static uint64_t memory_used_by(const struct registry_worker *worker) {
    return (uint64_t)worker->info.resources.memory_used;
}
static uint64_t soft_limit_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.resources.soft_limit;
}
static uint64_t hard_limit_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.resources.hard_limit;
}
static uint64_t refused_by(const struct registry_worker *worker) {
    return (uint64_t)worker->info.resources.refused;
}

static uint64_t loads_of(const struct registry_worker *worker) {
    return worker->info.load.model_loads;
}
static uint64_t unloads_of(const struct registry_worker *worker) {
    return worker->info.load.model_unloads;
}
static uint64_t load_failures_of(const struct registry_worker *worker) {
    return worker->info.load.model_load_failures;
}
static uint64_t waiting_for_loads_of(const struct registry_worker *worker) {
    uint64_t sum = 0;
    for (size_t i = 0; i < worker->info.model_count; i++)
        sum += (uint64_t)worker->info.models[i].waiting;
    return sum;
}
static uint64_t models_bytes_of(const struct registry_worker *worker) {
    return (uint64_t)worker->info.models_bytes;
}

static void expose_workers(struct buf *out, const struct registry *registry) {
    static const struct {
        const char *name, *type, *help;
        uint64_t (*value)(const struct registry_worker *worker);
    } metrics[] = {
        {"mlx_controller_worker_leases", "gauge", "Jobs of this controller on the worker.", leases_of},
        {"mlx_controller_worker_jobs_sent_total", "counter", "Jobs sent to the worker.", sent_to},
        {"mlx_controller_worker_jobs_failed_total", "counter", "Jobs that failed through the worker's fault.",
         failed_on},
        {"mlx_controller_worker_breaker_state", "gauge",
         "0 closed, 1 open, 2 half open, 3 forced open, 4 forced closed.", breaker_state_of},
        {"mlx_controller_worker_breaker_opened_total", "counter",
         "Times the worker's circuit breaker opened.", breaker_opened_of},
        {"mlx_controller_worker_running_jobs", "gauge",
         "Jobs of all controllers that have a slot of the worker.", running_on},
        {"mlx_controller_worker_queued_jobs", "gauge",
         "Jobs of all controllers that wait for a slot of the worker.", queued_on},
        {"mlx_controller_worker_queue_rejected_total", "counter",
         "Jobs of all controllers that the worker refused because its queue was full.", rejected_by},
        {"mlx_controller_worker_queue_evicted_total", "counter",
         "Jobs of all controllers that gave way in its full queue to others of higher priority.", evicted_by},
        {"mlx_controller_worker_queue_expired_total", "counter",
         "Jobs of all controllers whose time was over while they waited in its queue.", expired_on},
        {"mlx_controller_worker_model_loads_total", "counter", "Models that the worker has loaded.",
         loads_of},
        {"mlx_controller_worker_model_unloads_total", "counter",
         "Models that it has unloaded, to make room or because memory was short.", unloads_of},
        {"mlx_controller_worker_model_load_failures_total", "counter", "Models that it could not load.",
         load_failures_of},
        {"mlx_controller_worker_load_waiting_jobs", "gauge", "Jobs that wait for a model to be loaded.",
         waiting_for_loads_of},
        {"mlx_controller_worker_models_bytes", "gauge",
         "Memory of its loaded models, as their files tell it.", models_bytes_of},
        {"mlx_controller_worker_steps_total", "counter", "Steps of the worker's engine, of all its models.",
         steps_of},
        {"mlx_controller_worker_batch_sequences_total", "counter",
         "Sequences in all steps: divided by the steps it is the mean size of a batch.", batch_sequences_of},
        {"mlx_controller_worker_batch_max", "gauge", "Most sequences that one step had.", batch_max_of},
        {"mlx_controller_worker_batch_wait_milliseconds_total", "counter",
         "How long its idle engines waited for more jobs before they began.", batch_wait_of},
        {"mlx_controller_worker_prompt_tokens_total", "counter",
         "Tokens of prompts that the worker has computed.", prompt_tokens_of},
        {"mlx_controller_worker_generated_tokens_total", "counter",
         "Tokens of replies that it has generated.", generated_tokens_of},
        {"mlx_controller_worker_kv_cells", "gauge", "Places in the worker's KV caches, in tokens.", cells_of},
        {"mlx_controller_worker_kv_cells_used", "gauge", "Those that jobs in slots use.", cells_used_of},
        {"mlx_controller_worker_kv_cells_cached", "gauge",
         "Those that are held for prompts to come; they make way at once.", cells_cached_of},
        {"mlx_controller_worker_cache_hits_total", "counter",
         "Jobs that found a beginning of their prompt computed.", cache_hits_of},
        {"mlx_controller_worker_cached_tokens_total", "counter",
         "Tokens of prompts that were computed before and needed not be again.", cached_tokens_of},
        {"mlx_controller_worker_cache_bytes", "gauge",
         "The worker's memory for sequences outside of its slots.", cache_bytes_of},
        {"mlx_controller_worker_cache_evicted_total", "counter", "Sequences that made way there for others.",
         cache_evicted_of},
        {"mlx_controller_worker_cache_skipped_total", "counter",
         "Sequences that were not kept there, because such ones were not used lately.", cache_skipped_of},
        {"mlx_controller_worker_parked_jobs", "gauge",
         "Jobs of all controllers in the worker's memory because its KV cache is full.", parked_on},
        {"mlx_controller_worker_parks_total", "counter", "Times that a job was put there.", parks_of},
        {"mlx_controller_worker_handed_back_total", "counter",
         "Jobs of all controllers given back because its KV cache was full.", handed_back_by},
        {"mlx_controller_worker_memory_level", "gauge",
         "How short of memory the worker is: 0 not, 1 refuses jobs of low priority, 2 refuses all.",
         memory_level_of},
        {"mlx_controller_worker_memory_used_bytes", "gauge",
         "What is nearest to its limit, or over it: the worker's own memory, its control group's or the "
         "machine's.",
         memory_used_by},
        {"mlx_controller_worker_memory_soft_limit_bytes", "gauge",
         "From which on the worker refuses jobs of low priority.", soft_limit_of},
        {"mlx_controller_worker_memory_hard_limit_bytes", "gauge",
         "From which on the worker refuses all new jobs.", hard_limit_of},
        {"mlx_controller_worker_memory_refused_total", "counter",
         "Jobs of all controllers that the worker refused because it was short of memory.", refused_by},
    };
    for (size_t m = 0; m < ARRAY_LEN(metrics) && registry->count > 0; m++) {
        prometheus_head(out, metrics[m].name, metrics[m].type, metrics[m].help);
        for (size_t i = 0; i < registry->count; i++)
            prometheus_labelled(out, metrics[m].name, "worker", registry->workers[i]->info.id,
                                metrics[m].value(registry->workers[i]));
    }
}

static uint64_t model_breaker_state(const struct worker_model *model) {
    return model->breaker.state;
}
static uint64_t model_breaker_opened(const struct worker_model *model) {
    return model->breaker.opened;
}
static uint64_t model_leases(const struct worker_model *model) {
    return (uint64_t)model->leases;
}

static void expose_worker_models(struct buf *out, const struct registry *registry) {
    static const struct {
        const char *name, *type, *help;
        uint64_t (*value)(const struct worker_model *model);
    } metrics[] = {
        {"mlx_controller_model_leases", "gauge", "Jobs of this controller for the model on the worker.",
         model_leases},
        {"mlx_controller_model_breaker_state", "gauge",
         "The model's own breaker on the worker: 0 closed, 1 open, 2 half open, 3 forced open, 4 forced "
         "closed.",
         model_breaker_state},
        {"mlx_controller_model_breaker_opened_total", "counter",
         "Times the model's circuit breaker on the worker opened.", model_breaker_opened},
    };
    for (size_t m = 0; m < ARRAY_LEN(metrics) && registry->count > 0; m++) {
        prometheus_head(out, metrics[m].name, metrics[m].type, metrics[m].help);
        for (size_t w = 0; w < registry->count; w++) {
            const struct registry_worker *worker = registry->workers[w];
            for (size_t i = 0; i < worker->info.model_count; i++)
                prometheus_labelled2(out, metrics[m].name, "worker", worker->info.id, "model",
                                     worker->info.models[i].name, metrics[m].value(&worker->models[i]));
        }
    }
}

void worker_metrics_expose(struct buf *out, const struct registry *registry) {
    expose_worker_states(out, registry);
    expose_model_states(out, registry);
    expose_workers(out, registry);
    expose_worker_models(out, registry);
}
