/* The configuration of all roles: one struct, filled from defaults, then a YAML file, then flags.
 *
 * Every option is one row of a table (options.c): YAML path, flag, type, range, default, help. The file
 * reader, the flag reader, docs/CONFIG.md and config/cluster.yaml all come from it. Unknown keys, wrong types
 * and values out of range are refused, with file, line, key, and what would be right. Read-only after
 * start-up. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum {
    CONFIG_MODELS_MAX = 32,
    CONFIG_WEIGHTS_MAX = 256,
    CONFIG_WEIGHT_DIGITS = 3, /* behind the point */
    CONFIG_LIST_MAX = 256,
    CONFIG_SHARES_MAX = 16,
};

enum nats_mode { NATS_EMBEDDED, NATS_EXTERNAL };
enum engine_kind { ENGINE_KIND_LLAMA, ENGINE_KIND_FAKE };
enum split_kind { SPLIT_KIND_NONE, SPLIT_KIND_LAYER, SPLIT_KIND_ROW };
enum flash_kind { FLASH_KIND_AUTO, FLASH_KIND_ON, FLASH_KIND_OFF };
enum load_mode_kind {
    LOAD_MODE_KIND_AUTO,
    LOAD_MODE_KIND_READ,
    LOAD_MODE_KIND_MMAP,
    LOAD_MODE_KIND_MLOCK,
    LOAD_MODE_KIND_MMAP_MLOCK,
    LOAD_MODE_KIND_DIRECT_IO,
};

/* Numbers of the KV cache. X(NAME, word, whether it is quantized) */
#define CONFIG_CACHE_MAP(X) \
    X(F32, "f32", false)    \
    X(F16, "f16", false)    \
    X(BF16, "bf16", false)  \
    X(Q8_0, "q8_0", true)   \
    X(Q5_1, "q5_1", true)   \
    X(Q5_0, "q5_0", true)   \
    X(Q4_1, "q4_1", true)   \
    X(Q4_0, "q4_0", true)   \
    X(IQ4_NL, "iq4_nl", true)

enum cache_kind {
#define X(name, word, quantized) CACHE_KIND_##name,
    CONFIG_CACHE_MAP(X)
#undef X
};
enum register_when { REGISTER_WHEN_WARMING, REGISTER_WHEN_COMPLETE };
enum model_check_kind { MODEL_CHECK_HEADER, MODEL_CHECK_LOAD };

struct config_model {
    char *name; /* owned; what clients call it */
    char *path; /* owned */
    bool found; /* in a folder of worker.model_dirs; the file may turn out to be broken */
};

/* How many requests a worker gets in relation to others. */
struct config_weight {
    char *pattern; /* owned; an id or host name, `*` stands for any text */
    int64_t thousandths;
};

struct config_weights {
    struct config_weight rows[CONFIG_WEIGHTS_MAX];
    size_t count;
};

struct config_list {
    char *items[CONFIG_LIST_MAX]; /* owned; each once */
    size_t count;
};

/* Numbers in relation to each other; the same one may stand there twice. */
struct config_shares {
    int64_t thousandths[CONFIG_SHARES_MAX];
    size_t count;
};

bool config_list_has(const struct config_list *list, const char *item);

struct config {
    char *log_level; /* debug | info | warn | error */
    struct {
        enum nats_mode mode;
        char *url;         /* external; or what the supervisor passes to its children */
        char *server_path; /* the nats-server executable for embedded mode */
        int64_t connect_wait_ms;
        int64_t write_deadline_ms;
    } nats;
    struct {
        char *id; /* empty: made at the start */
        char *host;
        int64_t port;
        bool reuse_port;
        int64_t max_requests;
        int64_t max_body_bytes;
        int64_t max_connections;
        int64_t record_max;
        int64_t worker_offline_timeout_ms;
        int64_t drain_timeout_ms;
    } controller;
    struct {
        int64_t timeout_ms;           /* total, not streamed */
        int64_t streaming_timeout_ms; /* total, streamed */
        int64_t ack_timeout_ms;
        int64_t first_token_timeout_ms;
        int64_t stall_timeout_ms;
        struct {
            int64_t requests_max;
            int64_t bytes_max;
            int64_t timeout_ms;            /* every worker is full */
            int64_t no_workers_timeout_ms; /* there is none */
            int64_t aging_ms;
        } queue;
        struct {
            bool enabled;
            int64_t max_retries;
            int64_t retry_delay_ms;
            int64_t max_delay_ms;
            int64_t budget_percent;
            int64_t migrate_tokens_max;
            struct config_list on_errors; /* names of base/status.h */
        } retry;
        struct {
            bool enabled;
            int64_t failure_threshold;
            int64_t success_threshold;
            int64_t timeout_ms;
            bool probe;
        } breaker;
        int64_t queued_per_worker_max;
        int64_t session_ttl_ms;
        int64_t sessions_max;
    } routing;
    struct {
        char *strategy; /* route/balancer.h */
        struct config_weights weights;
    } balancing;
    struct {
        struct config_list expected_workers; /* ids, or patterns with `*` */
        int64_t expected_grace_ms;
        int64_t heartbeat_interval_ms;
        int64_t controller_timeout_ms;
        int64_t hung_after_ms;
    } discovery;
    struct {
        char *id; /* empty: made from host name and process */
        enum engine_kind engine;
        struct config_list skills; /* [A-Za-z0-9_.-]{1,32} */
        int64_t context_tokens;
        int64_t batch_tokens;
        int64_t threads;
        int64_t threads_batch;
        int64_t micro_batch_tokens;
        int64_t gpu_layers;
        struct config_list devices; /* as llama.cpp names them */
        enum split_kind split_mode;
        struct config_shares tensor_split;
        int64_t main_gpu;
        bool offload_kqv;
        enum cache_kind cache_type_k;
        enum cache_kind cache_type_v;
        enum flash_kind flash_attention;
        enum load_mode_kind load_mode;
        int64_t kv_cache_tokens; /* that all slots share; 0: each has context_tokens of its own */
        int64_t park_max_ms;
        bool prefix_cache;
        int64_t prefix_cache_memory_mb; /* of each model; -1: by the machine's memory */
        struct config_list model_dirs;  /* folders; all models in them are served too */
        int64_t model_scan_interval_ms;
        int64_t models_memory_mb; /* of all loaded models; 0: no bound */
        bool load_on_demand;
        int64_t load_patience_ms; /* 0: without end */
        int64_t load_retry_ms;
        struct {
            bool enabled;
            struct config_list models; /* names; none: all */
            bool parallel;
            int64_t timeout_per_model_ms;
            enum register_when register_when;
        } pre_warming;
        enum model_check_kind model_check;
        int64_t model_check_timeout_ms;
        int64_t max_batch_size; /* slots */
        int64_t min_batch_size;
        bool batching; /* false: max_batch_size is 1 */
        bool queueing; /* false: max_depth is 0 */
        int64_t batch_timeout_ms;
        int64_t max_pause_ms;
        int64_t stream_interval_ms;
        bool adaptive_timeout;
        int64_t max_depth; /* queue; so are the next three */
        int64_t priority_levels;
        bool reject_when_full;
        int64_t aging_ms;
        struct {
            int64_t max_memory_mb; /* MiB; 0: follows from the next one, or there is none */
            int64_t critical_memory_mb;
            int64_t max_memory_percent;
            int64_t critical_memory_percent;
            int64_t pressure_some_percent; /* 0: not looked at */
            int64_t pressure_full_percent;
            int64_t check_interval_ms;
            int64_t recover_after_ms;
        } limits;
        int64_t drain_timeout_ms;
        int64_t fake_step_us;
        int64_t fake_prompt_token_us;
        int64_t fake_reply_tokens;
        int64_t fake_load_ms;
        int64_t fake_model_mb;
        char *fake_fault; /* engine/engine_fake.h */
        int64_t fake_fault_jobs;
    } worker;
    struct {
        int64_t controllers;
        int64_t workers;
        char *runtime_dir;       /* where the folder for one run is made; empty: $XDG_RUNTIME_DIR or /tmp */
        int64_t stop_timeout_ms; /* from the signal until every process is gone */
    } serve;
    struct config_model models[CONFIG_MODELS_MAX]; /* all workers serve these */
    size_t model_count;
};

/* Defaults. */
void config_init(struct config *config);
void config_release(struct config *config); /* takes NULL; leaves it zeroed */

/* Reads the file over what `config` holds. CONFIG_INVALID; param is the key, message has file:line. */
MUST_USE enum status config_read_file(struct config *config, const char *path, struct error *error);

/* The same from memory; `name` stands for the file in messages. */
MUST_USE enum status config_read_text(struct config *config, const char *name, const char *text, size_t len,
                                      struct error *error);

/* Reads flags over what `config` holds: `--port 8081`, `--port=8081`, `--model PATH` or `--model NAME=PATH`
 * (repeatable; the first one replaces the file's models), `--no-retry` style for booleans, `--nats URL`
 * (which also sets the mode to external). `--config PATH` is read first, wherever it stands. `argv` without
 * program and subcommand. Unknown flags are refused with the closest known one. */
MUST_USE enum status config_read_flags(struct config *config, int argc, char **argv, struct error *error);

/* What must hold between options; also makes the model names of paths (file name without .gguf and without
 * quantization suffix such as -q8_0). Call once at the end. */
MUST_USE enum status config_check(struct config *config, struct error *error);

/* Writes into `out` what config_check calls the model at this path; `whole`: with the suffix for its
 * quantization. Cut to `cap` - 1 bytes; other characters than names may have become '-'. */
void config_model_name(const char *path, bool whole, char *out, size_t cap);

/* Changes by the program, for what it hands to its child processes. */
void config_set_text(char **field, const char *text); /* a copy */
/* `name` may be NULL: config_check makes one. false when the list is full. */
MUST_USE bool config_add_model(struct config *config, const char *name, const char *path);

/* The known word closest to a mistyped one, NULL when none is close. */
const char *config_closest_word(const char *word, const char *const *words, size_t count);

/* Writes what a child process needs as a YAML file that config_read_file takes back: all values, mode 0600 is
 * the caller's business. */
void config_write_yaml(const struct config *config, struct buf *out);

/* The option of that path as a flag that config_read_flags takes back: `--threads=4`. */
void config_write_flag(const struct config *config, const char *path, struct buf *out);

/* Generated documents. */
void config_write_reference(struct buf *out); /* docs/CONFIG.md */
void config_write_example(struct buf *out);   /* config/cluster.yaml, with comments */
void config_write_flags(struct buf *out);     /* the options part of --help */
