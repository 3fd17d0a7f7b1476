/* The waiting room in the controller: who waits, for how long, and who is called when a worker may be free.
 * route/waiting.h decides the order. On the loop thread. Not for other folders.
 *
 * Calling is put off to the end of the tick: many jobs may end in one tick, and a line is walked once for all
 * of them. */
#pragma once

#include "controller/controller_internal.h"

/* false when memory is out. */
MUST_USE bool room_start(struct controller *controller);
void room_stop(struct controller *controller);

void room_init_waiter(struct request *request);
/* Nobody overtakes: it must wait behind others, although a worker might just be free. Never so for a request
 * that waits already, nor for one whose try has failed. */
bool room_is_behind_others(const struct request *request);
/* In all, up to now. */
int64_t room_waited_ms(const struct request *request);
/* What is left of `limit_ms` of waiting. */
int64_t room_time_left_ms(const struct request *request, int64_t limit_ms);
/* false: no place, and its failure says so (unless nobody may wait at all). Stays where it is if it waits. */
MUST_USE bool room_enter(struct request *request);
/* For any reason; does nothing when it does not wait. */
void room_leave(struct request *request);

/* Something has changed: the next in each line are tried at the end of the tick. Costs nothing when nobody
 * waits. */
void room_call(struct controller *controller);

/* When the client should come back with this request, in ms; 0: no reason to say anything. */
int64_t room_retry_after_ms(struct request *request);
