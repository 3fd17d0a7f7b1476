#include "worker/emit.h"

#include <stdio.h>
#include <string.h>

void emitter_init(struct emitter *emitter, struct transport *transport, const char *worker_id,
                  const char *incarnation) {
    *emitter = (struct emitter){.transport = transport, .worker_id = worker_id, .incarnation = incarnation};
    /* Half of what may be sent leaves room for the event that passes the limit. */
    emitter->bytes_max = transport_max_payload(transport) / 2;
    for (size_t i = 0; i < EMIT_CONTROLLERS_MAX; i++)
        buf_init(&emitter->messages[i].body, 0);
}

void emitter_release(struct emitter *emitter) {
    for (size_t i = 0; i < EMIT_CONTROLLERS_MAX; i++)
        buf_release(&emitter->messages[i].body);
    *emitter = (struct emitter){0};
}

static enum status publish(struct emitter *emitter, struct emit_message *message) {
    wire_events_close(&message->body);
    if (message->body.failed)
        return STATUS_INTERNAL_ERROR;
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_events(subject, message->controller_id, emitter->worker_id);
    return transport_publish(emitter->transport, subject, NULL, message->body.data, message->body.len);
}

/* Leaves the message empty, for the same controller. */
static void send_message(struct emitter *emitter, struct emit_message *message) {
    if (message->events == 0)
        return;
    enum status status = publish(emitter, message);
    message->events = 0;
    if (status != STATUS_OK && emitter->on_lost)
        emitter->on_lost(message->controller_id, status, emitter->arg);
}

void emit_flush(struct emitter *emitter) {
    for (size_t i = 0; i < emitter->count; i++)
        send_message(emitter, &emitter->messages[i]);
    emitter->count = 0;
}

static struct emit_message *message_for(struct emitter *emitter, const char *controller_id) {
    for (size_t i = 0; i < emitter->count; i++) {
        if (strcmp(emitter->messages[i].controller_id, controller_id) == 0)
            return &emitter->messages[i];
    }
    if (emitter->count == EMIT_CONTROLLERS_MAX)
        emit_flush(emitter);
    struct emit_message *message = &emitter->messages[emitter->count++];
    snprintf(message->controller_id, sizeof message->controller_id, "%s", controller_id);
    return message;
}

void emit_event(struct emitter *emitter, const struct wire_job *job, struct wire_event event) {
    struct emit_message *message = message_for(emitter, job->controller_id);
    if (message->events == 0) {
        buf_clear(&message->body);
        wire_events_open(&message->body, emitter->worker_id, emitter->incarnation);
    }
    event.request_id = job->request_id;
    event.attempt = job->attempt;
    wire_events_add(&message->body, &event);
    message->events++;
    if (message->events == WIRE_EVENTS_MAX || message->body.len > emitter->bytes_max)
        send_message(emitter, message);
}

void emit_failed(struct emitter *emitter, const struct wire_job *job, const struct error *error) {
    emit_event(emitter, job,
               (struct wire_event){
                   .kind = WIRE_EVENT_FAILED,
                   .status = error->status,
                   .message = error->message,
                   .param = error->param[0] ? error->param : NULL,
               });
}
