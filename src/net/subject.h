/* Subjects of messages: tokens separated by dots; patterns with the wildcards of NATS. */
#pragma once

#include <stdbool.h>

/* May be published to: not empty, no empty token, no white space or control character (they would end the
 * subject on the wire). Wildcards are allowed only in `pattern`s, which is not checked here. */
bool subject_is_valid(const char *subject);
/* `*` stands for exactly one token, `>` at the end for one or more. */
bool subject_matches(const char *pattern, const char *subject);
