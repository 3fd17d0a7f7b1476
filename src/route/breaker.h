/* Circuit breaker: leaves a worker alone for a while when the jobs it gets keep failing, and finds out with
 * one job at a time when it is well again. One for each worker and one for each model on it, as plain members
 * of registry entries (route/guard.h says which of the two a job's end concerns): no memory is allocated.
 * Pure: time and chance are arguments.
 *
 *               5 failures in a row, or half of 20 and more in 30 s
 *       CLOSED ----------------------------------------------------> OPEN
 *         ^                                                         ^    |
 *         |  2 probes got their first token         a probe failed  |    |  its time is over
 *         +------------------------------- HALF_OPEN ---------------+<---+
 *
 *   FORCED_OPEN, FORCED_CLOSED: what the operator said, until breaker_reset.
 *
 * How it is used:
 *
 *   router_pick        breaker_peek for every live worker with the model. breaker_panic looks at how many of
 *                      them are ejected (without those that are FORBIDDEN); breaker_may_use then filters.
 *                      Nothing changes, so asking about workers that are not chosen does no harm. When
 *                      nobody is left: CIRCUIT_BREAKER_OPEN, Retry-After the least breaker_remaining_ms.
 *   a worker chosen    breaker_acquire beside lease_take, once; the ticket is kept beside the lease.
 *   job accepted       breaker_renew with how long it may wait in the worker's queue;
 *   job started        breaker_renew with the limit of the first token. Both concern probes alone.
 *   first token        breaker_first_token.
 *   end of the try     breaker_report, once, beside lease_give_back, however it ended: STATUS_OK, CANCELLED,
 *                      the failure. status_outcome of its status is what counts: NEUTRAL only gives back.
 *                      While the controller's own link to NATS is down, a try ends as NATS_ERROR whatever
 *                      timer ran out; a job that nobody took makes its worker suspect and is not held
 *                      against it.
 *   now and then       breaker_tick, for states that are shown and probes that nobody hears of any more.
 *   new incarnation    breaker_restart, also when the worker goes offline: a new process need not wait for
 *                      the end of an OPEN that it is not to blame for, but has to show that it works. Workers
 *                      seen for the first time start CLOSED (breaker_init): a new controller trusts them.
 *   an event, a page   the fields of struct breaker, breaker_state_name, breaker_remaining_ms.
 *
 * Rules that hold always:
 *
 * - A ticket is of a generation, which every change of state ends. Results of older generations are counted
 *   in the statistics and change nothing else: a job begun before the breaker opened says nothing about now.
 * - A job is judged twice: for its start (up to the first token) and for its stream (from there to the end).
 *   Good starts do not excuse streams that break, and streams that run for minutes do not hide that starts
 *   fail. The 20 are of one of the two. "In a row": a good start ends a row of failed starts, a good end
 *   ends every row.
 * - In HALF_OPEN at most one probe is on its way to its first token. Its lease, breaker_config.probe_lease_ms
 *   unless renewed, runs out as a failure, so that a lost probe cannot block the worker for ever; a NEUTRAL
 *   end returns the permit without judgement.
 * - The time OPEN is drawn from [T/2, T], T = timeout_ms * 2^(k-1), at most BREAKER_OPEN_MAX_MS or timeout_ms
 *   if that is more. k counts openings in a row and falls by one for every BREAKER_DECAY_MS CLOSED.
 * - Panic: when more than half of a model's live workers are ejected, leaving them alone costs more than it
 *   saves. OPEN workers may then be probed before their time, and when such a probe fails before it, the time
 *   stays as it was. Workers that were restarted and have not failed since take jobs beside their probe.
 *
 * Times must not go back; if one does, no time has passed. Every call is O(1), breaker_peek a few compares.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/rng.h"
#include "base/status.h"

enum {
    BREAKER_BUCKETS = 10,
    BREAKER_BUCKET_MS = 3000, /* 30 s in all, less the part of the newest that is still to come */
    BREAKER_WINDOW_MIN = 20,  /* fewer outcomes are no statistics */
    BREAKER_WINDOW_PERCENT = 50,
    BREAKER_OPEN_MAX_MS = 300 * 1000,
    BREAKER_DECAY_MS = 60 * 1000,
    BREAKER_SLOW_START_MS = 10 * 1000,
    BREAKER_SHARE_MIN = 10, /* percent */
};

struct breaker_config {
    bool enabled;              /* false: it counts, but never opens unless forced */
    int64_t failure_threshold; /* in a row, >= 1 */
    int64_t success_threshold; /* probes with a first token, >= 1 */
    int64_t timeout_ms;        /* first time OPEN, 1..3600000 */
    int64_t probe_lease_ms;    /* acknowledgement + first token limits, >= 1 */
};

enum breaker_state {
    BREAKER_CLOSED,
    BREAKER_OPEN,
    BREAKER_HALF_OPEN,
    BREAKER_FORCED_OPEN,
    BREAKER_FORCED_CLOSED,
};

/* May a job be given to the worker? */
enum breaker_answer {
    BREAKER_ALLOWED,
    BREAKER_PROBE,     /* one: acquiring makes the job a probe */
    BREAKER_WAIT,      /* OPEN, and its time is not over */
    BREAKER_PROBING,   /* a probe is under way */
    BREAKER_UNPROVEN,  /* so it is, but nothing has failed since the restart */
    BREAKER_FORBIDDEN, /* by the operator */
};

/* A job's relation to the breaker; all zero: none. */
struct breaker_ticket {
    uint64_t generation;
    uint64_t probe; /* which; 0: not a probe */
    bool started;   /* had its first token */
};

struct breaker_counts {
    uint32_t good, bad;
};

enum breaker_phase { BREAKER_START, BREAKER_STREAM, BREAKER_PHASES };

struct breaker {
    enum breaker_state state;
    uint64_t generation; /* >= 1; grows with each change of state */

    int64_t opened_ms;
    int64_t open_ms;  /* drawn length of the newest OPEN */
    int64_t openings; /* in a row */
    int64_t closed_ms;
    bool slow_start; /* CLOSED came after HALF_OPEN */

    int64_t failures_in_row[BREAKER_PHASES];
    struct breaker_counts window[BREAKER_BUCKETS][BREAKER_PHASES];
    size_t newest;
    int64_t newest_begin_ms;

    bool unproven;  /* HALF_OPEN since a restart */
    uint64_t probe; /* under way in HALF_OPEN; 0: none */
    uint64_t probes;
    int64_t lease_begin_ms;
    int64_t lease_ms;
    int64_t probes_passed; /* in this HALF_OPEN */

    uint64_t outcomes[OUTCOME_NEUTRAL + 1];
    uint64_t late; /* those of older generations */
    uint64_t leases_expired;
    uint64_t opened;
    enum status last_failure; /* STATUS_OK: none yet */
    int64_t last_failure_ms;

    /* Of the word that the state comes from, see route/breaker_word.h. */
    int64_t operator_stamp;
    int64_t stamp;
    bool untold; /* other controllers are still to be told */
};

void breaker_init(struct breaker *breaker, int64_t now_ms);
/* A new incarnation of a worker that was known: HALF_OPEN with fresh counts; tickets of the old one are late.
 * A forced state and the stamps stay: the operator spoke of the worker, not of a process. */
void breaker_restart(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms);

enum breaker_answer breaker_peek(const struct breaker *breaker, int64_t now_ms);
/* Does the answer let a job through? BREAKER_WAIT and BREAKER_UNPROVEN do in panic. */
bool breaker_may_use(enum breaker_answer answer, bool panic);
/* OPEN or HALF_OPEN: counts as ejected for breaker_panic. */
bool breaker_is_ejected(const struct breaker *breaker);
/* More than half of the `live` workers are ejected, rounded down: so the last one always is one too many. */
bool breaker_panic(size_t ejected, size_t live);

/* Lets a job through if breaker_may_use does, and fills in its ticket; else false, and the ticket is none. */
MUST_USE bool breaker_acquire(struct breaker *breaker, const struct breaker_config *config, bool panic,
                              int64_t now_ms, struct rng *rng, struct breaker_ticket *ticket);
/* The worker was heard of: the probe's lease begins again, with this length (>= 1). */
void breaker_renew(struct breaker *breaker, const struct breaker_ticket *ticket, int64_t lease_ms,
                   int64_t now_ms);

/* These return whether the state has changed, for an event in the log. */
bool breaker_first_token(struct breaker *breaker, const struct breaker_config *config,
                         struct breaker_ticket *ticket, int64_t now_ms, struct rng *rng);
/* Ends the ticket; does nothing for one that is none. */
bool breaker_report(struct breaker *breaker, const struct breaker_config *config,
                    struct breaker_ticket *ticket, enum status status, int64_t now_ms, struct rng *rng);
/* Ends the ticket without judgement: what happened concerns somebody else. */
bool breaker_give_back(struct breaker *breaker, const struct breaker_config *config,
                       struct breaker_ticket *ticket, int64_t now_ms, struct rng *rng);
bool breaker_tick(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms,
                  struct rng *rng);

/* The operator. `state` is one of the forced ones. */
void breaker_force(struct breaker *breaker, enum breaker_state state);
/* CLOSED with fresh counts and without slow start, whatever it was; statistics stay. */
void breaker_reset(struct breaker *breaker, int64_t now_ms);

/* `breaker` takes the place of `old`, for the same worker and model: words that were old for that one are so
 * for this one. */
void breaker_keep_stamps(struct breaker *breaker, const struct breaker *old);

/* What another controller has found out, for breaker_word.c: OPEN for so long yet (0 is as short as can be),
 * or another state as if it had come about here. */
void breaker_open_until(struct breaker *breaker, int64_t remaining_ms, int64_t now_ms);
void breaker_become(struct breaker *breaker, enum breaker_state state, bool slow_start, int64_t now_ms);

/* How much of its normal work the worker should get, in percent: BREAKER_SHARE_MIN..100. Grows over
 * BREAKER_SLOW_START_MS once HALF_OPEN has become CLOSED, because caches are cold and batches empty. As
 * slots: max(1, slots * share / 100). */
int64_t breaker_share(const struct breaker *breaker, int64_t now_ms);
/* Of the time OPEN, for Retry-After; 0 in other states. */
int64_t breaker_remaining_ms(const struct breaker *breaker, int64_t now_ms);
int64_t breaker_failures_in_row(const struct breaker *breaker);
const char *breaker_state_name(enum breaker_state state); /* CLOSED OPEN HALF_OPEN FORCED_OPEN ... */
MUST_USE bool breaker_state_from_name(const char *name, enum breaker_state *state);
