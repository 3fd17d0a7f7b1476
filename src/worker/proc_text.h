/* Reading the small text files in which the kernel tells its numbers, below /proc and /sys. Any thread; never
 * blocks for long, since these files are made on the spot. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum {
    PROC_PATH_MAX = 4096, /* bytes of a path with its NUL; longer ones are taken as not there */
    PROC_TEXT_MAX = 8192, /* bytes of a file that are looked at, with a NUL; the longest has about 2000 */
};

/* The file's text, cut at `cap` - 1 bytes; false when it cannot be read. */
MUST_USE bool proc_read(const char *path, char *out, size_t cap);
/* The number behind `key` at the beginning of a line, as in "inactive_file 4096" and "MemTotal:  12 kB" (key
 * "MemTotal:"). false when there is none or it does not fit. */
MUST_USE bool proc_number(const char *text, const char *key, int64_t *out);
/* A text that is one number; false when it is not ("max"), or does not fit. */
MUST_USE bool proc_only_number(const char *text, int64_t *out);
