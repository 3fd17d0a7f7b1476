/* What a job's life tells the circuit breakers of its worker and of its model there, and the breakers' part
 * of the API. On the loop thread. Not for other folders. */
#pragma once

#include "controller/controller_internal.h"

/* The worker was chosen for a job. false: a breaker lets no job through after all, and `ticket` is none. */
MUST_USE bool breakers_begin(struct controller *controller, struct registry_worker *worker, const char *model,
                             bool panic, struct guard_ticket *ticket);
/* The worker has `silence_ms` from now on until it must have shown the next sign of life. */
void breakers_renew(struct controller *controller, const struct lease *lease,
                    const struct guard_ticket *ticket, int64_t silence_ms);
void breakers_first_token(struct controller *controller, const struct lease *lease,
                          struct guard_ticket *ticket);
/* However the job ended; call it while its lease is still held. Once for a ticket: later calls do nothing.
 * Returns how many breakers it opened. */
uint32_t breakers_end(struct controller *controller, const struct lease *lease, struct guard_ticket *ticket,
                      enum status status);
/* Another controller's word about it was taken over; `model` NULL: the worker's own one. `changed`: the state
 * is another one now. */
void breakers_note_adopted(struct registry_worker *worker, const char *model, const struct breaker *breaker,
                           bool changed);
/* Time has passed. */
void breakers_tick(struct controller *controller);

/* A JSON object by worker id: how its breakers together come out, then each of them by itself. */
void breakers_write(struct buf *out, const struct controller *controller);
/* GET /api/controller/circuit-breakers: the same. */
void breakers_api_list(struct controller *controller, struct http_exchange *exchange, const char *rest);
/* POST /api/controller/circuit-breakers/ID {"action":"open"|"close"|"reset","model":"name"}; without "model"
 * it is all breakers of the worker. */
void breakers_api_set(struct controller *controller, struct http_exchange *exchange, const char *rest);
