/* Two passes: the first looks whether all of it is as expected, the second tells. */
#include "proto/wire_scan.h"

#include <string.h>

#include "base/utf8.h"

struct scan {
    const char *at;
    const char *end;
    struct buf unescaped; /* owned; the text of the event at hand, when it is not in the message as it is */
    char request_id[WIRE_REQUEST_ID_MAX + 1];
};

static bool skip(struct scan *scan, const char *literal) {
    size_t len = strlen(literal);
    if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, literal, len) != 0)
        return false;
    scan->at += len;
    return true;
}

/* Digits without leading zeros, min..max; max is below 10^10. */
static bool take_int(struct scan *scan, int64_t min, int64_t max, int64_t *out) {
    enum { DIGITS_MAX = 10 };
    const char *begin = scan->at;
    int64_t value = 0;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && scan->at - begin < DIGITS_MAX)
        value = value * 10 + (*scan->at++ - '0');
    *out = value;
    return scan->at > begin && (*begin != '0' || scan->at - begin == 1) && value >= min && value <= max;
}

/* The rest of a string that is a token, up to behind its closing quote. `out` holds max + 1 bytes. */
static bool take_token(struct scan *scan, char *out, size_t max) {
    size_t left = (size_t)(scan->end - scan->at);
    const char *quote = memchr(scan->at, '"', left < max + 1 ? left : max + 1);
    if (!quote)
        return false;
    size_t len = (size_t)(quote - scan->at);
    memcpy(out, scan->at, len);
    out[len] = '\0';
    scan->at = quote + 1;
    return strlen(out) == len && wire_is_token(out, max);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind the backslash. Control characters are all that a writer must spell as \u. */
static bool take_escape(struct scan *scan) {
    static const char letters[] = "\"\\/nrtbf", meant[] = "\"\\/\n\r\t\b\f";
    const char *letter = scan->at < scan->end ? memchr(letters, *scan->at, sizeof(letters) - 1) : NULL;
    if (letter) {
        scan->at++;
        buf_append_char(&scan->unescaped, meant[letter - letters]);
        return true;
    }
    if (!skip(scan, "u00") || scan->end - scan->at < 2)
        return false;
    int high = hex_digit(scan->at[0]), low = hex_digit(scan->at[1]);
    if (high < 0 || high > 7 || low < 0 || high + low == 0)
        return false;
    scan->at += 2;
    buf_append_char(&scan->unescaped, (char)(high << 4 | low));
    return true;
}

static const char *plain_end(const struct scan *scan) {
    const char *at = scan->at;
    while (at < scan->end && (unsigned char)*at >= 0x20 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* The rest of a string, up to behind its closing quote. */
static bool take_text(struct scan *scan, struct wire_event *event) {
    const char *begin = scan->at;
    scan->at = plain_end(scan);
    event->text = begin;
    event->text_len = (size_t)(scan->at - begin);
    if (scan->at < scan->end && *scan->at == '\\') {
        buf_clear(&scan->unescaped);
        buf_append(&scan->unescaped, begin, event->text_len);
        while (skip(scan, "\\")) {
            if (!take_escape(scan))
                return false;
            const char *next = plain_end(scan);
            buf_append(&scan->unescaped, scan->at, (size_t)(next - scan->at));
            scan->at = next;
        }
        event->text = scan->unescaped.data;
        event->text_len = scan->unescaped.len;
    }
    return skip(scan, "\"") && !scan->unescaped.failed && event->text_len <= WIRE_TEXT_MAX &&
           utf8_is_valid(event->text, event->text_len);
}

static bool take_index(struct scan *scan, struct wire_event *event) {
    int64_t index;
    if (!skip(scan, ",\"i\":") || !take_int(scan, 0, INT32_MAX, &index))
        return false;
    event->index = (uint32_t)index;
    return true;
}

static bool take_accepted(struct scan *scan, struct wire_event *event) {
    int64_t position = -1;
    event->wait_ms = -1;
    if (skip(scan, ",\"position\":") && !take_int(scan, 0, INT32_MAX, &position))
        return false;
    event->position = (int32_t)position;
    return !skip(scan, ",\"waitMs\":") || take_int(scan, 0, INT32_MAX, &event->wait_ms);
}

static bool take_started(struct scan *scan, struct wire_event *event) {
    int64_t tokens;
    if (!skip(scan, ",\"p\":") || !take_int(scan, 0, INT32_MAX, &tokens))
        return false;
    event->prompt_tokens = (int32_t)tokens;
    return true;
}

static bool take_token_event(struct scan *scan, struct wire_event *event) {
    int64_t token;
    if (!take_index(scan, event) || !skip(scan, ",\"id\":") || !take_int(scan, 0, INT32_MAX, &token))
        return false;
    event->token = (int32_t)token;
    return skip(scan, ",\"t\":\"") && take_text(scan, event);
}

static bool take_finished(struct scan *scan, struct wire_event *event) {
    if (!take_index(scan, event) || !skip(scan, ",\"t\":\"") || !take_text(scan, event))
        return false;
    if (skip(scan, ",\"f\":\"stop\""))
        event->finish = FINISH_STOP;
    else if (skip(scan, ",\"f\":\"length\""))
        event->finish = FINISH_LENGTH;
    else
        return false;
    struct usage *usage = &event->usage;
    return skip(scan, ",\"u\":[") && take_int(scan, 0, INT32_MAX, &usage->prompt_tokens) && skip(scan, ",") &&
           take_int(scan, 0, INT32_MAX, &usage->completion_tokens) && skip(scan, ",") &&
           take_int(scan, 0, INT32_MAX, &usage->cached_tokens) && skip(scan, "]");
}

static bool take_body(struct scan *scan, char kind, struct wire_event *event) {
    switch (kind) {
    case 'a':
        event->kind = WIRE_EVENT_ACCEPTED;
        return take_accepted(scan, event);
    case 's':
        event->kind = WIRE_EVENT_STARTED;
        return take_started(scan, event);
    case 't':
        event->kind = WIRE_EVENT_TOKEN;
        return take_token_event(scan, event);
    case 'f':
        event->kind = WIRE_EVENT_FINISHED;
        return take_finished(scan, event);
    default:
        return false;
    }
}

static bool take_event(struct scan *scan, struct wire_event *event) {
    int64_t attempt;
    if (!skip(scan, "{\"k\":\"") || scan->at == scan->end)
        return false;
    char kind = *scan->at++;
    *event = (struct wire_event){.request_id = scan->request_id};
    if (!skip(scan, "\",\"r\":\"") || !take_token(scan, scan->request_id, WIRE_REQUEST_ID_MAX) ||
        !skip(scan, ",\"a\":") || !take_int(scan, 1, UINT32_MAX, &attempt))
        return false;
    event->attempt = (uint32_t)attempt;
    return take_body(scan, kind, event) && skip(scan, "}");
}

/* `fn` is NULL in the first pass. */
static bool take_message(struct scan *scan, wire_event_fn *fn, void *arg) {
    struct wire_events_source source;
    struct wire_event event;
    size_t count = 0;
    if (!skip(scan, "{\"v\":1,\"w\":\"") || !take_token(scan, source.worker_id, WORKER_ID_MAX) ||
        !skip(scan, ",\"inc\":\"") || !take_token(scan, source.incarnation, INCARNATION_CHARS) ||
        !skip(scan, ",\"ev\":["))
        return false;
    do {
        if (!take_event(scan, &event) || ++count > WIRE_EVENTS_MAX)
            return false;
        if (fn)
            fn(&source, &event, arg);
    } while (skip(scan, ","));
    return skip(scan, "]}") && scan->at == scan->end;
}

_Static_assert(WIRE_VERSION == 1, "take_message knows one version");

bool wire_scan_events(const char *data, size_t len, wire_event_fn *fn, void *arg) {
    struct scan scan = {.at = data, .end = data + len};
    buf_init(&scan.unescaped, WIRE_TEXT_MAX);
    bool ok = take_message(&scan, NULL, NULL);
    if (ok) {
        scan.at = data;
        ok = take_message(&scan, fn, arg);
    }
    buf_release(&scan.unescaped);
    return ok;
}
