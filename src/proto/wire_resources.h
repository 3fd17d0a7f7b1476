/* `resources` of a worker's info and in the reply to getResourceStats, for wire_worker.c and wire_control.c.
 */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "proto/worker_info.h"

/* Appends `,"resources":{...}`. */
void wire_append_resources(struct buf *out, const struct worker_resources *resources);
/* Its members only, `"level":"soft",...`. */
void wire_append_resource_members(struct buf *out, const struct worker_resources *resources);
/* Reads the member `resources` of `root`; what is absent is OK, nothing and 0. */
bool wire_take_resources(const json_t *root, struct worker_resources *resources, struct error *error);
