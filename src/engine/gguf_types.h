/* How tensors are stored: facts of the format. Not for other folders. */
#pragma once

#include <stdint.h>

struct gguf_tensor_type {
    const char *name;
    uint16_t block; /* elements that are stored together; 0: no such type */
    uint16_t block_bytes;
};

enum { GGUF_TENSOR_TYPES = 43 };

/* NULL for a number that is no type, or one that was given up. */
const struct gguf_tensor_type *gguf_tensor_type(uint32_t number);
/* The name of a general.file_type ("Q4_K_M"), NULL for an unknown one. */
const char *gguf_file_type_name(uint64_t number);
