/* TCP ports: keeping one for a child process, and asking what listens on one.
 *
 * A port is kept by a socket that is bound with SO_REUSEADDR and never listens. On Linux another such socket
 * may bind beside it and listen, again and again as the child is restarted, while the system hands the port
 * to nobody else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"

/* Keeps `*port` of the address; 0 is replaced by a free one. Returns the socket, or -1 and START_FAILED,
 * which says so when something listens there already. `shared`: others may listen there (SO_REUSEPORT). */
int port_keep(const char *host, int64_t *port, bool shared, struct error *error);
/* The address at which this machine reaches what listens on `host`: itself for 0.0.0.0 and ::. */
const char *port_local_host(const char *host);
/* Whether something accepts a connection. Waits up to `wait_ms`. */
bool port_is_open(const char *host, int64_t port, int wait_ms);
/* GET of a small body. true only for status 200. Waits up to `wait_ms`. */
MUST_USE bool port_http_get(const char *host, int64_t port, const char *path, int wait_ms, struct buf *body);
