#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "proto/openai.h"
#include "proto/wire.h"
#include "wire_harm.h"

#define MESSAGE "{\"role\":\"user\"}"
#define CHAT                                                   \
    "\"chat\":{\"model\":\"m\",\"messages\":[" MESSAGE         \
    "],\"temperature\":1,\"top_p\":1,\"min_p\":0,\"top_k\":0," \
    "\"presence_penalty\":0,\"frequency_penalty\":0,\"seed\":\"7\",\"max_tokens\":0}"
#define HEAD "\"request\":\"r\",\"controller\":\"c\",\"attempt\":1,\"remaining_ms\":1,\"now_s\":0,"
#define JOB  "{\"v\":1," HEAD CHAT "}"

static enum status read_text(const char *text, struct wire_job *job, struct error *error) {
    *error = (struct error){0};
    return wire_read_job(text, strlen(text), job, error);
}

static bool accepts_job(const char *data, size_t len) {
    struct wire_job job;
    struct error error;
    bool ok = wire_read_job(data, len, &job, &error) == STATUS_OK;
    wire_job_release(&job);
    return ok;
}

static bool accepts_cancel(const char *data, size_t len) {
    struct wire_cancel cancel;
    struct error error;
    return wire_read_cancel(data, len, &cancel, &error) == STATUS_OK;
}

static void random_text(struct rng *rng, char *out, size_t len_max) {
    size_t len = 1 + rng_below(rng, len_max);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(1 + rng_below(rng, 0x7F));
    out[len] = '\0';
}

static double random_number(struct rng *rng, double min, double max) {
    switch (rng_below(rng, 4)) {
    case 0:
        return min;
    case 1:
        return max;
    default:
        return min + (max - min) * ((double)(rng_next(rng) >> 11) * 0x1p-53);
    }
}

static void random_chat(struct rng *rng, struct chat_request *chat) {
    char text[200];
    chat_request_init(chat);
    random_text(rng, text, CHAT_MODEL_NAME_MAX);
    chat->model = strdup(text);
    chat->messages_json = strdup("[{\"role\":\"user\",\"content\":\"caf\xC3\xA9 \\n \\\" \\u0000\","
                                 "\"x\":[1,-2.5,0.10000000000000001,true,null]}]");
    chat->sampling = (struct sampling){.temperature = random_number(rng, 0, 2),
                                       .top_p = random_number(rng, 0, 1),
                                       .min_p = random_number(rng, 0, 1),
                                       .top_k = (int32_t)(rng_next(rng) >> (33 + rng_below(rng, 31))),
                                       .presence_penalty = random_number(rng, -2, 2),
                                       .frequency_penalty = random_number(rng, -2, 2),
                                       .seed = rng_next(rng)};
    chat->max_tokens = (int32_t)(rng_next(rng) >> (33 + rng_below(rng, 31)));
    chat->stop_count = rng_below(rng, CHAT_STOP_MAX + 1);
    for (size_t i = 0; i < chat->stop_count; i++) {
        random_text(rng, text, CHAT_STOP_BYTES_MAX);
        chat->stop[i] = strdup(text);
    }
    chat->priority = (enum chat_priority)rng_below(rng, CHAT_PRIORITY_COUNT);
    chat->stream = rng_below(rng, 2);
    random_text(rng, text, CHAT_SESSION_ID_MAX);
    chat->session_id = rng_below(rng, 2) ? strdup(text) : NULL;
}

static void random_job(struct rng *rng, struct wire_job *job) {
    *job = (struct wire_job){.attempt = 1 + (uint32_t)(rng_next(rng) % UINT32_MAX),
                             .remaining_ms = 1 + (int64_t)(rng_next(rng) >> (2 + rng_below(rng, 61))),
                             .now_s = (int64_t)(rng_next(rng) >> (1 + rng_below(rng, 62)))};
    rng_id(job->request_id, 1 + rng_below(rng, WIRE_REQUEST_ID_MAX));
    rng_id(job->controller_id, 1 + rng_below(rng, WIRE_CONTROLLER_ID_MAX));
    if (rng_below(rng, 2))
        rng_id(job->incarnation, INCARNATION_CHARS);
    random_chat(rng, &job->chat);
    job->generated_count = (size_t)rng_below(rng, 2) * (size_t)rng_below(rng, 200);
    job->generated = job->generated_count > 0 ? calloc(job->generated_count, sizeof(int32_t)) : NULL;
    for (size_t i = 0; i < job->generated_count; i++)
        job->generated[i] = (int32_t)rng_below(rng, (uint64_t)INT32_MAX + 1);
}

static void assert_same_chat(const struct chat_request *a, const struct chat_request *b) {
    assert_string_equal(a->model, b->model);
    assert_string_equal(a->messages_json, b->messages_json);
    const struct sampling *x = &a->sampling, *y = &b->sampling;
    assert_true(x->temperature == y->temperature && x->top_p == y->top_p && x->min_p == y->min_p);
    assert_true(x->presence_penalty == y->presence_penalty && x->frequency_penalty == y->frequency_penalty);
    assert_true(x->seed == y->seed);
    assert_int_equal(x->top_k, y->top_k);
    assert_int_equal(a->max_tokens, b->max_tokens);
    assert_int_equal(a->stop_count, b->stop_count);
    for (size_t i = 0; i < a->stop_count; i++)
        assert_string_equal(a->stop[i], b->stop[i]);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->stream, b->stream);
    assert_int_equal(a->session_id != NULL, b->session_id != NULL);
    if (a->session_id)
        assert_string_equal(a->session_id, b->session_id);
}

static void a_job_comes_back_as_it_was(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 300; round++) {
        struct wire_job job, back;
        struct error error;
        struct buf text;
        random_job(&rng, &job);
        buf_init(&text, 0);
        wire_write_job(&text, &job);
        assert_int_equal(wire_read_job(text.data, text.len, &back, &error), STATUS_OK);
        assert_string_equal(back.request_id, job.request_id);
        assert_string_equal(back.controller_id, job.controller_id);
        assert_string_equal(back.incarnation, job.incarnation);
        assert_int_equal(back.attempt, job.attempt);
        assert_true(back.remaining_ms == job.remaining_ms && back.now_s == job.now_s);
        assert_same_chat(&back.chat, &job.chat);
        assert_int_equal(back.generated_count, job.generated_count);
        for (size_t i = 0; i < job.generated_count; i++)
            assert_int_equal(back.generated[i], job.generated[i]);
        buf_release(&text);
        wire_job_release(&job);
        wire_job_release(&back);
    }
}

static bool reads_seed(const char *seed, uint64_t expected) {
    struct wire_job job;
    struct error error;
    struct buf text;
    const char *at = strstr(JOB, "\"7\"");
    buf_init(&text, 0);
    buf_printf(&text, "%.*s%s%s", (int)(at - JOB), JOB, seed, at + strlen("\"7\""));
    bool same = read_text(text.data, &job, &error) == STATUS_OK && job.chat.sampling.seed == expected;
    wire_job_release(&job);
    buf_release(&text);
    return same;
}

/* JavaScript's numbers lose bits from 2^53 on. */
static void a_seed_is_written_as_a_string_and_read_from_a_number_too(void **state) {
    (void)state;
    struct wire_job job;
    struct error error;
    struct buf text;
    assert_int_equal(read_text(JOB, &job, &error), STATUS_OK);
    job.chat.sampling.seed = UINT64_MAX - (1ULL << 53);
    buf_init(&text, 0);
    wire_write_job(&text, &job);
    assert_non_null(strstr(text.data, "\"seed\":\"-9007199254740993\","));
    buf_release(&text);
    wire_job_release(&job);
    assert_true(reads_seed("\"-9007199254740993\"", UINT64_MAX - (1ULL << 53)));
    assert_true(reads_seed("-9007199254740993", UINT64_MAX - (1ULL << 53)));
    assert_true(reads_seed("\"9223372036854775807\"", INT64_MAX));
    assert_true(reads_seed("\"-9223372036854775808\"", 1ULL << 63));
}

/* What the API takes must not be stopped on its way to the worker. */
static void the_largest_messages_of_the_api_fit_into_a_job(void **state) {
    (void)state;
    struct wire_job job, back;
    struct error error;
    struct buf messages, text;
    assert_int_equal(read_text(JOB, &job, &error), STATUS_OK);
    buf_init(&messages, 0);
    buf_init(&text, 0);
    /* As from messages without content: the API counted none of the commas before it. */
    buf_append_str(&messages, "[{\"role\":\"user\",\"x\":[0");
    for (int i = 0; i < OPENAI_JSON_VALUES_MAX - 2 * OPENAI_MESSAGES_MAX; i++)
        buf_append_str(&messages, ",0");
    buf_append_str(&messages, "]}");
    for (int i = 1; i < OPENAI_MESSAGES_MAX; i++)
        buf_append_str(&messages, ",{\"role\":\"user\",\"content\":\"\"}");
    buf_append_char(&messages, ']');
    free(job.chat.messages_json);
    job.chat.messages_json = buf_take(&messages);
    wire_write_job(&text, &job);
    assert_int_equal(wire_read_job(text.data, text.len, &back, &error), STATUS_OK);
    wire_job_release(&back);
    wire_job_release(&job);
    buf_release(&text);
}

static void too_many_values_are_refused_before_they_are_parsed(void **state) {
    (void)state;
    struct wire_job job;
    struct error error;
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, "{\"v\":1," HEAD CHAT ",\"x\":[0");
    for (int i = 0; i < OPENAI_JSON_VALUES_MAX + 2 * OPENAI_MESSAGES_MAX; i++)
        buf_append_str(&text, ",0");
    buf_append_str(&text, "]}");
    assert_int_equal(wire_read_job(text.data, text.len, &job, &error), STATUS_PROTOCOL_ERROR);
    assert_non_null(strstr(error.message, "more than 139264 values"));
    buf_release(&text);
}

static void a_harmed_job_is_refused_or_read(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    struct wire_job job;
    struct buf text;
    random_job(&rng, &job);
    buf_init(&text, 0);
    wire_write_job(&text, &job);
    wire_harm(accepts_job, text.data, text.len);
    wire_harm_version(accepts_job, text.data, text.len);
    buf_release(&text);
    wire_job_release(&job);
}

static void what_a_job_may_leave_out_has_defaults(void **state) {
    (void)state;
    struct wire_job job;
    struct error error;
    assert_int_equal(read_text(JOB, &job, &error), STATUS_OK);
    assert_int_equal(job.chat.stop_count, 0);
    assert_int_equal(job.chat.priority, CHAT_PRIORITY_MEDIUM);
    assert_false(job.chat.stream);
    assert_null(job.chat.session_id);
    wire_job_release(&job);
}

/* `from` in the text of a good job is replaced by `to`. */
struct change {
    const char *from, *to, *param;
};

static void assert_refused(const struct change *change) {
    const char *at = strstr(JOB, change->from);
    assert_non_null(at);
    struct buf text;
    buf_init(&text, 0);
    buf_append(&text, JOB, (size_t)(at - JOB));
    buf_append_str(&text, change->to);
    buf_append_str(&text, at + strlen(change->from));
    struct wire_job job;
    struct error error = {0};
    if (wire_read_job(text.data, text.len, &job, &error) != STATUS_PROTOCOL_ERROR)
        fail_msg("accepted: %s", text.data);
    assert_int_equal(error.status, STATUS_PROTOCOL_ERROR);
    if (strcmp(error.param, change->param) != 0)
        fail_msg("%s: blames \"%s\" (%s)", text.data, error.param, error.message);
    assert_null(job.chat.model); /* released */
    buf_release(&text);
}

#define X129                                                                                                 \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void members_that_are_wrong_are_named(void **state) {
    (void)state;
    static const struct change changes[] = {
        {"\"request\":\"r\"", "\"request\":\"\"", "request"},
        {"\"request\":\"r\"", "\"request\":\"a.b\"", "request"},
        {"\"request\":\"r\"", "\"request\":\"a\\u0000\"", "request"},
        {"\"request\":\"r\"", "\"request\":\"" X129 "\"", "request"},
        {"\"request\":\"r\"", "\"request\":1", "request"},
        {"\"controller\":\"c\"", "\"controller\":\">\"", "controller"},
        {"\"attempt\":1", "\"incarnation\":\"\",\"attempt\":1", "incarnation"},
        {"\"attempt\":1", "\"attempt\":0", "attempt"},
        {"\"attempt\":1", "\"attempt\":4294967296", "attempt"},
        {"\"attempt\":1", "\"attempt\":1.5", "attempt"},
        {"\"attempt\":1", "\"attempt\":null", "attempt"},
        {"\"remaining_ms\":1", "\"remaining_ms\":0", "remaining_ms"},
        {"\"remaining_ms\":1", "\"remaining_ms\":-5", "remaining_ms"},
        {"\"now_s\":0", "\"now_s\":-1", "now_s"},
        {"\"now_s\":0,", "", "now_s"},
        {"," CHAT, "", "chat"},
        {CHAT, "\"chat\":[]", "chat"},
        {"\"model\":\"m\"", "\"model\":\"\"", "model"},
        {"\"model\":\"m\"", "\"model\":\"" X129 "\"", "model"},
        {"\"model\":\"m\"", "\"model\":\"a\\u0000b\"", "model"},
        {"\"messages\":[" MESSAGE "]", "\"messages\":[]", "messages"},
        {"\"messages\":[" MESSAGE "]", "\"messages\":{}", "messages"},
        {MESSAGE, "{}", "messages"},
        {MESSAGE, "7", "messages"},
        {MESSAGE, MESSAGE ",{\"role\":null}", "messages"},
        {"\"temperature\":1", "\"temperature\":2.1", "temperature"},
        {"\"temperature\":1", "\"temperature\":-0.1", "temperature"},
        {"\"temperature\":1", "\"temperature\":\"1\"", "temperature"},
        {"\"top_p\":1", "\"top_p\":1.001", "top_p"},
        {"\"min_p\":0", "\"min_p\":-1", "min_p"},
        {"\"top_k\":0", "\"top_k\":-1", "top_k"},
        {"\"top_k\":0", "\"top_k\":2147483648", "top_k"},
        {"\"presence_penalty\":0", "\"presence_penalty\":3", "presence_penalty"},
        {"\"frequency_penalty\":0", "\"frequency_penalty\":-3", "frequency_penalty"},
        {"\"seed\":\"7\"", "\"seed\":7.5", "seed"},
        {"\"seed\":\"7\"", "\"seed\":null", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"-\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\" 7\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"+7\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"7x\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"7.0\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"7\\u0000\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"9223372036854775808\"", "seed"},
        {"\"seed\":\"7\"", "\"seed\":\"-9223372036854775809\"", "seed"},
        {"\"max_tokens\":0", "\"max_tokens\":-1", "max_tokens"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"stop\":\"a\"", "stop"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"stop\":[\"\"]", "stop"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"stop\":[1]", "stop"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"stop\":[\"" X129 "\"]", "stop"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", "stop"},
        {"\"attempt\":", "\"generated\":{},\"attempt\":", "generated"},
        {"\"attempt\":", "\"generated\":[1,-1],\"attempt\":", "generated"},
        {"\"attempt\":", "\"generated\":[1,2147483648],\"attempt\":", "generated"},
        {"\"attempt\":", "\"generated\":[1,2.5],\"attempt\":", "generated"},
        {"\"attempt\":", "\"generated\":[\"1\"],\"attempt\":", "generated"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"priority\":3", "priority"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"priority\":\"high\"", "priority"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"session_id\":\"\"", "session_id"},
        {"\"seed\":\"7\"", "\"seed\":\"7\",\"session_id\":\"" X129 "\"", "session_id"},
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        assert_refused(&changes[i]);
}

static void what_is_said_about_broken_json_quotes_none_of_it(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"v\":1,secret", "{\"v\":1,\"x\":\"secret \\\xC3\xA9\"}",
                                        "{\"v\":1 \"secret\"", "{\"v\":1}secret"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct wire_job job;
        struct error error;
        assert_int_equal(read_text(texts[i], &job, &error), STATUS_PROTOCOL_ERROR);
        assert_null(strstr(error.message, "secret"));
        assert_non_null(strstr(error.message, "line 1, column"));
    }
}

static void a_job_with_a_good_head_can_be_refused_by_name(void **state) {
    (void)state;
    struct wire_job job;
    struct error error;
    assert_int_equal(read_text("{\"v\":1," HEAD "\"chat\":7}", &job, &error), STATUS_PROTOCOL_ERROR);
    assert_string_equal(job.request_id, "r");
    assert_string_equal(job.controller_id, "c");
    assert_int_equal(job.attempt, 1);
    wire_job_release(&job); /* may be called, need not */
}

static void too_deep_messages_are_refused_before_they_are_parsed(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, "{\"v\":1,\"x\":");
    for (int i = 0; i < 100000; i++)
        buf_append_char(&text, '[');
    struct wire_job job;
    struct error error;
    assert_int_equal(wire_read_job(text.data, text.len, &job, &error), STATUS_PROTOCOL_ERROR);
    assert_non_null(strstr(error.message, "nested"));
    buf_release(&text);
}

static void a_cancel_comes_back_and_survives_harm(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    struct buf text;
    buf_init(&text, 0);
    for (int round = 0; round < 200; round++) {
        struct wire_cancel cancel = {.attempt = 1 + (uint32_t)(rng_next(&rng) % UINT32_MAX)}, back;
        struct error error;
        rng_id(cancel.request_id, 1 + rng_below(&rng, WIRE_REQUEST_ID_MAX));
        buf_clear(&text);
        wire_write_cancel(&text, &cancel);
        assert_int_equal(wire_read_cancel(text.data, text.len, &back, &error), STATUS_OK);
        assert_string_equal(back.request_id, cancel.request_id);
        assert_int_equal(back.attempt, cancel.attempt);
    }
    wire_harm(accepts_cancel, text.data, text.len);
    wire_harm_version(accepts_cancel, text.data, text.len);
    buf_release(&text);
}

static void a_cancel_needs_a_request_and_an_attempt(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"v\":1,\"request\":\"r\"}",
                                        "{\"v\":1,\"attempt\":1}",
                                        "{\"v\":1,\"request\":\"r\",\"attempt\":0}",
                                        "{\"v\":1,\"request\":\"r/1\",\"attempt\":1}",
                                        "[1]",
                                        "null",
                                        "",
                                        "{\"v\":1,\"request\":\"r\",\"attempt\":1}x"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(accepts_cancel(texts[i], strlen(texts[i])));
}

static void discovery_names_the_controller(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    wire_write_discover(&text, "c-1");
    assert_string_equal(text.data, "{\"v\":1,\"controller\":\"c-1\"}");
    buf_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_comes_back_as_it_was),
        cmocka_unit_test(a_seed_is_written_as_a_string_and_read_from_a_number_too),
        cmocka_unit_test(the_largest_messages_of_the_api_fit_into_a_job),
        cmocka_unit_test(too_many_values_are_refused_before_they_are_parsed),
        cmocka_unit_test(a_harmed_job_is_refused_or_read),
        cmocka_unit_test(what_a_job_may_leave_out_has_defaults),
        cmocka_unit_test(members_that_are_wrong_are_named),
        cmocka_unit_test(what_is_said_about_broken_json_quotes_none_of_it),
        cmocka_unit_test(a_job_with_a_good_head_can_be_refused_by_name),
        cmocka_unit_test(too_deep_messages_are_refused_before_they_are_parsed),
        cmocka_unit_test(a_cancel_comes_back_and_survives_harm),
        cmocka_unit_test(a_cancel_needs_a_request_and_an_attempt),
        cmocka_unit_test(discovery_names_the_controller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
