/* Which beginnings of prompts a worker holds.
 *
 *   {"v":1,"workerId":"w1","incarnation":"k3...","held":["9c02f1a7b3d4e586",...],"gone":[...]} */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/wire.h"
#include "proto/wire_read.h"

enum { HASH_CHARS = 16 };

static void append_hashes(struct buf *out, const char *key, const uint64_t *hashes, size_t count) {
    buf_append_str(out, key);
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s\"%016llx\"", i ? "," : "", (unsigned long long)hashes[i]);
    buf_append_char(out, ']');
}

void wire_write_prefixes(struct buf *out, const char *worker_id, const char *incarnation,
                         const struct prefix_news *news) {
    json_append_int(out, "{\"v\":", WIRE_VERSION);
    json_append_str(out, ",\"workerId\":", worker_id);
    json_append_str(out, ",\"incarnation\":", incarnation);
    append_hashes(out, ",\"held\":[", news->held, news->held_count);
    append_hashes(out, ",\"gone\":[", news->gone, news->gone_count);
    buf_append_char(out, '}');
}

static bool read_hash(const json_t *value, uint64_t *out) {
    const char *text = json_string_value(value);
    if (!text || strlen(text) != HASH_CHARS || strspn(text, "0123456789abcdef") != HASH_CHARS)
        return false;
    *out = strtoull(text, NULL, 16);
    return true;
}

static bool take_hashes(const json_t *root, const char *key, uint64_t **out, size_t *count,
                        struct error *error) {
    const json_t *list = json_object_get(root, key);
    size_t size = json_array_size(list);
    if (!json_is_array(list) || size > WIRE_PREFIXES_MAX) {
        error_set(error, STATUS_PROTOCOL_ERROR, key, "%s must be an array of at most %d hashes", key,
                  WIRE_PREFIXES_MAX);
        return false;
    }
    *out = size > 0 ? calloc(size, sizeof **out) : NULL;
    if (size > 0 && !*out) {
        error_set(error, STATUS_PROTOCOL_ERROR, key, "no memory for %zu hashes", size);
        return false;
    }
    for (; *count < size; (*count)++) {
        if (!read_hash(json_array_get(list, *count), &(*out)[*count])) {
            error_set(error, STATUS_PROTOCOL_ERROR, key, "%s[%zu] is not a hash of %d hexadecimal digits",
                      key, *count, HASH_CHARS);
            return false;
        }
    }
    return true;
}

enum status wire_read_prefixes(const char *data, size_t len, struct wire_prefixes *out, struct error *error) {
    *out = (struct wire_prefixes){0};
    json_t *root = wire_open(data, len, error);
    if (!root)
        return STATUS_PROTOCOL_ERROR;
    bool ok = wire_take_id(root, "workerId", out->worker_id, sizeof(out->worker_id), error) &&
              wire_take_id(root, "incarnation", out->incarnation, sizeof(out->incarnation), error) &&
              take_hashes(root, "held", &out->held, &out->held_count, error) &&
              take_hashes(root, "gone", &out->gone, &out->gone_count, error);
    json_decref(root);
    return ok ? STATUS_OK : STATUS_PROTOCOL_ERROR;
}

void wire_prefixes_release(struct wire_prefixes *prefixes) {
    if (!prefixes)
        return;
    free(prefixes->held);
    free(prefixes->gone);
    *prefixes = (struct wire_prefixes){0};
}
