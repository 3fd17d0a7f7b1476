/* The way out for what happens to jobs: collects events and publishes them, all events for one controller in
 * one message, in the order they were added. An emitter belongs to one thread; publishing is one write. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "net/transport.h"
#include "proto/wire.h"

/* Distinct controllers in one flush; with more, messages go out earlier and nothing is lost. */
enum { EMIT_CONTROLLERS_MAX = 16 };

/* Events for this controller could not be published. Called from within emit_event or emit_flush. */
typedef void emit_lost_fn(const char *controller_id, enum status status, void *arg);

struct emit_message {
    char controller_id[WIRE_CONTROLLER_ID_MAX + 1];
    struct buf body;
    size_t events;
};

struct emitter {
    struct transport *transport;
    const char *worker_id; /* the caller's; outlives the emitter, as does incarnation */
    const char *incarnation;
    size_t bytes_max; /* a message that has grown past this is sent at once */
    struct emit_message messages[EMIT_CONTROLLERS_MAX];
    size_t count;
    emit_lost_fn *on_lost; /* may be NULL */
    void *arg;
};

/* Loop thread, because it asks the transport for its limit. */
void emitter_init(struct emitter *emitter, struct transport *transport, const char *worker_id,
                  const char *incarnation);
void emitter_release(struct emitter *emitter); /* takes zeroed structs; what is not flushed is lost */

/* Fills in whose event it is. Its strings need to live only during the call. */
void emit_event(struct emitter *emitter, const struct wire_job *job, struct wire_event event);
void emit_failed(struct emitter *emitter, const struct wire_job *job, const struct error *error);
/* Publishes all that was added. */
void emit_flush(struct emitter *emitter);
