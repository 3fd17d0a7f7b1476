/* The keys: every value is walked over; those of the table are checked and kept. Where the architecture, of
 * whose name other keys are made, stands behind such a key, the keys are read twice. */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/gguf_parse.h"

enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64,
    VALUE_TYPES,
};

static const struct {
    const char *name;
    uint8_t bytes; /* 0: it has a length of its own */
    bool is_integer;
    bool is_signed;
} types[VALUE_TYPES] = {
    [VALUE_U8] = {"u8", 1, true, false},      [VALUE_I8] = {"i8", 1, true, true},
    [VALUE_U16] = {"u16", 2, true, false},    [VALUE_I16] = {"i16", 2, true, true},
    [VALUE_U32] = {"u32", 4, true, false},    [VALUE_I32] = {"i32", 4, true, true},
    [VALUE_F32] = {"f32", 4, false, false},   [VALUE_BOOL] = {"bool", 1, false, false},
    [VALUE_TEXT] = {"text", 0, false, false}, [VALUE_LIST] = {"list", 0, false, false},
    [VALUE_U64] = {"u64", 8, true, false},    [VALUE_I64] = {"i64", 8, true, true},
    [VALUE_F64] = {"f64", 8, false, false},
};

enum rule_kind {
    RULE_TEXT,      /* kept in a char array of `max` + 1 bytes; nowhere when `max` is 0 */
    RULE_TEMPLATE,  /* a text; that it is there is kept in a bool, and whether it has the word `tools` */
    RULE_U32,       /* exactly this type, kept in an int64_t */
    RULE_INT,       /* of any width, kept in an int64_t */
    RULE_PER_LAYER, /* one or a list, kept in a gguf_per_layer */
    RULE_TEXTS,     /* lists; the length is kept in a uint64_t */
    RULE_FLOATS,
    RULE_INTS, /* of 32 bits */
};

struct rule {
    const char *key;
    enum rule_kind kind;
    bool of_architecture; /* the key in the file has its name and a point in front */
    bool is_in_parse;     /* the field is one of gguf_parse */
    size_t offset;
    int64_t min;
    int64_t max;
};

#define IN_INFO(field)  .offset = offsetof(struct gguf_info, field)
#define IN_PARSE(field) .is_in_parse = true, .offset = offsetof(struct gguf_parse, field)

/* llama.cpp reads the lists by the length of the tokens' and as numbers of this width, whatever is there. */
static const struct rule rules[] = {
    {"general.architecture", RULE_TEXT, IN_INFO(architecture),
     .max = sizeof(((struct gguf_info *)0)->architecture) - 1},
    {"general.name", RULE_TEXT, IN_INFO(name), .max = sizeof(((struct gguf_info *)0)->name) - 1},
    {"general.alignment", RULE_U32, IN_INFO(alignment), .min = 1, .max = GGUF_ALIGNMENT_MAX},
    {"general.file_type", RULE_INT, IN_PARSE(file_type), .max = INT32_MAX},
    {"split.no", RULE_INT, IN_INFO(part), .max = GGUF_PARTS_MAX - 1},
    {"split.count", RULE_INT, IN_INFO(parts), .max = GGUF_PARTS_MAX},
    {"split.tensors.count", RULE_INT, IN_INFO(parts_tensors), .max = INT32_MAX},
    {"context_length", RULE_INT, true, IN_INFO(context_tokens), .min = 1, .max = INT32_MAX},
    {"embedding_length", RULE_INT, true, IN_INFO(embedding_width), .min = 1, .max = 1 << 24},
    {"block_count", RULE_INT, true, IN_INFO(layers), .min = 1, .max = GGUF_LAYERS_MAX},
    {"attention.head_count", RULE_PER_LAYER, true, IN_INFO(heads), .max = 1 << 16},
    {"attention.head_count_kv", RULE_PER_LAYER, true, IN_INFO(heads_kv), .max = 1 << 16},
    {"attention.key_length", RULE_INT, true, IN_INFO(key_width), .min = 1, .max = 1 << 20},
    {"attention.value_length", RULE_INT, true, IN_INFO(value_width), .min = 1, .max = 1 << 20},
    {"attention.key_length_mla", RULE_INT, true, IN_INFO(latent_width), .min = 1, .max = 1 << 20},
    {"full_attention_interval", RULE_INT, true, IN_INFO(attention_interval), .min = 1,
     .max = GGUF_LAYERS_MAX},
    {"vocab_size", RULE_INT, true, IN_INFO(vocabulary), .min = 1, .max = INT32_MAX},
    {"tokenizer.ggml.tokens", RULE_TEXTS, IN_PARSE(tokens), .max = INT32_MAX},
    {"tokenizer.ggml.merges", RULE_TEXTS, .max = INT32_MAX, IN_PARSE(merges)},
    {"tokenizer.ggml.scores", RULE_FLOATS, IN_PARSE(scores), .max = INT32_MAX},
    {"tokenizer.ggml.token_type", RULE_INTS, IN_PARSE(token_types), .max = INT32_MAX},
    {"tokenizer.chat_template", RULE_TEMPLATE, IN_INFO(has_chat_template)},
};

static void *field_of(struct gguf_parse *parse, const struct rule *rule) {
    return (char *)(rule->is_in_parse ? (void *)parse : (void *)parse->info) + rule->offset;
}

/* `*missed`: the key might be one of the table, but the architecture is not known yet. */
static const struct rule *find_rule(const struct gguf_parse *parse, bool *missed) {
    const char *architecture = parse->info->architecture;
    size_t len = strlen(architecture);
    bool is_of = len > 0 && strncmp(parse->name, architecture, len) == 0 && parse->name[len] == '.';
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (!rules[i].of_architecture) {
            if (strcmp(parse->name, rules[i].key) == 0)
                return &rules[i];
        } else if (len == 0) {
            *missed = true;
        } else if (is_of && strcmp(parse->name + len + 1, rules[i].key) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

static const char *expected(enum rule_kind kind) {
    switch (kind) {
    case RULE_TEXT:
    case RULE_TEMPLATE:
        return "a text";
    case RULE_U32:
        return "a u32";
    case RULE_INT:
        return "a whole number";
    case RULE_PER_LAYER:
        return "a whole number, or a list of them";
    case RULE_TEXTS:
        return "a list of texts";
    case RULE_FLOATS:
        return "a list of f32";
    case RULE_INTS:
        return "a list of i32";
    }
    return "";
}

static bool fits_list(enum rule_kind kind, uint32_t element) {
    switch (kind) {
    case RULE_PER_LAYER:
        return types[element].is_integer;
    case RULE_TEXTS:
        return element == VALUE_TEXT;
    case RULE_FLOATS:
        return element == VALUE_F32;
    case RULE_INTS:
        return element == VALUE_I32 || element == VALUE_U32;
    case RULE_TEXT:
    case RULE_TEMPLATE:
    case RULE_U32:
    case RULE_INT:
        return false;
    }
    return false;
}

static bool fits_scalar(enum rule_kind kind, uint32_t type) {
    switch (kind) {
    case RULE_TEXT:
    case RULE_TEMPLATE:
        return type == VALUE_TEXT;
    case RULE_U32:
        return type == VALUE_U32;
    case RULE_INT:
    case RULE_PER_LAYER:
        return types[type].is_integer;
    case RULE_TEXTS:
    case RULE_FLOATS:
    case RULE_INTS:
        return false;
    }
    return false;
}

static bool take_type(struct gguf_parse *parse, const char *what, uint32_t *type) {
    if (!gguf_take(parse, type, sizeof(*type)))
        return false;
    if (*type >= VALUE_TYPES)
        return gguf_refuse(parse, "%s has the type %u; there are only 0 to %d", what, *type, VALUE_TYPES - 1);
    return true;
}

static bool take_length(struct gguf_parse *parse, uint64_t *len) {
    if (!gguf_take(parse, len, sizeof(*len)))
        return false;
    if (*len > GGUF_TEXT_BYTES_MAX)
        return gguf_refuse(parse, "a text of %llu bytes; at most %d are taken", (unsigned long long)*len,
                           GGUF_TEXT_BYTES_MAX);
    return true;
}

static bool is_architecture(const char *text) {
    return *text &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(text);
}

static bool keep_text(struct gguf_parse *parse, const struct rule *rule, uint64_t len) {
    char *out = field_of(parse, rule);
    size_t keep = len < (uint64_t)rule->max ? (size_t)len : (size_t)rule->max;
    if (!gguf_take(parse, out, keep))
        return false;
    out[utf8_valid_prefix(out, keep, NULL)] = '\0';
    if (out == parse->info->architecture && (keep < len || !is_architecture(out)))
        return gguf_refuse(parse, "is no name of an architecture");
    return gguf_skip(parse, len - keep);
}

static bool is_of_word(uint8_t byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_';
}

/* A word of its own: `tools`, and neither `toolset` nor `my_tools`. */
static bool find_tools(struct gguf_parse *parse, uint64_t len, bool *found) {
    static const char tools[] = "tools";
    size_t at = 0; /* so much of the word is met; sizeof(tools): the word here is another one */
    *found = false;
    for (uint64_t i = 0; i < len; i++) {
        uint8_t byte;
        if (!gguf_take(parse, &byte, 1))
            return false;
        if (!is_of_word(byte)) {
            *found |= at == sizeof(tools) - 1;
            at = 0;
        } else {
            at = at < sizeof(tools) && byte == (uint8_t)tools[at] ? at + 1 : sizeof(tools);
        }
    }
    *found |= at == sizeof(tools) - 1;
    return true;
}

static bool read_text(struct gguf_parse *parse, const struct rule *rule) {
    uint64_t len;
    if (!take_length(parse, &len))
        return false;
    if (rule && rule->kind == RULE_TEXT)
        return keep_text(parse, rule, len);
    if (!rule || !gguf_reader_has(&parse->reader, len))
        return gguf_skip(parse, len);
    *(bool *)field_of(parse, rule) = len > 0;
    return find_tools(parse, len, &parse->info->template_has_tools);
}

/* A whole number of the file; too large for int64_t is INT64_MAX, which no rule allows. */
static bool take_integer(struct gguf_parse *parse, uint32_t type, int64_t *out) {
    uint8_t bytes[8];
    uint64_t value = 0;
    size_t count = types[type].bytes;
    assert(types[type].is_integer && count > 0);
    if (!gguf_take(parse, bytes, count))
        return false;
    for (size_t i = count; i-- > 0;)
        value = value << 8 | bytes[i];
    uint64_t sign = UINT64_C(1) << (8 * count - 1);
    if (types[type].is_signed && value & sign)
        *out = -1; /* none of ours may be negative, so that how much does not matter */
    else
        *out = value > INT64_MAX ? INT64_MAX : (int64_t)value;
    return true;
}

static bool take_in_range(struct gguf_parse *parse, const struct rule *rule, uint32_t type, int64_t *out) {
    if (!take_integer(parse, type, out))
        return false;
    if (*out < 0)
        return gguf_refuse(parse, "is negative, must be %lld to %lld", (long long)rule->min,
                           (long long)rule->max);
    if (*out < rule->min || *out > rule->max)
        return gguf_refuse(parse, "is %lld, must be %lld to %lld", (long long)*out, (long long)rule->min,
                           (long long)rule->max);
    return true;
}

static bool keep_integer(struct gguf_parse *parse, const struct rule *rule, uint32_t type) {
    int64_t value;
    if (!take_in_range(parse, rule, type, &value))
        return false;
    if (rule->kind == RULE_PER_LAYER)
        *(struct gguf_per_layer *)field_of(parse, rule) = (struct gguf_per_layer){.count = 1, .max = value};
    else
        *(int64_t *)field_of(parse, rule) = value;
    if (rule->kind == RULE_U32 && (value & (value - 1)) != 0)
        return gguf_refuse(parse, "is %lld, must be a power of two up to %lld", (long long)value,
                           (long long)rule->max);
    return true;
}

static bool read_scalar(struct gguf_parse *parse, const struct rule *rule, uint32_t type) {
    if (rule)
        return keep_integer(parse, rule, type);
    if (type != VALUE_BOOL)
        return gguf_skip(parse, types[type].bytes);
    uint8_t value;
    if (!gguf_take(parse, &value, 1))
        return false;
    return value <= 1 || gguf_refuse(parse, "a bool is %u, must be 0 or 1", value);
}

static bool keep_per_layer(struct gguf_parse *parse, const struct rule *rule, uint32_t element,
                           uint64_t count) {
    struct gguf_per_layer kept = {.count = count};
    if (count == 0 || count > GGUF_LAYERS_MAX)
        return gguf_refuse(parse, "has %llu numbers, must have one for each of at most %d layers",
                           (unsigned long long)count, GGUF_LAYERS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        int64_t value;
        if (!take_in_range(parse, rule, element, &value))
            return false;
        kept.sum += value;
        kept.max = value > kept.max ? value : kept.max;
    }
    *(struct gguf_per_layer *)field_of(parse, rule) = kept;
    return true;
}

static bool skip_texts(struct gguf_parse *parse, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t len;
        if (!take_length(parse, &len) || !gguf_skip(parse, len))
            return false;
    }
    return true;
}

static bool read_list(struct gguf_parse *parse, const struct rule *rule) {
    uint32_t element;
    uint64_t count;
    if (!take_type(parse, "its list", &element) || !gguf_take(parse, &count, sizeof(count)))
        return false;
    if (element == VALUE_LIST)
        return gguf_refuse(parse, "is a list of lists, which nothing can read");
    if (rule && !fits_list(rule->kind, element))
        return gguf_refuse(parse, "is a list of %s, must be %s", types[element].name, expected(rule->kind));
    size_t least = element == VALUE_TEXT ? sizeof(uint64_t) : types[element].bytes;
    if (count > INT32_MAX || !gguf_reader_has(&parse->reader, count * least))
        return gguf_refuse(parse, "says that it has %llu elements, which do not fit into the file",
                           (unsigned long long)count);
    if (rule && rule->kind == RULE_PER_LAYER)
        return keep_per_layer(parse, rule, element, count);
    if (rule)
        *(uint64_t *)field_of(parse, rule) = count;
    return element == VALUE_TEXT ? skip_texts(parse, count) : gguf_skip(parse, count * least);
}

static bool read_pair(struct gguf_parse *parse, bool first_time, bool *missed) {
    uint32_t type;
    if (!gguf_take_name(parse, "key", GGUF_KEY_BYTES_MAX) || (first_time && !gguf_note_name(parse)) ||
        !take_type(parse, "it", &type))
        return false;
    const struct rule *rule = find_rule(parse, missed);
    if (type == VALUE_LIST)
        return read_list(parse, rule);
    if (rule && !fits_scalar(rule->kind, type))
        return gguf_refuse(parse, "is a %s, must be %s", types[type].name, expected(rule->kind));
    return type == VALUE_TEXT ? read_text(parse, rule) : read_scalar(parse, rule, type);
}

static bool read_pairs(struct gguf_parse *parse, bool first_time, bool *missed) {
    parse->reader.at = parse->keys_at;
    for (uint64_t i = 0; i < parse->key_count; i++) {
        if (!read_pair(parse, first_time, missed))
            return false;
    }
    return true;
}

static bool check_vocabulary(struct gguf_parse *parse) {
    uint64_t tokens = parse->tokens == UINT64_MAX ? 0 : parse->tokens;
    if (parse->scores != UINT64_MAX && parse->scores != tokens)
        return gguf_refuse(parse, "tokenizer.ggml.scores has %llu elements for %llu tokens",
                           (unsigned long long)parse->scores, (unsigned long long)tokens);
    if (parse->token_types != UINT64_MAX && parse->token_types != tokens)
        return gguf_refuse(parse, "tokenizer.ggml.token_type has %llu elements for %llu tokens",
                           (unsigned long long)parse->token_types, (unsigned long long)tokens);
    if (tokens > 0)
        parse->info->vocabulary = (int64_t)tokens;
    return true;
}

static bool check_layers(struct gguf_parse *parse, const char *key, const struct gguf_per_layer *list) {
    if (list->count <= 1 || (int64_t)list->count == parse->info->layers)
        return true;
    return gguf_refuse(parse, "%s.%s has %llu numbers for %lld layers", parse->info->architecture, key,
                       (unsigned long long)list->count, (long long)parse->info->layers);
}

bool gguf_read_keys(struct gguf_parse *parse) {
    struct gguf_info *info = parse->info;
    bool missed = false, known = false;
    if (!read_pairs(parse, true, &missed) || (missed && !read_pairs(parse, false, &known)))
        return false;
    gguf_forget_names(parse);
    if (info->part == 0 && !*info->architecture)
        return gguf_refuse(parse, "there is no general.architecture, so that it is no model");
    return check_vocabulary(parse) && check_layers(parse, "attention.head_count", &info->heads) &&
           check_layers(parse, "attention.head_count_kv", &info->heads_kv);
}
