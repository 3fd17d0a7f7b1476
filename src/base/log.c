#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/utf8.h"

enum {
    LINE_MAX_BYTES = 4096, /* PIPE_BUF: a write of no more than this to a pipe is never mixed with others */
    TAIL_BYTES = 16,       /* room for the mark of a cut line, the brace and the newline */
    ROLE_MAX = 64,
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static atomic_int least_level = LOG_INFO;
static char own_role[ROLE_MAX];
static bool for_people;

/* Appends a field, of a string value the first `len` bytes only. */
typedef void render_fn(struct buf *out, const struct log_field *field, size_t len);

void log_setup(enum log_level least, const char *role) {
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
    snprintf(own_role, sizeof own_role, "%s", role ? role : "");
    own_role[utf8_trim_partial(own_role, strlen(own_role))] = '\0';
    for_people = isatty(STDERR_FILENO) == 1;
}

bool log_level_from_name(const char *name, enum log_level *out) {
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(level_names[i], name) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_is_on(enum log_level level) {
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

/* Most numbers are milliseconds with three decimals, and printing a double is slow. */
static void append_number(struct buf *out, double number) {
    double thousandths = nearbyint(number * 1000);
    if (number < 0 || thousandths >= 1e9 || thousandths / 1000 != number) {
        buf_printf(out, "%.10g", number);
        return;
    }
    unsigned digits = (unsigned)thousandths % 1000, divisor = 100;
    buf_append_u64(out, (uint64_t)thousandths / 1000);
    if (digits > 0)
        buf_append_char(out, '.');
    for (; digits > 0; divisor /= 10) {
        buf_append_char(out, (char)('0' + digits / divisor));
        digits %= divisor;
    }
}

/* The values that both forms write in the same way. */
static void append_scalar(struct buf *out, const struct log_field *field) {
    switch (field->kind) {
    case LOG_FIELD_INT:
        buf_append_i64(out, field->value.integer);
        break;
    case LOG_FIELD_NUM:
        if (isfinite(field->value.number))
            append_number(out, field->value.number);
        else
            buf_append_str(out, "null"); /* JSON has no NaN */
        break;
    case LOG_FIELD_BOOL:
        buf_append_str(out, field->value.boolean ? "true" : "false");
        break;
    case LOG_FIELD_STR:
        buf_append_str(out, "null");
        break;
    }
}

static bool is_text(const struct log_field *field) {
    return field->kind == LOG_FIELD_STR && field->value.str;
}

static void render_json(struct buf *out, const struct log_field *field, size_t len) {
    buf_append_char(out, ',');
    buf_append_json(out, field->key, strlen(field->key));
    buf_append_char(out, ':');
    if (is_text(field))
        buf_append_json(out, field->value.str, len);
    else
        append_scalar(out, field);
}

/* Whether text can stand on a terminal without quotes: it moves no cursor and ends where it seems to. */
static bool is_plain(const char *text, size_t len, const char *unwanted) {
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7F || strchr(unwanted, text[i]))
            return false;
    }
    return utf8_is_valid(text, len);
}

/* A field without key is the message. */
static void render_plain(struct buf *out, const struct log_field *field, size_t len) {
    buf_append_char(out, ' ');
    if (field->key) {
        buf_append_str(out, field->key);
        buf_append_char(out, '=');
    }
    bool quoted = is_text(field) && (field->key ? len == 0 || !is_plain(field->value.str, len, " \"=\\")
                                                : !is_plain(field->value.str, len, ""));
    if (!is_text(field))
        append_scalar(out, field);
    else if (quoted)
        buf_append_json(out, field->value.str, len);
    else
        buf_append(out, field->value.str, len);
}

/* All of the field or nothing. */
static bool try_field(struct buf *out, render_fn *render, const struct log_field *field, size_t len) {
    size_t start = out->len;
    render(out, field, len);
    if (!out->failed)
        return true;
    out->len = start;
    out->failed = false;
    return false;
}

/* false when the field had to be shortened or left out. Its length on the line is not known before it is
 * escaped, so the longest beginning that fits is searched by halving. */
static bool put_field(struct buf *out, render_fn *render, const struct log_field *field) {
    size_t len = is_text(field) ? strnlen(field->value.str, LINE_MAX_BYTES) : 0;
    if (try_field(out, render, field, len))
        return true;
    size_t start = out->len;
    size_t fits = 0;
    while (is_text(field) && fits + 1 < len) {
        size_t middle = fits + (len - fits) / 2;
        if (try_field(out, render, field, utf8_trim_partial(field->value.str, middle)))
            fits = middle;
        else
            len = middle;
        out->len = start;
    }
    if (fits > 0)
        (void)try_field(out, render, field, utf8_trim_partial(field->value.str, fits));
    return false;
}

/* "2026-01-31T23:59:59" in UTC, made once a second. */
static const char *second_text(time_t second) {
    static _Thread_local char text[64];
    static _Thread_local time_t made_for = -1;
    struct tm at;
    if (second == made_for)
        return text;
    gmtime_r(&second, &at);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d", at.tm_year + 1900, at.tm_mon + 1, at.tm_mday,
             at.tm_hour, at.tm_min, at.tm_sec);
    made_for = second;
    return text;
}

static void put_time(struct buf *out) {
    int64_t now_ms = clock_wall_ms();
    const char *text = second_text((time_t)(now_ms / 1000));
    unsigned ms = (unsigned)(now_ms % 1000);
    buf_append_str(out, for_people ? strchr(text, 'T') + 1 : text);
    buf_append(out,
               (const char[]){'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10)},
               4);
}

static void put_head(struct buf *out, enum log_level level) {
    if (for_people) {
        put_time(out);
        buf_printf(out, " %-5s", level_names[level]);
        if (own_role[0])
            buf_printf(out, " %s:", own_role);
        return;
    }
    buf_append_str(out, "{\"ts\":\"");
    put_time(out);
    buf_append_str(out, "Z\",\"level\":\"");
    buf_append_str(out, level_names[level]);
    buf_append_char(out, '"');
    if (own_role[0]) {
        buf_append_str(out, ",\"role\":");
        buf_append_json(out, own_role, strlen(own_role));
    }
}

static void write_line(const char *line, size_t len) {
    /* A line that stderr does not take is lost: there is no other place to report it. */
    while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
        ;
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count) {
    int saved_errno = errno;
    char line[LINE_MAX_BYTES + 1];
    /* Memory that is all there from the start never grows: a line needs no allocation. */
    struct buf out = {.data = line, .cap = LINE_MAX_BYTES, .max = LINE_MAX_BYTES - TAIL_BYTES};
    put_head(&out, level);
    render_fn *render = for_people ? render_plain : render_json;
    struct log_field text = {.key = for_people ? NULL : "msg", .kind = LOG_FIELD_STR, .value.str = message};
    bool whole = put_field(&out, render, &text);
    for (size_t i = 0; i < count; i++)
        whole &= put_field(&out, render, &fields[i]);
    out.max = LINE_MAX_BYTES;
    if (!whole)
        buf_append_str(&out, for_people ? " [cut]" : ",\"cut\":true");
    buf_append_str(&out, for_people ? "\n" : "}\n");
    write_line(line, out.len);
    errno = saved_errno;
}
