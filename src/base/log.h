/* Structured logs: one JSON object a line on stderr, `{"ts":"...","level":"info","msg":"...",...}`.
 *
 *     log_info("worker registered", F_STR("worker", id), F_INT("slots", slots));
 *
 * Any thread. A line is written with one write(2), so lines of processes that share a terminal or file do not
 * mix. Prompt and reply text is never logged. base, proto, route and engine return errors instead of
 * logging. When stderr is a terminal, lines are printed for people instead of as JSON. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_NUM, LOG_FIELD_BOOL } kind;
    union {
        const char *str; /* NULL prints null */
        int64_t integer;
        double number;
        bool boolean;
    } value;
};

#define F_STR(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .value.str = (v)})
#define F_INT(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .value.integer = (int64_t)(v)})
#define F_NUM(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_NUM, .value.number = (v)})
#define F_BOOL(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_BOOL, .value.boolean = (v)})

/* Before threads start. `role` ("controller", "worker worker-1") is added to each line; may be NULL. Copied.
 */
void log_setup(enum log_level least, const char *role);
bool log_level_from_name(const char *name, enum log_level *out);
bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);

#define LOG_AT(level, message, ...)                                                \
    do {                                                                           \
        if (log_is_on(level)) {                                                    \
            const struct log_field log_fields_[] = {{.key = NULL}, ##__VA_ARGS__}; \
            log_write((level), (message), log_fields_ + 1,                         \
                      sizeof(log_fields_) / sizeof(log_fields_[0]) - 1);           \
        }                                                                          \
    } while (0)
#define log_debug(message, ...) LOG_AT(LOG_DEBUG, message, ##__VA_ARGS__)
#define log_info(message, ...)  LOG_AT(LOG_INFO, message, ##__VA_ARGS__)
#define log_warn(message, ...)  LOG_AT(LOG_WARN, message, ##__VA_ARGS__)
#define log_error(message, ...) LOG_AT(LOG_ERROR, message, ##__VA_ARGS__)
