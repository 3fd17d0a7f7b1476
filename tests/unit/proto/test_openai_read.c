#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/openai.h"

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define GOOD     "\"model\":\"m\"," MESSAGES

#define CALL_OF(function) "{\"id\":\"1\",\"type\":\"function\",\"function\":" function "}"
#define CALL              CALL_OF("{\"name\":\"add\",\"arguments\":\"[2,2]\"}")

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
    assert_int_equal(chat.priority, CHAT_PRIORITY_HIGH);
    assert_false(chat.stream);
    chat_request_release(&chat);
}

static void a_stream_is_of_medium_priority_unless_the_client_says_otherwise(void **state) {
    (void)state;
    static const struct {
        const char *more;
        enum chat_priority priority;
    } rows[] = {
        {"\"stream\":true", CHAT_PRIORITY_MEDIUM},
        {"\"stream\":true,\"priority\":null", CHAT_PRIORITY_MEDIUM},
        {"\"stream\":true,\"priority\":0", CHAT_PRIORITY_HIGH},
        {"\"stream\":false", CHAT_PRIORITY_HIGH},
        {"\"stream\":false,\"priority\":\"low\"", CHAT_PRIORITY_LOW},
        {"\"priority\":1", CHAT_PRIORITY_MEDIUM},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct chat_request chat;
        struct error error;
        char body[256];
        snprintf(body, sizeof(body), "{" GOOD ",%s}", rows[i].more);
        assert_int_equal(read_text(body, &chat, &error), STATUS_OK);
        assert_int_equal(chat.priority, rows[i].priority);
        chat_request_release(&chat);
    }
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
                       "\"tools\":null,\"response_format\":null,\"seed\":null,\"logit_bias\":null,\"n\":null,"
                       "\"functions\":null,\"tool_choice\":null,\"function_call\":null,\"logprobs\":null,"
                       "\"top_logprobs\":null,\"modalities\":null,\"audio\":null}";
    assert_int_equal(read_text(body, &chat, &error), STATUS_OK);
    chat_request_release(&chat);
}

static void what_is_not_supported_may_ask_for_what_happens_anyway(void **state) {
    (void)state;
    static const char *const fields[] = {
        "\"tools\":[],\"tool_choice\":\"none\"",
        "\"functions\":[],\"function_call\":\"none\"",
        "\"tool_choice\":\"auto\",\"function_call\":\"auto\"",
        "\"logprobs\":false,\"top_logprobs\":0,\"logit_bias\":{}",
        "\"modalities\":[\"text\"],\"response_format\":{\"type\":\"text\"}",
        "\"n\":1.0",
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct chat_request chat;
        struct error error;
        struct buf body;
        buf_init(&body, 0);
        buf_printf(&body, "{%s,%s}", GOOD, fields[i]);
        if (read_text(body.data, &chat, &error) != STATUS_OK)
            fail_msg("%s: %s", fields[i], error.message);
        chat_request_release(&chat);
        buf_release(&body);
    }
}

static void a_whole_number_may_have_a_point_or_an_exponent(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    assert_int_equal(read_text("{" GOOD ",\"seed\":-8.9e15,\"top_k\":4e1,\"max_tokens\":5.0}", &chat, &error),
                     STATUS_OK);
    assert_true(chat.sampling.seed == (uint64_t)-8900000000000000);
    assert_int_equal(chat.sampling.top_k, 40);
    assert_int_equal(chat.max_tokens, 5);
    chat_request_release(&chat);
}

static void messages_are_normalized(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    const char *body =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\",\"extra\":1},"
        "{\"role\":\"assistant\",\"content\":null,\"name\":\"bo\",\"tool_calls\":[" CALL "]},"
        "{\"role\":\"tool\",\"content\":\"4\",\"tool_call_id\":\"1\",\"function_call\":null},"
        "{\"role\":\"assistant\",\"content\":\"4\",\"tool_calls\":[],\"tool_call_id\":\"1\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
        "\"b\"}]}]}";
    assert_int_equal(read_text(body, &chat, &error), STATUS_OK);
    assert_string_equal(chat.messages_json,
                        "[{\"role\":\"system\",\"content\":\"be kind\"},"
                        "{\"role\":\"assistant\",\"content\":\"\",\"name\":\"bo\",\"tool_calls\":[" CALL "]},"
                        "{\"role\":\"tool\",\"content\":\"4\",\"tool_call_id\":\"1\"},"
                        "{\"role\":\"assistant\",\"content\":\"4\"},"
                        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                        "{\"type\":\"text\",\"text\":\"b\"}]}]");
    chat_request_release(&chat);
}

#define MESSAGE(fields) "{\"model\":\"m\",\"messages\":[" fields "]}"
#define FIELD(text)     "{" GOOD "," text "}"
#define CALLS(text)     MESSAGE("{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":" text "}")

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
    {FIELD("\"temperature\":NaN"), STATUS_INVALID_JSON, "", "JSON has no NaN"},
    {FIELD("\"temperature\":Infinity"), STATUS_INVALID_JSON, "", "JSON has no NaN or Infinity"},
    {FIELD("\"user\":\"\xC3\xA9\",\"temperature\":-Infinity"), STATUS_INVALID_JSON, "", "JSON has no NaN"},
    {FIELD("\"temperature\":-x"), STATUS_INVALID_JSON, "", "invalid token"},
    {"{\"temperature\":-", STATUS_INVALID_JSON, "", "invalid token"},
    {FIELD("\"temperature\":Nan"), STATUS_INVALID_JSON, "", "invalid token"},
    {FIELD("\"NaN\" 1"), STATUS_INVALID_JSON, "", "':' expected"},
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
    {FIELD("\"n\":2"), STATUS_REQUEST_VALIDATION_FAILED, "n", "must be 1: several choices are not supported"},
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
    {FIELD("\"tools\":{}"), STATUS_REQUEST_VALIDATION_FAILED, "tools", "is not supported"},
    {FIELD("\"tools\":\"all\""), STATUS_REQUEST_VALIDATION_FAILED, "tools", "is not supported"},
    {FIELD("\"tools\":[1]"), STATUS_REQUEST_VALIDATION_FAILED, "tools", "is not supported"},
    {FIELD("\"functions\":{}"), STATUS_REQUEST_VALIDATION_FAILED, "functions", "is not supported"},
    {FIELD("\"functions\":\"all\""), STATUS_REQUEST_VALIDATION_FAILED, "functions", "is not supported"},
    {FIELD("\"functions\":[1]"), STATUS_REQUEST_VALIDATION_FAILED, "functions", "is not supported"},
    {FIELD("\"tool_choice\":\"required\""), STATUS_REQUEST_VALIDATION_FAILED, "tool_choice",
     "is not supported"},
    {FIELD("\"tool_choice\":{\"name\":\"f\"}"), STATUS_REQUEST_VALIDATION_FAILED, "tool_choice",
     "is not supported"},
    {FIELD("\"tool_choice\":7"), STATUS_REQUEST_VALIDATION_FAILED, "tool_choice", "is not supported"},
    {FIELD("\"tool_choice\":\"none\\u0000x\""), STATUS_REQUEST_VALIDATION_FAILED, "tool_choice",
     "is not supported"},
    {FIELD("\"tool_choice\":\"\""), STATUS_REQUEST_VALIDATION_FAILED, "tool_choice", "is not supported"},
    {FIELD("\"function_call\":\"required\""), STATUS_REQUEST_VALIDATION_FAILED, "function_call",
     "is not supported"},
    {FIELD("\"function_call\":{\"name\":\"f\"}"), STATUS_REQUEST_VALIDATION_FAILED, "function_call",
     "is not supported"},
    {FIELD("\"function_call\":7"), STATUS_REQUEST_VALIDATION_FAILED, "function_call", "is not supported"},
    {FIELD("\"function_call\":\"none\\u0000x\""), STATUS_REQUEST_VALIDATION_FAILED, "function_call",
     "is not supported"},
    {FIELD("\"function_call\":\"\""), STATUS_REQUEST_VALIDATION_FAILED, "function_call", "is not supported"},
    {FIELD("\"logprobs\":\"yes\""), STATUS_REQUEST_VALIDATION_FAILED, "logprobs",
     "true or false, not a string"},
    {FIELD("\"logprobs\":1"), STATUS_REQUEST_VALIDATION_FAILED, "logprobs", "true or false, not a number"},
    {FIELD("\"echo\":true"), STATUS_REQUEST_VALIDATION_FAILED, "echo", "is not supported"},
    {FIELD("\"top_logprobs\":1"), STATUS_REQUEST_VALIDATION_FAILED, "top_logprobs", "is not supported"},
    {FIELD("\"top_logprobs\":\"5\""), STATUS_REQUEST_VALIDATION_FAILED, "top_logprobs",
     "from 0 to 20, not a string"},
    {FIELD("\"top_logprobs\":21"), STATUS_REQUEST_VALIDATION_FAILED, "top_logprobs", "from 0 to 20"},
    {FIELD("\"logit_bias\":[]"), STATUS_REQUEST_VALIDATION_FAILED, "logit_bias", "is not supported"},
    {FIELD("\"modalities\":[\"audio\"]"), STATUS_REQUEST_VALIDATION_FAILED, "modalities", "is not supported"},
    {FIELD("\"modalities\":[\"text\",\"audio\"]"), STATUS_REQUEST_VALIDATION_FAILED, "modalities",
     "is not supported"},
    {FIELD("\"modalities\":[]"), STATUS_REQUEST_VALIDATION_FAILED, "modalities", "is not supported"},
    {FIELD("\"modalities\":\"text\""), STATUS_REQUEST_VALIDATION_FAILED, "modalities", "is not supported"},
    {FIELD("\"modalities\":[\"text\\u0000x\"]"), STATUS_REQUEST_VALIDATION_FAILED, "modalities",
     "is not supported"},
    {FIELD("\"audio\":{\"voice\":\"alloy\"}"), STATUS_REQUEST_VALIDATION_FAILED, "audio", "is not supported"},
    {FIELD("\"response_format\":{\"type\":\"text\\u0000x\"}"), STATUS_REQUEST_VALIDATION_FAILED,
     "response_format", "is not supported"},
    {FIELD("\"response_format\":\"text\""), STATUS_REQUEST_VALIDATION_FAILED, "response_format",
     "is not supported"},
    {FIELD("\"priority\":\"high\\u0000x\""), STATUS_REQUEST_VALIDATION_FAILED, "priority", "high"},
    {FIELD("\"seed\":1e30"), STATUS_REQUEST_VALIDATION_FAILED, "seed", "is out of range: it must be"},
    {FIELD("\"top_k\":1e30"), STATUS_REQUEST_VALIDATION_FAILED, "top_k", "is out of range: it must be"},
    {FIELD("\"max_tokens\":-1e30"), STATUS_REQUEST_VALIDATION_FAILED, "max_tokens",
     "is out of range: it must be"},
    {FIELD("\"seed\":9e15"), STATUS_REQUEST_VALIDATION_FAILED, "seed", "is out of range: from 9e15 on"},
    {FIELD("\"seed\":0.5"), STATUS_REQUEST_VALIDATION_FAILED, "seed", "a fraction"},
    {FIELD("\"n\":0"), STATUS_REQUEST_VALIDATION_FAILED, "n", "must be 1"},
    {FIELD("\"n\":\"1\""), STATUS_REQUEST_VALIDATION_FAILED, "n", "the number 1, not a string"},
    {MESSAGE("{\"role\":\"user\\u0000x\",\"content\":\"x\"}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].role", "NUL"},
    {MESSAGE("{\"role\":\"user\",\"content\":[{\"type\":\"text\\u0000x\",\"text\":\"x\"}]}"),
     STATUS_REQUEST_VALIDATION_FAILED, "messages[0].content[0].type", "NUL"},
    {MESSAGE("{\"role\":\"user\",\"content\":\"x\",\"name\":7}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].name", "a string, not a number"},
    {MESSAGE("{\"role\":\"user\",\"content\":\"x\",\"name\":\"a\\u0000b\"}"),
     STATUS_REQUEST_VALIDATION_FAILED, "messages[0].name", "NUL"},
    {MESSAGE("{\"role\":\"tool\",\"content\":\"x\"}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].tool_call_id", "absent"},
    {MESSAGE("{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":null}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].tool_call_id", "not null"},
    {MESSAGE("{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":5}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].tool_call_id", "not a number"},
    {MESSAGE("{\"role\":\"assistant\"}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].content",
     "is absent; a message of the assistant needs content or tool_calls"},
    {MESSAGE("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].content", "is null; a message"},
    {MESSAGE("{\"role\":\"assistant\",\"content\":\"x\",\"function_call\":{\"name\":\"f\"}}"),
     STATUS_REQUEST_VALIDATION_FAILED, "messages[0].function_call", "is not supported"},
    {MESSAGE("{\"role\":\"user\",\"content\":\"x\",\"tool_calls\":[" CALL "]}"),
     STATUS_REQUEST_VALIDATION_FAILED, "messages[0].tool_calls", "only allowed in messages of the assistant"},
    {CALLS("{}"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].tool_calls",
     "array of tool calls, not an object"},
    {CALLS("[7]"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].tool_calls[0]", "id, type and function"},
    {CALLS("[" CALL ",{}]"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].tool_calls[1].id", "absent"},
    {CALLS("[{\"id\":\"1\"}]"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].tool_calls[0].type", "absent"},
    {CALLS("[{\"id\":\"1\",\"type\":\"custom\"}]"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].tool_calls[0].type", "is \"custom\"; only \"function\" is supported"},
    {CALLS("[" CALL_OF("7") "]"), STATUS_REQUEST_VALIDATION_FAILED, "messages[0].tool_calls[0].function",
     "name and arguments, not a number"},
    {CALLS("[" CALL_OF("{}") "]"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].tool_calls[0].function.name", "absent"},
    {CALLS("[" CALL_OF("{\"name\":\"f\",\"arguments\":{}}") "]"), STATUS_REQUEST_VALIDATION_FAILED,
     "messages[0].tool_calls[0].function.arguments", "a string, not an object"},
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

/* What GOOD, its braces and `,"x":[` count, less the comma that the first value does not have. */
enum { AROUND = 6 };

static char *with_values(int values, const char *value) {
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, "{" GOOD ",\"x\":[");
    for (int i = 0; i < values; i++) {
        buf_append_str(&body, i ? "," : "");
        buf_append_str(&body, value);
    }
    buf_append_str(&body, "]}");
    return buf_take(&body);
}

static void the_number_of_values_is_bounded(void **state) {
    (void)state;
    static const struct {
        const char *value;
        int count; /* how many of it count as OPENAI_JSON_VALUES_MAX, with what is around them */
    } cases[] = {{"1", OPENAI_JSON_VALUES_MAX - AROUND}, {"{}", (OPENAI_JSON_VALUES_MAX - AROUND) / 2}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chat_request chat;
        struct error error;
        char *most = with_values(cases[i].count, cases[i].value);
        char *one_more = with_values(cases[i].count + 1, cases[i].value);
        assert_int_equal(read_text(most, &chat, &error), STATUS_OK);
        chat_request_release(&chat);
        assert_int_equal(read_text(one_more, &chat, &error), STATUS_INVALID_JSON);
        assert_non_null(strstr(error.message, "more than 131072 values"));
        free(most), free(one_more);
    }
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

static void required_skills_of_body_and_header_are_one_list(void **state) {
    (void)state;
    struct chat_request chat;
    struct error error;
    assert_int_equal(read_text("{" GOOD ",\"required_skills\":[\"gpu\",\"x.y-z_0\",\"gpu\"]}", &chat, &error),
                     STATUS_OK);
    assert_int_equal(openai_read_skills_header(" tools ,gpu,\tlegal", &chat, &error), STATUS_OK);
    static const char *const expected[] = {"gpu", "x.y-z_0", "tools", "legal"};
    assert_int_equal(chat.required_skill_count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_string_equal(chat.required_skills[i], expected[i]);
    chat_request_release(&chat);
    assert_int_equal(read_text("{" GOOD ",\"required_skills\":null}", &chat, &error), STATUS_OK);
    assert_int_equal(chat.required_skill_count, 0);
    chat_request_release(&chat);
}

static void wrong_required_skills_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } bodies[] = {
        {"\"gpu\"", "required_skills"},
        {"[\"gpu\",7]", "required_skills[1]"},
        {"[\"\"]", "required_skills"},
        {"[\"a,b\"]", "required_skills"},
        {"[\"a\\u0000\"]", "required_skills"},
        {"[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]", "required_skills"},
    };
    static const char *const headers[] = {
        "", ",", "a,,b", "a b", "a,", "a,b,c,d,e,f,g,h,i", "123456789012345678901234567890123"};
    struct chat_request chat;
    struct error error;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        char body[256];
        snprintf(body, sizeof body, "{" GOOD ",\"required_skills\":%s}", bodies[i].body);
        assert_int_equal(read_text(body, &chat, &error), STATUS_REQUEST_VALIDATION_FAILED);
        assert_string_equal(error.param, bodies[i].param);
    }
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        assert_int_equal(read_text("{" GOOD "}", &chat, &error), STATUS_OK);
        assert_int_equal(openai_read_skills_header(headers[i], &chat, &error),
                         STATUS_REQUEST_VALIDATION_FAILED);
        assert_string_equal(error.param, "X-Required-Skills");
        chat_request_release(&chat);
    }
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

/* A message of the assistant with a name of `name_len` bytes and `calls` tool calls. */
static enum status read_assistant(int name_len, int calls, struct error *error) {
    struct chat_request chat;
    struct buf body;
    buf_init(&body, 0);
    buf_printf(&body,
               "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"name\":\"%0*d\",\"tool_calls\":[",
               name_len, 0);
    for (int i = 0; i < calls; i++)
        buf_append_str(&body, i ? "," CALL : CALL);
    buf_append_str(&body, "]}]}");
    enum status status = read_text(body.data, &chat, error);
    chat_request_release(&chat);
    buf_release(&body);
    return status;
}

static void names_and_lists_of_tool_calls_are_bounded(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(read_assistant(256, 128, &error), STATUS_OK);
    assert_int_equal(read_assistant(257, 128, &error), STATUS_REQUEST_VALIDATION_FAILED);
    assert_string_equal(error.param, "messages[0].name");
    assert_non_null(strstr(error.message, "at most 256"));
    assert_int_equal(read_assistant(256, 129, &error), STATUS_REQUEST_VALIDATION_FAILED);
    assert_string_equal(error.param, "messages[0].tool_calls");
    assert_non_null(strstr(error.message, "at most 128"));
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
        cmocka_unit_test(a_stream_is_of_medium_priority_unless_the_client_says_otherwise),
        cmocka_unit_test(every_field_arrives),
        cmocka_unit_test(null_means_absent_for_optional_fields),
        cmocka_unit_test(what_is_not_supported_may_ask_for_what_happens_anyway),
        cmocka_unit_test(a_whole_number_may_have_a_point_or_an_exponent),
        cmocka_unit_test(messages_are_normalized),
        cmocka_unit_test(bad_bodies_are_refused_by_field),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(brackets_in_strings_are_no_nesting),
        cmocka_unit_test(required_skills_of_body_and_header_are_one_list),
        cmocka_unit_test(wrong_required_skills_are_refused),
        cmocka_unit_test(too_many_messages_are_refused),
        cmocka_unit_test(names_and_lists_of_tool_calls_are_bounded),
        cmocka_unit_test(every_prefix_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
