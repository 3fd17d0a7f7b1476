/* UTF-8 (RFC 3629) checks on bytes that need not end in NUL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Length of the longest prefix that ends on a character boundary and is valid UTF-8. `*truncated` (may be
 * NULL) becomes true when what follows the prefix is the beginning of a character that may still be
 * completed, false when the text is complete or broken there. */
size_t utf8_valid_prefix(const char *text, size_t len, bool *truncated);
bool utf8_is_valid(const char *text, size_t len);
/* `len` without an unfinished character at the end, for text that was cut at a number of bytes. Looks at the
 * last character only; the rest need not be valid. */
size_t utf8_trim_partial(const char *text, size_t len);
