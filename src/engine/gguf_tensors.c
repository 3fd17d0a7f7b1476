/* Names, shapes, types and places of the tensors, and whether their data is there. */
#include <stdio.h>
#include <string.h>

#include "engine/gguf_parse.h"
#include "engine/gguf_types.h"

enum { DIMENSIONS_MAX = 4 };

struct placing {
    uint64_t end;    /* of the data of the tensors so far, from where data begins */
    uint64_t padded; /* where the next one must begin */
    uint64_t type_bytes[GGUF_TENSOR_TYPES];
};

static bool take_shape(struct gguf_parse *parse, uint64_t *row, uint64_t *elements) {
    uint32_t dimensions;
    if (!gguf_take(parse, &dimensions, sizeof(dimensions)))
        return false;
    if (dimensions < 1 || dimensions > DIMENSIONS_MAX)
        return gguf_refuse(parse, "has %u dimensions, must have 1 to %d", dimensions, DIMENSIONS_MAX);
    *elements = 1;
    for (uint32_t i = 0; i < dimensions; i++) {
        uint64_t size;
        if (!gguf_take(parse, &size, sizeof(size)))
            return false;
        if (size == 0)
            return gguf_refuse(parse, "dimension %u is zero", i);
        if (size > INT64_MAX || __builtin_mul_overflow(*elements, size, elements) || *elements > INT64_MAX)
            return gguf_refuse(parse, "has more elements than can be counted");
        *row = i == 0 ? size : *row;
    }
    return true;
}

static bool take_type(struct gguf_parse *parse, uint64_t row, uint64_t elements, uint32_t *number,
                      uint64_t *bytes) {
    if (!gguf_take(parse, number, sizeof(*number)))
        return false;
    const struct gguf_tensor_type *type = gguf_tensor_type(*number);
    if (!type)
        return gguf_refuse(parse, "has the type %u, which is unknown", *number);
    if (row % type->block != 0)
        return gguf_refuse(parse, "has rows of %llu elements, which %s cannot store: it takes blocks of %u",
                           (unsigned long long)row, type->name, type->block);
    if (__builtin_mul_overflow(elements / type->block, (uint64_t)type->block_bytes, bytes) ||
        *bytes > INT64_MAX)
        return gguf_refuse(parse, "has more bytes than can be counted");
    return true;
}

static bool take_place(struct gguf_parse *parse, struct placing *placing, uint64_t bytes) {
    uint64_t offset, end;
    uint64_t alignment = (uint64_t)parse->info->alignment;
    if (!gguf_take(parse, &offset, sizeof(offset)))
        return false;
    if (offset % alignment != 0)
        return gguf_refuse(parse, "its data at %llu is not aligned to %llu bytes", (unsigned long long)offset,
                           (unsigned long long)alignment);
    if (__builtin_add_overflow(offset, bytes, &end) || end > parse->file_bytes)
        return gguf_refuse(parse, "its data (%llu bytes at %llu) ends behind the file",
                           (unsigned long long)bytes, (unsigned long long)offset);
    if (offset < placing->padded)
        return gguf_refuse(parse, "its data at %llu overlaps that of the tensor before, which ends at %llu",
                           (unsigned long long)offset, (unsigned long long)placing->end);
    if (offset > placing->padded)
        return gguf_refuse(parse, "its data at %llu leaves a gap; it must be at %llu",
                           (unsigned long long)offset, (unsigned long long)placing->padded);
    /* No overflow: the end is inside a file, and the alignment is small. */
    placing->end = end;
    placing->padded = (end + alignment - 1) / alignment * alignment;
    return true;
}

static bool read_tensor(struct gguf_parse *parse, struct placing *placing) {
    uint64_t row = 0, elements = 0, bytes = 0;
    uint32_t type = 0;
    if (!gguf_take_name(parse, "tensor", GGUF_TENSOR_NAME_MAX) || !gguf_note_name(parse) ||
        !take_shape(parse, &row, &elements) || !take_type(parse, row, elements, &type, &bytes) ||
        !take_place(parse, placing, bytes))
        return false;
    placing->type_bytes[type] += bytes;
    parse->info->weights_bytes += (int64_t)bytes;
    /* Elements may outnumber bytes, but by a small factor. */
    if (__builtin_add_overflow(parse->info->parameters, (int64_t)elements, &parse->info->parameters))
        return gguf_refuse(parse, "all tensors together have more elements than can be counted");
    return true;
}

/* Where the file itself does not tell. */
static void name_quantization(struct gguf_parse *parse, const struct placing *placing) {
    const char *name = gguf_file_type_name(parse->file_type);
    uint32_t most = 0;
    for (uint32_t i = 0; i < GGUF_TENSOR_TYPES; i++)
        most = placing->type_bytes[i] > placing->type_bytes[most] ? i : most;
    snprintf(parse->info->quantization, sizeof(parse->info->quantization), "%s",
             name ? name : gguf_tensor_type(most)->name);
}

static bool check_end(struct gguf_parse *parse, const struct placing *placing) {
    uint64_t alignment = (uint64_t)parse->info->alignment;
    uint64_t begin = (parse->reader.at + alignment - 1) / alignment * alignment;
    uint64_t end = begin + placing->end; /* both are at most the file's size and a little */
    if (end > parse->file_bytes)
        return gguf_refuse(parse, "the file is cut off: the tensors end at byte %llu, the file at %llu",
                           (unsigned long long)end, (unsigned long long)parse->file_bytes);
    return true;
}

bool gguf_read_tensors(struct gguf_parse *parse) {
    struct placing placing = {.end = 0};
    for (uint64_t i = 0; i < parse->tensor_count; i++) {
        if (!read_tensor(parse, &placing))
            return false;
    }
    gguf_forget_names(parse);
    parse->info->tensors = (int64_t)parse->tensor_count;
    if (parse->tensor_count == 0)
        return true;
    name_quantization(parse, &placing);
    return check_end(parse, &placing);
}
