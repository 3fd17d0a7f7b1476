/* The controller: takes OpenAI requests over HTTP, sends each as a job to a worker, and streams back what the
 * worker says. It owns the routing state (registry, leases) and every request; all on the loop thread.
 *
 * Life: controller_new subscribes, asks all workers to register, and listens. controller_drain refuses new
 * requests and finishes those under way inside a limit. */
#pragma once

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"
#include "net/loop.h"
#include "net/transport.h"

struct controller;

/* All of it must outlive the controller. */
struct controller_env {
    const struct config *config; /* .controller, .routing, .balancing, .discovery */
    const char *id;              /* wire_is_token, at most WIRE_CONTROLLER_ID_MAX */
    struct loop *loop;
    struct transport *transport;
};

/* START_FAILED when the port cannot be had. */
struct controller *controller_new(const struct controller_env *env, struct error *error);
/* The port it listens on: the configured one, or what the system chose for 0. */
int controller_port(const struct controller *controller);
/* New requests are refused with CONTROLLER_DRAINING, also on new connections, until those under way are done
 * (with reuse_port new connections are left to the other controllers); `on_drained` is called once on the
 * loop thread, when no request is left, at the latest after `limit_ms`, when the rest has been answered with
 * that error. */
void controller_drain(struct controller *controller, int64_t limit_ms, void (*on_drained)(void *arg),
                      void *arg);
/* Closes all connections, cancels what still runs on workers, frees. Takes NULL. */
void controller_free(struct controller *controller);

/* The request's state table as Markdown, for docs/STATES.md. */
void controller_write_states(struct buf *out);
