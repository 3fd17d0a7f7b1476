/* What a worker tells about itself, in its registration, in every heartbeat and when asked for statistics:
 * plain data, the same on both sides of the wire.
 *
 * A worker is known by its id; `incarnation` is new at each start of its process, so that the same id with
 * another incarnation means that everything the old one had is lost. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/chat.h"

enum {
    MODEL_ERROR_MAX = 200, /* bytes */
    WORKER_ID_MAX = 64,    /* bytes; [A-Za-z0-9_-]+ because it is a NATS subject token */
    WORKER_MODELS_MAX = 32,
    INCARNATION_CHARS = 12,
    CONTROLLER_ID_MAX = 64, /* as WORKER_ID_MAX */
    WORKER_CLIENTS_MAX = 16,
    SKILL_MAX = 32, /* bytes of a skill; [A-Za-z0-9_.-]+ */
    WORKER_SKILLS_MAX = 16,
    WORKER_GPUS_MAX = 16,
    HARDWARE_NAME_MAX = 64, /* bytes; so is the next */
    HARDWARE_DEVICE_MAX = 32,
};

/* What a model can do. X(NAME, word) */
#define MODEL_CAPABILITY_MAP(X) \
    X(CHAT, "chat")             \
    X(TOOLS, "tools")           \
    X(EMBEDDINGS, "embeddings") \
    X(VISION, "vision")

enum model_capability {
#define X(name, word) CAPABILITY_##name,
    MODEL_CAPABILITY_MAP(X)
#undef X
        MODEL_CAPABILITY_COUNT
};

static inline uint32_t model_capability_bit(enum model_capability capability) {
    return UINT32_C(1) << capability;
}

/* The life of a worker, in this order; it may be told to drain in any phase, and then to resume. Heartbeats
 * tell only of LOADING, READY and DRAINING. X(NAME, word, meaning) */
#define WORKER_PHASE_MAP(X)                                                                  \
    X(INITIALIZING, "initializing", "made, and not started")                                 \
    X(CONNECTING, "connecting", "its link to NATS is not up yet; its models load already")   \
    X(REGISTERING, "registering", "no controller knows of it yet; it may load models first") \
    X(LOADING, "loading", "it is registered and loads models; none is ready")                \
    X(READY, "ready", "it takes jobs")                                                       \
    X(DRAINING, "draining", "it finishes what it has and takes nothing new")                 \
    X(STOPPED, "stopped", "it has said good-bye and is silent")

enum worker_phase {
#define X(name, word, meaning) WORKER_PHASE_##name,
    WORKER_PHASE_MAP(X)
#undef X
        WORKER_PHASE_COUNT
};

/* X(NAME, word, meaning) */
#define MODEL_STATE_MAP(X)                                                                     \
    X(UNLOADED, "unloaded", "it is known, and takes no memory")                                \
    X(WAITING, "waiting",                                                                      \
      "it is wanted; its load has not begun: there is no room yet, or it is not its turn")     \
    X(LOADING, "loading", "it is being checked and loaded")                                    \
    X(READY, "ready", "jobs for it run")                                                       \
    X(UNLOADING, "unloading", "its last jobs run to their end, then its memory is given back") \
    X(FAILED, "failed", "it could not be loaded")

enum model_state {
#define X(name, word, meaning) MODEL_##name,
    MODEL_STATE_MAP(X)
#undef X
        MODEL_STATE_COUNT
};

struct model_info {
    char name[129];
    enum model_state state;
    bool on_demand; /* it is not ready, and a job for it is taken all the same: it waits until it is loaded */
    bool pinned;    /* it is not unloaded for another one */
    int32_t load_percent;   /* 0..100 */
    int32_t context_tokens; /* per slot; until ready what it is likely to be, 0: not known */
    int32_t slots;          /* how many jobs run at once */
    int32_t waiting;        /* jobs that wait for its load */
    int64_t parameters;     /* of the network; 0 until known */
    int64_t file_bytes;     /* likewise, as the next two */
    char architecture[33];  /* "llama" */
    char quantization[25];  /* "Q8_0" */
    int64_t memory_bytes;   /* weights and KV cache: what it takes, or would take; 0: not known */
    int64_t idle_ms;        /* since a job of it ended or came; -1: there was none */
    int64_t loads;          /* since the start of the incarnation, as the next two */
    int64_t unloads;
    int64_t load_failures;
    int64_t load_ms;                 /* how long the newest load took; 0: there was none */
    int64_t retry_ms;                /* failed, or no memory for it: until a job makes it try again; -1: no */
    uint32_t capabilities;           /* bits, see model_capability_bit; until ready what its file tells */
    char error[MODEL_ERROR_MAX + 1]; /* why; cut, never inside a UTF-8 character */
};

struct worker_gpu {
    char device[HARDWARE_DEVICE_MAX + 1]; /* as it is chosen by, "CUDA0" */
    char name[HARDWARE_NAME_MAX + 1];
    bool integrated;      /* its memory is the machine's */
    int64_t memory_bytes; /* 0: unknown */
    int64_t free_bytes;   /* when the worker started, before it loaded models */
};

/* Of the machine, as far as the worker may use it; empty or 0 where it is unknown. */
struct worker_hardware {
    char cpu[HARDWARE_NAME_MAX + 1]; /* "AMD EPYC 7763 64-Core Processor" */
    int32_t cores;
    int64_t memory_bytes;
    struct worker_gpu gpus[WORKER_GPUS_MAX]; /* more are left out */
    size_t gpu_count;
};

/* The queues of a worker, all models together. By level: 0 is the highest; with fewer levels than priorities
 * the last ones stay 0. The waits are those of jobs that are over and had a slot, of the last one to two
 * minutes. */
struct worker_queue {
    int64_t depth[CHAT_PRIORITY_COUNT];     /* jobs that wait */
    int64_t oldest_ms[CHAT_PRIORITY_COUNT]; /* how long the oldest of them has waited */
    int64_t enqueued;
    int64_t rejected;  /* because slots and queue were full */
    int64_t evicted;   /* gave way to one of a higher level */
    int64_t expired;   /* their time was over while they waited */
    int64_t cancelled; /* while they waited */
    int64_t wait_mean_ms;
    int64_t wait_p50_ms;
    int64_t wait_p99_ms;
    int64_t next_wait_ms; /* estimate for a job of low priority that comes now, of the model where it is
                             longest; -1: not known */
};

/* Counters count since the start of the incarnation. */
struct worker_load {
    int32_t running; /* slots in use */
    int32_t queued;  /* jobs that wait for a slot, those being tokenized included */
    int32_t queue_max;
    int64_t kv_cells_used; /* of the KV caches, by jobs in slots */
    int64_t kv_cells_total;
    int64_t kv_cells_cached; /* held for prompts to come; make way at once */
    int32_t parked;          /* jobs whose sequence is in memory because the cache is full */
    int64_t cache_bytes;     /* memory of sequences outside of the slots, parked ones included */
    uint64_t cache_evicted;  /* such sequences that made way for others */
    uint64_t cache_skipped;  /* sequences that were not kept because such ones were not used */
    uint64_t cache_hits;     /* jobs that found a beginning of their prompt computed */
    uint64_t cached_tokens;  /* which these had not to compute */
    uint64_t parks;          /* times that a job was parked */
    uint64_t handed_back;    /* jobs that were given back because the cache was full */
    uint64_t progress;       /* grows when each engine with jobs has computed something: alive but not growing
                                while running > 0 is hung */
    uint64_t steps;          /* engine steps */
    uint64_t prompt_tokens;  /* computed */
    uint64_t generated_tokens;
    uint64_t jobs_accepted;
    uint64_t jobs_finished;
    uint64_t jobs_cancelled;
    uint64_t jobs_failed;
    uint64_t jobs_rejected;
    uint64_t jobs_orphaned;   /* of those cancelled: their controller was gone */
    uint64_t batch_sequences; /* sum over all steps of the sequences in the step: / steps = mean batch size */
    uint32_t batch_max;       /* most sequences in one step */
    uint64_t batch_wait_ms;   /* that idle engines waited for more jobs before they began */
    uint32_t cancel_steps_max; /* most steps that ran between a cancel's arrival and its slot being free */
    int64_t rss_bytes;
    uint64_t model_loads; /* of all models, those included that are not there any more; so are the next two */
    uint64_t model_unloads;
    uint64_t model_load_failures;
    struct worker_queue queue;
};

/* How short of memory the worker is. X(NAME, word) */
#define RESOURCE_LEVEL_MAP(X)                          \
    X(OK, "ok")                                        \
    X(SOFT, "soft") /* refuses jobs of low priority */ \
    X(HARD, "hard") /* refuses all jobs that are new */

enum resource_level {
#define X(name, word) RESOURCE_##name,
    RESOURCE_LEVEL_MAP(X)
#undef X
        RESOURCE_LEVEL_COUNT
};

/* What tells so. X(NAME, word) */
#define RESOURCE_SIGNAL_MAP(X)                                              \
    X(NONE, "none")       /* nothing is known */                            \
    X(PROCESS, "process") /* the worker's own memory, its limits are set */ \
    X(CGROUP, "cgroup")   /* its control group */                           \
    X(MACHINE, "machine")                                                   \
    X(PRESSURE, "pressure") /* time lost waiting for memory */

enum resource_signal {
#define X(name, word) RESOURCE_BY_##name,
    RESOURCE_SIGNAL_MAP(X)
#undef X
        RESOURCE_SIGNAL_COUNT
};

struct worker_resources {
    enum resource_level level;
    enum resource_signal signal; /* what made the level; when it is OK, what is nearest to its limit */
    /* Bytes, of that signal; of RESOURCE_BY_PRESSURE those of what is nearest to its limit. 0: not known. */
    int64_t memory_used;
    int64_t soft_limit;
    int64_t hard_limit;
    /* Of the last 10 s, in hundredths of a percent, how long some task and how long all waited for memory; 0
     * also when it is not known. */
    int32_t pressure_some;
    int32_t pressure_full;
    int64_t refused; /* jobs, since the start of the incarnation */
};

/* A controller that has jobs on the worker. */
struct worker_client {
    char controller_id[CONTROLLER_ID_MAX + 1];
    int32_t jobs; /* accepted and not over */
};

struct worker_info {
    char id[WORKER_ID_MAX + 1];
    char incarnation[INCARNATION_CHARS + 1];
    char hostname[65];
    char version[33];
    int32_t pid;
    enum worker_phase phase;
    int64_t uptime_ms;
    struct model_info models[WORKER_MODELS_MAX];
    size_t model_count;
    int64_t models_bytes;     /* that the loaded ones take, as far as it is known */
    int64_t models_bytes_max; /* that they may take; 0: no bound */
    struct worker_load load;  /* of all models together */
    struct worker_client
        clients[WORKER_CLIENTS_MAX]; /* each once; of more controllers the rest is left out */
    size_t client_count;
    struct worker_hardware hardware;
    char skills[WORKER_SKILLS_MAX][SKILL_MAX + 1]; /* what the operator says beside that; each once */
    size_t skill_count;
    struct worker_resources resources;
};

/* What a worker tells of the beginnings of prompts that it has computed (hashes, see proto/chat.h): those
 * that it holds now and did not before, and those that it holds no more. */
struct prefix_news {
    const uint64_t *held;
    size_t held_count;
    const uint64_t *gone;
    size_t gone_count;
};

const char *worker_phase_name(enum worker_phase phase);              /* "initializing"... */
const char *worker_phase_meaning(enum worker_phase phase);           /* for people */
const char *model_state_name(enum model_state state);                /* "unloaded"... */
const char *model_state_meaning(enum model_state state);             /* for people */
const char *model_capability_name(enum model_capability capability); /* "chat"... */
const char *resource_level_name(enum resource_level level);          /* "ok", "soft", "hard" */
const char *resource_signal_name(enum resource_signal signal);       /* "none", "process"... */
/* Whether a worker at that level takes new jobs of that priority. */
bool resource_level_admits(enum resource_level level, enum chat_priority priority);
/* 1 to SKILL_MAX bytes of [A-Za-z0-9_.-]. */
bool skill_is_valid(const char *text, size_t len);
