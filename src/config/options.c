#include "config/options.h"

#include <string.h>

#define FIELD(name) offsetof(struct config, name)
#define MINUTE      (60 * 1000)
#define HOUR        (60 * MINUTE)

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static const char *const nats_mode_names[] = {"embedded", "external", NULL};
static const char *const engine_names[] = {"llama", "fake", NULL};
static const char *const cache_names[] = {
#define X(name, word, quantized) word,
    CONFIG_CACHE_MAP(X)
#undef X
        NULL};
static const char *const split_names[] = {"none", "layer", "row", NULL};
static const char *const flash_names[] = {"auto", "on", "off", NULL};
static const char *const load_mode_names[] = {"auto",       "read",      "mmap", "mlock",
                                              "mmap_mlock", "direct_io", NULL};
static const char *const register_when_names[] = {"warming", "complete", NULL};
static const char *const model_check_names[] = {"header", "load", NULL};
static const char *const strategy_names[] = {
    "round_robin", "least_requests", "weighted_random", "skills_based", "smart", "prefix_aware", NULL};

/* The retryable rows of the status table. */
#define RETRYABLE_true(name) name,
#define RETRYABLE_false(name)
static const char *const retryable_names[] = {
#define X(name, http, type, retryable, outcome, text) RETRYABLE_##retryable(#name)
    STATUS_MAP(X)
#undef X
        NULL};

/* One constructor for each kind, so that a row holds only what its kind has. */
#define INT(path_, flag_, letter_, field_, initial_, min_, max_, unit_, help_)                              \
    {                                                                                                       \
        .path = (path_), .flag = (flag_), .letter = (letter_), .kind = OPTION_INT, .offset = FIELD(field_), \
        .initial = (initial_), .min = (min_), .max = (max_), .unit = (unit_), .help = (help_)               \
    }
#define BOOL(path_, flag_, field_, initial_, help_)                                     \
    {                                                                                   \
        .path = (path_), .flag = (flag_), .kind = OPTION_BOOL, .offset = FIELD(field_), \
        .initial = (initial_), .unit = "", .help = (help_)                              \
    }
#define ONE_OF(kind_, path_, flag_, field_, initial_, choices_, help_)                                     \
    {                                                                                                      \
        .path = (path_), .flag = (flag_), .kind = (kind_), .offset = FIELD(field_), .initial = (initial_), \
        .choices = (choices_), .unit = "", .help = (help_)                                                 \
    }
#define TEXT(path_, flag_, letter_, field_, initial_, min_, help_)                                           \
    {                                                                                                        \
        .path = (path_), .flag = (flag_), .letter = (letter_), .kind = OPTION_TEXT, .offset = FIELD(field_), \
        .initial = (initial_), .min = (min_), .max = CONFIG_TEXT_MAX, .unit = "", .help = (help_)            \
    }
#define ID(path_, flag_, field_, help_)                                                              \
    {                                                                                                \
        .path = (path_), .flag = (flag_), .kind = OPTION_ID, .offset = FIELD(field_), .initial = "", \
        .max = 64, .unit = "", .help = (help_)                                                       \
    }

#define LIST(path_, flag_, field_, initial_, item_max_, choices_, help_)                              \
    {                                                                                                 \
        .path = (path_), .flag = (flag_), .kind = OPTION_LIST, .offset = FIELD(field_),               \
        .initial = (initial_), .max = (item_max_), .choices = (choices_), .unit = "", .help = (help_) \
    }

#define SHARES(path_, flag_, field_, help_)                                                              \
    {                                                                                                    \
        .path = (path_), .flag = (flag_), .kind = OPTION_SHARES, .offset = FIELD(field_), .initial = "", \
        .unit = "", .help = (help_)                                                                      \
    }

#define WEIGHTS(path_, flag_, field_, help_)                                                              \
    {                                                                                                     \
        .path = (path_), .flag = (flag_), .kind = OPTION_WEIGHTS, .offset = FIELD(field_), .initial = "", \
        .max = 1000, .unit = "", .help = (help_)                                                          \
    }

const struct option option_table[] = {
    ONE_OF(OPTION_CHOICE, "logging.level", "log-level", log_level, "info", level_names,
           "The least important messages that are logged."),

    ONE_OF(OPTION_ENUM, "cluster.nats.mode", "nats-mode", nats.mode, "embedded", nats_mode_names,
           "embedded: `mlxd serve` runs a nats-server of its own. external: connect to the one at `url`."),
    TEXT("cluster.nats.url", "nats", 'n', nats.url, "", 0,
         "Address of an external NATS, nats://[user:password@]host:port[,more]. As a flag it also sets the "
         "mode to external."),
    TEXT("cluster.nats.server_path", "nats-server", 0, nats.server_path, "nats-server", 1,
         "The nats-server program for embedded mode; a name without a slash is looked up in PATH."),
    INT("cluster.nats.connect_wait_ms", "nats-connect-wait-ms", 0, nats.connect_wait_ms, "10000", 0,
        10 * MINUTE, "ms",
        "How long a controller or worker tries to reach NATS at its start before it gives up."),
    INT("cluster.nats.write_deadline_ms", "nats-write-deadline-ms", 0, nats.write_deadline_ms, "2000", 1,
        MINUTE, "ms", "How long sending one message may block before the link counts as down."),

    ID("cluster.controller.id", "controller-id", controller.id,
       "Name of this controller. Empty: a random one at each start."),
    TEXT("cluster.controller.host", "host", 0, controller.host, "127.0.0.1", 1,
         "Address to listen on. There are no keys and no TLS yet, so only this machine is let in; 0.0.0.0 "
         "lets every machine in that can reach this one."),
    INT("cluster.controller.port", "port", 'p', controller.port, "8080", 0, 65535, "",
        "Port to listen on; 0 takes any free one."),
    BOOL("cluster.controller.reuse_port", "reuse-port", controller.reuse_port, "false",
         "Let several controllers of one machine share the port (SO_REUSEPORT)."),
    INT("cluster.controller.max_requests", "max-requests", 0, controller.max_requests, "4096", 1, 1000000,
        "requests", "Requests that may be under way; more are answered with CONTROLLER_OVERLOADED."),
    INT("cluster.controller.max_body_bytes", "max-body-bytes", 0, controller.max_body_bytes, "4194304", 1024,
        64 << 20, "bytes",
        "Largest request body. It must also fit into a message of NATS (8 MiB in embedded mode)."),
    INT("cluster.controller.max_connections", "max-connections", 0, controller.max_connections, "10000", 1,
        1000000, "connections", "Open client connections; more are answered with 503 and closed."),
    INT("cluster.controller.record_max", "record-max", 0, controller.record_max, "10000", 0, 1000000,
        "records",
        "Ended requests whose record can be asked for, each for 5 minutes; about 2 KiB each. 0: none."),
    INT("cluster.controller.worker_offline_timeout_ms", "worker-offline-timeout-ms", 0,
        controller.worker_offline_timeout_ms, "15000", 100, HOUR, "ms",
        "A worker that was not heard of for so long is offline, and what it ran is retried elsewhere."),
    INT("cluster.controller.drain_timeout_ms", "controller-drain-timeout-ms", 0, controller.drain_timeout_ms,
        "30000", 0, HOUR, "ms",
        "How long requests under way may go on after SIGTERM. Under `mlxd serve` its stop_timeout_ms is the "
        "bound."),

    INT("cluster.requestRouting.timeoutMs", "timeout-ms", 0, routing.timeout_ms, "30000", 1, 24 * HOUR, "ms",
        "Total time of a request that is not streamed."),
    INT("cluster.requestRouting.streamingTimeoutMs", "streaming-timeout-ms", 0, routing.streaming_timeout_ms,
        "60000", 1, 24 * HOUR, "ms", "Total time of a streamed request."),
    INT("cluster.requestRouting.ackTimeoutMs", "ack-timeout-ms", 0, routing.ack_timeout_ms, "2000", 1, HOUR,
        "ms", "How long a worker may take to accept a job before another one is tried."),
    INT("cluster.requestRouting.firstTokenTimeoutMs", "first-token-timeout-ms", 0,
        routing.first_token_timeout_ms, "20000", 1, 24 * HOUR, "ms",
        "How long a job that has its place in a batch may take until its first token."),
    INT("cluster.requestRouting.stallTimeoutMs", "stall-timeout-ms", 0, routing.stall_timeout_ms, "10000", 1,
        24 * HOUR, "ms", "Longest pause between two tokens before the attempt counts as failed."),
    INT("cluster.requestRouting.sessionTTL", "session-ttl-ms", 0, routing.session_ttl_ms, "300000", 1000,
        24 * HOUR, "ms", "A session that is not used for so long is forgotten."),
    INT("cluster.requestRouting.maxSessions", "max-sessions", 0, routing.sessions_max, "10000", 1, 1000000,
        "sessions", "Sessions that are kept; the one used longest ago gives way."),
    INT("cluster.requestRouting.queue.maxQueuedPerWorker", "max-queued-per-worker", 0,
        routing.queued_per_worker_max, "8", 0, 100000, "jobs",
        "Jobs that may wait in a worker's own queue beside those that run; more wait in the controller, "
        "where "
        "whichever worker is free first takes them."),
    INT("cluster.requestRouting.queue.maxRequests", "queue-max-requests", 0, routing.queue.requests_max,
        "1024", 0, 1000000, "requests",
        "Requests that may wait in the controller while no worker can take them. 0: none, they are refused "
        "at "
        "once."),
    INT("cluster.requestRouting.queue.maxBytes", "queue-max-bytes", 0, routing.queue.bytes_max, "268435456",
        0, INT64_C(1) << 40, "bytes", "Messages of all requests that wait, together."),
    INT("cluster.requestRouting.queue.timeoutMs", "queue-timeout-ms", 0, routing.queue.timeout_ms, "10000", 0,
        24 * HOUR, "ms",
        "Longest wait while every worker that could take the request is full, short of memory or loads the "
        "model. "
        "Within the total time of the request."),
    INT("cluster.requestRouting.queue.noWorkersTimeoutMs", "no-workers-timeout-ms", 0,
        routing.queue.no_workers_timeout_ms, "3000", 0, 24 * HOUR, "ms",
        "Longest wait while no worker of the model is there at all: none has registered yet, all are silent, "
        "stopping or broken, or NATS cannot be reached. Enough for a restart; raise it to start workers on "
        "demand."),
    INT("cluster.requestRouting.queue.agingMs", "queue-aging-ms", 0, routing.queue.aging_ms, "10000", 100,
        HOUR, "ms",
        "A request that has waited so long counts one priority higher, with twice that two, and so on."),
    BOOL("cluster.requestRouting.retry.enabled", "retry", routing.retry.enabled, "true",
         "Try another worker when one fails."),
    INT("cluster.requestRouting.retry.maxRetries", "max-retries", 0, routing.retry.max_retries, "2", 0, 100,
        "retries", "Attempts after the first one."),
    INT("cluster.requestRouting.retry.retryDelayMs", "retry-delay-ms", 0, routing.retry.retry_delay_ms, "100",
        0, MINUTE, "ms", "Bound of the first random delay; it doubles with each retry."),
    INT("cluster.requestRouting.retry.maxDelayMs", "max-retry-delay-ms", 0, routing.retry.max_delay_ms,
        "1000", 0, MINUTE, "ms", "The delay's bound never grows past it."),
    INT("cluster.requestRouting.retry.budgetPercent", "retry-budget-percent", 0, routing.retry.budget_percent,
        "20", 0, 100, "%", "Retries in relation to requests, beside two a second that are always allowed."),

    INT("cluster.requestRouting.retry.migrateMaxTokens", "migrate-max-tokens", 0,
        routing.retry.migrate_tokens_max, "32768", 0, 131072, "tokens",
        "A stream whose worker fails goes on at another one behind what the client has seen, if that is at "
        "most so "
        "many tokens; each takes four bytes here. 0: it ends with an error."),
    LIST("cluster.requestRouting.retry.retryOnErrors", "retry-on-errors", routing.retry.on_errors,
         "ENGINE_ERROR,MODEL_LOAD_FAILED,PROTOCOL_ERROR,WORKER_OVERLOADED,RESOURCE_LIMIT_EXCEEDED,"
         "WORKER_DRAINING,MODEL_NOT_LOADED,"
         "WORKER_UNAVAILABLE,WORKER_OFFLINE,NATS_ERROR,WORKER_TIMEOUT",
         64, retryable_names, "Ways for a try to fail after which another worker is tried."),

    BOOL("cluster.requestRouting.circuitBreaker.enabled", "circuit-breaker", routing.breaker.enabled, "true",
         "Send nothing to a worker that keeps failing until it has proved itself again."),
    INT("cluster.requestRouting.circuitBreaker.failureThreshold", "failure-threshold", 0,
        routing.breaker.failure_threshold, "5", 1, 1000, "failures",
        "Failures in a row that open a worker's breaker; half of the last 20 or more in 30 s do, too."),
    INT("cluster.requestRouting.circuitBreaker.successThreshold", "success-threshold", 0,
        routing.breaker.success_threshold, "2", 1, 1000, "successes",
        "Successful probes in a row that close it."),
    INT("cluster.requestRouting.circuitBreaker.timeoutMs", "breaker-timeout-ms", 0,
        routing.breaker.timeout_ms, "30000", 1, HOUR, "ms",
        "How long it stays open before a probe; doubles with each time in a row."),
    BOOL("cluster.requestRouting.circuitBreaker.probe", "breaker-probe", routing.breaker.probe, "true",
         "Probe with a job of the controller's own that makes one token, and spare requests as long as there "
         "is another worker."),

    ONE_OF(OPTION_CHOICE, "cluster.loadBalancing.strategy", "strategy", balancing.strategy, "least_requests",
           strategy_names,
           "How a worker is chosen. round_robin: in turn. least_requests: the one with the fewest requests "
           "for its size. weighted_random: by chance and `weights`. skills_based: least_requests among "
           "those whose context holds the request, of equals the one with the fewest skills. smart: the "
           "shortest expected time, from measured speed, "
           "queue and memory. prefix_aware: the one that knows the longest beginning of the prompt, unless "
           "it has much more to do than others."),
    WEIGHTS("cluster.loadBalancing.weights", "weight", balancing.weights,
            "How often weighted_random chooses a worker, in relation to the others; 1 where nothing is "
            "said. By its id, or by a pattern of its id or host name in which `*` stands for any text; the "
            "id counts most, then the first pattern that fits."),

    LIST("cluster.discovery.expected_workers", "expected-workers", discovery.expected_workers, "", 64, NULL,
         "Workers that should be there: ids, or patterns of ids in which `*` stands for any text. The "
         "controller "
         "works without such a list; with one it tells in its log, status and metrics who is missing."),
    INT("cluster.discovery.expected_grace_ms", "expected-grace-ms", 0, discovery.expected_grace_ms, "30000",
        0, HOUR, "ms", "How long an expected worker may be away before it counts as missing."),
    INT("cluster.discovery.heartbeat_interval_ms", "heartbeat-interval-ms", 0,
        discovery.heartbeat_interval_ms, "1000", 20, MINUTE, "ms",
        "How often workers and controllers tell that they are alive; the same in the whole cluster."),
    INT("cluster.discovery.controller_timeout_ms", "controller-timeout-ms", 0,
        discovery.controller_timeout_ms, "10000", 100, HOUR, "ms",
        "A worker ends the jobs of a controller that it has not heard for so long."),
    INT("cluster.discovery.hung_after_ms", "hung-after-ms", 0, discovery.hung_after_ms, "20000", 0, HOUR,
        "ms",
        "A worker that is heard of but does not go on with its jobs for so long gets no new ones. 0: never."),

    ID("cluster.worker.id", "worker-id", worker.id,
       "Name of this worker, unique in the cluster. Empty: made of host name and process number."),
    ONE_OF(OPTION_ENUM, "cluster.worker.engine", "engine", worker.engine, "llama", engine_names,
           "llama: llama.cpp. fake: made-up text at a configured speed, for tests of everything around the "
           "model."),
    LIST("cluster.worker.skills", "skills", worker.skills, "", 32, NULL,
         "What this worker is good for, at most 16 words of your own: a request that requires one "
         "(X-Required-Skills, required_skills) goes only to workers that have it. `gpu` and what a model can "
         "do (`chat`, `tools`) are known without it."),
    INT("cluster.worker.context_tokens", "context-tokens", 0, worker.context_tokens, "0", 0, 1 << 24,
        "tokens", "Context of each sequence. 0: what the model was trained with, at most 4096."),
    INT("cluster.worker.batch_tokens", "batch-tokens", 0, worker.batch_tokens, "512", 1, 1 << 20, "tokens",
        "Most tokens in one step of the engine; at least max_batch_size."),
    INT("cluster.worker.threads", "threads", 't', worker.threads, "0", 0, 1024, "threads",
        "Threads that compute. 0: one for each core this process may use, by its affinity and the CPU "
        "quota of its control group (container, service); `mlxd serve` shares the cores among its workers."),
    INT("cluster.worker.threads_batch", "threads-batch", 0, worker.threads_batch, "0", 0, 1024, "threads",
        "Threads that compute steps of more than one token, which is all that serve several sequences or a "
        "prompt; `threads` is then for steps of one token alone. 0: as many as `threads`."),
    INT("cluster.worker.micro_batch_tokens", "micro-batch-tokens", 0, worker.micro_batch_tokens, "0", 0,
        1 << 20, "tokens",
        "Tokens that are computed at once; a step with more is computed in parts. More take memory, and "
        "make long prompts faster on a GPU only. 0: batch_tokens, at most 512."),
    INT("cluster.worker.gpu_layers", "gpu-layers", 0, worker.gpu_layers, "-1", -1, 10000, "layers",
        "Layers of the model that go to the GPU. -1: all that fit."),
    LIST("cluster.worker.devices", "devices", worker.devices, "", 32, NULL,
         "GPUs that models go to, by the names that `mlxd devices` prints, as in CUDA0. Their order is that "
         "of tensor_split and main_gpu. Empty: all."),
    ONE_OF(OPTION_ENUM, "cluster.worker.split_mode", "split-mode", worker.split_mode, "layer", split_names,
           "How a model is shared among several GPUs. none: it is not, main_gpu has it. layer: each has some "
           "of the layers. row: each has a part of every matrix, which is worth it where the link between "
           "them is very fast."),
    SHARES("cluster.worker.tensor_split", "tensor-split", worker.tensor_split,
           "How much of a model each GPU gets in relation to the others, as in 3,1; one number for each. "
           "Empty: in relation to their free memory."),
    INT("cluster.worker.main_gpu", "main-gpu", 0, worker.main_gpu, "0", 0, CONFIG_SHARES_MAX - 1, "",
        "The GPU that has the model with split_mode none: its place in `devices`, or in what `mlxd devices` "
        "prints."),
    BOOL("cluster.worker.offload_kqv", "offload-kqv", worker.offload_kqv, "true",
         "Keep the KV cache of layers that are on a GPU there, too. When off it is in the machine's memory: "
         "slower, with room for longer contexts."),
    ONE_OF(OPTION_ENUM, "cluster.worker.cache_type_k", "cache-type-k", worker.cache_type_k, "f16",
           cache_names,
           "Numbers of the keys in the KV cache. bf16 also takes two bytes: with AVX512-BF16 it makes short "
           "contexts faster and long prompts much slower. q8_0 takes about half of f16, q4_0 about a "
           "quarter and is less exact. What is quantized (q, iq) needs a model whose heads are a multiple of "
           "32 wide."),
    ONE_OF(OPTION_ENUM, "cluster.worker.cache_type_v", "cache-type-v", worker.cache_type_v, "f16",
           cache_names,
           "Numbers of the values in the KV cache. What is quantized needs flash_attention, on or auto."),
    ONE_OF(OPTION_ENUM, "cluster.worker.flash_attention", "flash-attention", worker.flash_attention, "auto",
           flash_names,
           "Attention without a matrix of all scores in memory. auto: where the device and the model can."),
    ONE_OF(OPTION_ENUM, "cluster.worker.load_mode", "load-mode", worker.load_mode, "auto", load_mode_names,
           "How a model file comes into memory. auto: mmap where the device can. read: it is read. mmap: it "
           "is mapped, so that processes share it and the system may drop parts. mlock: it is read and kept "
           "from being swapped out. mmap_mlock: it is mapped and kept. direct_io: it is read past the page "
           "cache, where the file system can. mlock needs the right to lock so much memory (ulimit -l)."),
    INT("cluster.worker.kv_cache_tokens", "kv-cache-tokens", 0, worker.kv_cache_tokens, "0", 0, 1 << 30,
        "tokens",
        "Size of one KV cache that the sequences of a model share, where max_batch_size times context_tokens "
        "would take too much memory. A job begins when there should be room until its end; when it runs full "
        "after all, the youngest job is parked in memory. 0: each sequence has a cache of its own, which is "
        "faster on CPUs."),
    INT("cluster.worker.park_max_ms", "park-max-ms", 0, worker.park_max_ms, "5000", 0, HOUR, "ms",
        "A job that has been parked for so long is given back, to go on at another worker; less than "
        "stallTimeoutMs, or the controller gives it up first."),
    BOOL("cluster.worker.prefix_cache.enabled", "prefix-cache", worker.prefix_cache, "true",
         "Do not compute again what a prompt has in common with an earlier one from its beginning on. The "
         "same request can then come out a little different the second time, since other shapes of batches "
         "round differently."),
    INT("cluster.worker.prefix_cache.max_memory_mb", "prefix-cache-memory-mb", 0,
        worker.prefix_cache_memory_mb, "-1", -1, 1 << 24, "MB",
        "Memory of each loaded model for sequences that had to leave its slots, parked ones included. -1: an "
        "eighth of the machine's or of the lowest hard limit (resource_limits), at most 8192."),
    LIST("cluster.worker.model_dirs", "model-dir", worker.model_dirs, "", CONFIG_TEXT_MAX, NULL,
         "Folders whose models (*.gguf) are served beside those of cluster.models. A file "
         "that cannot be loaded is reported as failed, the others are served. Links that lead out of the "
         "folder are left out, with a warning at the start."),
    INT("cluster.worker.model_scan_interval_ms", "model-scan-interval-ms", 0, worker.model_scan_interval_ms,
        "10000", 0, 24 * HOUR, "ms",
        "How often these folders are looked at again. A new file is served when two looks have found it the "
        "same and its header is sound; one that is gone, or has changed, is unloaded when nothing runs on "
        "it. "
        "0: only at the start."),
    INT("cluster.worker.models_memory_mb", "models-memory-mb", 0, worker.models_memory_mb, "0", 0, 1 << 30,
        "MB",
        "Most memory for weights and KV caches of loaded models, by what the headers of their files tell. "
        "When "
        "another model is wanted, idle ones are unloaded, that first which was used longest ago. 0: no "
        "bound."),
    BOOL("cluster.worker.load_on_demand", "load-on-demand", worker.load_on_demand, "true",
         "Load a model that is not loaded when a request for it comes; the request waits as long as its "
         "deadline allows."),
    INT("cluster.worker.load_patience_ms", "load-patience-ms", 0, worker.load_patience_ms, "10000", 0,
        24 * HOUR, "ms",
        "How long requests wait for a model that has no room beside busy ones, before such a one makes way: "
        "it ends what it has, and then waits for its turn to be loaded again. It is left for at least that "
        "time, and for as long as its load took. 0: busy models never make way."),
    INT("cluster.worker.load_retry_ms", "load-retry-ms", 0, worker.load_retry_ms, "30000", 1, 24 * HOUR, "ms",
        "How long requests do not make the worker load a model again that could not be loaded; doubled with "
        "each failure that follows, to 32 times."),
    ONE_OF(
        OPTION_ENUM, "cluster.worker.model_check", "model-check", worker.model_check, "load",
        model_check_names,
        "What is done with a model file before the worker loads it. header: its header is read and checked. "
        "load: also, a child process loads it and computes two tokens, so that a file which brings the "
        "engine down does not bring the worker down; it takes about as long as the load itself."),
    INT("cluster.worker.model_check_timeout_ms", "model-check-timeout-ms", 0, worker.model_check_timeout_ms,
        "600000", 100, 24 * HOUR, "ms", "How long that child process may take."),
    INT("cluster.worker.drain_timeout_ms", "worker-drain-timeout-ms", 0, worker.drain_timeout_ms, "30000", 0,
        HOUR, "ms",
        "How long jobs under way may go on after SIGTERM, or when the worker is told to drain. After SIGTERM "
        "under `mlxd serve` its stop_timeout_ms is the bound."),
    BOOL("cluster.worker.pre_warming.enabled", "pre-warming", worker.pre_warming.enabled, "true",
         "Load models at the start, as many as have room, instead of when they are asked for."),
    LIST("cluster.worker.pre_warming.models", "pre-warming-models", worker.pre_warming.models, "", 128, NULL,
         "Names of the models to load at the start, in this order; these are never unloaded to make room for "
         "others. Empty: all, and each may have to make room later."),
    BOOL("cluster.worker.pre_warming.parallel", "pre-warming-parallel", worker.pre_warming.parallel, "false",
         "Load them all at once, not one after the other."),
    INT("cluster.worker.pre_warming.timeout_per_model_ms", "pre-warming-timeout-per-model-ms", 0,
        worker.pre_warming.timeout_per_model_ms, "600000", 1, 24 * HOUR, "ms",
        "A model that takes longer is left unloaded until a request asks for it. Its check "
        "(model_check_timeout_ms) is part of that time."),
    ONE_OF(OPTION_ENUM, "cluster.worker.pre_warming.register_when", "register-when",
           worker.pre_warming.register_when, "warming", register_when_names,
           "When the worker tells controllers of itself. warming: at once, and requests for a model that is "
           "being loaded wait for it. complete: when all that is to be loaded at the start is loaded, or has "
           "failed."),
    BOOL("cluster.worker.continuous_batching.enabled", "continuous-batching", worker.batching, "true",
         "Compute several sequences at once. When off, max_batch_size is 1."),
    INT("cluster.worker.continuous_batching.max_batch_size", "max-batch-size", 0, worker.max_batch_size, "8",
        1, 256, "sequences", "Sequences that a model computes at once."),
    INT("cluster.worker.continuous_batching.min_batch_size", "min-batch-size", 0, worker.min_batch_size, "1",
        1, 256, "jobs",
        "An idle model begins only when so many jobs are there, or batch_timeout_ms is over. 1 is best for "
        "nearly everybody: later jobs join the batch that runs."),
    INT("cluster.worker.continuous_batching.batch_timeout_ms", "batch-timeout-ms", 0, worker.batch_timeout_ms,
        "50", 0, 1000, "ms",
        "Longest wait of the first job for others. With min_batch_size 1, jobs that are on their way are "
        "waited for, at most a sixth of the time that the prompt takes, and 15 ms; 0: never."),
    BOOL("cluster.worker.continuous_batching.adaptive_timeout", "adaptive-timeout", worker.adaptive_timeout,
         "true",
         "Wait no longer than twice the time in which the missing jobs should come, and not at all when they "
         "come too rarely."),
    INT("cluster.worker.continuous_batching.max_pause_ms", "max-pause-ms", 0, worker.max_pause_ms, "1000", 0,
        60000, "ms",
        "For about so long at most replies under way pause while a part of other prompts is computed; then "
        "each of them gets its next token. Less makes streams smoother, and prompts take longer. 0: as long "
        "as batch_tokens takes."),
    INT("cluster.worker.continuous_batching.stream_interval_ms", "stream-interval-ms", 0,
        worker.stream_interval_ms, "16", 0, 1000, "ms",
        "Tokens of a reply wait for so long at most to be sent together with the next ones, but never the "
        "first and the last one. It spares messages where tokens take less time than that. 0: each is sent "
        "at once."),
    BOOL("cluster.worker.request_queue.enabled", "request-queue", worker.queueing, "true",
         "Jobs may wait in the worker. When off, max_depth is 0."),
    INT("cluster.worker.request_queue.max_depth", "max-depth", 0, worker.max_depth, "100", 0, 100000, "jobs",
        "Jobs that may wait for a place in the batch; more are sent elsewhere or refused."),
    INT("cluster.worker.request_queue.priority_levels", "priority-levels", 0, worker.priority_levels, "3", 1,
        3, "levels",
        "Levels of priority that the queue tells apart. 2: low counts as medium; 1: all are equal."),
    BOOL(
        "cluster.worker.request_queue.reject_when_full", "reject-when-full", worker.reject_when_full, "true",
        "A full queue refuses newcomers. When off, the youngest job of the lowest level below the newcomer's "
        "gives way and is sent elsewhere."),
    INT("cluster.worker.request_queue.aging_ms", "aging-ms", 0, worker.aging_ms, "10000", 100, HOUR, "ms",
        "A job that has waited so long counts one level higher, with twice that two, and so on."),
    INT("cluster.worker.resource_limits.max_memory_mb", "max-memory-mb", 0, worker.limits.max_memory_mb, "0",
        0, 1 << 24, "MiB",
        "The worker's own memory from which on it refuses jobs of low priority. Model weights that are "
        "mapped "
        "from their files do not count, the KV cache does. 0: what follows from critical_memory_mb; without "
        "that one none but those of the control group and the machine."),
    INT("cluster.worker.resource_limits.critical_memory_mb", "critical-memory-mb", 0,
        worker.limits.critical_memory_mb, "0", 0, 1 << 24, "MiB",
        "The worker's own memory from which on it refuses all new jobs. 0: what follows from max_memory_mb."),
    INT("cluster.worker.resource_limits.max_memory_percent", "max-memory-percent", 0,
        worker.limits.max_memory_percent, "85", 1, 100, "%",
        "Share of the control group's limit, and of the machine's memory, from which on the worker refuses "
        "jobs of low priority, whoever uses it."),
    INT("cluster.worker.resource_limits.critical_memory_percent", "critical-memory-percent", 0,
        worker.limits.critical_memory_percent, "93", 1, 100, "%",
        "The share from which on it refuses all new jobs."),
    INT("cluster.worker.resource_limits.pressure_some_percent", "pressure-some-percent", 0,
        worker.limits.pressure_some_percent, "10", 0, 100, "%",
        "Jobs of low priority are refused when some task waited for memory for so much of the last 10 s "
        "(PSI). 0: that is not looked at."),
    INT("cluster.worker.resource_limits.pressure_full_percent", "pressure-full-percent", 0,
        worker.limits.pressure_full_percent, "5", 0, 100, "%",
        "All new jobs are refused when all tasks at once waited for so much of them. 0: that is not looked "
        "at."),
    INT("cluster.worker.resource_limits.check_interval_ms", "check-interval-ms", 0,
        worker.limits.check_interval_ms, "1000", 10, MINUTE, "ms", "How often the worker looks."),
    INT("cluster.worker.resource_limits.recover_after_ms", "recover-after-ms", 0,
        worker.limits.recover_after_ms, "5000", 0, HOUR, "ms",
        "It takes such jobs again when it has been below the limits by a margin for so long."),
    INT("cluster.worker.fake.step_us", "fake-step-us", 0, worker.fake_step_us, "1000", 0, 60000000, "us",
        "Time of one step of the fake engine."),
    INT("cluster.worker.fake.prompt_token_us", "fake-prompt-token-us", 0, worker.fake_prompt_token_us, "0", 0,
        1000000, "us", "Time that each prompt token adds to its step."),
    INT("cluster.worker.fake.reply_tokens", "fake-reply-tokens", 0, worker.fake_reply_tokens, "0", 0, 1 << 20,
        "tokens", "Length of replies that end by themselves. 0: the engine's own choice."),
    INT("cluster.worker.fake.load_ms", "fake-load-ms", 0, worker.fake_load_ms, "0", 0, HOUR, "ms",
        "Time that a load takes."),
    INT("cluster.worker.fake.model_mb", "fake-model-mb", 0, worker.fake_model_mb, "0", 0, 1 << 20, "MB",
        "Memory that each model counts with; it takes none."),
    TEXT("cluster.worker.fake.fault", "fake-fault", 0, worker.fake_fault, "", 0,
         "What goes wrong with each job of this worker, to try out what happens then. Of `fail at N`, "
         "`step error at N`, `crash at N`, `hang at N`, `slow xN` and `reply N`, with commas between "
         "several; N counts tokens of the reply, and for slow how many times longer a step takes."),
    INT("cluster.worker.fake.fault_jobs", "fake-fault-jobs", 0, worker.fake_fault_jobs, "0", 0, 1000000,
        "jobs", "How many jobs from the worker's start on have the fault. 0: all."),

    INT("cluster.serve.controllers", "controllers", 0, serve.controllers, "1", 1, 64, "processes",
        "Controller processes that `mlxd serve` runs, all on the one port; more than one set reuse_port."),
    INT("cluster.serve.workers", "workers", 'w', serve.workers, "1", 1, 64, "processes",
        "Worker processes that `mlxd serve` runs; each loads the models."),
    TEXT("cluster.serve.runtime_dir", "runtime-dir", 0, serve.runtime_dir, "", 0,
         "Folder in which `mlxd serve` makes the folder for its run. Empty: $XDG_RUNTIME_DIR, or else /tmp."),
    INT("cluster.serve.stop_timeout_ms", "stop-timeout-ms", 0, serve.stop_timeout_ms, "4000", 100, HOUR, "ms",
        "Time from SIGTERM until every process of `mlxd serve` is gone. Requests that take longer are cut "
        "off; raise it to let them finish."),
};
const size_t option_count = ARRAY_LEN(option_table);

const struct option_section option_sections[] = {
    {"logging", "Logs: one JSON object a line on stderr, or readable lines on a terminal."},
    {"cluster.nats", "The message bus between controllers and workers."},
    {"cluster.controller", "The HTTP side, where clients connect."},
    {"cluster.requestRouting", "How long a request may take."},
    {"cluster.requestRouting.queue", "Where requests wait while no worker can take them."},
    {"cluster.requestRouting.retry", "What happens when a worker fails."},
    {"cluster.requestRouting.circuitBreaker", "Which workers are left alone for a while."},
    {"cluster.loadBalancing", "Which worker gets a request."},
    {"cluster.discovery", "How controllers know their workers."},
    {"cluster.worker", "The processes that run models."},
    {"cluster.worker.prefix_cache", "What is computed once and used again."},
    {"cluster.worker.pre_warming", "Models that are loaded before anybody asks for them."},
    {"cluster.worker.continuous_batching", "Sequences share each step of the engine."},
    {"cluster.worker.request_queue", "Where jobs wait for a place in the batch."},
    {"cluster.worker.resource_limits", "From when on a worker that is short of memory refuses jobs."},
    {"cluster.worker.fake", "The engine without a model."},
    {"cluster.serve", "`mlxd serve`: all of it on one machine."},
};
const size_t option_section_count = ARRAY_LEN(option_sections);

const struct option *option_find_path(const char *path) {
    for (size_t i = 0; i < option_count; i++) {
        if (strcmp(option_table[i].path, path) == 0)
            return &option_table[i];
    }
    return NULL;
}

const struct option *option_find_flag(const char *name, size_t len) {
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        if (strlen(option->flag) == len && memcmp(option->flag, name, len) == 0)
            return option;
        if (len == 1 && option->letter == name[0])
            return option;
    }
    return NULL;
}

bool option_child_of(const char *path, const char *section, char *out) {
    size_t skip = strlen(section);
    if (skip > 0) {
        if (strncmp(path, section, skip) != 0 || path[skip] != '.')
            return false;
        skip++;
    }
    size_t len = strcspn(path + skip, ".");
    if (len == 0 || len >= CONFIG_PATH_MAX)
        return false;
    memcpy(out, path + skip, len);
    out[len] = '\0';
    return true;
}

bool option_is_section(const char *path) {
    char child[CONFIG_PATH_MAX];
    for (size_t i = 0; i < option_count; i++) {
        if (option_child_of(option_table[i].path, path, child))
            return true;
    }
    return false;
}
