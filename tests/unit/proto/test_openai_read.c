#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/openai.h"

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define GOOD     "\"model\":\"m\"," MESSAGES

static enum status read_text(const char *body, struct chat_request *chat, struct error *error) {
    *error = (struct error){0};
    return openai_read_chat(body, strlen(body), 99, chat, error);
}

static void defaults_are_openais(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    assert_int_equal(read_text("{" GOOD "}", &chat, &error), STATUS_OK);
    assert_string_equal(chat.model, "m");
    assert_string_equal(chat.messages_json, "[{\"role\":\"user\",\"content\":\"hi\"}]");
    assert_true(chat.sampling.temperature == 1 && chat.sampling.top_p == 1 && chat.sampling.min_p == 0);
    assert_int_equal(chat.sampling.top_k, 0);
    assert_int_equal(chat.sampling.seed, 99);
    assert_int_equal(chat.max_tokens, 0);
    assert_int_equal(chat.priority, CHAT_PRIORITY_MEDIUM);
    assert_false(chat.stream);
    chat_request_release(&chat);
}

static void every_field_arrives(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    const char *body =
        "{" GOOD ",\"temperature\":0.5,\"top_p\":0.9,\"top_k\":40,\"min_p\":0.05,\"seed\":-1,"
        "\"max_tokens\":5,\"max_completion_tokens\":7,\"stop\":[\"a\",\"bc\"],"
        "\"presence_penalty\":-1.5,\"frequency_penalty\":1.5,\"priority\":\"high\",\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true},\"session_id\":\"s1\",\"n\":1,\"user\":\"u\"}";
    assert_int_equal(read_text(body, &chat, &error), STATUS_OK);
    assert_true(chat.sampling.temperature == 0.5 && chat.sampling.top_p == 0.9 &&
                chat.sampling.min_p == 0.05);
    assert_true(chat.sampling.presence_penalty == -1.5 && chat.sampling.frequency_penalty == 1.5);
    assert_int_equal(chat.sampling.top_k, 40);
    assert_true(chat.sampling.seed == UINT64_MAX);
    assert_int_equal(chat.max_tokens, 7);
    assert_int_equal(chat.stop_count, 2);
    assert_string_equal(chat.stop[1], "bc");
    assert_int_equal(chat.priority, CHAT_PRIORITY_HIGH);
    assert_true(chat.stream && chat.include_usage);
    assert_string_equal(chat.session_id, "s1");
    chat_request_release(&chat);
}

static void null_means_absent_for_optional_fields(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    const char *body = "{" GOOD ",\"temperature\":null,\"stop\":null,\"stream\":null,\"max_tokens\":null,"
                       "\"tools\":null,\"response_format\":null,\"seed\":null,\"logit_bias\":null}";
    assert_int_equal(read_text(body, &chat, &error), STATUS_OK);
    chat_request_release(&chat);
}

static void messages_are_normalized(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    const char *body =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\",\"extra\":1},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\"}]},"
        "{\"role\":\"tool\",\"content\":\"4\",\"tool_call_id\":\"1\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
        "\"b\"}]}]}";
    assert_int_equal(read_text(body, &chat, &error), STATUS_OK);
    assert_string_equal(chat.messages_json,
                        "[{\"role\":\"system\",\"content\":\"be kind\"},"
                        "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\"}]},"
                        "{\"role\":\"tool\",\"content\":\"4\",\"tool_call_id\":\"1\"},"
                        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                        "{\"type\":\"text\",\"text\":\"b\"}]}]");
    chat_request_release(&chat);
}

#define MESSAGE(fields) "{\"model\":\"m\",\"messages\":[" fields "]}"
#define FIELD(text)     "{" GOOD "," text "}"

static const struct {
    const char *body;
    enum status status;
    const char *param;
    const char *says;
} bad[] = {
    {"", STATUS_INVALID_JSON, "", "empty"},
    {"{\"model\":", STATUS_INVALID_JSON, "", "line 1"},
    {"[]", STATUS_INVALID_JSON, "", "must be a JSON object, not an array"},
    {"7", STATUS_INVALID_JSON, "", "not a number"},
    {"{" GOOD "} x", STATUS_INVALID_JSON, "", "not valid JSON"},
    {FIELD("\"temperature\":NaN"), STATUS_INVALID_JSON, "", "not valid JSON"},
    {FIELD("\"temperature\":Infinity"), STATUS_INVALID_JSON, "", "not valid JSON"},
    {FIELD("\"temperature\":1e999"), STATUS_INVALID_JSON, "", "not valid JSON"},
    {"{" MESSAGES "}", STATUS_REQUEST_VALIDATION_FAILED, "model", "missing"},
    {"{\"model\":7," MESSAGES "}", STATUS_REQUEST_VALIDATION_FAILED, "model", "a string, not a number"},
    {"{\"model\":\"\"," MESSAGES "}", STATUS_REQUEST_VALIDATION_FAILED, "model", "1 to 128"},
    {"{\"model\":\"a b\"," MESSAGES "}", STATUS_REQUEST_VALIDATION_FAILED, "model", "1 to 128"},
    {"{\"model\":\"a\\u0000b\"," MESSAGES "}", STATUS_REQUEST_VALIDATION_FAILED, "model", "1 to 128"},
    {"{\"model\":\"m\"}", STATUS_REQUEST_VALIDATION_FAILED, "messages", "absent"},
    {"{\"model\":\"m\",\"messages\":\"hi\"}", STATUS_REQUEST_VALIDATION_FAILED, "messages", "not a string"},
    {"{\"model\":\"m\",\"messages\":[]}", STATUS_REQUEST_VALIDATION_FAILED, "messages", "empty"},
    {MESSAGE("7"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0]", "an object"},
    {MESSAGE("{\"content\":\"x\"}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].role", "absent"},
    {MESSAGE("{\"role\":1,\"content\":\"x\"}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].role",
     "a string"},
    {MESSAGE("{\"role\":\"bot\",\"content\":\"x\"}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].role",
     "system, developer, user"},
    {MESSAGE("{\"role\":\"user\"}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].content", "absent"},
    {MESSAGE("{\"role\":\"user\",\"content\":null}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].content",
     "not null"},
    {MESSAGE("{\"role\":\"user\",\"content\":5}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].content",
     "not a number"},
    {MESSAGE("{\"role\":\"user\",\"content\":\"a\\u0000\"}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].content", "NUL"},
    {MESSAGE("{\"role\":\"user\",\"content\":[]}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].content",
     "empty array"},
    {MESSAGE("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].content[0].type", "only \"text\""},
    {MESSAGE("{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].content[0].text", "absent"},
    {FIELD("\"temperature\":\"hot\""), STATUS_REQUEST_VALIDATION_FAILED, "temperature",
     "a number from 0 to 2, not a string"},
    {FIELD("\"temperature\":2.1"), STATUS_REQUEST_VALIDATION_FAILED, "temperature", "not 2.1"},
    {FIELD("\"temperature\":-0.1"), STATUS_REQUEST_VALIDATION_FAILED, "temperature", "from 0 to 2"},
    {FIELD("\"top_p\":1.5"), STATUS_REQUEST_VALIDATION_FAILED, "top_p", "from 0 to 1"},
    {FIELD("\"min_p\":true"), STATUS_REQUEST_VALIDATION_FAILED, "min_p", "not a boolean"},
    {FIELD("\"top_k\":-1"), STATUS_REQUEST_VALIDATION_FAILED, "top_k", "not -1"},
    {FIELD("\"top_k\":1.5"), STATUS_REQUEST_VALIDATION_FAILED, "top_k", "a fraction"},
    {FIELD("\"seed\":\"x\""), STATUS_REQUEST_VALIDATION_FAILED, "seed", "whole number"},
    {FIELD("\"presence_penalty\":3"), STATUS_REQUEST_VALIDATION_FAILED, "presence_penalty", "from -2 to 2"},
    {FIELD("\"frequency_penalty\":-3"), STATUS_REQUEST_VALIDATION_FAILED, "frequency_penalty",
     "from -2 to 2"},
    {FIELD("\"max_tokens\":0"), STATUS_REQUEST_VALIDATION_FAILED, "max_tokens", "from 1"},
    {FIELD("\"max_tokens\":-5"), STATUS_REQUEST_VALIDATION_FAILED, "max_tokens", "not -5"},
    {FIELD("\"max_completion_tokens\":99999999999"), STATUS_REQUEST_VALIDATION_FAILED,
     "max_completion_tokens", "not 99999999999"},
    {FIELD("\"n\":2"), STATUS_REQUEST_VALIDATION_FAILED, "n", "from 1 to 1"},
    {FIELD("\"stop\":7"), STATUS_REQUEST_VALIDATION_FAILED, "stop", "array of strings, not a number"},
    {FIELD("\"stop\":\"\""), STATUS_REQUEST_VALIDATION_FAILED, "stop", "1 to 128"},
    {FIELD("\"stop\":[\"a\",1]"), STATUS_REQUEST_VALIDATION_FAILED, "stop[1]", "a string"},
    {FIELD("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), STATUS_REQUEST_VALIDATION_FAILED, "stop",
     "at most 4"},
    {FIELD("\"stream\":\"yes\""), STATUS_REQUEST_VALIDATION_FAILED, "stream", "true or false"},
    {FIELD("\"stream_options\":{}"), STATUS_REQUEST_VALIDATION_FAILED, "stream_options",
     "when stream is true"},
    {FIELD("\"stream\":true,\"stream_options\":1"), STATUS_REQUEST_VALIDATION_FAILED, "stream_options",
     "an object"},
    {FIELD("\"stream\":true,\"stream_options\":{\"include_usage\":1}"), STATUS_REQUEST_VALIDATION_FAILED,
     "stream_options.include_usage", "true or false"},
    {FIELD("\"priority\":3"), STATUS_REQUEST_VALIDATION_FAILED, "priority", "from 0 to 2"},
    {FIELD("\"priority\":\"urgent\""), STATUS_REQUEST_VALIDATION_FAILED, "priority", "high"},
    {FIELD("\"session_id\":\"\""), STATUS_REQUEST_VALIDATION_FAILED, "session_id", "1 to 128"},
    {FIELD("\"tools\":[{\"type\":\"function\"}]"), STATUS_REQUEST_VALIDATION_FAILED, "tools",
     "not supported"},
    {FIELD("\"logprobs\":true"), STATUS_REQUEST_VALIDATION_FAILED, "logprobs", "not supported"},
    {FIELD("\"logit_bias\":{\"5\":1}"), STATUS_REQUEST_VALIDATION_FAILED, "logit_bias", "not supported"},
    {FIELD("\"response_format\":{\"type\":\"json_object\"}"), STATUS_REQUEST_VALIDATION_FAILED,
     "response_format", "text"},
};

static void bad_bodies_are_refused_by_field(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct chat_request chat;
        struct error error;
        enum status status = read_text(bad[i].body, &chat, &error);
        if (status != bad[i].status || error.status != status || strcmp(error.param, bad[i].param) != 0 ||
            !strstr(error.message, bad[i].says))
            fail_msg("%s: %s, param \"%s\", \"%s\"", bad[i].body, status_name(status), error.param,
                     error.message);
        assert_null(chat.model);
        assert_null(chat.messages_json);
    }
}

static char *nested(size_t levels) {
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, "{" GOOD ",\"x\":");
    for (size_t i = 0; i < levels; i++)
        buf_append_char(&body, '[');
    for (size_t i = 0; i < levels; i++)
        buf_append_char(&body, ']');
    buf_append_char(&body, '}');
    return buf_take(&body);
}

static void nesting_is_bounded(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    char *allowed = nested(OPENAI_JSON_DEPTH_MAX - 1), *one_more = nested(OPENAI_JSON_DEPTH_MAX),
         *many = nested(10000);
    assert_int_equal(read_text(allowed, &chat, &error), STATUS_OK);
    chat_request_release(&chat);
    assert_int_equal(read_text(one_more, &chat, &error), STATUS_INVALID_JSON);
    assert_non_null(strstr(error.message, "deeper than 64"));
    assert_int_equal(read_text(many, &chat, &error), STATUS_INVALID_JSON);
    free(allowed), free(one_more), free(many);
}

static void brackets_in_strings_are_no_nesting(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\\\"");
    for (int i = 0; i < 1000; i++)
        buf_append_str(&body, "[{");
    buf_append_str(&body, "\"}]}");
    assert_int_equal(openai_read_chat(body.data, body.len, 1, &chat, &error), STATUS_OK);
    chat_request_release(&chat);
    buf_release(&body);
}

static void too_many_messages_are_refused(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, "{\"model\":\"m\",\"messages\":[");
    for (int i = 0; i <= OPENAI_MESSAGES_MAX; i++)
        buf_append_str(&body,
                       i ? ",{\"role\":\"user\",\"content\":\"\"}" : "{\"role\":\"user\",\"content\":\"\"}");
    buf_append_str(&body, "]}");
    assert_int_equal(openai_read_chat(body.data, body.len, 1, &chat, &error),
                     STATUS_REQUEST_VALIDATION_FAILED);
    assert_string_equal(error.param, "messages");
    buf_release(&body);
}

/* Cut anywhere, a good body is a bad one, and nothing leaks or crashes. */
static void every_prefix_is_refused(void **state) {
    (void)state;
    const char *body = FIELD("\"stop\":[\"a\\n\"],\"temperature\":0.25,\"stream\":false");
    struct chat_request chat;
    struct error error;
    for (size_t len = 0; len < strlen(body); len++)
        assert_int_equal(openai_read_chat(body, len, 1, &chat, &error), STATUS_INVALID_JSON);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_openais),
        cmocka_unit_test(every_field_arrives),
        cmocka_unit_test(null_means_absent_for_optional_fields),
        cmocka_unit_test(messages_are_normalized),
        cmocka_unit_test(bad_bodies_are_refused_by_field),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(brackets_in_strings_are_no_nesting),
        cmocka_unit_test(too_many_messages_are_refused),
        cmocka_unit_test(every_prefix_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
