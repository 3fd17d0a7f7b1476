/* The queue in a worker's info and in the reply to getQueueStats, for wire_worker.c and wire_control.c. */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "proto/worker_info.h"

/* Appends `,"queue":{...}`. */
void wire_append_queue(struct buf *out, const struct worker_queue *queue);
/* Appends `key` and an array with one number for each level of priority. */
void wire_append_queue_levels(struct buf *out, const char *key, const int64_t *levels);
/* Appends `,"enqueued":...` and the other single numbers. */
void wire_append_queue_numbers(struct buf *out, const struct worker_queue *queue);
/* Reads the member `queue` of `load`, which may be NULL; what is absent is 0 or, where it can be, not known.
 */
bool wire_take_queue(const json_t *load, struct worker_queue *queue, struct error *error);
