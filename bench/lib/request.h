/* The body of a streamed chat completion at temperature 0, with its usage. */
#pragma once

#include "base/buf.h"

/* Appends all up to the first message; the messages follow, as JSON objects with commas between them. */
void request_begin(struct buf *body, int max_tokens);
void request_end(struct buf *body);
