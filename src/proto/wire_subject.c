#include "proto/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wire_subject_job(char *out, const char *worker_id) {
    snprintf(out, WIRE_SUBJECT_MAX, "inference.%s", worker_id);
}

void wire_subject_cancel(char *out, const char *worker_id) {
    snprintf(out, WIRE_SUBJECT_MAX, "inference.%s.cancel", worker_id);
}

void wire_subject_control(char *out, const char *worker_id) {
    snprintf(out, WIRE_SUBJECT_MAX, "worker.%s.control", worker_id);
}

void wire_subject_events(char *out, const char *controller_id, const char *worker_id) {
    snprintf(out, WIRE_SUBJECT_MAX, "reply.%s.events.%s", controller_id, worker_id);
}

void wire_subject_job_reply(char *out, const char *controller_id, const char *request_id, uint32_t attempt) {
    snprintf(out, WIRE_SUBJECT_MAX, "reply.%s.job.%s.%u", controller_id, request_id, attempt);
}

void wire_subject_control_reply(char *out, const char *controller_id, uint64_t ticket) {
    snprintf(out, WIRE_SUBJECT_MAX, "reply.%s.control.%llu", controller_id, (unsigned long long)ticket);
}

void wire_subject_echo(char *out, const char *controller_id, int64_t sent_ms) {
    snprintf(out, WIRE_SUBJECT_MAX, "reply.%s.echo.%lld", controller_id, (long long)sent_ms);
}

void wire_subject_all_sessions(char *out, const char *controller_id) {
    snprintf(out, WIRE_SUBJECT_MAX, "reply.%s.sessions", controller_id);
}

void wire_subject_replies(char *out, const char *controller_id) {
    snprintf(out, WIRE_SUBJECT_MAX, "reply.%s.>", controller_id);
}

bool wire_is_token(const char *text, size_t max) {
    static const bool allowed[256] = {
        ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['_'] = true, ['-'] = true};
    size_t len = 0;
    while (allowed[(unsigned char)text[len]])
        if (++len > max)
            return false;
    return len > 0 && !text[len];
}

/* Copies the token at `*at`, moves past it and its dot; a dot at the very end stays. false when there is none
 * or it does not fit. */
static bool take_token(const char **at, char *out, size_t cap) {
    size_t len = strcspn(*at, ".");
    if (len == 0 || len >= cap)
        return false;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at += len;
    if ((*at)[0] == '.' && (*at)[1] != '\0')
        *at += 1;
    return wire_is_token(out, cap - 1);
}

static bool take_number(const char **at, uint64_t max, uint64_t *out) {
    char digits[24];
    if (!take_token(at, digits, sizeof(digits)) || strspn(digits, "0123456789") != strlen(digits) ||
        strlen(digits) > 19)
        return false;
    *out = strtoull(digits, NULL, 10);
    return *out <= max;
}

void wire_reply_read(struct wire_reply *out, const char *subject) {
    char prefix[8], controller[WIRE_CONTROLLER_ID_MAX + 1], kind[16];
    uint64_t attempt = 0, sent_ms = 0;
    const char *at = subject;
    *out = (struct wire_reply){.kind = WIRE_REPLY_UNKNOWN};
    if (!take_token(&at, prefix, sizeof(prefix)) || strcmp(prefix, "reply") != 0 ||
        !take_token(&at, controller, sizeof(controller)) || !take_token(&at, kind, sizeof(kind)))
        return;
    if (strcmp(kind, "events") == 0 && take_token(&at, out->worker_id, sizeof(out->worker_id)) && !*at) {
        out->kind = WIRE_REPLY_EVENTS;
    } else if (strcmp(kind, "job") == 0 && take_token(&at, out->request_id, sizeof(out->request_id)) &&
               take_number(&at, UINT32_MAX, &attempt) && !*at) {
        out->kind = WIRE_REPLY_JOB;
        out->attempt = (uint32_t)attempt;
    } else if (strcmp(kind, "control") == 0 && take_number(&at, INT64_MAX, &out->ticket) && !*at) {
        out->kind = WIRE_REPLY_CONTROL;
    } else if (strcmp(kind, "echo") == 0 && take_number(&at, INT64_MAX, &sent_ms) && !*at) {
        out->kind = WIRE_REPLY_ECHO;
        out->sent_ms = (int64_t)sent_ms;
    } else if (strcmp(kind, "sessions") == 0 && !*at) {
        out->kind = WIRE_REPLY_SESSIONS;
    }
}
