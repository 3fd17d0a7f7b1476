#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "proto/wire.h"
#include "wire_harm.h"

#define BEGIN "{\"v\":1,\"w\":\"w1\",\"inc\":\"i1\",\"ev\":["
#define TOKEN "{\"k\":\"t\",\"r\":\"r1\",\"a\":1,\"i\":0,\"id\":5,\"t\":\"x\"}"

enum { HEARD_MAX = 1100 };

/* What a reader was told. The texts are copied, since an event lives only during the call. */
struct heard {
    struct wire_events_source source;
    struct wire_event events[HEARD_MAX];
    size_t count;
};

static char *copy_bytes(const char *bytes, size_t len) {
    char *copy = calloc(1, len + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static char *copy_text(const char *text) {
    return text ? strdup(text) : NULL;
}

static void hear(const struct wire_events_source *source, const struct wire_event *event, void *arg) {
    struct heard *heard = arg;
    assert_true(heard->count < HEARD_MAX);
    heard->source = *source;
    struct wire_event *copy = &heard->events[heard->count++];
    *copy = *event;
    copy->request_id = copy_text(event->request_id);
    copy->text = event->text ? copy_bytes(event->text, event->text_len) : NULL;
    copy->message = copy_text(event->message);
    copy->param = copy_text(event->param);
}

static void free_text(const char *text) {
    union {
        const char *text;
        void *memory;
    } owned = {.text = text};
    free(owned.memory);
}

static void forget(struct heard *heard) {
    for (size_t i = 0; i < heard->count; i++) {
        free_text(heard->events[i].request_id);
        free_text(heard->events[i].text);
        free_text(heard->events[i].message);
        free_text(heard->events[i].param);
    }
    heard->count = 0;
}

static struct heard heard;

static enum status read_text(const char *text, struct error *error) {
    *error = (struct error){0};
    forget(&heard);
    return wire_read_events(text, strlen(text), hear, &heard, error);
}

static bool accepts_events(const char *data, size_t len) {
    struct error error;
    bool ok = wire_read_events(data, len, hear, &heard, &error) == STATUS_OK;
    forget(&heard);
    return ok;
}

static void every_kind_is_spelt_as_documented(void **state) {
    (void)state;
    const struct wire_event events[] = {
        {.kind = WIRE_EVENT_ACCEPTED, .request_id = "r-1", .attempt = 1, .position = -1, .wait_ms = -1},
        {.kind = WIRE_EVENT_ACCEPTED, .request_id = "r-4", .attempt = 1, .position = 2, .wait_ms = 310},
        {.kind = WIRE_EVENT_STARTED, .request_id = "r-1", .attempt = 1, .prompt_tokens = 12},
        {.kind = WIRE_EVENT_TOKEN,
         .request_id = "r-1",
         .attempt = 1,
         .token = 77,
         .text = "The",
         .text_len = 3},
        {.kind = WIRE_EVENT_TOKEN, .request_id = "r-1", .attempt = 1, .index = 1, .token = 78},
        {.kind = WIRE_EVENT_FINISHED,
         .request_id = "r-1",
         .attempt = 1,
         .index = 2,
         .finish = FINISH_LENGTH,
         .usage = {.prompt_tokens = 12, .completion_tokens = 2, .cached_tokens = 4}},
        {.kind = WIRE_EVENT_FAILED,
         .request_id = "r-2",
         .attempt = 3,
         .status = STATUS_CONTEXT_LENGTH_EXCEEDED,
         .message = "too long",
         .param = "messages"},
        {.kind = WIRE_EVENT_FAILED, .request_id = "r-3", .attempt = 1, .status = STATUS_ENGINE_ERROR},
    };
    struct buf text;
    buf_init(&text, 0);
    wire_events_open(&text, "w1", "i1");
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        wire_events_add(&text, &events[i]);
    wire_events_close(&text);
    assert_string_equal(
        text.data,
        BEGIN "{\"k\":\"a\",\"r\":\"r-1\",\"a\":1},"
              "{\"k\":\"a\",\"r\":\"r-4\",\"a\":1,\"position\":2,\"waitMs\":310},"
              "{\"k\":\"s\",\"r\":\"r-1\",\"a\":1,\"p\":12},"
              "{\"k\":\"t\",\"r\":\"r-1\",\"a\":1,\"i\":0,\"id\":77,\"t\":\"The\"},"
              "{\"k\":\"t\",\"r\":\"r-1\",\"a\":1,\"i\":1,\"id\":78,\"t\":\"\"},"
              "{\"k\":\"f\",\"r\":\"r-1\",\"a\":1,\"i\":2,\"t\":\"\",\"f\":\"length\",\"u\":[12,2,4]},"
              "{\"k\":\"e\",\"r\":\"r-2\",\"a\":3,\"c\":\"CONTEXT_LENGTH_EXCEEDED\",\"m\":\"too long\","
              "\"q\":\"messages\"},"
              "{\"k\":\"e\",\"r\":\"r-3\",\"a\":1,\"c\":\"ENGINE_ERROR\",\"m\":\"\"}]}");
    buf_release(&text);
}

static char *random_text(struct rng *rng, size_t len) {
    char *text = calloc(1, len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)rng_below(rng, 0x80); /* NUL too */
    return text;
}

/* The strings are the caller's to free, as those of `heard`. */
static struct wire_event random_event(struct rng *rng) {
    struct wire_event event = {.kind = (enum wire_event_kind)rng_below(rng, WIRE_EVENT_FAILED + 1),
                               .attempt = 1 + (uint32_t)(rng_next(rng) % UINT32_MAX)};
    char id[WIRE_REQUEST_ID_MAX + 1];
    rng_id(id, 1 + rng_below(rng, WIRE_REQUEST_ID_MAX));
    event.request_id = copy_text(id);
    if (event.kind == WIRE_EVENT_ACCEPTED) {
        event.position = (int32_t)rng_below(rng, 5) - 1;
        event.wait_ms = (int64_t)rng_below(rng, 5) - 1;
    }
    if (event.kind == WIRE_EVENT_STARTED)
        event.prompt_tokens = (int32_t)(rng_next(rng) >> 33);
    if (event.kind == WIRE_EVENT_TOKEN || event.kind == WIRE_EVENT_FINISHED) {
        event.index = (uint32_t)(rng_next(rng) >> 33);
        event.text_len = rng_below(rng, 40);
        event.text = random_text(rng, event.text_len);
    }
    if (event.kind == WIRE_EVENT_TOKEN)
        event.token = (int32_t)(rng_next(rng) >> 33);
    if (event.kind == WIRE_EVENT_FINISHED) {
        event.finish = rng_below(rng, 2) ? FINISH_STOP : FINISH_LENGTH;
        event.usage = (struct usage){.prompt_tokens = (int64_t)(rng_next(rng) >> 33),
                                     .completion_tokens = (int64_t)(rng_next(rng) >> 33),
                                     .cached_tokens = (int64_t)(rng_next(rng) >> 33)};
    }
    if (event.kind == WIRE_EVENT_FAILED) {
        event.status = (enum status)(1 + rng_below(rng, STATUS_COUNT - 1));
        event.message = copy_text("it \"broke\"\n");
        event.param = rng_below(rng, 2) ? copy_text("messages[0]") : NULL;
    }
    return event;
}

static void assert_same_text(const char *a, const char *b) {
    assert_int_equal(a != NULL, b != NULL);
    if (a)
        assert_string_equal(a, b);
}

static void assert_same_event(const struct wire_event *a, const struct wire_event *b) {
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(a->request_id, b->request_id);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->token, b->token);
    assert_int_equal(a->text_len, b->text_len);
    if (a->text_len > 0)
        assert_memory_equal(a->text, b->text, a->text_len);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->wait_ms, b->wait_ms);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->usage.prompt_tokens, b->usage.prompt_tokens);
    assert_int_equal(a->usage.completion_tokens, b->usage.completion_tokens);
    assert_int_equal(a->usage.cached_tokens, b->usage.cached_tokens);
    assert_int_equal(a->status, b->status);
    assert_same_text(a->message, b->message);
    assert_same_text(a->param, b->param);
}

static void events_come_back_in_order_as_they_were(void **state) {
    (void)state;
    static struct heard said;
    struct rng rng;
    rng_seed(&rng, 1);
    struct buf text;
    buf_init(&text, 0);
    for (int round = 0; round < 100; round++) {
        size_t count = rng_below(&rng, 40);
        buf_clear(&text);
        wire_events_open(&text, "worker_1", "abc123abc123");
        for (size_t i = 0; i < count; i++) {
            said.events[said.count++] = random_event(&rng);
            wire_events_add(&text, &said.events[i]);
        }
        wire_events_close(&text);
        struct error error;
        assert_int_equal(wire_read_events(text.data, text.len, hear, &heard, &error), STATUS_OK);
        assert_int_equal(heard.count, count);
        if (count > 0) {
            assert_string_equal(heard.source.worker_id, "worker_1");
            assert_string_equal(heard.source.incarnation, "abc123abc123");
        }
        for (size_t i = 0; i < count; i++)
            assert_same_event(&heard.events[i], &said.events[i]);
        forget(&heard);
        forget(&said);
    }
    buf_release(&text);
}

/* White space before the message takes it to the general reader. */
static void assert_read_the_same_in_general(const char *text, size_t len) {
    static struct heard general;
    struct error error;
    struct buf spaced;
    buf_init(&spaced, 0);
    buf_append_char(&spaced, ' ');
    buf_append(&spaced, text, len);
    enum status status = wire_read_events(text, len, hear, &heard, &error);
    if (wire_read_events(spaced.data, spaced.len, hear, &general, &error) != status)
        fail_msg("in general %s: %.*s", status_name(error.status), (int)len, text);
    assert_int_equal(heard.count, general.count);
    for (size_t i = 0; i < heard.count; i++)
        assert_same_event(&heard.events[i], &general.events[i]);
    forget(&heard);
    forget(&general);
    buf_release(&spaced);
}

static void events_in_our_own_spelling_are_read_as_any_json(void **state) {
    (void)state;
    static const char strange[] = "\0\"\\/bu09{[,:]} \n\x7f\x80\xc3\xff";
    static const char *const texts[] = {"plain", "a \"quote\", a \\, a\ttab\n", "\x01\x1f\x7f",
                                        "\u00e9\u4e16\U0001F600", ""};
    struct buf text;
    buf_init(&text, 0);
    wire_events_open(&text, "worker_1", "abc123abc123");
    struct wire_event event = {.request_id = "r-1", .attempt = UINT32_MAX};
    wire_events_add(&text, &event);
    event.position = 2;
    event.wait_ms = 310;
    wire_events_add(&text, &event);
    event.position = -1;
    event.wait_ms = -1; /* neither is told */
    wire_events_add(&text, &event);
    event.kind = WIRE_EVENT_STARTED;
    event.prompt_tokens = INT32_MAX;
    wire_events_add(&text, &event);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        event.kind = i % 2 ? WIRE_EVENT_FINISHED : WIRE_EVENT_TOKEN;
        event.finish = i % 4 == 1 ? FINISH_STOP : FINISH_LENGTH;
        event.text = texts[i];
        event.text_len = strlen(texts[i]);
        wire_events_add(&text, &event);
    }
    wire_events_close(&text);
    assert_read_the_same_in_general(text.data, text.len);
    for (size_t at = 0; at < text.len; at++) {
        char kept = text.data[at];
        for (size_t i = 0; i < sizeof(strange) - 1; i++) {
            text.data[at] = strange[i];
            assert_read_the_same_in_general(text.data, text.len);
        }
        text.data[at] = kept;
        assert_read_the_same_in_general(text.data, at);
    }
    buf_release(&text);
}

static void harmed_events_are_refused_or_read(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    struct buf text;
    buf_init(&text, 0);
    wire_events_open(&text, "worker_1", "abc123abc123");
    struct heard said = {.count = 0};
    for (size_t i = 0; i < 8; i++) {
        said.events[said.count++] = random_event(&rng);
        wire_events_add(&text, &said.events[i]);
    }
    wire_events_close(&text);
    wire_harm(accepts_events, text.data, text.len);
    wire_harm_version(accepts_events, text.data, text.len);
    forget(&said);
    buf_release(&text);
}

static void a_malformed_frame_tells_nothing(void **state) {
    (void)state;
    static const struct {
        const char *text, *param;
    } frames[] = {
        {"{\"v\":1,\"w\":\"w1\",\"inc\":\"i1\",\"ev\":{}}", "ev"},
        {"{\"v\":1,\"w\":\"w1\",\"inc\":\"i1\"}", "ev"},
        {"{\"v\":1,\"w\":\"w.1\",\"inc\":\"i1\",\"ev\":[" TOKEN "]}", "w"},
        {"{\"v\":1,\"inc\":\"i1\",\"ev\":[" TOKEN "]}", "w"},
        {"{\"v\":1,\"w\":\"w1\",\"ev\":[" TOKEN "]}", "inc"},
        {"{\"v\":1,\"w\":\"w1\",\"inc\":\"0123456789abc\",\"ev\":[" TOKEN "]}", "inc"},
        {"{\"v\":2,\"w\":\"w1\",\"inc\":\"i1\",\"ev\":[" TOKEN "]}", "v"},
        {"[" TOKEN "]", ""},
        {BEGIN TOKEN "]", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        struct error error;
        assert_int_equal(read_text(frames[i].text, &error), STATUS_PROTOCOL_ERROR);
        assert_int_equal(heard.count, 0);
        assert_int_equal(error.status, STATUS_PROTOCOL_ERROR);
        assert_string_equal(error.param, frames[i].param);
    }
}

static void a_malformed_event_ends_the_reading_after_those_before_it(void **state) {
    (void)state;
    static const struct {
        const char *event, *param;
    } cases[] = {
        {"7", "k"},
        {"{}", "k"},
        {"{\"k\":\"x\",\"r\":\"r1\",\"a\":1}", "k"},
        {"{\"k\":\"\",\"r\":\"r1\",\"a\":1}", "k"},
        {"{\"k\":\"ta\",\"r\":\"r1\",\"a\":1}", "k"},
        {"{\"k\":\"a\",\"a\":1}", "r"},
        {"{\"k\":\"a\",\"r\":\"r.1\",\"a\":1}", "r"},
        {"{\"k\":\"a\",\"r\":\"r1\\u0000\",\"a\":1}", "r"},
        {"{\"k\":\"a\",\"r\":\"r1\"}", "a"},
        {"{\"k\":\"a\",\"r\":\"r1\",\"a\":0}", "a"},
        {"{\"k\":\"a\",\"r\":\"r1\",\"a\":4294967296}", "a"},
        {"{\"k\":\"a\",\"r\":\"r1\",\"a\":1,\"position\":-1}", "position"},
        {"{\"k\":\"a\",\"r\":\"r1\",\"a\":1,\"position\":2147483648}", "position"},
        {"{\"k\":\"a\",\"r\":\"r1\",\"a\":1,\"waitMs\":\"soon\"}", "waitMs"},
        {"{\"k\":\"s\",\"r\":\"r1\",\"a\":1}", "p"},
        {"{\"k\":\"s\",\"r\":\"r1\",\"a\":1,\"p\":-1}", "p"},
        {"{\"k\":\"t\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"x\"}", "id"},
        {"{\"k\":\"t\",\"r\":\"r1\",\"a\":1,\"i\":0,\"id\":-1,\"t\":\"x\"}", "id"},
        {"{\"k\":\"t\",\"r\":\"r1\",\"a\":1,\"i\":2147483648,\"id\":1,\"t\":\"x\"}", "i"},
        {"{\"k\":\"t\",\"r\":\"r1\",\"a\":1,\"i\":0,\"id\":1}", "t"},
        {"{\"k\":\"t\",\"r\":\"r1\",\"a\":1,\"i\":0,\"id\":1,\"t\":null}", "t"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"\",\"u\":[1,1,1]}", "f"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"\",\"f\":\"done\",\"u\":[1,1,1]}", "f"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"\",\"f\":\"stop\"}", "u"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"\",\"f\":\"stop\",\"u\":[1,1]}", "u"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"\",\"f\":\"stop\",\"u\":[1,-1,1]}", "u"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"i\":0,\"t\":\"\",\"f\":\"stop\",\"u\":[1,2147483648,1]}", "u"},
        {"{\"k\":\"f\",\"r\":\"r1\",\"a\":1,\"t\":\"\",\"f\":\"stop\",\"u\":[1,1,1]}", "i"},
        {"{\"k\":\"e\",\"r\":\"r1\",\"a\":1,\"m\":\"x\"}", "c"},
        {"{\"k\":\"e\",\"r\":\"r1\",\"a\":1,\"c\":\"OK\",\"m\":\"x\"}", "c"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text;
        struct error error;
        buf_init(&text, 0);
        buf_printf(&text, "%s%s,%s,%s]}", BEGIN, TOKEN, cases[i].event, TOKEN);
        if (read_text(text.data, &error) != STATUS_PROTOCOL_ERROR)
            fail_msg("accepted: %s", cases[i].event);
        assert_int_equal(heard.count, 1);
        if (strcmp(error.param, cases[i].param) != 0)
            fail_msg("%s: blames \"%s\" (%s)", cases[i].event, error.param, error.message);
        buf_release(&text);
    }
    forget(&heard);
}

static void a_failure_with_an_unknown_code_is_an_engine_error(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(read_text(BEGIN "{\"k\":\"e\",\"r\":\"r1\",\"a\":1,\"c\":\"SOMETHING_NEW\"}]}", &error),
                     STATUS_OK);
    assert_int_equal(heard.events[0].status, STATUS_ENGINE_ERROR);
    assert_null(heard.events[0].message);
    assert_null(heard.events[0].param);
    forget(&heard);
}

static void no_more_than_the_maximum_of_events_is_read(void **state) {
    (void)state;
    for (int count = WIRE_EVENTS_MAX; count <= WIRE_EVENTS_MAX + 1; count++) {
        struct buf text;
        struct error error;
        buf_init(&text, 0);
        wire_events_open(&text, "w1", "i1");
        for (int i = 0; i < count; i++)
            wire_events_add(
                &text, &(struct wire_event){
                           .kind = WIRE_EVENT_TOKEN, .request_id = "r", .attempt = 1, .index = (uint32_t)i});
        wire_events_close(&text);
        bool fits = count == WIRE_EVENTS_MAX;
        assert_int_equal(read_text(text.data, &error), fits ? STATUS_OK : STATUS_PROTOCOL_ERROR);
        assert_int_equal(heard.count, fits ? count : 0);
        forget(&heard);
        buf_release(&text);
    }
}

static void a_text_over_the_limit_is_refused(void **state) {
    (void)state;
    static char letters[WIRE_TEXT_MAX + 1];
    memset(letters, 'x', sizeof letters);
    for (size_t len = WIRE_TEXT_MAX; len <= WIRE_TEXT_MAX + 1; len++) {
        struct buf text;
        struct error error;
        buf_init(&text, 0);
        wire_events_open(&text, "w1", "i1");
        wire_events_add(
            &text,
            &(struct wire_event){
                .kind = WIRE_EVENT_TOKEN, .request_id = "r", .attempt = 1, .text = letters, .text_len = len});
        wire_events_close(&text);
        assert_int_equal(read_text(text.data, &error),
                         len == WIRE_TEXT_MAX ? STATUS_OK : STATUS_PROTOCOL_ERROR);
        forget(&heard);
        buf_release(&text);
    }
}

/* Whatever the point at which the buffer is full, also the very first byte. */
static void a_full_buffer_fails_without_harm(void **state) {
    (void)state;
    const struct wire_event event = {
        .kind = WIRE_EVENT_TOKEN, .request_id = "r", .attempt = 1, .text = "x", .text_len = 1};
    for (size_t max = 1; max < 80; max++) {
        struct buf text;
        buf_init(&text, max);
        wire_events_open(&text, "w1", "i1");
        wire_events_add(&text, &event);
        wire_events_add(&text, &event);
        wire_events_close(&text);
        assert_true(text.failed && text.len <= max);
        buf_release(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_spelt_as_documented),
        cmocka_unit_test(events_come_back_in_order_as_they_were),
        cmocka_unit_test(events_in_our_own_spelling_are_read_as_any_json),
        cmocka_unit_test(harmed_events_are_refused_or_read),
        cmocka_unit_test(a_malformed_frame_tells_nothing),
        cmocka_unit_test(a_malformed_event_ends_the_reading_after_those_before_it),
        cmocka_unit_test(a_failure_with_an_unknown_code_is_an_engine_error),
        cmocka_unit_test(no_more_than_the_maximum_of_events_is_read),
        cmocka_unit_test(a_text_over_the_limit_is_refused),
        cmocka_unit_test(a_full_buffer_fails_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
