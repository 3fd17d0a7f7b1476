/* Writing JSON members by hand into a buffer: `key` is literal text that comes before the value, such as
 * `,"name":`. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/buf.h"

static inline void json_append_str(struct buf *out, const char *key, const char *value) {
    buf_append_str(out, key);
    buf_append_json(out, value, strlen(value));
}

static inline void json_append_int(struct buf *out, const char *key, int64_t value) {
    buf_append_str(out, key);
    buf_append_i64(out, value);
}
