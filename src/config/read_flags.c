#include "config/options.h"

#include <stdio.h>
#include <string.h>

/* Flags that are no option of a file. */
#define CONFIG_FLAG "config"
#define MODEL_FLAG  "model"

struct flag {
    const char *name; /* without dashes, not NUL-terminated */
    size_t name_len;
    const char *value;   /* NULL when there is none */
    const char *written; /* the argument, for messages */
    int written_len;     /* up to the '=' */
    bool is_short;
    int args; /* how many of argv it takes up */
};

static enum status refuse(struct error *error, const struct flag *flag, const char *why) {
    char param[ERROR_PARAM_MAX];
    snprintf(param, sizeof param, "%.*s", flag->written_len, flag->written);
    return error_set(error, STATUS_CONFIG_INVALID, param, "%.*s: %s", flag->written_len, flag->written, why);
}

/* Splits argv[0], an argument that begins with a dash, at its '='. */
static struct flag split(const char *arg) {
    const char *name = arg + (arg[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    return (struct flag){.name = name,
                         .name_len = len,
                         .value = equals ? equals + 1 : NULL,
                         .written = arg,
                         .written_len = (int)(name - arg) + (int)len,
                         .is_short = arg[1] != '-',
                         .args = 1};
}

static bool is_named(const struct flag *flag, const char *name, char letter) {
    if (flag->is_short)
        return flag->name_len == 1 && flag->name[0] == letter;
    return strlen(name) == flag->name_len && memcmp(flag->name, name, flag->name_len) == 0;
}

static const struct option *find_option(const struct flag *flag) {
    if (flag->is_short != (flag->name_len == 1))
        return NULL;
    return option_find_flag(flag->name, flag->name_len);
}

/* The option that --no-x switches off. */
static const struct option *find_negated(const struct flag *flag) {
    if (flag->is_short || flag->name_len < 4 || memcmp(flag->name, "no-", 3) != 0)
        return NULL;
    const struct option *option = option_find_flag(flag->name + 3, flag->name_len - 3);
    return option && option->kind == OPTION_BOOL ? option : NULL;
}

static enum status refuse_unknown(struct error *error, const struct flag *flag) {
    const char *words[128] = {CONFIG_FLAG, MODEL_FLAG, "help"};
    size_t count = 3;
    for (size_t i = 0; i < option_count && count < ARRAY_LEN(words); i++)
        words[count++] = option_table[i].flag;
    char name[CONFIG_PATH_MAX];
    snprintf(name, sizeof name, "%.*s", (int)flag->name_len, flag->name);
    const char *close = flag->is_short ? NULL : config_closest_word(name, words, count);
    char why[OPTION_WHY_MAX];
    snprintf(why, sizeof why, close ? "unknown option; did you mean --%s?" : "unknown option", close);
    return refuse(error, flag, why);
}

/* Takes the next argument as the value when none is written behind a '='. */
static bool take_value(struct flag *flag, int argc, char **argv) {
    if (flag->value)
        return true;
    if (argc < 2 || strncmp(argv[1], "--", 2) == 0)
        return false;
    flag->value = argv[1];
    flag->args = 2;
    return true;
}

static enum status store(struct config *config, const struct flag *flag, const struct option *option,
                         const char *value, struct error *error) {
    char why[OPTION_WHY_MAX];
    if (!option_store(option, config, value, strlen(value), why))
        return refuse(error, flag, why);
    if (strcmp(option->path, "cluster.nats.url") == 0 && *value)
        config->nats.mode = NATS_EXTERNAL;
    return STATUS_OK;
}

static enum status add_model(struct config *config, const struct flag *flag, bool *had_model,
                             struct error *error) {
    const char *value = flag->value;
    const char *path = value;
    const char *equals = strchr(value, '=');
    char name[CONFIG_TEXT_MAX + 1] = "";
    char why[OPTION_WHY_MAX];
    if (!option_check_text(value, strlen(value), CONFIG_TEXT_MAX, why))
        return refuse(error, flag, why);
    /* A '=' behind a slash belongs to the path. */
    if (equals && equals > value && !memchr(value, '/', (size_t)(equals - value))) {
        snprintf(name, sizeof name, "%.*s", (int)(equals - value), value);
        path = equals + 1;
    }
    if (!*had_model)
        config_clear_models(config);
    *had_model = true;
    if (!config_add_model(config, *name ? name : NULL, path)) {
        snprintf(why, sizeof why, "more than %d models", CONFIG_MODELS_MAX);
        return refuse(error, flag, why);
    }
    return STATUS_OK;
}

/* One flag; `flag->args` says how many arguments it took. */
static enum status read_flag(struct config *config, struct flag *flag, int argc, char **argv, bool *had_model,
                             struct error *error) {
    const struct option *option = find_option(flag);
    const struct option *negated = find_negated(flag);
    if (negated)
        return flag->value ? refuse(error, flag, "takes no value")
                           : store(config, flag, negated, "false", error);
    if (option && option->kind == OPTION_BOOL)
        return store(config, flag, option, flag->value ? flag->value : "true", error);
    bool is_config = is_named(flag, CONFIG_FLAG, 'c');
    bool is_model = is_named(flag, MODEL_FLAG, 'm');
    if (!option && !is_config && !is_model)
        return refuse_unknown(error, flag);
    if (!take_value(flag, argc, argv))
        return refuse(error, flag, "needs a value");
    if (is_config)
        return STATUS_OK;
    return is_model ? add_model(config, flag, had_model, error)
                    : store(config, flag, option, flag->value, error);
}

/* Whether this argument takes the next one as its value, as far as that can be told without reading it. */
static int args_of(const struct flag *flag, int argc, char **argv) {
    const struct option *option = find_option(flag);
    struct flag copy = *flag;
    bool takes = (option && option->kind != OPTION_BOOL) || is_named(flag, CONFIG_FLAG, 'c') ||
                 is_named(flag, MODEL_FLAG, 'm');
    if (takes)
        (void)take_value(&copy, argc, argv);
    return copy.args;
}

/* The files are read first, in their order, so that every flag counts more than a file. */
static enum status read_files(struct config *config, int argc, char **argv, struct error *error) {
    for (int i = 0; i < argc;) {
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            i++;
            continue;
        }
        struct flag flag = split(argv[i]);
        int args = args_of(&flag, argc - i, argv + i);
        if (is_named(&flag, CONFIG_FLAG, 'c') && take_value(&flag, argc - i, argv + i)) {
            enum status status = config_read_file(config, flag.value, error);
            if (status != STATUS_OK)
                return status;
        }
        i += args;
    }
    return STATUS_OK;
}

enum status config_read_flags(struct config *config, int argc, char **argv, struct error *error) {
    enum status status = read_files(config, argc, argv, error);
    bool had_model = false;
    for (int i = 0; status == STATUS_OK && i < argc;) {
        if (argv[i][0] != '-' || argv[i][1] == '\0')
            return error_set(error, STATUS_CONFIG_INVALID, argv[i],
                             "\"%.64s\": unexpected; options begin with --", argv[i]);
        struct flag flag = split(argv[i]);
        status = read_flag(config, &flag, argc - i, argv + i, &had_model, error);
        i += flag.args;
    }
    return status;
}
