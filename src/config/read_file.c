/* The YAML file, read event by event: nothing is built in memory, an unknown key ends it at once (so it is
 * never nested deeper than the table), and every message has the line of what is wrong. Anchors, aliases and
 * tags are refused: no option needs them, and without them a file means what it says where it says it. */
#include "config/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/map.h"

enum { FILE_MAX_BYTES = 1 << 20 };

struct reader {
    struct config *config;
    const char *name; /* of the file */
    const char *text;
    size_t len;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; owned */
    bool has_event;
    struct map seen; /* path -> struct place, owned: where it was given */
    struct error *error;
};

struct place {
    size_t line;
};

PRINTF_LIKE(4, 5)
static enum status refuse(struct reader *reader, size_t line, const char *path, const char *format, ...) {
    char text[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(reader->error, STATUS_CONFIG_INVALID, path, "%s:%zu: %s%s%s", reader->name, line, path,
                     *path ? ": " : "", text);
}

static size_t line_of(const struct reader *reader) {
    return reader->event.start_mark.line + 1;
}

/* Whether a line is indented with a tab, which YAML forbids and libyaml reports in words of its own. */
static bool has_tab(const struct reader *reader, size_t line) {
    const char *at = reader->text;
    const char *end = reader->text + reader->len;
    while (line > 0 && at && (at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        line--;
    }
    while (at && at < end && *at == ' ')
        at++;
    return at && at < end && *at == '\t';
}

static enum status refuse_syntax(struct reader *reader) {
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_READER_ERROR)
        return error_set(reader->error, STATUS_CONFIG_INVALID, "", "%s: byte %zu: %s", reader->name,
                         parser->problem_offset, parser->problem);
    size_t line = parser->problem_mark.line;
    if (has_tab(reader, line))
        return refuse(reader, line + 1, "", "not valid YAML: indented with a tab; use spaces");
    return refuse(reader, line + 1, "", "not valid YAML: %s",
                  parser->problem ? parser->problem : "out of memory");
}

static bool has_extras(const yaml_event_t *event) {
    if (event->type == YAML_SCALAR_EVENT)
        return event->data.scalar.anchor || event->data.scalar.tag;
    if (event->type == YAML_MAPPING_START_EVENT)
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    return event->type == YAML_ALIAS_EVENT;
}

static enum status next(struct reader *reader) {
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    reader->has_event = yaml_parser_parse(&reader->parser, &reader->event) != 0;
    if (!reader->has_event)
        return refuse_syntax(reader);
    if (has_extras(&reader->event))
        return refuse(reader, line_of(reader), "", "anchors (&), aliases (*) and tags (!) are not supported");
    return STATUS_OK;
}

static bool is_at(const struct reader *reader, yaml_event_type_t type) {
    return reader->event.type == type;
}

static const char *scalar(const struct reader *reader, size_t *len) {
    *len = reader->event.data.scalar.length;
    return (const char *)reader->event.data.scalar.value;
}

/* `key:` with nothing behind it, or a written null. */
static bool is_null(const struct reader *reader) {
    size_t len;
    if (!is_at(reader, YAML_SCALAR_EVENT) || reader->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    const char *text = scalar(reader, &len);
    return len == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

static enum status read_option(struct reader *reader, const struct option *option) {
    if (!is_at(reader, YAML_SCALAR_EVENT))
        return refuse(reader, line_of(reader), option->path, "must be a single value, not a %s",
                      is_at(reader, YAML_SEQUENCE_START_EVENT) ? "list" : "section");
    if (is_null(reader))
        return refuse(reader, line_of(reader), option->path,
                      "has no value; leave the line out for the default, \"%s\"", option->initial);
    size_t len;
    const char *text = scalar(reader, &len);
    char why[OPTION_WHY_MAX];
    if (!option_store(option, reader->config, text, len, why))
        return refuse(reader, line_of(reader), option->path, "%s", why);
    return STATUS_OK;
}

/* The same name in another section, for a key that stands in the wrong one. */
static const char *elsewhere(const char *key) {
    for (size_t i = 0; i < option_count; i++) {
        const char *last = strrchr(option_table[i].path, '.');
        if (word_distance(key, last + 1) == 0)
            return option_table[i].path;
    }
    return NULL;
}

static enum status refuse_key(struct reader *reader, size_t line, const char *section, const char *path) {
    const char *key = *section ? path + strlen(section) + 1 : path;
    char best[CONFIG_PATH_MAX] = "";
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i <= option_count; i++) {
        char child[CONFIG_PATH_MAX];
        const char *known = i < option_count ? option_table[i].path : CONFIG_MODELS_PATH;
        if (!option_child_of(known, section, child))
            continue;
        size_t distance = word_distance(key, child);
        if (distance < best_distance) {
            best_distance = distance;
            memcpy(best, child, sizeof best);
        }
    }
    if (word_is_close(key, best_distance))
        return refuse(reader, line, path, "unknown key; did you mean \"%s\"?", best);
    const char *other = elsewhere(key);
    if (other)
        return refuse(reader, line, path, "unknown key; did you mean %s?", other);
    return refuse(reader, line, path, "unknown key");
}

/* Refuses a path that was given before. */
static enum status note(struct reader *reader, size_t line, const char *path) {
    const struct place *before = map_find(&reader->seen, path);
    if (before)
        return refuse(reader, line, path, "given twice; the first time in line %zu", before->line);
    struct place *place = malloc(sizeof *place);
    if (place)
        place->line = line;
    if (!place || !map_put(&reader->seen, path, place)) {
        free(place);
        return refuse(reader, line, path, "out of memory");
    }
    return STATUS_OK;
}

/* At a key of a mapping: makes `path` of it, below `section`. */
static enum status read_key(struct reader *reader, const char *section, char *path) {
    size_t len = 0;
    const char *key = is_at(reader, YAML_SCALAR_EVENT) ? scalar(reader, &len) : "";
    char why[OPTION_WHY_MAX];
    if (len == 0)
        return refuse(reader, line_of(reader), section, "a key must be a name");
    if (!option_check_text(key, len, (int64_t)(CONFIG_PATH_MAX - 2 - strlen(section)), why))
        return refuse(reader, line_of(reader), section, "a key %s", why);
    snprintf(path, CONFIG_PATH_MAX, "%s%s%s", section, *section ? "." : "", key);
    return note(reader, line_of(reader), path);
}

/* A mapping from patterns to numbers. It replaces what the option held. */
static enum status read_weights(struct reader *reader, const struct option *option) {
    struct config_weights *weights = (void *)((char *)reader->config + option->offset);
    option_release(option, reader->config);
    if (is_null(reader))
        return STATUS_OK;
    if (!is_at(reader, YAML_MAPPING_START_EVENT))
        return refuse(reader, line_of(reader), option->path,
                      "must be a section of lines like \"worker-1: 2.5\"");
    for (;;) {
        char path[CONFIG_PATH_MAX];
        enum status status = next(reader);
        if (status != STATUS_OK || is_at(reader, YAML_MAPPING_END_EVENT))
            return status;
        status = read_key(reader, option->path, path);
        if (status == STATUS_OK)
            status = next(reader);
        if (status != STATUS_OK)
            return status;
        size_t len = 0;
        const char *number = is_at(reader, YAML_SCALAR_EVENT) ? scalar(reader, &len) : "";
        const char *pattern = path + strlen(option->path) + 1;
        char why[OPTION_WHY_MAX];
        if (!option_add_weight(weights, pattern, strlen(pattern), number, len, why))
            return refuse(reader, line_of(reader), path, "%s", why);
    }
}

/* A list, or its items in one line with commas in between. It replaces what the option held. */
static enum status read_list(struct reader *reader, const struct option *option) {
    if (is_at(reader, YAML_SCALAR_EVENT) && !is_null(reader))
        return read_option(reader, option);
    option_release(option, reader->config);
    if (is_null(reader))
        return STATUS_OK;
    if (!is_at(reader, YAML_SEQUENCE_START_EVENT))
        return refuse(reader, line_of(reader), option->path, "must be a list, one \"- item\" a line");
    for (;;) {
        enum status status = next(reader);
        if (status != STATUS_OK || is_at(reader, YAML_SEQUENCE_END_EVENT))
            return status;
        size_t len = 0;
        const char *item = is_at(reader, YAML_SCALAR_EVENT) ? scalar(reader, &len) : "";
        char why[OPTION_WHY_MAX];
        if (!option_add_item(option, reader->config, item, len, why))
            return refuse(reader, line_of(reader), option->path, "%s", why);
    }
}

static enum status store_model(struct reader *reader, size_t line, const char *name, const char *path) {
    if (!config_add_model(reader->config, name, path))
        return refuse(reader, line, CONFIG_MODELS_PATH, "more than %d models", CONFIG_MODELS_MAX);
    return STATUS_OK;
}

static enum status read_model_field(struct reader *reader, char **field) {
    char why[OPTION_WHY_MAX];
    size_t len;
    if (!is_at(reader, YAML_SCALAR_EVENT) || is_null(reader))
        return refuse(reader, line_of(reader), CONFIG_MODELS_PATH, "name and path must be texts");
    const char *text = scalar(reader, &len);
    if (!option_check_text(text, len, CONFIG_TEXT_MAX, why))
        return refuse(reader, line_of(reader), CONFIG_MODELS_PATH, "a model's name or path %s", why);
    config_set_text(field, text);
    return STATUS_OK;
}

/* The fields of {name: ..., path: ...}. */
static enum status read_model_fields(struct reader *reader, char **name, char **path) {
    for (;;) {
        enum status status = next(reader);
        if (status != STATUS_OK || is_at(reader, YAML_MAPPING_END_EVENT))
            return status;
        size_t len = 0;
        const char *key = is_at(reader, YAML_SCALAR_EVENT) ? scalar(reader, &len) : "";
        char **field = strcmp(key, "name") == 0 ? name : strcmp(key, "path") == 0 ? path : NULL;
        if (!field)
            return refuse(reader, line_of(reader), CONFIG_MODELS_PATH,
                          "a model has the keys \"name\" and \"path\" only");
        if (*field)
            return refuse(reader, line_of(reader), CONFIG_MODELS_PATH, "\"%s\" given twice",
                          field == name ? "name" : "path");
        status = next(reader);
        if (status == STATUS_OK)
            status = read_model_field(reader, field);
        if (status != STATUS_OK)
            return status;
    }
}

static enum status read_model(struct reader *reader) {
    size_t line = line_of(reader);
    char *name = NULL;
    char *path = NULL;
    enum status status = is_at(reader, YAML_MAPPING_START_EVENT) ? read_model_fields(reader, &name, &path)
                                                                 : read_model_field(reader, &path);
    if (status == STATUS_OK && !path)
        status = refuse(reader, line, CONFIG_MODELS_PATH, "a model needs a \"path\"");
    if (status == STATUS_OK)
        status = store_model(reader, line, name, path);
    free(name);
    free(path);
    return status;
}

static enum status read_models(struct reader *reader) {
    if (is_null(reader))
        return STATUS_OK;
    if (!is_at(reader, YAML_SEQUENCE_START_EVENT))
        return refuse(reader, line_of(reader), CONFIG_MODELS_PATH,
                      "must be a list: one \"- path\" a line, or \"- {name: ..., path: ...}\"");
    config_clear_models(reader->config);
    for (;;) {
        enum status status = next(reader);
        if (status != STATUS_OK || is_at(reader, YAML_SEQUENCE_END_EVENT))
            return status;
        status = read_model(reader);
        if (status != STATUS_OK)
            return status;
    }
}

static enum status read_section(struct reader *reader, const char *section);

static enum status read_value(struct reader *reader, const char *section, const char *path, size_t key_line) {
    const struct option *option = option_find_path(path);
    if (option && option->kind == OPTION_WEIGHTS)
        return read_weights(reader, option);
    if (option && (option->kind == OPTION_LIST || option->kind == OPTION_SHARES))
        return read_list(reader, option);
    if (option)
        return read_option(reader, option);
    if (strcmp(path, CONFIG_MODELS_PATH) == 0)
        return read_models(reader);
    if (!option_is_section(path))
        return refuse_key(reader, key_line, section, path);
    return read_section(reader, path);
}

/* The depth of the recursion is that of the table: only known sections are entered. */
static enum status read_section(struct reader *reader, const char *section) {
    if (is_null(reader))
        return STATUS_OK;
    if (!is_at(reader, YAML_MAPPING_START_EVENT))
        return refuse(reader, line_of(reader), section, "must be a section with keys of its own");
    for (;;) {
        char path[CONFIG_PATH_MAX];
        enum status status = next(reader);
        if (status != STATUS_OK || is_at(reader, YAML_MAPPING_END_EVENT))
            return status;
        size_t key_line = line_of(reader);
        status = read_key(reader, section, path);
        if (status == STATUS_OK)
            status = next(reader);
        if (status == STATUS_OK)
            status = read_value(reader, section, path, key_line);
        if (status != STATUS_OK)
            return status;
    }
}

static enum status read_documents(struct reader *reader) {
    bool had_document = false;
    for (;;) {
        enum status status = next(reader);
        if (status != STATUS_OK || is_at(reader, YAML_STREAM_END_EVENT))
            return status;
        if (is_at(reader, YAML_STREAM_START_EVENT) || is_at(reader, YAML_DOCUMENT_END_EVENT))
            continue;
        if (had_document)
            return refuse(reader, line_of(reader), "", "a second document begins; one is expected");
        had_document = true;
        status = next(reader);
        if (status == STATUS_OK)
            status = read_section(reader, "");
        if (status != STATUS_OK)
            return status;
    }
}

static void release(struct reader *reader) {
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    yaml_parser_delete(&reader->parser);
    size_t cursor = 0;
    void *place = NULL;
    while (map_next(&reader->seen, &cursor, NULL, &place))
        free(place);
    map_release(&reader->seen);
}

enum status config_read_text(struct config *config, const char *name, const char *text, size_t len,
                             struct error *error) {
    struct reader reader = {.config = config, .name = name, .text = text, .len = len, .error = error};
    if (len > FILE_MAX_BYTES)
        return error_set(error, STATUS_CONFIG_INVALID, "", "%s: larger than %d bytes", name, FILE_MAX_BYTES);
    if (!yaml_parser_initialize(&reader.parser))
        return error_set(error, STATUS_CONFIG_INVALID, "", "%s: out of memory", name);
    map_init(&reader.seen);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
    enum status status = read_documents(&reader);
    release(&reader);
    return status;
}

/* One byte more than is allowed, so that config_read_text sees the excess. */
static bool read_all(FILE *file, struct buf *out) {
    char chunk[8192];
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, file)) > 0 && out->len <= FILE_MAX_BYTES)
        buf_append(out, chunk, got);
    return !ferror(file) && !out->failed;
}

enum status config_read_file(struct config *config, const char *path, struct error *error) {
    struct buf text;
    buf_init(&text, 2 * FILE_MAX_BYTES);
    FILE *file = fopen(path, "re");
    if (!file || !read_all(file, &text)) {
        enum status status =
            error_set(error, STATUS_CONFIG_INVALID, "", "%s: cannot be read: %s", path, strerror(errno));
        if (file)
            fclose(file);
        buf_release(&text);
        return status;
    }
    fclose(file);
    enum status status = config_read_text(config, path, text.data, text.len, error);
    buf_release(&text);
    return status;
}
