/* Whether a model file may be loaded into this process: first its header, read by ourselves (engine/gguf.h),
 * then, unless `cluster.worker.model_check` is `header`, a whole load and two tokens in a child process
 * (`mlxd load-model`). A file that brings llama.cpp down brings the child down. */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"

struct model_check {
    const struct config *config;    /* .worker */
    const char *program;            /* mlxd; run with the arguments of load-model */
    const char *path;               /* of the model */
    bool (*is_stopping)(void *arg); /* asked every 50 ms; true ends the check. May be NULL */
    void *arg;
};

/* Blocks until the child has ended: about as long as a load takes. MODEL_LOAD_FAILED with a sentence that
 * does not repeat the path: what is wrong with the file, or "loading it crashed (signal 11, Segmentation
 * fault)", or that it took longer than `model_check_timeout_ms`. Any thread, several at once. */
MUST_USE enum status model_check_run(const struct model_check *check, struct error *error);
