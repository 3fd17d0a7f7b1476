/* What a request's tries tell the circuit breakers of their workers, and the breakers' part of the API. On
 * the loop thread. Not for other folders. */
#pragma once

#include "controller/controller_internal.h"

/* The worker was chosen. false: its breaker lets no job through after all. */
MUST_USE bool breakers_begin_try(struct request *request, struct registry_worker *worker, bool panic);
/* The worker has `silence_ms` from now on until it must have shown the next sign of life. */
void breakers_renew(struct request *request, int64_t silence_ms);
void breakers_first_token(struct request *request);
/* However the try ended; call it while its lease is still held. Once for a try: later calls do nothing. */
void breakers_end_try(struct request *request, enum status status);
/* Time has passed. */
void breakers_tick(struct controller *controller);

/* GET /api/controller/circuit-breakers: an object by worker id. */
void breakers_api_list(struct controller *controller, struct http_exchange *exchange, const char *rest);
/* POST /api/controller/circuit-breakers/ID {"action":"open"|"close"|"reset"} */
void breakers_api_set(struct controller *controller, struct http_exchange *exchange, const char *rest);
