#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/utf8.h"

enum { LINE_MAX_BYTES = 4096, OUTPUT_MAX = 1 << 20 };

/* Standard error goes into a file in memory between start and end of a capture. */
static char output[OUTPUT_MAX];
static size_t output_len;
static int real_stderr = -1;

static void capture_start(int fd) {
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
}

static void capture_end(void) {
    assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
    close(real_stderr);
}

static void capture_json_start(enum log_level least, const char *role) {
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    /* Only appending makes the place of a write to such a file part of the write. */
    assert_true(fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) == 0);
    capture_start(fd);
    close(fd);
    log_setup(least, role);
}

static void capture_json_end(void) {
    ssize_t len = pread(STDERR_FILENO, output, sizeof output - 1, 0);
    capture_end();
    assert_true(len >= 0);
    output_len = (size_t)len;
    output[output_len] = '\0';
}

/* Just enough of RFC 8259 for a flat object; NULL where the text is wrong. */
static const char *skip_string(const char *at) {
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at++ != '\\')
            continue;
        if (!*at || !strchr("\"\\/bfnrtu", *at))
            return NULL;
        if (*at == 'u' && strspn(at + 1, "0123456789abcdefABCDEF") < 4)
            return NULL;
        at += *at == 'u' ? 5 : 1;
    }
    return at + 1;
}

static const char *skip_value(const char *at) {
    static const char *const words[] = {"true", "false", "null"};
    if (*at == '"')
        return skip_string(at);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strncmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    }
    char *end;
    strtod(at, &end);
    return end > at && strspn(at, "-+.0123456789eE") == (size_t)(end - at) ? end : NULL;
}

static const char *skip_object(const char *at) {
    if (*at++ != '{')
        return NULL;
    for (;;) {
        at = skip_string(at);
        if (!at || *at++ != ':')
            return NULL;
        at = skip_value(at);
        if (!at || (*at != ',' && *at != '}'))
            return NULL;
        if (*at++ == '}')
            return at;
    }
}

/* All that was written is lines of one JSON object each; returns how many. */
static size_t check_lines(void) {
    assert_true(utf8_is_valid(output, output_len));
    assert_int_equal(strlen(output), output_len);
    size_t count = 0;
    for (const char *at = output; *at; count++) {
        const char *end = skip_object(at);
        if (!end || *end != '\n')
            fail_msg("not a JSON line: %.200s", at);
        assert_true(end + 1 - at <= LINE_MAX_BYTES);
        at = end + 1;
    }
    return count;
}

/* The output without its first "ts" member, which is checked on the way. */
static const char *without_time(void) {
    static const char begin[] = "{\"ts\":\"";
    struct tm at = {0};
    assert_int_equal(strncmp(output, begin, strlen(begin)), 0);
    const char *end = strptime(output + strlen(begin), "%Y-%m-%dT%H:%M:%S", &at);
    unsigned ms = 1000;
    int used = 0;
    assert_non_null(end);
    assert_int_equal(sscanf(end, ".%3uZ\",%n", &ms, &used), 1);
    assert_int_equal(used, 7);
    int64_t said_ms = (int64_t)timegm(&at) * 1000 + ms;
    assert_in_range(clock_wall_ms() - said_ms, 0, 10000);
    return end + used;
}

static void a_line_is_a_json_object_with_all_fields(void **state) {
    (void)state;
    capture_json_start(LOG_INFO, "worker \"1\"");
    log_info("registered", F_STR("id", "w\n1"), F_STR("none", NULL), F_INT("slots", -8), F_NUM("rate", 0.5),
             F_NUM("nan", NAN), F_NUM("inf", -INFINITY), F_NUM("big", 1e300), F_BOOL("up", true),
             F_BOOL("down", false));
    capture_json_end();
    assert_int_equal(check_lines(), 1);
    assert_string_equal(without_time(),
                        "\"level\":\"info\",\"role\":\"worker \\\"1\\\"\",\"msg\":\"registered\","
                        "\"id\":\"w\\n1\",\"none\":null,\"slots\":-8,\"rate\":0.5,\"nan\":null,"
                        "\"inf\":null,\"big\":1e+300,\"up\":true,\"down\":false}\n");
}

static void a_number_has_up_to_ten_digits(void **state) {
    (void)state;
    static const double numbers[] = {0,       12,          0.658,      1.5, 0.03,  10.001, 999999.999,
                                     1000000, 1e6 + 0.001, 1.0 / 3000, 1e9, -2.25, 0.1,    2.0005};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "\"msg\":\"m\",\"n\":%.10g}\n", numbers[i]);
        capture_json_start(LOG_DEBUG, NULL);
        log_error("m", F_NUM("n", numbers[i]));
        capture_json_end();
        assert_string_equal(without_time() + strlen("\"level\":\"error\","), wanted);
    }
}

static void without_role_or_fields_there_is_only_the_message(void **state) {
    (void)state;
    capture_json_start(LOG_DEBUG, NULL);
    log_error("gone");
    capture_json_end();
    assert_int_equal(check_lines(), 1);
    assert_string_equal(without_time(), "\"level\":\"error\",\"msg\":\"gone\"}\n");
}

static int evaluated;

static int64_t evaluate(void) {
    return ++evaluated;
}

static void lines_below_the_level_are_neither_written_nor_computed(void **state) {
    (void)state;
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};
    for (size_t least = 0; least < ARRAY_LEN(levels); least++) {
        evaluated = 0;
        capture_json_start(levels[least], NULL);
        log_debug("d", F_INT("n", evaluate()));
        log_info("i", F_INT("n", evaluate()));
        log_warn("w", F_INT("n", evaluate()));
        log_error("e", F_INT("n", evaluate()));
        capture_json_end();
        assert_int_equal(check_lines(), 4 - least);
        assert_int_equal(evaluated, 4 - least);
        for (size_t i = 0; i < ARRAY_LEN(levels); i++)
            assert_int_equal(log_is_on(levels[i]), i >= least);
    }
}

static void levels_are_known_by_name(void **state) {
    (void)state;
    const char *const names[] = {"debug", "info", "warn", "error"};
    enum log_level level;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_true(log_level_from_name(names[i], &level));
        assert_int_equal(level, i);
    }
    level = LOG_WARN;
    assert_false(log_level_from_name("", &level));
    assert_false(log_level_from_name("INFO", &level));
    assert_false(log_level_from_name("warning", &level));
    assert_int_equal(level, LOG_WARN);
}

static void long_values_are_cut_between_characters_and_marked(void **state) {
    (void)state;
    static const char *const units[] = {"x", "\x01", "\"", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xFF"};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        static char text[20001];
        size_t len = 0;
        for (; len + strlen(units[i]) < sizeof text; len += strlen(units[i]))
            memcpy(text + len, units[i], strlen(units[i]));
        text[len] = '\0';
        capture_json_start(LOG_INFO, "worker");
        log_info(text);
        log_info("short", F_STR("text", text), F_INT("after", 1));
        capture_json_end();
        assert_int_equal(check_lines(), 2);
        const char *second = strchr(output, '\n') + 1;
        assert_memory_equal(second - strlen(",\"cut\":true}\n"), ",\"cut\":true}\n", 13);
        assert_non_null(strstr(second, ",\"cut\":true}\n"));
        assert_true((size_t)(second - output) > LINE_MAX_BYTES - 40);
    }
}

/* Lengths around what just fits, bytes of all kinds. */
static void any_text_and_any_length_give_valid_lines(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 11);
    capture_json_start(LOG_INFO, "worker");
    static char text[2][LINE_MAX_BYTES + 200];
    size_t lines = 100;
    for (size_t round = 0; round < lines; round++) {
        size_t len[2] = {rng_below(&rng, 4200), rng_below(&rng, round % 2 ? 30 : 4200)};
        for (size_t i = 0; i < 2; i++) {
            uint64_t bound = 1 + rng_below(&rng, 255);
            for (size_t j = 0; j < len[i]; j++)
                text[i][j] = (char)(1 + (rng_below(&rng, 10) ? 'a' + j % 26 : rng_below(&rng, bound)));
            text[i][len[i]] = '\0';
        }
        log_info(text[0], F_STR(round % 5 ? "key" : text[1], text[1]), F_INT("number", round));
    }
    capture_json_end();
    assert_int_equal(check_lines(), lines);
}

static void *write_lines(void *arg) {
    for (int i = 0; i < 500; i++)
        log_info("line", F_STR("thread", arg), F_INT("number", i));
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state) {
    (void)state;
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    capture_json_start(LOG_INFO, "worker");
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    capture_json_end();
    assert_int_equal(check_lines(), ARRAY_LEN(threads) * 500);
}

static void errno_survives_a_log_line(void **state) {
    (void)state;
    int closed = open("/dev/null", O_RDONLY | O_CLOEXEC); /* writing to it fails */
    assert_true(closed >= 0);
    capture_start(closed);
    close(closed);
    log_setup(LOG_INFO, NULL);
    errno = ENOTTY;
    log_error("lost");
    int after = errno;
    capture_end();
    assert_int_equal(after, ENOTTY);
}

/* What a terminal would show of one line, without its time. */
static const char *on_terminal(const char *message, struct log_field field) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    capture_start(slave);
    log_setup(LOG_INFO, "controller");
    log_warn(message, field);
    capture_end();
    ssize_t len = read(master, output, sizeof output - 1);
    close(slave);
    close(master);
    assert_true(len > 13);
    output[len] = '\0';
    int hour, minute, second, ms, used = 0;
    assert_int_equal(sscanf(output, "%2d:%2d:%2d.%3d %n", &hour, &minute, &second, &ms, &used), 4);
    return output + used;
}

static void a_terminal_gets_lines_for_people(void **state) {
    (void)state;
    assert_string_equal(on_terminal("worker is ready", F_STR("id", "w1")),
                        "warn  controller: worker is ready id=w1\r\n");
    assert_string_equal(on_terminal("worker is ready", F_INT("slots", 8)),
                        "warn  controller: worker is ready slots=8\r\n");
    assert_string_equal(on_terminal("x", F_STR("reason", "it has spaces")),
                        "warn  controller: x reason=\"it has spaces\"\r\n");
    assert_string_equal(on_terminal("x", F_STR("reason", "")), "warn  controller: x reason=\"\"\r\n");
}

static void text_from_outside_moves_no_cursor(void **state) {
    (void)state;
    assert_string_equal(on_terminal("x", F_STR("id", "\x1B[2Jq\r")),
                        "warn  controller: x id=\"\\u001b[2Jq\\r\"\r\n");
    assert_string_equal(on_terminal("a\nb", F_STR("id", "\xFF")),
                        "warn  controller: \"a\\nb\" id=\"\xEF\xBF\xBD\"\r\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_json_object_with_all_fields),
        cmocka_unit_test(a_number_has_up_to_ten_digits),
        cmocka_unit_test(without_role_or_fields_there_is_only_the_message),
        cmocka_unit_test(lines_below_the_level_are_neither_written_nor_computed),
        cmocka_unit_test(levels_are_known_by_name),
        cmocka_unit_test(long_values_are_cut_between_characters_and_marked),
        cmocka_unit_test(any_text_and_any_length_give_valid_lines),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(errno_survives_a_log_line),
        cmocka_unit_test(a_terminal_gets_lines_for_people),
        cmocka_unit_test(text_from_outside_moves_no_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
