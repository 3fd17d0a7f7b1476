/* Values of options: from text and back. */
#include "config/options.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static void *field_of(const struct option *option, struct config *config) {
    return (char *)config + option->offset;
}

static char **text_field(const struct option *option, struct config *config) {
    return field_of(option, config);
}

static bool has_text(const struct option *option) {
    return option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE || option->kind == OPTION_ID;
}

void config_set_text(char **field, const char *text) {
    char *copy = strdup(text);
    assert(copy); /* a process that cannot copy its options at the start has no way to go on */
    free(*field);
    *field = copy;
}

/* What was given, fit for a message: cut, and without characters that would garble it. */
struct shown {
    char text[48];
};

static struct shown show(const char *text, size_t len) {
    struct shown shown = {0};
    size_t keep = len < sizeof shown.text - 4 ? len : sizeof shown.text - 4;
    keep = utf8_trim_partial(text, keep);
    for (size_t i = 0; i < keep; i++) {
        unsigned char byte = (unsigned char)text[i];
        shown.text[i] = byte < 0x20 || byte == 0x7F ? '?' : text[i];
    }
    if (!utf8_is_valid(shown.text, keep))
        memset(shown.text, '?', keep);
    if (keep < len)
        memcpy(shown.text + keep, "...", 3);
    return shown;
}

bool option_check_text(const char *text, size_t len, int64_t max, char *why) {
    if (len > (size_t)max) {
        snprintf(why, OPTION_WHY_MAX, "must have at most %lld bytes, not %zu", (long long)max, len);
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7F) {
            snprintf(why, OPTION_WHY_MAX, "must not hold control characters");
            return false;
        }
    }
    if (!utf8_is_valid(text, len)) {
        snprintf(why, OPTION_WHY_MAX, "must be valid UTF-8");
        return false;
    }
    return true;
}

static bool store_int(const struct option *option, int64_t *field, const char *text, size_t len, char *why) {
    char digits[24] = ""; /* more than any 64-bit number has */
    if (len < sizeof digits && strspn(text, "-0123456789") >= len)
        memcpy(digits, text, len);
    char *end = digits;
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (end == digits || *end || errno || value < option->min || value > option->max) {
        snprintf(why, OPTION_WHY_MAX, "must be a whole number from %lld to %lld, not \"%s\"",
                 (long long)option->min, (long long)option->max, show(text, len).text);
        return false;
    }
    *field = value;
    return true;
}

static bool is_word(const char *text, size_t len, const char *word) {
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

static bool store_bool(bool *field, const char *text, size_t len, char *why) {
    bool yes = is_word(text, len, "true");
    if (!yes && !is_word(text, len, "false")) {
        snprintf(why, OPTION_WHY_MAX, "must be true or false, not \"%s\"", show(text, len).text);
        return false;
    }
    *field = yes;
    return true;
}

/* The index of the choice, -1 when it is none of them. */
static int find_choice(const struct option *option, const char *text, size_t len, char *why) {
    struct buf list;
    buf_init(&list, OPTION_WHY_MAX - 64); /* room for the words around it */
    for (int i = 0; option->choices[i]; i++) {
        if (is_word(text, len, option->choices[i])) {
            buf_release(&list);
            return i;
        }
        buf_printf(&list, "%s%s", i == 0 ? "" : option->choices[i + 1] ? ", " : " or ", option->choices[i]);
    }
    snprintf(why, OPTION_WHY_MAX, "must be %s, not \"%s\"", list.data, show(text, len).text);
    buf_release(&list);
    return -1;
}

static bool is_id(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

static bool store_text(const struct option *option, char **field, const char *text, size_t len, char *why) {
    if (!option_check_text(text, len, option->kind == OPTION_CHOICE ? CONFIG_TEXT_MAX : option->max, why))
        return false;
    if (option->kind == OPTION_CHOICE && find_choice(option, text, len, why) < 0)
        return false;
    if (option->kind == OPTION_ID && !is_id(text, len)) {
        snprintf(why, OPTION_WHY_MAX, "must consist of letters, digits, '_' and '-', not be \"%s\"",
                 show(text, len).text);
        return false;
    }
    if (len < (size_t)option->min) {
        snprintf(why, OPTION_WHY_MAX, "must not be empty");
        return false;
    }
    char *copy = strndup(text, len);
    assert(copy);
    free(*field);
    *field = copy;
    return true;
}

/* Up to CONFIG_WEIGHT_DIGITS digits behind a point, none of which may be lost. */
static bool read_thousandths(const char *text, size_t len, int64_t *out) {
    int64_t value = 0;
    size_t digits = 0;
    size_t behind = 0;
    bool point = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' && !point && digits > 0) {
            point = true;
        } else if (text[i] >= '0' && text[i] <= '9' && digits < 9) {
            value = value * 10 + (text[i] - '0');
            digits++;
            behind += point;
        } else {
            return false;
        }
    }
    if (digits == 0 || behind > CONFIG_WEIGHT_DIGITS || (point && behind == 0))
        return false;
    for (; behind < CONFIG_WEIGHT_DIGITS; behind++)
        value *= 10;
    *out = value;
    return true;
}

/* 0 to 1000. */
static bool store_thousandths(int64_t *field, const char *text, size_t len, char *why) {
    enum { LARGEST = 1000 };
    int64_t value;
    if (!read_thousandths(text, len, &value) || value > LARGEST * 1000) {
        snprintf(why, OPTION_WHY_MAX,
                 "must be a number from 0 to %d with at most %d digits behind the point, not \"%s\"", LARGEST,
                 CONFIG_WEIGHT_DIGITS, show(text, len).text);
        return false;
    }
    *field = value;
    return true;
}

void option_show_weight(int64_t thousandths, char *out) {
    snprintf(out, OPTION_WEIGHT_CHARS, "%lld.%03lld", (long long)thousandths / 1000,
             (long long)thousandths % 1000);
}

static struct config_weight *find_weight(struct config_weights *weights, const char *pattern, size_t len) {
    for (size_t i = 0; i < weights->count; i++)
        if (is_word(pattern, len, weights->rows[i].pattern))
            return &weights->rows[i];
    return NULL;
}

bool option_add_weight(struct config_weights *weights, const char *pattern, size_t pattern_len,
                       const char *number, size_t number_len, char *why) {
    enum { PATTERN_MAX = 64 };
    int64_t thousandths;
    if (!option_check_text(pattern, pattern_len, PATTERN_MAX, why))
        return false;
    if (pattern_len == 0) {
        snprintf(why, OPTION_WHY_MAX, "must name a worker or a pattern");
        return false;
    }
    if (!store_thousandths(&thousandths, number, number_len, why))
        return false;
    struct config_weight *weight = find_weight(weights, pattern, pattern_len);
    if (!weight && weights->count == CONFIG_WEIGHTS_MAX) {
        snprintf(why, OPTION_WHY_MAX, "must not be more than %d", CONFIG_WEIGHTS_MAX);
        return false;
    }
    if (!weight) {
        weight = &weights->rows[weights->count++];
        weight->pattern = strndup(pattern, pattern_len);
        assert(weight->pattern);
    }
    weight->thousandths = thousandths;
    return true;
}

bool config_list_has(const struct config_list *list, const char *item) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], item) == 0)
            return true;
    return false;
}

static bool add_share(struct config_shares *shares, const char *text, size_t len, char *why) {
    if (shares->count == CONFIG_SHARES_MAX) {
        snprintf(why, OPTION_WHY_MAX, "must not have more than %d items", CONFIG_SHARES_MAX);
        return false;
    }
    if (!store_thousandths(&shares->thousandths[shares->count], text, len, why))
        return false;
    shares->count++;
    return true;
}

bool option_add_item(const struct option *option, struct config *config, const char *text, size_t len,
                     char *why) {
    struct config_list *list = field_of(option, config);
    if (option->kind == OPTION_SHARES)
        return add_share(field_of(option, config), text, len, why);
    if (!option_check_text(text, len, option->max, why) ||
        (option->choices && find_choice(option, text, len, why) < 0))
        return false;
    if (len == 0) {
        snprintf(why, OPTION_WHY_MAX, "must not have an empty item");
        return false;
    }
    char *copy = strndup(text, len);
    assert(copy);
    if (config_list_has(list, copy)) {
        free(copy);
        return true;
    }
    if (list->count == CONFIG_LIST_MAX) {
        free(copy);
        snprintf(why, OPTION_WHY_MAX, "must not have more than %d items", CONFIG_LIST_MAX);
        return false;
    }
    list->items[list->count++] = copy;
    return true;
}

static void clear_list(struct config_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    list->count = 0;
}

/* Items with commas in between. */
static bool add_items(const struct option *option, struct config *config, const char *text, size_t len,
                      char *why) {
    for (const char *at = text, *end = text + len; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *item_end = comma ? comma : end;
        if (!option_add_item(option, config, at, (size_t)(item_end - at), why))
            return false;
        at = comma ? comma + 1 : end;
    }
    return true;
}

/* The whole list; nothing empties it. What was there stays when an item is wrong. */
static bool store_list(const struct option *option, struct config *config, const char *text, size_t len,
                       char *why) {
    struct config_list *list = field_of(option, config);
    struct config_list before = *list;
    list->count = 0;
    if (!add_items(option, config, text, len, why)) {
        clear_list(list);
        *list = before;
        return false;
    }
    clear_list(&before);
    return true;
}

/* As store_list. */
static bool store_shares(const struct option *option, struct config *config, const char *text, size_t len,
                         char *why) {
    struct config_shares *shares = field_of(option, config);
    const struct config_shares before = *shares;
    shares->count = 0;
    if (add_items(option, config, text, len, why))
        return true;
    *shares = before;
    return false;
}

static void clear_weights(struct config_weights *weights) {
    for (size_t i = 0; i < weights->count; i++)
        free(weights->rows[i].pattern);
    weights->count = 0;
}

/* `PATTERN=NUMBER` adds one; nothing removes all. */
static bool store_weight(struct config_weights *weights, const char *text, size_t len, char *why) {
    const char *equals = memrchr(text, '=', len);
    if (len == 0) {
        clear_weights(weights);
        return true;
    }
    if (!equals) {
        snprintf(why, OPTION_WHY_MAX, "must be PATTERN=NUMBER, as in gpu-*=2.5, not \"%s\"",
                 show(text, len).text);
        return false;
    }
    size_t pattern_len = (size_t)(equals - text);
    return option_add_weight(weights, text, pattern_len, equals + 1, len - pattern_len - 1, why);
}

bool option_store(const struct option *option, struct config *config, const char *text, size_t len,
                  char *why) {
    switch (option->kind) {
    case OPTION_INT:
        return store_int(option, field_of(option, config), text, len, why);
    case OPTION_BOOL:
        return store_bool(field_of(option, config), text, len, why);
    case OPTION_ENUM: {
        int index = find_choice(option, text, len, why);
        if (index >= 0)
            memcpy(field_of(option, config), &index, sizeof index);
        return index >= 0;
    }
    case OPTION_TEXT:
    case OPTION_CHOICE:
    case OPTION_ID:
        return store_text(option, text_field(option, config), text, len, why);
    case OPTION_LIST:
        return store_list(option, config, text, len, why);
    case OPTION_SHARES:
        return store_shares(option, config, text, len, why);
    case OPTION_WEIGHTS:
        return store_weight(field_of(option, config), text, len, why);
    }
    return false;
}

static_assert(sizeof(enum nats_mode) == sizeof(int) && sizeof(enum engine_kind) == sizeof(int) &&
                  sizeof(enum cache_kind) == sizeof(int) && sizeof(enum split_kind) == sizeof(int) &&
                  sizeof(enum flash_kind) == sizeof(int) && sizeof(enum load_mode_kind) == sizeof(int) &&
                  sizeof(enum model_check_kind) == sizeof(int) && sizeof(enum register_when) == sizeof(int),
              "option_store copies an int");

const char *option_value(const struct option *option, const struct config *config, char *scratch) {
    const void *field = (const char *)config + option->offset;
    int index = 0;
    int64_t number = 0;
    switch (option->kind) {
    case OPTION_INT:
        memcpy(&number, field, sizeof number);
        snprintf(scratch, 32, "%lld", (long long)number);
        return scratch;
    case OPTION_BOOL:
        return *(const bool *)field ? "true" : "false";
    case OPTION_ENUM:
        memcpy(&index, field, sizeof index);
        return option->choices[index];
    case OPTION_TEXT:
    case OPTION_CHOICE:
    case OPTION_ID:
        return *(char *const *)field;
    case OPTION_LIST:
    case OPTION_SHARES:
    case OPTION_WEIGHTS:
        break;
    }
    return "";
}

static void append_list(const struct config_list *list, struct buf *out) {
    for (size_t i = 0; i < list->count; i++)
        buf_printf(out, "%s%s", i ? "," : "", list->items[i]);
}

static void append_shares(const struct config_shares *shares, struct buf *out) {
    for (size_t i = 0; i < shares->count; i++) {
        char number[OPTION_WEIGHT_CHARS];
        option_show_weight(shares->thousandths[i], number);
        buf_printf(out, "%s%s", i ? "," : "", number);
    }
}

void option_append_value(const struct option *option, const struct config *config, struct buf *out) {
    const void *field = (const char *)config + option->offset;
    char scratch[32];
    if (option->kind == OPTION_LIST)
        append_list(field, out);
    else if (option->kind == OPTION_SHARES)
        append_shares(field, out);
    else
        buf_append_str(out, option_value(option, config, scratch));
}

void option_release(const struct option *option, struct config *config) {
    if (has_text(option))
        free(*text_field(option, config));
    if (option->kind == OPTION_LIST)
        clear_list(field_of(option, config));
    if (option->kind == OPTION_SHARES)
        *(struct config_shares *)field_of(option, config) = (struct config_shares){.count = 0};
    if (option->kind == OPTION_WEIGHTS)
        clear_weights(field_of(option, config));
}
