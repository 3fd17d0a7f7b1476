#include "engine/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "engine/gguf_parse.h"

enum { ALIGNMENT_DEFAULT = 32, PATH_BYTES_MAX = 4096 };

bool gguf_refuse(struct gguf_parse *parse, const char *format, ...) {
    char why[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    if (*parse->noun)
        error_set(parse->error, STATUS_MODEL_LOAD_FAILED, NULL, "%s%s%.100s%s at byte %llu: %s", parse->noun,
                  *parse->name ? " \"" : "", parse->name, *parse->name ? "\"" : "",
                  (unsigned long long)parse->name_at, why);
    else
        error_set(parse->error, STATUS_MODEL_LOAD_FAILED, NULL, "%s", why);
    return false;
}

static bool refuse_end(struct gguf_parse *parse, uint64_t count) {
    const struct gguf_reader *reader = &parse->reader;
    if (reader->failed)
        return gguf_refuse(parse, "byte %llu cannot be read: %s", (unsigned long long)reader->at,
                           reader->failed_errno ? strerror(reader->failed_errno) : "the file became shorter");
    if (reader->end < parse->file_bytes)
        return gguf_refuse(parse, "the header would be larger than %d MiB", GGUF_HEADER_BYTES_MAX >> 20);
    return gguf_refuse(parse, "the file is cut off: %llu more bytes are needed at byte %llu, it ends at %llu",
                       (unsigned long long)count, (unsigned long long)reader->at,
                       (unsigned long long)reader->end);
}

bool gguf_take(struct gguf_parse *parse, void *out, size_t count) {
    return gguf_reader_take(&parse->reader, out, count) || refuse_end(parse, count);
}

bool gguf_skip(struct gguf_parse *parse, uint64_t count) {
    return gguf_reader_skip(&parse->reader, count) || refuse_end(parse, count);
}

static bool is_printable(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7F)
            return false;
    }
    return utf8_is_valid(text, len);
}

bool gguf_take_name(struct gguf_parse *parse, const char *noun, size_t max) {
    uint64_t len;
    char name[GGUF_KEY_BYTES_MAX];
    parse->noun = noun;
    parse->name[0] = '\0';
    parse->name_at = parse->reader.at;
    if (!gguf_take(parse, &len, sizeof(len)))
        return false;
    if (len == 0 || len > max)
        return gguf_refuse(parse, "its name has %llu bytes, must have 1 to %zu", (unsigned long long)len,
                           max);
    if (!gguf_take(parse, name, (size_t)len))
        return false;
    if (!is_printable(name, (size_t)len))
        return gguf_refuse(parse, "its name is not printable text");
    memcpy(parse->name, name, (size_t)len);
    parse->name[len] = '\0';
    return true;
}

bool gguf_note_name(struct gguf_parse *parse) {
    if (map_find(&parse->seen, parse->name))
        return gguf_refuse(parse, "is there twice");
    return map_put(&parse->seen, parse->name, parse) || gguf_refuse(parse, "out of memory");
}

void gguf_forget_names(struct gguf_parse *parse) {
    map_release(&parse->seen);
    map_init(&parse->seen);
    parse->noun = "";
}

static bool take_version(struct gguf_parse *parse) {
    char magic[4];
    uint32_t version;
    if (!gguf_reader_has(&parse->reader, sizeof(magic) + sizeof(version)) ||
        !gguf_take(parse, magic, sizeof(magic)) || memcmp(magic, "GGUF", sizeof(magic)) != 0)
        return gguf_refuse(parse, "not a GGUF file: it does not begin with GGUF");
    if (!gguf_take(parse, &version, sizeof(version)))
        return false;
    if ((version & 0xFFFF) == 0)
        return gguf_refuse(parse, "a GGUF file for big-endian machines (version %#x)", version);
    if (version != 2 && version != 3)
        return gguf_refuse(parse, "version %u of GGUF; 2 and 3 can be read", version);
    parse->info->version = (int32_t)version;
    return true;
}

static bool take_counts(struct gguf_parse *parse) {
    if (!gguf_take(parse, &parse->tensor_count, sizeof(parse->tensor_count)) ||
        !gguf_take(parse, &parse->key_count, sizeof(parse->key_count)))
        return false;
    if (parse->tensor_count > GGUF_TENSORS_MAX)
        return gguf_refuse(parse, "says that it has %llu tensors; at most %d are taken",
                           (unsigned long long)parse->tensor_count, GGUF_TENSORS_MAX);
    if (parse->key_count > GGUF_KEYS_MAX)
        return gguf_refuse(parse, "says that it has %llu keys; at most %d are taken",
                           (unsigned long long)parse->key_count, GGUF_KEYS_MAX);
    parse->keys_at = parse->reader.at;
    return true;
}

static bool check_parts(struct gguf_parse *parse) {
    const struct gguf_info *info = parse->info;
    if (info->parts <= 1 && info->tensors == 0)
        return gguf_refuse(parse, "there are no tensors");
    if (info->part > 0 && info->part >= info->parts)
        return gguf_refuse(parse, "split.no is %lld, but split.count is %lld", (long long)info->part,
                           (long long)info->parts);
    return true;
}

static bool read_all(struct gguf_parse *parse) {
    return take_version(parse) && take_counts(parse) && gguf_read_keys(parse) && gguf_read_tensors(parse) &&
           check_parts(parse);
}

enum status gguf_read(int fd, struct gguf_info *out, struct error *error) {
    struct stat file;
    *out = (struct gguf_info){.alignment = ALIGNMENT_DEFAULT};
    if (fstat(fd, &file) != 0)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s", strerror(errno));
    if (!S_ISREG(file.st_mode))
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "not a file");
    struct gguf_parse *parse = calloc(1, sizeof(*parse));
    if (!parse)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "out of memory");
    parse->info = out;
    parse->error = error;
    parse->noun = "";
    parse->file_bytes = (uint64_t)file.st_size;
    parse->tokens = parse->merges = parse->scores = parse->token_types = parse->file_type = UINT64_MAX;
    parse->reader.fd = fd;
    parse->reader.end = parse->file_bytes < GGUF_HEADER_BYTES_MAX ? parse->file_bytes : GGUF_HEADER_BYTES_MAX;
    map_init(&parse->seen);
    out->file_bytes = file.st_size;
    bool sound = read_all(parse);
    map_release(&parse->seen);
    free(parse);
    return sound ? STATUS_OK : STATUS_MODEL_LOAD_FAILED;
}

/* Split models. */

static bool is_digits(const char *text, size_t len) {
    return strspn(text, "0123456789") >= len;
}

bool gguf_is_part(const char *path, int *part, int *parts) {
    enum { TAIL = sizeof("-00001-of-00003.gguf") - 1 };
    size_t len = strlen(path);
    if (len <= TAIL)
        return false;
    const char *at = path + len - TAIL;
    if (at[0] != '-' || !is_digits(at + 1, 5) || strncmp(at + 6, "-of-", 4) != 0 || !is_digits(at + 10, 5) ||
        strcmp(at + 15, ".gguf") != 0)
        return false;
    *part = (int)strtol(at + 1, NULL, 10) - 1;
    *parts = (int)strtol(at + 10, NULL, 10);
    return *part >= 0 && *part < *parts;
}

static enum status read_path(const char *path, struct gguf_info *out, struct error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a pipe would wait for its writer */
    if (fd < 0)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s", strerror(errno));
    enum status status = gguf_read(fd, out, error);
    close(fd);
    return status;
}

static enum status check_part(const struct gguf_info *first, const struct gguf_info *part, int64_t index,
                              struct error *error) {
    if (part->part != index || part->parts != first->parts)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                         "says that it is part %lld of %lld, must be %lld of %lld", (long long)part->part + 1,
                         (long long)part->parts, (long long)index + 1, (long long)first->parts);
    return STATUS_OK;
}

static enum status add_part(struct gguf_info *sum, const struct gguf_info *part, struct error *error) {
    sum->tensors += part->tensors;
    if (__builtin_add_overflow(sum->parameters, part->parameters, &sum->parameters) ||
        __builtin_add_overflow(sum->weights_bytes, part->weights_bytes, &sum->weights_bytes) ||
        __builtin_add_overflow(sum->file_bytes, part->file_bytes, &sum->file_bytes))
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                         "all parts together are larger than can be counted");
    if (!*sum->quantization)
        snprintf(sum->quantization, sizeof(sum->quantization), "%s", part->quantization);
    return STATUS_OK;
}

/* `stem_len`: bytes of the path before "-00001-of-00003.gguf". */
static enum status read_part(const char *path, size_t stem_len, int64_t index, struct gguf_info *sum,
                             struct error *error) {
    char name[PATH_BYTES_MAX + 1];
    struct gguf_info part = {.parts = 0};
    struct error why = {0};
    int len = snprintf(name, sizeof(name), "%.*s-%05d-of-%05d.gguf", (int)stem_len, path, (int)index + 1,
                       (int)sum->parts);
    if (len < 0 || (size_t)len >= sizeof(name))
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "the path is too long");
    enum status status = read_path(name, &part, &why);
    if (status == STATUS_OK)
        status = check_part(sum, &part, index, &why);
    if (status == STATUS_OK)
        status = add_part(sum, &part, &why);
    if (status == STATUS_OK)
        return STATUS_OK;
    const char *slash = strrchr(name, '/');
    return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "part %lld of %lld, %.120s: %s",
                     (long long)index + 1, (long long)sum->parts, slash ? slash + 1 : name, why.message);
}

static enum status read_parts(const char *path, struct gguf_info *sum, struct error *error) {
    int part, parts;
    if (sum->part != 0)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                         "part %lld of a model of %lld files; give the first one", (long long)sum->part + 1,
                         (long long)sum->parts);
    if (!gguf_is_part(path, &part, &parts) || part != 0 || parts != sum->parts)
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL,
                         "the first of %lld files; its name must end with -00001-of-%05lld.gguf",
                         (long long)sum->parts, (long long)sum->parts);
    size_t stem_len = strlen(path) - strlen("-00001-of-00003.gguf");
    for (int64_t i = 1; i < sum->parts; i++) {
        enum status status = read_part(path, stem_len, i, sum, error);
        if (status != STATUS_OK)
            return status;
    }
    if (sum->tensors == 0 || (sum->parts_tensors > 0 && sum->tensors != sum->parts_tensors))
        return error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "the %lld parts have %lld tensors, not %lld",
                         (long long)sum->parts, (long long)sum->tensors, (long long)sum->parts_tensors);
    return STATUS_OK;
}

enum status gguf_read_model(const char *path, struct gguf_info *out, struct error *error) {
    enum status status = read_path(path, out, error);
    return status == STATUS_OK && out->parts > 1 ? read_parts(path, out, error) : status;
}

/* Memory. */

/* Over all layers. */
static int64_t heads_kv_total(const struct gguf_info *info) {
    const struct gguf_per_layer *heads = info->heads_kv.count ? &info->heads_kv : &info->heads;
    int64_t layers = info->layers;
    if (info->attention_interval > 1)
        layers /= info->attention_interval;
    return heads->count > 1 ? heads->sum : heads->max * layers;
}

static int64_t row_bytes(enum engine_cache_type type, int64_t elements) {
    static const struct {
        int64_t numbers, bytes;
    } blocks[] = {
#define X(name, numbers_, bytes_) {.numbers = (numbers_), .bytes = (bytes_)},
        ENGINE_CACHE_MAP(X)
#undef X
    };
    return (elements + blocks[type].numbers - 1) / blocks[type].numbers * blocks[type].bytes;
}

int64_t gguf_cache_bytes(const struct gguf_info *info, enum engine_cache_type keys,
                         enum engine_cache_type values, int64_t tokens) {
    int64_t of_head = info->heads.max > 0 ? info->embedding_width / info->heads.max : 0;
    int64_t heads = heads_kv_total(info); /* at most 2^25 */
    int64_t key = info->key_width > 0 ? info->key_width : of_head;
    int64_t value = info->value_width > 0 ? info->value_width : of_head; /* at most 2^24 */
    int64_t token = row_bytes(keys, heads * key);
    if (info->latent_width == 0)
        token += row_bytes(values, heads * value);
    int64_t bytes;
    return __builtin_mul_overflow(token, tokens, &bytes) ? INT64_MAX : bytes;
}
