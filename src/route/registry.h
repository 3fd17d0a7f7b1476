/* The workers that this controller knows, how fresh its knowledge is, and the leases it has taken on them.
 * Pure: time is an argument.
 *
 * A worker is known from its first registration or heartbeat until it has been offline for a while. A new
 * incarnation under the same id is a new process: its leases start at zero, and leases on the old one turn
 * void.
 *
 * A lease is a place taken on a worker by a job. It is given back exactly once; giving back a void lease does
 * nothing. So the number of leases is exactly the number of this controller's jobs on that incarnation.
 *
 * A worker is full for a model when the jobs it has for it, our leases and the jobs of others, fill the
 * model's slots and what may wait beside them: more would wait there while another worker becomes free. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/map.h"
#include "proto/worker_info.h"
#include "route/guard.h"
#include "route/pace.h"
#include "route/skills.h"

enum {
    REGISTRY_WORKERS_MAX = 4096,
    REGISTRY_LOAD_ONE = 1 << 16, /* one lease for each slot */
};

/* ONLINE: fresh. SUSPECT: heartbeats are late, nobody answered at its subject since the last one, or it
 * hangs; no new work. OFFLINE: it said good-bye or was silent for the offline timeout; nothing runs there any
 * more. */
enum worker_state { WORKER_ONLINE, WORKER_SUSPECT, WORKER_OFFLINE };

/* What a pick looks at, of all workers side by side: among a thousand workers a pick must not touch a page of
 * memory for each. It stays where it is until the worker is forgotten. */
struct worker_gauge {
    struct registry_worker *worker;
    uint64_t generation; /* the worker's */
    int32_t leases;
    int32_t slots;  /* of all its models but those that are unloaded, at least 1 */
    double load;    /* leases / slots; the same for equal fractions, since division rounds to the nearest */
    int32_t others; /* jobs it had at its newest heartbeat that are not ours: of other controllers */
    uint16_t seat;  /* below REGISTRY_WORKERS_MAX, its own until it is forgotten: for tables of workers */
    double pace;    /* tokens a second, see route/pace.h; 0: unknown */
    int64_t kv_cells;
    double kv_used;                /* share of them, 0..1 */
    uint64_t skills;               /* of the worker and all its models, see route/skills.h */
    enum resource_level resources; /* how short of memory it is */
    bool calm; /* its breaker lets everything through and it is not busy, see registry_note_breakers */
    bool easy; /* online, calm, not short of memory, and its models are calm, none of them full: nobody has a
                  say about it but the strategy and the skills that are required */
};

/* A model on a worker. */
struct worker_model {
    uint64_t serial; /* unique; the same as long as this incarnation names the model */
    int32_t leases;
    int32_t slots; /* at least 1 */
    int32_t room;  /* jobs it may have: as many as slots, and those that may wait */
    bool full;     /* leases and the worker's `others` reach `room` */
    bool calm;     /* its breaker lets everything through */
    struct breaker breaker;
    int64_t probe_after_ms; /* the controller's own probes pause until then */
    uint64_t skills;        /* the worker's and the model's, see route/skills.h */
};

struct registry;

struct registry_worker {
    struct registry *registry;
    size_t index; /* its place in the registry; moves when another one is forgotten */
    struct worker_gauge *gauge;
    struct worker_model *models; /* owned; as many and in the order of info.models */
    uint64_t serial;             /* unique, the same for all its incarnations */
    uint64_t generation;         /* unique for each incarnation seen */
    struct breaker breaker;
    enum worker_state state;
    struct worker_info info; /* the newest */
    struct pace pace;        /* measured */
    int64_t first_seen_ms;
    int64_t heartbeat_ms; /* when the newest info came */
    int64_t forgiven_ms;  /* of the time since then, see registry_forgive */
    int64_t progress_ms;  /* when it was last seen to go on, or to have nothing to do */
    bool hung;            /* SUSPECT, because it did neither for too long */
    int64_t busy_until_ms;
    bool breakers_calm; /* they let everything through */
    size_t uneasy;      /* how much of registry.uneasy is its */
    uint64_t jobs_sent;
    uint64_t jobs_failed;
};

struct registry_config {
    const char
        *controller_id; /* ours: jobs of others count beside our leases. Not owned; NULL: all are others */
    int64_t suspect_after_ms; /* without a heartbeat */
    int64_t offline_after_ms;
    int64_t forget_after_ms; /* offline workers are forgotten after that */
    int64_t hung_after_ms;   /* running jobs without progress, by its heartbeats; 0: never */
    /* Jobs that may wait in a worker's own queue beside those that run, for each model; the worker's own
     * limit counts if it is less. */
    int64_t queued_per_worker_max;
    struct breaker_config breaker;
};

struct registry {
    struct registry_config config;
    struct map by_id;
    struct registry_worker **workers; /* owned; dense, in order of first registration */
    size_t count;
    size_t cap;
    uint64_t generations;
    uint64_t model_serials;
    size_t uneasy;    /* models of online workers that are full there or not calm, or whose worker is not, or
                         is short of memory */
    uint64_t version; /* grows when a worker may have begun or ceased to serve a model; see route/roster.h */
    struct worker_gauge *gauges; /* owned; REGISTRY_WORKERS_MAX, by seat */
    int32_t *loads; /* likewise: leases / slots once more, in 1 / REGISTRY_LOAD_ONE, with nothing between */
    uint64_t seats[REGISTRY_WORKERS_MAX / 64]; /* a bit for each one taken */
    struct skill_table skills;
};

/* What became of a worker: the caller ends the jobs of the old incarnation on RESTARTED and LOST. */
enum registry_change {
    REGISTRY_SAME,
    REGISTRY_ADDED,
    REGISTRY_RESTARTED, /* same id, new incarnation */
    REGISTRY_RETURNED,  /* it was suspect or offline and is online again */
    REGISTRY_SUSPECTED,
    REGISTRY_LOST, /* offline */
    REGISTRY_FULL, /* not added: the registry holds its maximum */
};
/* `old_generation` is that of the incarnation that is gone, for RESTARTED and LOST. */
typedef void registry_change_fn(enum registry_change change, const struct registry_worker *worker,
                                uint64_t old_generation, void *arg);

void registry_init(struct registry *registry, const struct registry_config *config);
void registry_release(struct registry *registry);

/* A registration or heartbeat came. Calls `fn` once unless nothing changed. */
void registry_update(struct registry *registry, const struct worker_info *info, int64_t now_ms,
                     registry_change_fn *fn, void *arg);
/* The worker said good-bye; ignored when `incarnation` is not the current one. */
void registry_leave(struct registry *registry, const char *id, const char *incarnation, int64_t now_ms,
                    registry_change_fn *fn, void *arg);
/* Nobody listens at the worker's subject: it is suspect until its next heartbeat. */
void registry_unreachable(struct registry *registry, const struct registry_worker *worker,
                          registry_change_fn *fn, void *arg);
/* This process itself stood still for so long: that others were not heard of meanwhile is not held against
 * them. To be called before the next registry_tick. */
void registry_forgive(struct registry *registry, int64_t lag_ms);
/* Time has passed: call it a few times in each heartbeat interval. */
void registry_tick(struct registry *registry, int64_t now_ms, registry_change_fn *fn, void *arg);

/* To be called after every call that may change the worker's breaker or one of its models', and now and then
 * while one of them starts slowly. */
void registry_note_breakers(struct registry_worker *worker, int64_t now_ms);
/* It refused a job because it has too many: it gets none until then, unless it is another process by then. A
 * time before the one that is noted changes nothing. */
void registry_note_busy(struct registry_worker *worker, int64_t until_ms);
/* It refused a job of that priority because it is short of memory: it gets none that it would refuse, until
 * it tells something else. */
void registry_note_short_of_memory(struct registry_worker *worker, enum chat_priority priority);
/* For how long yet; 0: it is not busy. */
int64_t registry_busy_ms(const struct registry_worker *worker, int64_t now_ms);

bool registry_seat_is_taken(const struct registry *registry, size_t seat); /* seat < REGISTRY_WORKERS_MAX */
struct registry_worker *registry_find(const struct registry *registry, const char *id);

struct lease {
    char worker_id[WORKER_ID_MAX + 1];
    uint64_t serial;
    uint64_t generation; /* 0: no lease */
    uint64_t model;      /* worker_model.serial; 0: the worker did not name it */
};
/* The model that the lease is of; NULL when the worker is another incarnation or does not name it any more.
 */
struct worker_model *lease_model(const struct registry *registry, const struct lease *lease);
void lease_take(struct registry_worker *worker, const char *model, struct lease *lease);
/* Gives it back if the worker is still that incarnation; clears it. Takes cleared leases. */
void lease_give_back(struct registry *registry, struct lease *lease);

/* What a job for the model must pass there. */
struct guard worker_guard(struct registry_worker *worker, struct worker_model *model);

/* The model as this worker serves it; NULL when it does not know it. What worker_model_find returns stays
 * valid until registry.version changes. */
const struct model_info *registry_model(const struct registry_worker *worker, const char *model);
struct worker_model *worker_model_find(const struct registry_worker *worker, const char *model);

/* "degraded" is online, but not with all it has: a breaker holds it back or it has just closed, or a model
 * could not be loaded. */
const char *worker_state_name(const struct registry_worker *worker);

/* All names of states. */
enum { WORKER_STATE_NAMES = 6 };
extern const char *const worker_state_names[WORKER_STATE_NAMES];
