/* Many clients that each hold one streamed chat completion open. One thread, loopback only, and nothing is
 * kept of a stream but its socket. */
#pragma once

#include <stddef.h>

struct stream_load;

/* Opens `streams` connections to the port, `at_once` at a time, each sends the request, and waits until each
 * has had its first text. Exits when a connection is refused, a stream ends, or all are silent for two
 * minutes. */
struct stream_load *stream_load_open(int port, int streams, int at_once, const char *request,
                                     size_t request_len);
/* How many streams are still open; reads what came. */
int stream_load_count(struct stream_load *load);
/* Closes all. */
void stream_load_close(struct stream_load *load);
