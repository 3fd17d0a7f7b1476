/* YAML: what a child process gets, and the example with comments. */
#include "config/options.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { INDENT = 2, COMMENT_COLUMNS = 100, DEPTH_MAX = 8 };

static void indent(struct buf *out, int depth) {
    for (int i = 0; i < depth * INDENT; i++)
        buf_append_char(out, ' ');
}

/* A text in double quotes. Everything that is not plain ASCII is written as \U and its code, because YAML
 * refuses some characters that UTF-8 allows. `text` is valid UTF-8 without control characters. */
static void quote(struct buf *out, const char *text) {
    buf_append_char(out, '"');
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        if (*at < 0x80) {
            if (*at == '"' || *at == '\\')
                buf_append_char(out, '\\');
            buf_append_char(out, (char)*at++);
            continue;
        }
        int more = *at >= 0xF0 ? 3 : *at >= 0xE0 ? 2 : 1;
        unsigned code = *at++ & (0x3Fu >> more);
        for (; more > 0 && *at; more--)
            code = code << 6 | (*at++ & 0x3Fu);
        buf_printf(out, "\\U%08X", code);
    }
    buf_append_char(out, '"');
}

static bool is_text(const struct option *option) {
    return option->kind == OPTION_TEXT || option->kind == OPTION_ID;
}

static void put_value(struct buf *out, const struct option *option, const char *value) {
    if (is_text(option))
        quote(out, value);
    else
        buf_append_str(out, value);
}

/* `text` as lines of a comment, broken between words. */
static void put_comment(struct buf *out, int depth, const char *text) {
    size_t column = 0;
    for (const char *word = text; *word;) {
        size_t len = strcspn(word, " ");
        if (column > 0 && column + 1 + len > COMMENT_COLUMNS) {
            buf_append_char(out, '\n');
            column = 0;
        }
        if (column == 0) {
            indent(out, depth);
            buf_append_char(out, '#');
            column = (size_t)(depth * INDENT) + 1;
        }
        buf_append_char(out, ' ');
        buf_append(out, word, len);
        column += 1 + len;
        word += len;
        while (*word == ' ')
            word++;
    }
    buf_append_char(out, '\n');
}

static const char *title_of(const char *section) {
    for (size_t i = 0; i < option_section_count; i++) {
        if (strcmp(option_sections[i].path, section) == 0)
            return option_sections[i].title;
    }
    return NULL;
}

/* Writes the lines of the sections of `path` that `last`, the path of the option before, was not in. Returns
 * the depth of the option itself. */
static int open_sections(struct buf *out, const char *path, const char *last, bool comments) {
    int depth = 0;
    bool spaced = !comments || !*last;
    for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.'), depth++) {
        size_t len = (size_t)(dot - path) + 1;
        if (strncmp(path, last, len) == 0)
            continue;
        char section[CONFIG_PATH_MAX];
        snprintf(section, sizeof section, "%.*s", (int)len - 1, path);
        const char *title = title_of(section);
        if (!spaced)
            buf_append_char(out, '\n');
        spaced = true;
        if (comments && title)
            put_comment(out, depth, title);
        const char *name = strrchr(section, '.');
        indent(out, depth);
        buf_printf(out, "%s:\n", name ? name + 1 : section);
    }
    return depth;
}

static const char *last_name(const char *path) {
    return strrchr(path, '.') + 1;
}

static void put_option_comment(struct buf *out, const struct option *option, int depth) {
    char text[1024];
    int used = snprintf(text, sizeof text, "%s", option->help);
    if (option->kind == OPTION_INT)
        snprintf(text + used, sizeof text - (size_t)used, " %lld to %lld%s%s.", (long long)option->min,
                 (long long)option->max, *option->unit ? " " : "", option->unit);
    put_comment(out, depth, text);
}

static void put_weights(struct buf *out, const struct option *option, const struct config *config, int depth,
                        bool comments) {
    const struct config_weights *weights = (const void *)((const char *)config + option->offset);
    if (comments) {
        indent(out, depth);
        buf_append_str(out, "# weights: {worker-1: 2.5, \"gpu-*\": 4}\n");
    }
    indent(out, depth);
    buf_append_str(out, weights->count ? "weights:\n" : "weights: {}\n");
    for (size_t i = 0; i < weights->count; i++) {
        char number[OPTION_WEIGHT_CHARS];
        indent(out, depth + 1);
        quote(out, weights->rows[i].pattern);
        option_show_weight(weights->rows[i].thousandths, number);
        buf_printf(out, ": %s\n", number);
    }
}

static void put_list(struct buf *out, const struct option *option, const struct config *config, int depth) {
    const struct config_list *list = (const void *)((const char *)config + option->offset);
    indent(out, depth);
    buf_printf(out, list->count ? "%s:\n" : "%s: []\n", last_name(option->path));
    for (size_t i = 0; i < list->count; i++) {
        indent(out, depth + 1);
        buf_append_str(out, "- ");
        quote(out, list->items[i]);
        buf_append_char(out, '\n');
    }
}

static void put_options(struct buf *out, const struct config *config, bool comments) {
    const char *last = "";
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        char scratch[32];
        int depth = open_sections(out, option->path, last, comments);
        if (comments)
            put_option_comment(out, option, depth);
        last = option->path;
        if (option->kind == OPTION_WEIGHTS) {
            put_weights(out, option, config, depth, comments);
            continue;
        }
        if (option->kind == OPTION_LIST) {
            put_list(out, option, config, depth);
            continue;
        }
        indent(out, depth);
        buf_printf(out, "%s: ", last_name(option->path));
        if (option->kind == OPTION_SHARES) {
            buf_append_char(out, '[');
            option_append_value(option, config, out);
            buf_append_str(out, "]\n");
            continue;
        }
        put_value(out, option, option_value(option, config, scratch));
        buf_append_char(out, '\n');
    }
}

void config_write_flag(const struct config *config, const char *path, struct buf *out) {
    const struct option *option = option_find_path(path);
    assert(option);
    buf_printf(out, "--%s=", option->flag);
    option_append_value(option, config, out);
}

void config_write_yaml(const struct config *config, struct buf *out) {
    put_options(out, config, false);
    size_t written = 0;
    indent(out, 1);
    buf_append_str(out, "models:");
    for (size_t i = 0; i < config->model_count; i++) {
        const struct config_model *model = &config->models[i];
        if (model->found) /* whoever reads this looks into the folders, too */
            continue;
        buf_append_str(out, written++ ? "" : "\n");
        indent(out, 2);
        buf_append_str(out, "- path: ");
        quote(out, model->path);
        buf_append_char(out, '\n');
        if (!model->name)
            continue;
        indent(out, 2);
        buf_append_str(out, "  name: ");
        quote(out, model->name);
        buf_append_char(out, '\n');
    }
    if (written == 0)
        buf_append_str(out, " []\n");
}

static const char opening[] =
    "# Every option of mlxd with its default. Made by `mlxd docs yaml`.\n"
    "# Use it with `mlxd serve --config FILE`; lines that are left out keep their default, and flags count\n"
    "# more than the file.\n\n";

static const char about_models[] =
    "\n"
    "  # The models that every worker serves: GGUF files, as a path or with a name of their own. Paths are\n"
    "  # relative to the working folder. Without any, tiny-chat, which comes with mlxd, is served.\n"
    "  # models:\n"
    "  #   - /srv/models/Llama-3.2-1B-Instruct-Q4_K_M.gguf\n"
    "  #   - name: small\n"
    "  #     path: /srv/models/Qwen2.5-0.5B-Instruct-Q8_0.gguf\n"
    "  models: []\n";

void config_write_example(struct buf *out) {
    struct config config;
    config_init(&config);
    buf_append_str(out, opening);
    put_options(out, &config, true);
    buf_append_str(out, about_models);
    config_release(&config);
}
