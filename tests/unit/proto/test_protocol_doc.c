/* The examples of docs/PROTOCOL.md are what the readers take: each ```json block, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire.h"

static bool read_info(const char *data, size_t len, struct error *error) {
    struct worker_info info;
    return wire_read_worker_info(data, len, &info, error) == STATUS_OK && info.load.running > 0 &&
           info.model_count == 1 && info.models[0].slots > 0 && info.models[0].capabilities != 0 &&
           info.hardware.gpu_count == 1 && info.skill_count == 1;
}

static bool read_prefixes(const char *data, size_t len, struct error *error) {
    struct wire_prefixes prefixes;
    bool ok = wire_read_prefixes(data, len, &prefixes, error) == STATUS_OK && prefixes.held_count == 1;
    wire_prefixes_release(&prefixes);
    return ok;
}

static bool read_deregister(const char *data, size_t len, struct error *error) {
    struct wire_deregister deregister;
    return wire_read_deregister(data, len, &deregister, error) == STATUS_OK;
}

static bool read_discover(const char *data, size_t len, struct error *error) {
    struct wire_discover discover;
    return wire_read_discover(data, len, &discover, error) == STATUS_OK;
}

static bool read_controller(const char *data, size_t len, struct error *error) {
    struct wire_controller controller;
    return wire_read_controller(data, len, &controller, error) == STATUS_OK && controller.active_requests > 0;
}

static void count_breaker(const struct wire_speaker *speaker, const struct wire_breaker *breaker, void *arg) {
    (void)speaker;
    *(int *)arg += breaker->model != NULL;
}

static bool read_breakers(const char *data, size_t len, struct error *error) {
    int models = 0;
    return wire_read_breakers(data, len, count_breaker, &models, error) == STATUS_OK && models == 1;
}

static void count_session(const struct wire_speaker *speaker, const struct wire_session *session, void *arg) {
    (void)speaker;
    *(int *)arg += session->age_ms > 0;
}

static bool read_sessions(const char *data, size_t len, struct error *error) {
    int used = 0;
    return wire_read_sessions(data, len, count_session, &used, error) == STATUS_OK && used == 1;
}

static bool read_lookup(const char *data, size_t len, struct error *error) {
    struct wire_lookup lookup;
    return wire_read_lookup(data, len, &lookup, error) == STATUS_OK;
}

static bool read_found(const char *data, size_t len, struct error *error) {
    struct wire_found found;
    bool ok = wire_read_found(data, len, &found, error) == STATUS_OK && found.record;
    wire_found_release(&found);
    return ok;
}

static bool read_job(const char *data, size_t len, struct error *error) {
    struct wire_job job;
    bool ok = wire_read_job(data, len, &job, error) == STATUS_OK && job.chat.stop_count == 1;
    wire_job_release(&job);
    return ok;
}

static bool read_cancel(const char *data, size_t len, struct error *error) {
    struct wire_cancel cancel;
    return wire_read_cancel(data, len, &cancel, error) == STATUS_OK;
}

static bool read_control(const char *data, size_t len, struct error *error) {
    enum wire_control_op op;
    return wire_read_control(data, len, &op, error) == STATUS_OK;
}

static void mark_kind(const struct wire_events_source *source, const struct wire_event *event, void *arg) {
    (void)source;
    unsigned *kinds = arg;
    *kinds |= 1u << event->kind;
}

static bool read_events(const char *data, size_t len, struct error *error) {
    unsigned kinds = 0;
    return wire_read_events(data, len, mark_kind, &kinds, error) == STATUS_OK && kinds == 31;
}

typedef bool read_fn(const char *data, size_t len, struct error *error);
static read_fn *const readers[] = {
    read_info,    read_prefixes, read_deregister, read_discover, read_controller, read_job,  read_cancel,
    read_control, read_events,   read_breakers,   read_sessions, read_lookup,     read_found};

static const char *load_document(void) {
    static char text[1 << 16];
    FILE *file = fopen(MLX_SOURCE_DIR "/docs/PROTOCOL.md", "rb");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_true(len < sizeof text - 1);
    text[len] = '\0';
    return text;
}

static void every_example_is_accepted(void **state) {
    (void)state;
    static const char open[] = "```json\n", close[] = "\n```";
    const char *at = load_document();
    for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
        struct error error = {.status = STATUS_OK};
        const char *begin = strstr(at, open);
        assert_non_null(begin);
        begin += strlen(open);
        at = strstr(begin, close);
        assert_non_null(at);
        if (!readers[i](begin, (size_t)(at - begin), &error))
            fail_msg("example %zu is refused (%s): %.*s", i + 1, error.message, (int)(at - begin), begin);
    }
    assert_null(strstr(at, open));
}

static void every_status_that_is_named_exists(void **state) {
    (void)state;
    for (const char *at = strstr(load_document(), "\n| `"); at; at = strstr(at + 1, "\n| `")) {
        char name[64];
        size_t len = strspn(at + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        if (len < 2 || at[4 + len] != '`')
            continue;
        assert_true(len < sizeof name);
        memcpy(name, at + 4, len);
        name[len] = '\0';
        if (status_from_name(name, STATUS_OK) == STATUS_OK)
            fail_msg("there is no status %s", name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_is_accepted),
        cmocka_unit_test(every_status_that_is_named_exists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
