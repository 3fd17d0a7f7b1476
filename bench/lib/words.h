/* Text for prompts: plain English words that are a function of a seed, so that every server gets the same and
 * no two seeds begin alike. */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* Appends `count` words, each with a space behind it. Good in JSON as it is. */
void words_append(struct buf *out, uint64_t seed, int count);
