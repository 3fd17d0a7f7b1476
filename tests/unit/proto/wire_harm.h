/* What every reader of the wire must survive: a good message cut anywhere, with flipped bytes, and of another
 * version. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Reads the message and releases what it got; true when it was accepted. */
typedef bool wire_read_fn(const char *data, size_t len);

/* Fails the test unless `message` is accepted and each proper beginning of it refused; then reads it many
 * times with random bytes changed, which may end either way. Each copy has exactly its size on the heap, so
 * that the address sanitizer sees a read past its end. */
void wire_harm(wire_read_fn *read, const char *message, size_t len);

/* Fails the test unless versions other than ours, and none, are refused, and a member that nobody knows is
 * passed over. `message` begins with {"v":1, as all do. */
void wire_harm_version(wire_read_fn *read, const char *message, size_t len);
