/* The two circuit breakers that a job passes: that of the worker's process and that of the model on it. A
 * broken model must not eject the worker's other models, and a broken process has none that works.
 *
 * Which of the two a failure concerns is the outcome of its status (base/status.h): the other one's ticket is
 * given back without judgement. Success counts for both. A job goes through only if both let it; then it has
 * a ticket of each, or of none. See route/breaker.h for what these calls mean. Pure. */
#pragma once

#include "route/breaker.h"

/* Neither is owned. */
struct guard {
    struct breaker *worker;
    struct breaker *model; /* NULL: the worker does not name the model any more */
};

/* All zero: none. */
struct guard_ticket {
    struct breaker_ticket worker;
    struct breaker_ticket model;
};

/* That of the breaker that is stricter. */
enum breaker_answer guard_peek(const struct guard *guard, int64_t now_ms);
bool guard_is_ejected(const struct guard *guard);
/* Until both let a probe through; 0: they do. */
int64_t guard_remaining_ms(const struct guard *guard, int64_t now_ms);

MUST_USE bool guard_acquire(const struct guard *guard, const struct breaker_config *config, bool panic,
                            int64_t now_ms, struct rng *rng, struct guard_ticket *ticket);
void guard_renew(const struct guard *guard, const struct guard_ticket *ticket, int64_t lease_ms,
                 int64_t now_ms);
void guard_first_token(const struct guard *guard, const struct breaker_config *config,
                       struct guard_ticket *ticket, int64_t now_ms, struct rng *rng);
void guard_report(const struct guard *guard, const struct breaker_config *config, struct guard_ticket *ticket,
                  enum status status, int64_t now_ms, struct rng *rng);
