/* Probes of our own: when a circuit breaker would let a probe through, the controller sends a job that makes
 * one token, so that a worker that is well again is found without a client's request paying for it if it is
 * not.
 *
 * A probe is a job like any other, with a lease and the breakers' tickets; what the worker says of it comes
 * through the same inbox. The breakers let one through at a time. The router gives clients' requests to other
 * workers as long as there are some (router.own_probes). On the loop thread. Not for other folders. */
#pragma once

#include "controller/controller_internal.h"

/* Sends those that are due. */
void probe_tick(struct controller *controller);
/* An event of a job that is none of the requests; false: it is not of a probe either. */
MUST_USE bool probe_take_event(struct controller *controller, const struct wire_events_source *source,
                               const struct wire_event *event);
/* Nobody listens where the job was sent to; false: it is not of a probe. */
MUST_USE bool probe_take_no_responders(struct controller *controller, const struct wire_reply *reply);
/* The incarnation is gone or silent. */
void probe_fail_on(struct controller *controller, uint64_t generation, enum status status);
/* Forgets those under way: the controller ends. */
void probe_release_all(struct controller *controller);
