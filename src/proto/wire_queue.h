/* The queue in a worker's info, between wire_worker.c and wire_queue.c. */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "proto/worker_info.h"

/* Appends `,"queue":{...}`. */
void wire_append_queue(struct buf *out, const struct worker_queue *queue);
/* Reads the member `queue` of `load`, which may be NULL; what is absent is 0 or, where it can be, not known.
 */
bool wire_take_queue(const json_t *load, struct worker_queue *queue, struct error *error);
