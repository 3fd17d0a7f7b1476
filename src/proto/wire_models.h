/* The models in a worker's info, between wire_worker.c and wire_models.c.
 *
 *   "models":[{"name":"m","state":"ready","loadPercent":100,"contextTokens":4096,"slots":8,"parameters":1,
 *              "fileBytes":1,...,"architecture":"llama","quantization":"Q8_0","onDemand":true,
 *              "capabilities":["chat"]}],
 *   "modelMemory":{"usedBytes":1,"maxBytes":0} */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "proto/worker_info.h"

/* Appends `,"models":[...],"modelMemory":{...}`. */
void wire_append_models(struct buf *out, const struct worker_info *info);
/* `models` is required, and of each model its name and state; what else is absent is 0, or -1 where that
 * means that it is not known. */
bool wire_take_models(const json_t *root, struct worker_info *info, struct error *error);
/* The place of the name of a member among `count` names, or -1 and an error. */
int wire_take_name(const json_t *object, const char *key, const char *(*name_of)(int), int count,
                   struct error *error);
