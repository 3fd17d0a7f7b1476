#include "engine/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/gguf_types.h"
#include "gguf_bytes.h"

#define MODEL MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf"

static enum status read_bytes(const void *data, size_t len, struct gguf_info *info, struct error *error) {
    *error = (struct error){.status = STATUS_OK};
    int fd = gguf_bytes_file(data, len);
    enum status status = gguf_read(fd, info, error);
    close(fd);
    return status;
}

static enum status read_made(const struct gguf_bytes *what, struct gguf_info *info, struct error *error) {
    struct buf bytes;
    buf_init(&bytes, 0);
    gguf_bytes_write(&bytes, what);
    enum status status = read_bytes(bytes.data, bytes.len, info, error);
    buf_release(&bytes);
    return status;
}

static void the_shipped_model_is_told_as_it_is(void **state) {
    (void)state;
    struct gguf_info info;
    struct error error = {0};
    if (gguf_read_model(MODEL, &info, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.name, "Tiny Chat 5M");
    assert_string_equal(info.quantization, "Q8_0");
    assert_true(info.has_chat_template);
    assert_true(info.template_has_tools);
    assert_int_equal(info.version, 3);
    assert_int_equal(info.tensors, 56);
    assert_int_equal(info.parameters, 4951296);
    assert_int_equal(info.weights_bytes, 5270528);
    assert_int_equal(info.file_bytes, 5337568);
    assert_int_equal(info.context_tokens, 2048);
    assert_int_equal(info.embedding_width, 256);
    assert_int_equal(info.layers, 6);
    assert_int_equal(info.heads.max, 8);
    assert_int_equal(info.heads_kv.max, 4);
    assert_int_equal(info.vocabulary, 2048);
    /* 6 layers, keys and values, 4 heads of 32 numbers. */
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_F16, ENGINE_CACHE_F16, 1), 6 * 2 * 4 * 32 * 2);
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_BF16, ENGINE_CACHE_BF16, 10),
                     10 * 6 * 2 * 4 * 32 * 2);
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_Q8_0, ENGINE_CACHE_Q8_0, 1), 6 * 2 * 4 * 34);
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_F32, ENGINE_CACHE_Q4_0, 1), 6 * 4 * (32 * 4 + 18));
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_F16, ENGINE_CACHE_F16, INT64_MAX), INT64_MAX);
    info.attention_interval = 3; /* in two layers */
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_F16, ENGINE_CACHE_F16, 1), 2 * 2 * 4 * 32 * 2);
    info.latent_width = 32; /* no values */
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_F16, ENGINE_CACHE_F16, 1), 2 * 4 * 32 * 2);
}

/* Keys that are put behind the good ones. */

static void key_twice(struct buf *out) {
    put_key_u32(out, "tiny.block_count", 3);
}
static void key_of_no_type(struct buf *out) {
    put_key(out, "x", 13);
}
static void key_without_name(struct buf *out) {
    put_key_u32(out, "", 1);
}
static void key_of_control_characters(struct buf *out) {
    put_key_u32(out, "a\nb", 1);
}
static void key_that_is_not_utf8(struct buf *out) {
    put_key_u32(out, "a\xFF", 1);
}
static void key_as_long_as_the_file(struct buf *out) {
    put_u64(out, UINT64_MAX);
}
static void long_key(struct buf *out) {
    char key[GGUF_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    put_key_u32(out, key, 1);
}
static void endless_text(struct buf *out) {
    put_key(out, "x", GGUF_TEXT);
    put_u64(out, UINT64_MAX - 7);
}
static void text_behind_the_end(struct buf *out) {
    put_key(out, "x", GGUF_TEXT);
    put_u64(out, 100000);
}
static void bool_of_two(struct buf *out) {
    put_key(out, "x", GGUF_BOOL);
    buf_append_char(out, 2);
}
static void list_of_lists(struct buf *out) {
    put_key_list(out, "x", GGUF_LIST, 1);
    put_u32(out, GGUF_U8);
    put_u64(out, 1);
    buf_append_char(out, 1);
}
static void list_of_no_type(struct buf *out) {
    put_key_list(out, "x", 99, 1);
}
static void endless_list(struct buf *out) {
    put_key_list(out, "x", GGUF_U64, UINT64_MAX / 8 + 2); /* times 8 is 8 */
}
static void long_list(struct buf *out) {
    put_key_list(out, "x", GGUF_U8, 100000);
}
static void endless_texts(struct buf *out) {
    put_key_list(out, "x", GGUF_TEXT, 2);
    put_u64(out, 4);
    buf_append_str(out, "text");
    put_u64(out, UINT64_MAX);
}
static void alignment_zero(struct buf *out) {
    put_key_u32(out, "general.alignment", 0);
}
static void alignment_48(struct buf *out) {
    put_key_u32(out, "general.alignment", 48);
}
static void alignment_131072(struct buf *out) {
    put_key_u32(out, "general.alignment", 131072);
}
static void alignment_as_text(struct buf *out) {
    put_key_text(out, "general.alignment", "32");
}
static void alignment_as_u64(struct buf *out) {
    put_key(out, "general.alignment", GGUF_U64);
    put_u64(out, 32);
}
static void alignment_64(struct buf *out) {
    put_key_u32(out, "general.alignment", 64);
}
static void template_as_number(struct buf *out) {
    put_key_u32(out, "tokenizer.chat_template", 1);
}
static void name_as_list(struct buf *out) {
    put_key_list(out, "general.name", GGUF_TEXT, 0);
}
static void negative_width(struct buf *out) {
    put_key(out, "tiny.attention.key_length", GGUF_I32);
    put_u32(out, (uint32_t)-1);
}
static void zero_width(struct buf *out) {
    put_key_u32(out, "tiny.attention.key_length", 0);
}
static void huge_width(struct buf *out) {
    put_key(out, "tiny.attention.key_length", GGUF_U64);
    put_u64(out, UINT64_MAX);
}
static void width_as_fraction(struct buf *out) {
    put_key(out, "tiny.attention.value_length", GGUF_F32);
    put_u32(out, 0);
}
static void too_few_scores(struct buf *out) {
    put_key_list(out, "tokenizer.ggml.scores", GGUF_F32, 2);
    put_u64(out, 0);
}
static void scores_as_bytes(struct buf *out) {
    put_key_list(out, "tokenizer.ggml.scores", GGUF_U8, 3);
    buf_append(out, "abc", 3);
}
static void too_few_token_types(struct buf *out) {
    put_key_list(out, "tokenizer.ggml.token_type", GGUF_I32, 1);
    put_u32(out, 1);
}
static void token_types_as_bytes(struct buf *out) {
    put_key_list(out, "tokenizer.ggml.token_type", GGUF_U8, 3);
    buf_append(out, "abc", 3);
}
static void merges_as_numbers(struct buf *out) {
    put_key_list(out, "tokenizer.ggml.merges", GGUF_U32, 1);
    put_u32(out, 1);
}
static void part_of_nothing(struct buf *out) {
    put_key_u32(out, "split.no", 2);
}

static const struct {
    const char *claim;
    struct gguf_bytes what;
    const char *says;
} wrong[] = {
    {"the magic", {.magic = "GGML"}, "not a GGUF file"},
    {"version 1", {.version = 1}, "version 1 of GGUF"},
    {"version 4", {.version = 4}, "version 4 of GGUF"},
    {"big-endian", {.version = 3u << 24}, "big-endian"},
    {"too many tensors", {.tensors = INT64_MAX - 2}, "tensors; at most 131072"},
    {"negative keys", {.keys = -100}, "keys; at most 65536"},
    {"a key more than there is", {.keys = 1}, "byte"},
    {"a tensor more than there is", {.tensors = 1}, "tensor at byte"},
    {"a key twice", {.more_keys = key_twice, .more = 1}, "key \"tiny.block_count\""},
    {"a key of no type", {.more_keys = key_of_no_type, .more = 1}, "has the type 13"},
    {"a key without name", {.more_keys = key_without_name, .more = 1}, "has 0 bytes"},
    {"a key of control characters", {.more_keys = key_of_control_characters, .more = 1}, "printable"},
    {"a key that is not UTF-8", {.more_keys = key_that_is_not_utf8, .more = 1}, "printable"},
    {"an endless key", {.more_keys = key_as_long_as_the_file, .more = 1}, "must have 1 to 256"},
    {"a long key", {.more_keys = long_key, .more = 1}, "has 257 bytes"},
    {"an endless text", {.more_keys = endless_text, .more = 1}, "key \"x\" at byte"},
    {"a text behind the end", {.more_keys = text_behind_the_end, .more = 1}, "the file is cut off"},
    {"a bool of two", {.more_keys = bool_of_two, .more = 1}, "a bool is 2"},
    {"a list of lists", {.more_keys = list_of_lists, .more = 1}, "a list of lists"},
    {"a list of no type", {.more_keys = list_of_no_type, .more = 1}, "has the type 99"},
    {"an endless list", {.more_keys = endless_list, .more = 1}, "do not fit"},
    {"a long list", {.more_keys = long_list, .more = 1}, "has 100000 elements, which do not fit"},
    {"an endless text in a list", {.more_keys = endless_texts, .more = 1}, "a text of"},
    {"alignment 0", {.more_keys = alignment_zero, .more = 1}, "is 0, must be 1 to 65536"},
    {"alignment 48", {.more_keys = alignment_48, .more = 1}, "a power of two"},
    {"alignment 131072", {.more_keys = alignment_131072, .more = 1}, "is 131072"},
    {"alignment as text", {.more_keys = alignment_as_text, .more = 1}, "is a text, must be a u32"},
    {"alignment as u64", {.more_keys = alignment_as_u64, .more = 1}, "is a u64, must be a u32"},
    {"a template as number", {.more_keys = template_as_number, .more = 1}, "is a u32, must be a text"},
    {"a name as list", {.more_keys = name_as_list, .more = 1}, "is a list of text, must be a text"},
    {"a negative width", {.more_keys = negative_width, .more = 1}, "is negative"},
    {"a zero width", {.more_keys = zero_width, .more = 1}, "is 0, must be 1"},
    {"a huge width", {.more_keys = huge_width, .more = 1}, "must be 1 to 1048576"},
    {"a width as fraction", {.more_keys = width_as_fraction, .more = 1}, "is a f32, must be a whole number"},
    {"too few scores", {.more_keys = too_few_scores, .more = 1}, "scores has 2 elements for 3 tokens"},
    {"scores as bytes", {.more_keys = scores_as_bytes, .more = 1}, "is a list of u8, must be a list of f32"},
    {"too few token types", {.more_keys = too_few_token_types, .more = 1}, "has 1 elements for 3 tokens"},
    {"token types as bytes", {.more_keys = token_types_as_bytes, .more = 1}, "must be a list of i32"},
    {"merges as numbers", {.more_keys = merges_as_numbers, .more = 1}, "must be a list of texts"},
    {"a part of nothing", {.more_keys = part_of_nothing, .more = 1}, "split.no is 2"},
    {"no architecture", {.no_architecture = true}, "no general.architecture"},
    {"no tensors", {.no_tensors = true}, "there are no tensors"},
    {"a tensor without name", {.first = {"", 1, {8}, 0, 0}}, "has 0 bytes, must have 1 to 63"},
    {"a tensor twice", {.second = {"first", 1, {8}, 0, 64}}, "tensor \"first\""},
    {"no dimensions", {.first = {"f", 0, {0}, 0, 0}}, "has 0 dimensions"},
    {"five dimensions", {.first = {"f", 5, {1, 1, 1, 1, 1}, 0, 0}}, "has 5 dimensions"},
    {"a dimension of zero", {.first = {"f", 2, {8, 0}, 0, 0}}, "dimension 1 is zero"},
    {"a negative dimension", {.first = {"f", 2, {8, UINT64_MAX}, 0, 0}}, "than can be counted"},
    {"a product that is zero again", {.first = {"f", 2, {1ull << 32, 1ull << 32}, 0, 0}}, "counted"},
    {"more bytes than can be counted", {.first = {"f", 1, {1ull << 62}, 0, 0}}, "more bytes than"},
    {"a type that was given up", {.first = {"f", 1, {32}, 4, 0}}, "has the type 4"},
    {"a type behind the last", {.first = {"f", 1, {32}, 43, 0}}, "has the type 43"},
    {"a row of part of a block", {.first = {"f", 2, {8, 4}, 8, 0}}, "Q8_0 cannot store"},
    {"data that is not aligned", {.second = {"s", 1, {32}, 8, 65}}, "not aligned to 32"},
    {"data that overlaps", {.second = {"s", 1, {32}, 8, 32}}, "overlaps"},
    {"data behind a gap", {.second = {"s", 1, {8}, 0, 96}}, "leaves a gap; it must be at 64"},
    {"data behind the file", {.second = {"s", 1, {1u << 20}, 0, 64}}, "ends behind the file"},
    {"an offset that overflows", {.second = {"s", 1, {32}, 8, UINT64_MAX - 31}}, "ends behind the file"},
    {"data aligned to 32 where 64 is said",
     {.more_keys = alignment_64, .more = 1, .second = {"s", 1, {32}, 8, 96}},
     "not aligned to 64"},
    {"a byte missing", {.cut = 1}, "the file is cut off: the tensors end at byte"},
    {"all data missing", {.cut = 98}, "the file is cut off"},
};

static void each_malformation_is_refused_with_its_place(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct gguf_info info;
        struct error error;
        if (read_made(&wrong[i].what, &info, &error) != STATUS_MODEL_LOAD_FAILED)
            fail_msg("%s is not refused", wrong[i].claim);
        if (!strstr(error.message, wrong[i].says))
            fail_msg("%s: no \"%s\" in: %s", wrong[i].claim, wrong[i].says, error.message);
    }
}

static void a_good_file_is_read_and_every_beginning_of_it_is_refused(void **state) {
    (void)state;
    const struct gguf_bytes good = {.version = 2};
    struct buf bytes;
    struct gguf_info info;
    struct error error;
    buf_init(&bytes, 0);
    gguf_bytes_write(&bytes, &good);
    assert_int_equal(read_bytes(bytes.data, bytes.len, &info, &error), STATUS_OK);
    assert_string_equal(info.quantization, "F32"); /* no file_type: what most of the bytes are */
    assert_int_equal(info.parameters, 16 + 32);
    assert_int_equal(info.vocabulary, 3);
    assert_false(info.has_chat_template || info.template_has_tools);
    for (size_t len = 0; len < bytes.len; len++) {
        if (read_bytes(bytes.data, len, &info, &error) != STATUS_MODEL_LOAD_FAILED || !*error.message)
            fail_msg("the first %zu bytes are taken", len);
    }
    buf_release(&bytes);
}

static const char *template_text;
static void template_of_text(struct buf *out) {
    put_key_text(out, "tokenizer.chat_template", template_text);
}

static void a_template_with_the_word_tools_is_told(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool has_tools;
    } cases[] = {
        {"{%- if tools %}{{ tools | tojson }}{%- endif %}", true},
        {"tools", true},
        {"{{tools}}", true},
        {"{% for t in x.tools %}", true},
        {"my_tools tools", true},
        {"{{ messages[0].content }}", false},
        {"{{ toolset }} {{ my_tools }} {{ tools2 }} {{ Tools }} {{ tool }}s", false},
        {"ttools toolstools", false},
        {"too", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct gguf_bytes made = {.more_keys = template_of_text, .more = 1};
        struct gguf_info info;
        struct error error;
        template_text = cases[i].text;
        assert_int_equal(read_made(&made, &info, &error), STATUS_OK);
        assert_true(info.has_chat_template);
        if (info.template_has_tools != cases[i].has_tools)
            fail_msg("%s", cases[i].text);
    }
}

static void late_architecture(struct buf *out) {
    put_key_text(out, "general.architecture", "tiny");
}

static void the_architecture_may_stand_behind_its_keys(void **state) {
    (void)state;
    const struct gguf_bytes late = {.no_architecture = true, .more_keys = late_architecture, .more = 1};
    struct gguf_info info;
    struct error error;
    assert_int_equal(read_made(&late, &info, &error), STATUS_OK);
    assert_int_equal(info.layers, 3);
    assert_int_equal(info.context_tokens, 128);
}

static void put_heads(struct buf *out, uint64_t count) {
    put_key_text(out, "general.architecture", "other");
    put_key_u32(out, "other.block_count", 3);
    put_key_u32(out, "other.embedding_length", 64);
    put_key_u32(out, "other.attention.head_count", 8);
    put_key_list(out, "other.attention.head_count_kv", GGUF_I32, count);
    for (uint64_t i = 0; i < count; i++)
        put_u32(out, (uint32_t)i);
}
static void three_heads(struct buf *out) {
    put_heads(out, 3);
}
static void two_heads(struct buf *out) {
    put_heads(out, 2);
}

static void heads_may_differ_from_layer_to_layer(void **state) {
    (void)state;
    struct gguf_bytes what = {.no_architecture = true, .more_keys = three_heads, .more = 5};
    struct gguf_info info;
    struct error error;
    assert_int_equal(read_made(&what, &info, &error), STATUS_OK);
    assert_int_equal(info.heads_kv.sum, 0 + 1 + 2);
    assert_int_equal(gguf_cache_bytes(&info, ENGINE_CACHE_F16, ENGINE_CACHE_F16, 1), 3 * (64 / 8) * 2 * 2);
    what.more_keys = two_heads;
    assert_int_equal(read_made(&what, &info, &error), STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(error.message, "head_count_kv has 2 numbers for 3 layers"));
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    struct gguf_info info;
    struct error error;
    assert_int_equal(gguf_read_model("/nowhere/model.gguf", &info, &error), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(error.message, "No such file or directory");
    assert_int_equal(gguf_read_model("/tmp", &info, &error), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(error.message, "not a file");
}

/* Split models. */

static uint32_t part_no, part_count, part_tensors;
static void part_keys(struct buf *out) {
    put_key_u32(out, "split.no", part_no);
    put_key_u32(out, "split.count", part_count);
    put_key_u32(out, "split.tensors.count", part_tensors);
}

static void write_part(const char *dir, uint32_t no, uint32_t named) {
    char path[256];
    const struct gguf_bytes what = {.no_architecture = no > 0, .more_keys = part_keys, .more = 3};
    struct buf bytes;
    part_no = no;
    part_count = 2;
    part_tensors = 4;
    snprintf(path, sizeof path, "%s/m-%05u-of-00002.gguf", dir, named + 1);
    buf_init(&bytes, 0);
    gguf_bytes_write(&bytes, &what);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, file), bytes.len);
    assert_int_equal(fclose(file), 0);
    buf_release(&bytes);
}

static void all_parts_of_a_split_model_must_be_there(void **state) {
    (void)state;
    char dir[] = "/tmp/mlx-gguf-XXXXXX", first[256], second[256];
    struct gguf_info info;
    struct error error;
    assert_non_null(mkdtemp(dir));
    snprintf(first, sizeof first, "%s/m-00001-of-00002.gguf", dir);
    snprintf(second, sizeof second, "%s/m-00002-of-00002.gguf", dir);
    write_part(dir, 0, 0);
    assert_int_equal(gguf_read_model(first, &info, &error), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(error.message, "part 2 of 2, m-00002-of-00002.gguf: No such file or directory");
    write_part(dir, 0, 1);
    assert_int_equal(gguf_read_model(first, &info, &error), STATUS_MODEL_LOAD_FAILED);
    assert_non_null(strstr(error.message, "says that it is part 1 of 2, must be 2 of 2"));
    write_part(dir, 1, 1);
    assert_int_equal(gguf_read_model(first, &info, &error), STATUS_OK);
    assert_int_equal(info.tensors, 4);
    assert_int_equal(info.weights_bytes, 2 * (64 + 34));
    assert_int_equal(gguf_read_model(second, &info, &error), STATUS_MODEL_LOAD_FAILED);
    assert_string_equal(error.message, "part 2 of a model of 2 files; give the first one");
    unlink(first);
    unlink(second);
    rmdir(dir);
}

static void parts_are_known_by_their_names(void **state) {
    (void)state;
    int part, parts;
    assert_true(gguf_is_part("/m/x-00002-of-00010.gguf", &part, &parts));
    assert_int_equal(part, 1);
    assert_int_equal(parts, 10);
    static const char *const others[] = {"x.gguf",
                                         "x-0002-of-0010.gguf",
                                         "x-00000-of-00002.gguf",
                                         "x-00003-of-00002.gguf",
                                         "-00001-of-00002.gguf",
                                         ""};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(gguf_is_part(others[i], &part, &parts));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shipped_model_is_told_as_it_is),
        cmocka_unit_test(each_malformation_is_refused_with_its_place),
        cmocka_unit_test(a_good_file_is_read_and_every_beginning_of_it_is_refused),
        cmocka_unit_test(a_template_with_the_word_tools_is_told),
        cmocka_unit_test(the_architecture_may_stand_behind_its_keys),
        cmocka_unit_test(heads_may_differ_from_layer_to_layer),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(all_parts_of_a_split_model_must_be_there),
        cmocka_unit_test(parts_are_known_by_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
