/* The table of options and what its readers and writers share. Not for other folders. */
#pragma once

#include "config/config.h"

enum {
    CONFIG_TEXT_MAX = 4096, /* bytes of a text value; a path has at most as many */
    CONFIG_PATH_MAX = 128,  /* bytes of "cluster.controller.port" and the like */
};

#define CONFIG_MODELS_PATH "cluster.models"

enum option_kind {
    OPTION_INT,     /* int64_t */
    OPTION_BOOL,    /* bool */
    OPTION_ENUM,    /* an enum whose values count from 0 as `choices` do */
    OPTION_TEXT,    /* char *, owned */
    OPTION_CHOICE,  /* char *, owned, one of `choices` */
    OPTION_ID,      /* char *, owned, empty or [A-Za-z0-9_-]: it becomes part of a NATS subject */
    OPTION_LIST,    /* struct config_list; as a flag, or in one line of a file, with commas in between */
    OPTION_SHARES,  /* struct config_shares; written as a list */
    OPTION_WEIGHTS, /* struct config_weights; in a file a section of its own, text: number */
};

struct option {
    const char *path; /* YAML; the table is ordered so that a section's options stand together */
    const char *flag; /* without dashes */
    char letter;      /* of the short flag, 0 when there is none */
    enum option_kind kind;
    size_t offset;       /* in struct config */
    const char *initial; /* the default, written as in a file */
    int64_t min;         /* of a number; of a text, its length in bytes */
    int64_t max;
    const char *const *choices; /* ends with NULL; of a list, what each item may be, NULL: any text */
    const char *unit;           /* "" when it has none */
    const char *help;
};

struct option_section {
    const char *path;
    const char *title;
};

extern const struct option option_table[];
extern const size_t option_count;
extern const struct option_section option_sections[];
extern const size_t option_section_count;

const struct option *option_find_path(const char *path);             /* NULL when there is none */
const struct option *option_find_flag(const char *name, size_t len); /* long name or one letter, no dashes */
bool option_is_section(const char *path);                            /* some option lies below it */
/* Copies the name that follows `section` in `path` ("" is the root) into `out`, CONFIG_PATH_MAX bytes. false
 * when `path` is not below it. */
bool option_child_of(const char *path, const char *section, char *out);

/* Stores the value that `text` stands for. On error nothing is stored and `why` (at least 256 bytes) says
 * what would be right, as in `must be a whole number from 0 to 65535, not "80a"`. */
enum { OPTION_WHY_MAX = 256 };
MUST_USE bool option_store(const struct option *option, struct config *config, const char *text, size_t len,
                           char *why);
/* Adds a weight, or replaces that of the same pattern. `number` as in `1.5`. As option_store on errors. */
MUST_USE bool option_add_weight(struct config_weights *weights, const char *pattern, size_t pattern_len,
                                const char *number, size_t number_len, char *why);
/* Adds an item to a list, unless it is there already, or to shares. As option_store on errors. */
MUST_USE bool option_add_item(const struct option *option, struct config *config, const char *text,
                              size_t len, char *why);
enum { OPTION_WEIGHT_CHARS = 24 };
/* As option_add_weight takes it; `out` holds OPTION_WEIGHT_CHARS. */
void option_show_weight(int64_t thousandths, char *out);
/* The value as option_store takes it; of lists, shares and weights always "", they are in the struct.
 * `scratch` holds at least 32 bytes and is used for numbers. */
const char *option_value(const struct option *option, const struct config *config, char *scratch);
/* Appends the value as option_store takes it, lists and shares with commas; of weights nothing. */
void option_append_value(const struct option *option, const struct config *config, struct buf *out);
void option_release(const struct option *option, struct config *config);

/* Whether text may be a value at all: valid UTF-8, no control characters, not too long. */
MUST_USE bool option_check_text(const char *text, size_t len, int64_t max, char *why);

/* How far two words are apart, counting changed, missing, added and swapped letters; case, '_' and '-' do not
 * count. More than any limit of interest when a word is very long. */
size_t word_distance(const char *a, const char *b);
/* Whether a distance is small enough to ask "did you mean". */
bool word_is_close(const char *word, size_t distance);

void config_clear_models(struct config *config);
