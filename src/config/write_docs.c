/* The option table as a page and as help. */
#include "config/options.h"

#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 34, HELP_COLUMNS = 100 };

static bool is_in(const struct option *option, const char *section) {
    size_t len = strlen(section);
    return strncmp(option->path, section, len) == 0 && option->path[len] == '.' &&
           !strchr(option->path + len + 1, '.');
}

static void put_type(struct buf *out, const struct option *option, const char *separator) {
    switch (option->kind) {
    case OPTION_INT:
        buf_printf(out, "%lld to %lld%s%s", (long long)option->min, (long long)option->max,
                   *option->unit ? " " : "", option->unit);
        break;
    case OPTION_BOOL:
        buf_printf(out, "true%sfalse", separator);
        break;
    case OPTION_ENUM:
    case OPTION_CHOICE:
        for (size_t i = 0; option->choices[i]; i++)
            buf_printf(out, "%s%s", i ? separator : "", option->choices[i]);
        break;
    case OPTION_TEXT:
        buf_append_str(out, "text");
        break;
    case OPTION_ID:
        buf_append_str(out, "letters, digits, `_`, `-`");
        break;
    case OPTION_LIST:
        buf_append_str(out, "list, with commas as a flag");
        for (size_t i = 0; option->choices && option->choices[i]; i++)
            buf_printf(out, "%s%s", i ? separator : " of ", option->choices[i]);
        break;
    case OPTION_SHARES:
        buf_append_str(out, "list of numbers 0 to 1000, with commas as a flag");
        break;
    case OPTION_WEIGHTS:
        buf_append_str(out, "`PATTERN=NUMBER`, one for each flag; in a file a section of lines "
                            "`PATTERN: NUMBER`; 0 to 1000");
        break;
    }
}

static void put_row(struct buf *out, const struct option *option) {
    buf_printf(out, "| `%s` | ", strrchr(option->path, '.') + 1);
    if (option->letter)
        buf_printf(out, "`-%c`, ", option->letter);
    buf_printf(out, "`--%s`%s | ", option->flag, option->kind == OPTION_BOOL ? ", `--no-...`" : "");
    put_type(out, option, ", ");
    if (*option->initial)
        buf_printf(out, " | `%s` | %s |\n", option->initial, option->help);
    else
        buf_printf(out, " | | %s |\n", option->help);
}

static void put_section(struct buf *out, const struct option_section *section) {
    buf_printf(out, "\n## %s\n\n%s\n\n", section->path, section->title);
    buf_append_str(out, "| key | flag | values | default | meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < option_count; i++) {
        if (is_in(&option_table[i], section->path))
            put_row(out, &option_table[i]);
    }
}

static const char opening[] =
    "# Configuration\n\n"
    "Made by `mlxd docs config` from the table in `src/config/options.c`; edit that, not this page.\n\n"
    "Every option has a default. A YAML file (`--config FILE`) overrides the defaults, flags override the\n"
    "file. Flags are written `--flag value` or `--flag=value`. Unknown keys and flags, values of a wrong\n"
    "type or out of range, keys given twice, and YAML anchors, aliases and tags are refused, with the file,\n"
    "the line and what would be right. `config/cluster.yaml` holds every option with its default.\n\n"
    "    mlxd serve --config config/cluster.yaml --workers 2 --model models/tiny-chat-q8_0.gguf\n";

static const char about_models[] =
    "\n## cluster.models\n\n"
    "The models that every worker serves: a list of GGUF files, each a path or `{name: ..., path: ...}`.\n"
    "Paths are relative to the working folder of the process. Without a name it is the file's name without\n"
    "`.gguf` and without the suffix for its quantization: `tiny-chat-q8_0.gguf` is `tiny-chat`. No two\n"
    "models may have the same name. The flag is `--model PATH` or `--model NAME=PATH` (`-m`), once for each\n"
    "model; the first one replaces the models of the file. `mlxd serve` and `mlxd worker` without any model\n"
    "take tiny-chat, which comes with the program.\n";

void config_write_reference(struct buf *out) {
    buf_append_str(out, opening);
    for (size_t i = 0; i < option_section_count; i++)
        put_section(out, &option_sections[i]);
    buf_append_str(out, about_models);
}

/* The text from HELP_COLUMN on, broken between words. */
static void put_help_text(struct buf *out, const char *text) {
    size_t column = HELP_COLUMN;
    for (const char *word = text; *word;) {
        size_t len = strcspn(word, " ");
        if (column > HELP_COLUMN && column + 1 + len > HELP_COLUMNS) {
            buf_printf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        if (column > HELP_COLUMN)
            buf_append_char(out, ' ');
        buf_append(out, word, len);
        column += len + 1;
        word += len + strspn(word + len, " ");
    }
    buf_append_char(out, '\n');
}

static void put_flag(struct buf *out, char letter, const char *flag, const char *value, const char *help) {
    char left[64];
    char short_form[8] = "    ";
    if (letter)
        snprintf(short_form, sizeof short_form, "-%c, ", letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", short_form, flag, *value ? " " : "", value);
    buf_printf(out, "%-*s", HELP_COLUMN, left);
    if (strlen(left) >= HELP_COLUMN)
        buf_printf(out, "\n%*s", HELP_COLUMN, "");
    put_help_text(out, help);
}

static void put_option_flag(struct buf *out, const struct option *option) {
    struct buf help;
    buf_init(&help, 2048);
    buf_append_str(&help, option->help);
    if (option->choices) {
        buf_append_str(&help, " [");
        put_type(&help, option, "|");
        buf_append_char(&help, ']');
    }
    if (*option->initial)
        buf_printf(&help, " Default: %s%s%s.", option->initial, *option->unit ? " " : "", option->unit);
    const char *value = option->kind == OPTION_BOOL ? "" : option->kind == OPTION_INT ? "N" : "TEXT";
    put_flag(out, option->letter, option->flag, option->choices ? "WORD" : value, help.data);
    buf_release(&help);
}

void config_write_flags(struct buf *out) {
    put_flag(out, 'c', "config", "FILE", "Read this YAML file first; flags count more.");
    put_flag(out, 'm', "model", "[NAME=]PATH",
             "A GGUF file to serve; once for each model. Default: tiny-chat.");
    put_flag(out, 'h', "help", "", "Print this and exit.");
    for (size_t i = 0; i < option_section_count; i++) {
        buf_printf(out, "\n%s\n", option_sections[i].title);
        for (size_t j = 0; j < option_count; j++) {
            if (is_in(&option_table[j], option_sections[i].path))
                put_option_flag(out, &option_table[j]);
        }
    }
}
