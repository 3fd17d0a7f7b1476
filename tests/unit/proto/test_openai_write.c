/* Every reply is compared byte by byte with a file of tests/golden/openai: clients depend on these bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "proto/openai.h"

static const struct openai_reply reply = {
    .id = "chatcmpl-abc", .model = "org/model:8b-Q4", .created_s = 1700000000};
static const struct usage usage = {.prompt_tokens = 12, .completion_tokens = 34, .cached_tokens = 5};
/* Two bytes, quotes, control characters, four bytes, and a byte that is no character. */
static const char text[] = "caf\xC3\xA9 \"x\"\n\ttab \\ \x01 \xF0\x9F\x98\x80 \xFF.";

static char *read_golden(const char *name, size_t *len) {
    static char content[8192];
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/openai/%s.txt", MLX_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    *len = fread(content, 1, sizeof content, file);
    assert_true(*len < sizeof content);
    fclose(file);
    return content;
}

static void assert_golden(struct buf *out, const char *name) {
    size_t len;
    const char *expected = read_golden(name, &len);
    assert_false(out->failed);
    if (out->len != len || memcmp(out->data, expected, len) != 0)
        fail_msg("%s.txt says\n%.*s\nbut it is\n%s", name, (int)len, expected, out->data);
    buf_release(out);
}

/* Puts 0 in the place of the time, which must be now. */
static void mask_timestamp(struct buf *out) {
    static const char key[] = "\"timestamp\":";
    char *at = strstr(out->data, key);
    assert_non_null(at);
    at += strlen(key);
    char *end;
    long long said_ms = strtoll(at, &end, 10);
    assert_in_range(clock_wall_ms() - said_ms, 0, 10000);
    *at = '0';
    memmove(at + 1, end, strlen(end) + 1);
    out->len -= (size_t)(end - at) - 1;
}

static void the_first_chunk_names_the_role(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    openai_write_role_chunk(&out, &reply);
    assert_golden(&out, "role_chunk");
}

static void a_content_chunk_holds_the_text_as_json(void **state) {
    (void)state;
    struct openai_chunk_template chunk;
    struct buf out;
    buf_init(&out, 0);
    openai_chunk_template_init(&chunk, &reply);
    openai_write_content_chunk(&out, &chunk, text, strlen(text));
    assert_golden(&out, "content_chunk");
    openai_chunk_template_release(&chunk);
}

static void the_last_chunk_holds_the_reason(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    openai_write_finish_chunk(&out, &reply, FINISH_STOP);
    assert_golden(&out, "finish_chunk_stop");
    buf_init(&out, 0);
    openai_write_finish_chunk(&out, &reply, FINISH_LENGTH);
    assert_golden(&out, "finish_chunk_length");
}

static void the_other_chunks_say_that_usage_follows(void **state) {
    (void)state;
    struct openai_reply with_usage = reply;
    struct openai_chunk_template chunk;
    struct buf out;
    with_usage.usage_follows = true;
    buf_init(&out, 0);
    openai_write_role_chunk(&out, &with_usage);
    openai_chunk_template_init(&chunk, &with_usage);
    openai_write_content_chunk(&out, &chunk, "x", 1);
    openai_write_finish_chunk(&out, &with_usage, FINISH_STOP);
    assert_golden(&out, "chunks_usage_follows");
    openai_chunk_template_release(&chunk);
}

static void usage_comes_in_a_chunk_without_choices(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    openai_write_usage_chunk(&out, &reply, &usage);
    assert_golden(&out, "usage_chunk");
}

static void a_stream_ends_with_done(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    openai_write_done(&out);
    assert_golden(&out, "done");
}

static void a_whole_reply_is_one_object(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    openai_write_completion(&out, &reply, text, strlen(text), FINISH_STOP, &usage);
    assert_golden(&out, "completion");
}

static void an_error_tells_field_code_and_whether_to_retry(void **state) {
    (void)state;
    struct error error;
    struct buf out;
    error_set(&error, STATUS_REQUEST_VALIDATION_FAILED, "temperature",
              "%s must be a number from 0 to 2, not \"hot\"", "temperature");
    buf_init(&out, 0);
    openai_write_error(&out, &error, NULL);
    mask_timestamp(&out);
    assert_golden(&out, "error");
    struct buf context;
    buf_init(&context, 0);
    buf_append_str(&context, "{\"requestId\":\"chatcmpl-1\"}");
    buf_init(&out, 0);
    openai_write_error_event(&out, &error, &context);
    buf_release(&context);
    mask_timestamp(&out);
    assert_golden(&out, "error_event");
}

static void an_error_without_message_explains_its_status(void **state) {
    (void)state;
    const struct error error = {.status = STATUS_NO_WORKERS_AVAILABLE};
    struct buf out;
    buf_init(&out, 0);
    openai_write_error(&out, &error, NULL);
    mask_timestamp(&out);
    assert_golden(&out, "error_without_message");
}

static json_t *parse(const struct buf *out) {
    json_error_t where;
    json_t *root = json_loadb(out->data, out->len, 0, &where);
    if (!root)
        fail_msg("%s: %s", where.text, out->data);
    return root;
}

static void every_status_can_be_written_and_two_have_names_that_clients_know(void **state) {
    (void)state;
    for (int i = 1; i < STATUS_COUNT; i++) {
        const struct error error = {.status = (enum status)i};
        struct buf out;
        buf_init(&out, 0);
        openai_write_error(&out, &error, NULL);
        json_t *root = parse(&out);
        const json_t *object = json_object_get(root, "error");
        const char *code = json_string_value(json_object_get(object, "code"));
        const char *expected = i == STATUS_MODEL_NOT_FOUND           ? "model_not_found"
                               : i == STATUS_CONTEXT_LENGTH_EXCEEDED ? "context_length_exceeded"
                                                                     : status_name((enum status)i);
        assert_string_equal(code, expected);
        assert_string_equal(json_string_value(json_object_get(object, "type")),
                            status_api_type((enum status)i));
        assert_int_equal(json_is_true(json_object_get(object, "retryable")),
                         status_is_retryable((enum status)i));
        json_decref(root);
        buf_release(&out);
    }
}

static void models_are_listed_with_what_is_known(void **state) {
    (void)state;
    const struct openai_model models[] = {
        {.id = "org/model:8b-Q4", .created_s = 1700000000, .context_tokens = 4096, .workers = 2},
        {.id = "small", .created_s = 1700000001},
    };
    struct buf out;
    buf_init(&out, 0);
    openai_write_models(&out, models, 2);
    assert_golden(&out, "models");
    buf_init(&out, 0);
    openai_write_models(&out, NULL, 0);
    assert_golden(&out, "models_none");
    buf_init(&out, 0);
    openai_write_model(&out, &models[0]);
    assert_golden(&out, "model");
}

/* The JSON behind `data: ` of one event. */
static json_t *parse_event(const struct buf *out) {
    assert_true(out->len > 8 && memcmp(out->data, "data: ", 6) == 0);
    assert_string_equal(out->data + out->len - 2, "\n\n");
    assert_ptr_equal(strchr(out->data, '\n'), out->data + out->len - 2); /* no line break ends it early */
    json_error_t where;
    json_t *root = json_loadb(out->data + 6, out->len - 8, 0, &where);
    if (!root)
        fail_msg("%s: %s", where.text, out->data);
    return root;
}

static void any_text_stays_one_event_and_comes_back(void **state) {
    (void)state;
    struct openai_chunk_template chunk;
    struct rng rng;
    rng_seed(&rng, 1);
    openai_chunk_template_init(&chunk, &reply);
    for (int round = 0; round < 500; round++) {
        char content[64];
        size_t len = rng_below(&rng, sizeof content);
        for (size_t i = 0; i < len; i++)
            content[i] = (char)(1 + rng_below(&rng, 0x7F));
        struct buf out;
        buf_init(&out, 0);
        openai_write_content_chunk(&out, &chunk, content, len);
        json_t *root = parse_event(&out);
        const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
        const json_t *back = json_object_get(json_object_get(choice, "delta"), "content");
        assert_int_equal(json_string_length(back), len);
        assert_memory_equal(json_string_value(back), content, len);
        json_decref(root);
        buf_release(&out);
    }
    openai_chunk_template_release(&chunk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_chunk_names_the_role),
        cmocka_unit_test(a_content_chunk_holds_the_text_as_json),
        cmocka_unit_test(the_last_chunk_holds_the_reason),
        cmocka_unit_test(the_other_chunks_say_that_usage_follows),
        cmocka_unit_test(usage_comes_in_a_chunk_without_choices),
        cmocka_unit_test(a_stream_ends_with_done),
        cmocka_unit_test(a_whole_reply_is_one_object),
        cmocka_unit_test(an_error_tells_field_code_and_whether_to_retry),
        cmocka_unit_test(an_error_without_message_explains_its_status),
        cmocka_unit_test(every_status_can_be_written_and_two_have_names_that_clients_know),
        cmocka_unit_test(models_are_listed_with_what_is_known),
        cmocka_unit_test(any_text_stays_one_event_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
