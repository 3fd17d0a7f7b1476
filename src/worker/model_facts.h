/* What is known of a model without loading it, from the header of its file. */
#pragma once

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "proto/worker_info.h"

struct model_facts { /* zeroed: nothing is known */
    char architecture[33];
    char quantization[25];
    int64_t parameters;
    int64_t file_bytes;
    int32_t context_tokens; /* of a job, with this configuration */
    uint32_t capabilities;
    int64_t layers; /* 0: not known */
    int64_t weights_bytes;
    int64_t cache_token_bytes; /* of one token in the KV cache */
    int64_t memory_bytes;      /* weights, and the KV cache as it is configured */
};

/* Reads the header; some milliseconds. MODEL_LOAD_FAILED with what is wrong with the file, and nothing is
 * known then. The fake engine's models are made up. Any thread. */
MUST_USE enum status model_facts_read(const struct config *config, const char *path, struct model_facts *out,
                                      struct error *error);

/* Tells the kernel to drop what it holds of the file, and of the other parts of a split model: pages that
 * were mapped more than once would count as used by the control group long after. Those that are mapped now
 * stay. */
void model_facts_drop_pages(const char *path);
