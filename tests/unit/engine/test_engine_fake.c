#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "engine/engine_fake.h"
#include "engine/fake_fault.h"

static char hello[] =
    "[{\"role\":\"system\",\"content\":\"Be short.\"},{\"role\":\"user\",\"content\":\"Hello!\"}]";

static struct engine_options options_of(int32_t slots) {
    return (struct engine_options){
        .model_path = "/models/pretend.gguf", .slots = slots, .context_tokens = 512, .batch_tokens = 64};
}

static struct engine *open_fake(const struct engine_options *options) {
    struct error error;
    struct engine *e = engine_fake_ops.open(options, &error);
    assert_non_null(e);
    return e;
}

static struct chat_request chat_of(char *messages_json) {
    return (struct chat_request){.messages_json = messages_json, .sampling = {.top_p = 1, .seed = 1}};
}

static struct engine_prompt prompt_of(struct engine *e, const struct chat_request *chat) {
    struct engine_prompt prompt;
    assert_int_equal(engine_make_prompt(e, chat, 0, &prompt, NULL), STATUS_OK);
    return prompt;
}

/* Prefills in chunks; the first token of the reply. */
static int32_t prefill(struct engine *e, int32_t slot, const struct engine_prompt *prompt, int32_t chunk) {
    struct engine_item item = {.slot = slot};
    for (int32_t at = 0; at < (int32_t)prompt->count; at += item.count) {
        item.position = at;
        item.tokens = prompt->tokens + at;
        item.count = (int32_t)prompt->count - at < chunk ? (int32_t)prompt->count - at : chunk;
        item.sample = at + item.count == (int32_t)prompt->count;
        assert_int_equal(engine_step(e, &item, 1, NULL), STATUS_OK);
        assert_int_equal(item.status, STATUS_OK);
    }
    return item.next;
}

/* One token in, the next one out. */
static enum status decode(struct engine *e, int32_t slot, int32_t position, int32_t *token,
                          struct error *error) {
    struct engine_item item = {
        .slot = slot, .position = position, .tokens = token, .count = 1, .sample = true};
    enum status status = engine_step(e, &item, 1, error);
    if (status == STATUS_OK) {
        status = item.status;
        *token = item.next;
    }
    return status;
}

static size_t generate(struct engine *e, int32_t slot, const struct chat_request *chat, int32_t chunk,
                       struct buf *text) {
    struct engine_prompt prompt = prompt_of(e, chat);
    assert_int_equal(engine_slot_start(e, slot, &chat->sampling, &prompt, 0), STATUS_OK);
    int32_t token = prefill(e, slot, &prompt, chunk);
    int32_t position = (int32_t)prompt.count;
    size_t count = 0;
    while (!engine_is_end(e, token)) {
        char piece[ENGINE_PIECE_MAX];
        buf_append(text, piece, engine_piece(e, token, piece, sizeof(piece)));
        count++;
        assert_int_equal(decode(e, slot, position++, &token, NULL), STATUS_OK);
    }
    engine_slot_stop(e, slot);
    engine_slot_trim(e, slot, 0);
    engine_prompt_release(&prompt);
    return count;
}

static void the_reply_is_what_the_oracle_tells(void **state) {
    (void)state;
    static const int32_t lengths[] = {0, 1, 8, 9, 53, 54, 55, 200};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct engine_options options = options_of(2);
        options.fake_reply_tokens = lengths[i];
        struct engine *e = open_fake(&options);
        struct chat_request chat = chat_of(hello);
        struct buf text, expected;
        buf_init(&text, 0);
        buf_init(&expected, 0);
        int32_t count = engine_fake_reply(&chat, &options, &expected);
        assert_int_equal(generate(e, 1, &chat, 64, &text), count);
        if (lengths[i] > 0)
            assert_int_equal(count, lengths[i]);
        else
            assert_in_range(count, 8, 64);
        assert_string_equal(text.data, expected.data);
        assert_true(utf8_is_valid(text.data, text.len));
        buf_release(&text);
        buf_release(&expected);
        engine_fake_ops.close(e);
    }
}

static void chunks_of_the_prompt_do_not_matter(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    struct engine *e = open_fake(&options);
    struct chat_request chat = chat_of(hello);
    struct buf whole, pieces;
    buf_init(&whole, 0);
    buf_init(&pieces, 0);
    generate(e, 0, &chat, 64, &whole);
    generate(e, 0, &chat, 1, &pieces);
    assert_string_equal(whole.data, pieces.data);
    buf_release(&whole);
    buf_release(&pieces);
    engine_fake_ops.close(e);
}

static void seed_counts_only_with_a_temperature(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    struct chat_request chat = chat_of(hello);
    struct buf texts[4];
    for (int i = 0; i < 4; i++) {
        buf_init(&texts[i], 0);
        chat.sampling.temperature = i / 2;
        chat.sampling.seed = (uint64_t)(i % 2);
        assert_true(engine_fake_reply(&chat, &options, &texts[i]) > 0);
    }
    assert_string_equal(texts[0].data, texts[1].data);
    assert_string_not_equal(texts[2].data, texts[3].data);
    for (int i = 0; i < 4; i++)
        buf_release(&texts[i]);
}

static void characters_are_split_over_tokens(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.fake_reply_tokens = 64;
    struct engine *e = open_fake(&options);
    struct chat_request chat = chat_of(hello);
    struct engine_prompt prompt = prompt_of(e, &chat);
    assert_int_equal(engine_slot_start(e, 0, &chat.sampling, &prompt, 0), STATUS_OK);
    int32_t token = prefill(e, 0, &prompt, 64);
    int split = 0;
    for (int32_t i = 0; i < 64; i++) {
        char piece[ENGINE_PIECE_MAX];
        size_t len = engine_piece(e, token, piece, sizeof(piece));
        bool in_character = i % 16 == 7 || i % 16 == 8 || (i >= 50 && i < 54);
        assert_int_equal(len == 1 && !utf8_is_valid(piece, len), in_character);
        split += in_character;
        assert_int_equal(decode(e, 0, (int32_t)prompt.count + i, &token, NULL), STATUS_OK);
    }
    assert_int_equal(split, 2 * 4 + 4);
    assert_true(engine_is_end(e, token));
    engine_prompt_release(&prompt);
    engine_fake_ops.close(e);
}

static void every_word_token_has_its_own_word(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    struct engine *e = open_fake(&options);
    static char words[4096][ENGINE_PIECE_MAX];
    for (int32_t token = 16; token < 4096; token++) {
        assert_int_equal(engine_piece(e, token, words[token], ENGINE_PIECE_MAX), 5);
        assert_int_equal(words[token][4], ' ');
        if (token > 16)
            assert_memory_not_equal(words[token], words[token - 1], 5);
    }
    engine_fake_ops.close(e);
}

static void shared_messages_are_a_shared_prefix(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    struct engine *e = open_fake(&options);
    struct chat_request one = chat_of(hello);
    char longer[] =
        "[ {\"role\":\"system\",\"content\":\"Be short.\"} , {\"role\":\"user\",\"content\":\"Hello!\"},"
        "{\"role\":\"assistant\",\"content\":\"Hi {\\\"you\\\"}\"},{\"role\":\"user\",\"content\":\"Bye\"}]";
    struct chat_request two = chat_of(longer);
    struct engine_prompt a = prompt_of(e, &one), b = prompt_of(e, &two);
    assert_true(b.count > a.count);
    assert_memory_equal(a.tokens, b.tokens, (a.count - 1) * sizeof(*a.tokens));
    assert_in_range(a.count, strlen(hello) / 4, strlen(hello) / 4 + 6);
    engine_prompt_release(&a);
    engine_prompt_release(&b);
    engine_fake_ops.close(e);
}

static void a_wrong_token_changes_the_rest(void **state) {
    (void)state;
    struct engine_options options = options_of(2);
    struct engine *e = open_fake(&options);
    struct chat_request chat = chat_of(hello);
    struct engine_prompt prompt = prompt_of(e, &chat);
    int32_t right, wrong;
    for (int32_t slot = 0; slot < 2; slot++) {
        assert_int_equal(engine_slot_start(e, slot, &chat.sampling, &prompt, 0), STATUS_OK);
        right = wrong = prefill(e, slot, &prompt, 64);
    }
    wrong++;
    assert_int_equal(decode(e, 0, (int32_t)prompt.count, &right, NULL), STATUS_OK);
    assert_int_equal(decode(e, 1, (int32_t)prompt.count, &wrong, NULL), STATUS_OK);
    assert_int_not_equal(right, wrong);
    engine_prompt_release(&prompt);
    engine_fake_ops.close(e);
}

static void a_gap_in_positions_fails_the_step_and_changes_nothing(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    struct engine *e = open_fake(&options);
    struct chat_request chat = chat_of(hello);
    struct engine_prompt prompt = prompt_of(e, &chat);
    struct error error;
    assert_int_equal(engine_slot_start(e, 0, &chat.sampling, &prompt, 0), STATUS_OK);
    int32_t token = prefill(e, 0, &prompt, 64), again = token;
    assert_int_equal(decode(e, 0, (int32_t)prompt.count + 1, &token, &error), STATUS_ENGINE_ERROR);
    assert_int_equal(decode(e, 0, (int32_t)prompt.count, &again, NULL), STATUS_OK);
    engine_prompt_release(&prompt);
    engine_fake_ops.close(e);
}

static void bad_messages_and_long_prompts_are_refused(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.context_tokens = 20;
    struct engine *e = open_fake(&options);
    struct engine_prompt prompt;
    struct error error;
    char bad[][16] = {"[]", "", "nonsense", "[{\"role\""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct chat_request chat = chat_of(bad[i]);
        assert_int_equal(engine_make_prompt(e, &chat, 0, &prompt, &error), STATUS_REQUEST_VALIDATION_FAILED);
        assert_null(prompt.tokens);
        assert_int_equal(engine_fake_reply(&chat, &options, NULL), -1);
    }
    struct chat_request chat = chat_of(hello);
    assert_int_equal(engine_make_prompt(e, &chat, 0, &prompt, &error), STATUS_CONTEXT_LENGTH_EXCEEDED);
    assert_non_null(strstr(error.message, "20 tokens"));
    engine_fake_ops.close(e);
}

static void the_oracle_stops_at_max_tokens_between_characters(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.fake_reply_tokens = 64;
    struct chat_request chat = chat_of(hello);
    struct buf text;
    buf_init(&text, 0);
    chat.max_tokens = 8; /* the eighth is the first byte of a character */
    assert_int_equal(engine_fake_reply(&chat, &options, &text), 8);
    assert_int_equal(text.len, 7 * 5);
    buf_release(&text);
}

/* Runs a chat with `words` as its user message up to the token where something happens; the status there. */
static enum status run_fault(struct engine *e, const char *words, int32_t *generated, struct error *error) {
    char json[128] = "[{\"role\":\"user\",\"content\":\"please ";
    strncat(json, words, 60);
    strncat(json, " now\"}]", 10);
    struct chat_request chat = chat_of(json);
    struct engine_prompt prompt = prompt_of(e, &chat);
    assert_int_equal(engine_slot_start(e, 0, &chat.sampling, &prompt, 0), STATUS_OK);
    int32_t token = prefill(e, 0, &prompt, 64);
    int32_t position = (int32_t)prompt.count;
    engine_prompt_release(&prompt);
    enum status status = STATUS_OK;
    for (*generated = 0; status == STATUS_OK && !engine_is_end(e, token); position++) {
        (*generated)++;
        status = decode(e, 0, position, &token, error);
    }
    if (error && status != STATUS_OK && *error->message) {
        /* A whole step that failed left the slot as it was: the same step passes when it is repeated. */
        assert_int_equal(decode(e, 0, position - 1, &token, NULL), STATUS_OK);
    }
    engine_slot_stop(e, 0);
    engine_slot_trim(e, 0, 0);
    return status;
}

static void faults_come_where_they_are_asked_for(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.fake_reply_tokens = 20;
    struct engine *e = open_fake(&options);
    struct error error = {0};
    int32_t generated;
    assert_int_equal(run_fault(e, "[fail at 5]", &generated, &error), STATUS_ENGINE_ERROR);
    assert_int_equal(generated, 5);
    assert_string_equal(error.message, "");
    assert_int_equal(run_fault(e, "[step error at 7]", &generated, &error), STATUS_ENGINE_ERROR);
    assert_int_equal(generated, 7);
    assert_string_not_equal(error.message, "");
    assert_int_equal(run_fault(e, "[reply 3]", &generated, NULL), STATUS_OK);
    assert_int_equal(generated, 3);
    assert_int_equal(run_fault(e, "[fail at 5", &generated, NULL), STATUS_OK);
    assert_int_equal(generated, 20);
    engine_fake_ops.close(e);
}

static void faults_of_earlier_messages_do_not_count(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.fake_reply_tokens = 9;
    char json[] =
        "[{\"role\":\"user\",\"content\":\"[reply 3]\"},{\"role\":\"assistant\",\"content\":\"a\"},"
        "{\"content\":\"go on\",\"role\": \"user\"},{\"role\":\"assistant\",\"content\":\"[reply 4]\"}]";
    struct chat_request chat = chat_of(json);
    struct buf text;
    buf_init(&text, 0);
    assert_int_equal(engine_fake_reply(&chat, &options, &text), 9);
    buf_release(&text);
}

static void a_fault_of_the_options_holds_for_the_first_jobs_and_never_changes_a_text(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.fake_reply_tokens = 20;
    options.fake_fault = "fail at 5, slow x2";
    options.fake_fault_jobs = 2;
    struct engine *e = open_fake(&options);
    struct error error = {0};
    int32_t generated;
    assert_int_equal(run_fault(e, "hello", &generated, &error), STATUS_ENGINE_ERROR);
    assert_int_equal(generated, 5);
    assert_int_equal(run_fault(e, "[fail at 7] goes before it", &generated, &error), STATUS_ENGINE_ERROR);
    assert_int_equal(generated, 7);
    struct buf text, expected;
    buf_init(&text, 0);
    buf_init(&expected, 0);
    struct chat_request chat = chat_of(hello);
    assert_int_equal(engine_fake_reply(&chat, &options, &expected), 20);
    assert_int_equal(generate(e, 0, &chat, 8, &text), 20);
    assert_int_equal(text.len, expected.len);
    assert_memory_equal(text.data, expected.data, text.len);
    buf_release(&text);
    buf_release(&expected);
    engine_fake_ops.close(e);
}

static void words_of_faults_are_read_to_the_letter(void **state) {
    (void)state;
    int32_t numbers[FAKE_FAULT_COUNT];
    struct error error;
    static const char *const wrong[] = {"fail at",       "fail at x",   "fail at -1",
                                        "fail at 65536", "fail at 1 2", "[fail at 1]",
                                        "Fail at 1",     "fail at 1,",  "fail at 1,,slow x2",
                                        "slow 2",        ",",           "fail at 1; slow x2"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(fake_faults_read(wrong[i], numbers, &error), STATUS_CONFIG_INVALID);
        assert_string_equal(error.param, "cluster.worker.fake.fault");
    }
    assert_int_equal(fake_faults_read("", numbers, &error), STATUS_OK);
    for (int fault = 0; fault < FAKE_FAULT_COUNT; fault++)
        assert_int_equal(numbers[fault], FAKE_FAULT_NONE);
    assert_int_equal(fake_faults_read(" hang at 0 , slow x65535,reply 3", numbers, &error), STATUS_OK);
    assert_int_equal(numbers[FAKE_FAULT_HANG], 0);
    assert_int_equal(numbers[FAKE_FAULT_SLOW], 65535);
    assert_int_equal(numbers[FAKE_FAULT_REPLY], 3);
    assert_int_equal(numbers[FAKE_FAULT_FAIL], FAKE_FAULT_NONE);
}

static void an_engine_with_an_unknown_fault_does_not_open(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    struct error error;
    options.fake_fault = "burn";
    assert_null(engine_fake_ops.open(&options, &error));
    assert_int_equal(error.status, STATUS_CONFIG_INVALID);
}

static void crash_ends_the_process(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        int32_t generated;
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        run_fault(open_fake(&options), "[crash at 2]", &generated, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void a_step_takes_its_time(void **state) {
    (void)state;
    struct engine_options options = options_of(1);
    options.fake_step_us = 2000;
    options.fake_prompt_token_us = 500;
    struct engine *e = open_fake(&options);
    char slow[] = "[{\"role\":\"user\",\"content\":\"[slow x5]\"}]";
    struct chat_request chat = chat_of(slow);
    struct engine_prompt prompt = prompt_of(e, &chat);
    assert_int_equal(engine_slot_start(e, 0, &chat.sampling, &prompt, 0), STATUS_OK);
    int64_t begin = clock_us();
    int32_t token = prefill(e, 0, &prompt, 64);
    int64_t first = clock_us();
    assert_int_equal(decode(e, 0, (int32_t)prompt.count, &token, NULL), STATUS_OK);
    int64_t second = clock_us();
    assert_true(first - begin >= 5 * (2000 + 500 * (int64_t)prompt.count));
    assert_true(second - first >= 5 * 2000);
    engine_prompt_release(&prompt);
    engine_fake_ops.close(e);
}

static bool abort_at_50(int32_t percent, void *arg) {
    *(int32_t *)arg = percent;
    return percent < 50;
}

static void an_aborted_load_fails(void **state) {
    (void)state;
    int32_t percent = -1;
    struct error error;
    struct engine_options options = options_of(1);
    options.on_progress = abort_at_50;
    options.arg = &percent;
    assert_null(engine_fake_ops.open(&options, &error));
    assert_int_equal(error.status, STATUS_MODEL_LOAD_FAILED);
    assert_int_equal(percent, 50);
}

static void info_tells_what_was_asked_for(void **state) {
    (void)state;
    struct engine_options options = options_of(3);
    struct engine *e = open_fake(&options);
    struct engine_info info;
    e->ops->info(e, &info);
    assert_int_equal(info.slots, 3);
    assert_int_equal(info.context_tokens, 512);
    assert_int_equal(info.batch_tokens, 64);
    assert_string_equal(info.description, "fake pretend.gguf");
    assert_true(info.can_chat && !info.can_use_tools && !info.can_embed);
    engine_slot_stop(e, 2); /* takes stopped slots */
    engine_fake_ops.close(e);
    engine_fake_ops.close(NULL);
    engine_prompt_release(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reply_is_what_the_oracle_tells),
        cmocka_unit_test(chunks_of_the_prompt_do_not_matter),
        cmocka_unit_test(seed_counts_only_with_a_temperature),
        cmocka_unit_test(characters_are_split_over_tokens),
        cmocka_unit_test(every_word_token_has_its_own_word),
        cmocka_unit_test(shared_messages_are_a_shared_prefix),
        cmocka_unit_test(a_wrong_token_changes_the_rest),
        cmocka_unit_test(a_gap_in_positions_fails_the_step_and_changes_nothing),
        cmocka_unit_test(bad_messages_and_long_prompts_are_refused),
        cmocka_unit_test(the_oracle_stops_at_max_tokens_between_characters),
        cmocka_unit_test(faults_come_where_they_are_asked_for),
        cmocka_unit_test(faults_of_earlier_messages_do_not_count),
        cmocka_unit_test(a_fault_of_the_options_holds_for_the_first_jobs_and_never_changes_a_text),
        cmocka_unit_test(words_of_faults_are_read_to_the_letter),
        cmocka_unit_test(an_engine_with_an_unknown_fault_does_not_open),
        cmocka_unit_test(crash_ends_the_process),
        cmocka_unit_test(a_step_takes_its_time),
        cmocka_unit_test(an_aborted_load_fails),
        cmocka_unit_test(info_tells_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
