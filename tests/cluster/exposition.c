#include "exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"

enum { NAME_CHARS = 127, LINE_CHARS = 511 };

struct reader {
    struct map seen;
    char metric[NAME_CHARS + 1]; /* whose samples come now */
    char type[16];               /* empty between HELP and TYPE */
};

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static void check_help(struct reader *reader, const char *line) {
    assert_int_equal(sscanf(line, "# HELP %127s", reader->metric), 1);
    assert_null(map_find(&reader->seen, reader->metric));
    assert_true(map_put(&reader->seen, reader->metric, reader));
    assert_true(ends_with(line, "."));
    reader->type[0] = '\0';
}

static void check_type(struct reader *reader, const char *line) {
    char name[NAME_CHARS + 1];
    assert_int_equal(sscanf(line, "# TYPE %127s %15s", name, reader->type), 2);
    assert_string_equal(name, reader->metric);
    bool is_counter = strcmp(reader->type, "counter") == 0;
    assert_true(is_counter || strcmp(reader->type, "gauge") == 0 || strcmp(reader->type, "histogram") == 0);
    assert_int_equal(is_counter, ends_with(name, "_total"));
}

/* The name of a sample is its metric's, for a histogram with a suffix. */
static bool belongs(const struct reader *reader, const char *name) {
    size_t len = strlen(reader->metric);
    if (strncmp(name, reader->metric, len) != 0)
        return false;
    const char *suffix = name + len;
    if (strcmp(reader->type, "histogram") != 0)
        return suffix[0] == '\0';
    return strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 || strcmp(suffix, "_count") == 0;
}

/* name="value" pairs with commas between, up to the closing brace; returns what follows it. */
static const char *skip_labels(const char *at) {
    do {
        at++;
        size_t name = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
        if (name == 0 || strncmp(at + name, "=\"", 2) != 0)
            return "";
        at += name + 2;
        at += strcspn(at, "\"\\");
        if (*at++ != '"')
            return "";
    } while (*at == ',');
    return *at == '}' ? at + 1 : "";
}

static void check_sample(const struct reader *reader, const char *line) {
    char name[NAME_CHARS + 1];
    char *end;
    assert_true(reader->type[0] != '\0');
    assert_int_equal(sscanf(line, "%127[a-z_]", name), 1);
    const char *value = line + strlen(name);
    if (*value == '{')
        value = skip_labels(value);
    if (strncmp(name, "mlx_controller_", 15) != 0 || !belongs(reader, name) || *value != ' ')
        fail_msg("no sample of %s: %s", reader->metric, line);
    if (strtod(value + 1, &end) < 0 || end == value + 1 || *end)
        fail_msg("a wrong value: %s", line);
}

void exposition_check(const char *text) {
    struct reader reader = {0};
    char line[LINE_CHARS + 1];
    map_init(&reader.seen);
    while (text[0]) {
        size_t len = strcspn(text, "\n");
        assert_in_range(len, 1, LINE_CHARS);
        assert_int_equal(text[len], '\n');
        memcpy(line, text, len);
        line[len] = '\0';
        text += len + 1;
        if (strncmp(line, "# HELP ", 7) == 0)
            check_help(&reader, line);
        else if (strncmp(line, "# TYPE ", 7) == 0)
            check_type(&reader, line);
        else
            check_sample(&reader, line);
    }
    assert_true(reader.seen.count > 20);
    map_release(&reader.seen);
}

long long exposition_sum(const char *text, const char *series) {
    long long sum = 0;
    size_t len = strlen(series);
    for (const char *line = text; line[0]; line += strcspn(line, "\n") + 1)
        if (strncmp(line, series, len) == 0)
            sum += strtoll(strchr(line, ' ') + 1, NULL, 10);
    return sum;
}
