/* With the real model: models/tiny-chat-q8_0.gguf. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/buf.h"
#include "engine/engine.h"

#define MODEL MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf"

enum { SLOTS = 8, CONTEXT = 256, BATCH = 128 };

static struct engine *engine; /* one for all tests; each leaves its slots stopped */

static struct engine_options options_of(const char *path) {
    return (struct engine_options){
        .model_path = path, .slots = SLOTS, .context_tokens = CONTEXT, .batch_tokens = BATCH, .threads = 1};
}

static int open_engine(void **state) {
    (void)state;
    struct error error;
    struct engine_options options = options_of(MODEL);
    engine = engine_llama_ops.open(&options, &error);
    if (!engine)
        print_error("%s\n", error.message);
    return engine ? 0 : -1;
}

static int close_engine(void **state) {
    (void)state;
    engine_llama_ops.close(engine);
    return 0;
}

static struct chat_request chat_of(char *messages_json) {
    return (struct chat_request){.messages_json = messages_json, .sampling = {.top_p = 1, .seed = 1}};
}

static struct engine_prompt prompt_of(const struct chat_request *chat) {
    struct engine_prompt prompt;
    struct error error;
    if (engine_make_prompt(engine, chat, 0, &prompt, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    return prompt;
}

static struct engine_prompt ask(const char *question, struct chat_request *chat, char *json, size_t cap) {
    snprintf(json, cap, "[{\"role\":\"user\",\"content\":\"%s\"}]", question);
    *chat = chat_of(json);
    return prompt_of(chat);
}

/* One sequence as a test drives it: the prompt in chunks, then token by token until the end. */
struct run {
    struct engine_prompt prompt;
    struct buf text;
    int32_t position; /* of the next token to feed */
    int32_t token;    /* to feed next, once the prompt is in */
    int32_t tokens;   /* generated */
    bool done;
};

static void run_start(struct run *run, int32_t slot, const struct chat_request *chat) {
    *run = (struct run){.prompt = prompt_of(chat)};
    buf_init(&run->text, 0);
    assert_int_equal(engine_slot_start(engine, slot, &chat->sampling, &run->prompt, 0), STATUS_OK);
}

static struct engine_item run_item(const struct run *run, int32_t slot, int32_t chunk) {
    struct engine_item item = {.slot = slot, .position = run->position, .tokens = &run->token, .count = 1};
    int32_t left = (int32_t)run->prompt.count - run->position;
    if (left > 0) {
        item.tokens = run->prompt.tokens + run->position;
        item.count = left < chunk ? left : chunk;
    }
    item.sample = left <= chunk;
    return item;
}

static void run_take(struct run *run, const struct engine_item *item) {
    assert_int_equal(item->status, STATUS_OK);
    run->position += item->count;
    if (!item->sample) {
        assert_int_equal(item->next, ENGINE_TOKEN_NONE);
        return;
    }
    run->token = item->next;
    run->done = engine_is_end(engine, item->next) || run->tokens == 60;
    if (run->done)
        return;
    char piece[ENGINE_PIECE_MAX];
    buf_append(&run->text, piece, engine_piece(engine, item->next, piece, sizeof(piece)));
    run->tokens++;
}

static void run_stop(struct run *run, int32_t slot) {
    engine_slot_stop(engine, slot);
    engine_slot_trim(engine, slot, 0);
    engine_prompt_release(&run->prompt);
    buf_release(&run->text);
}

static void run_alone(struct run *run, int32_t slot, int32_t chunk) {
    while (!run->done) {
        struct engine_item item = run_item(run, slot, chunk);
        struct error error;
        if (engine_step(engine, &item, 1, &error) != STATUS_OK)
            fail_msg("%s", error.message);
        run_take(run, &item);
    }
}

static void assert_answer(int32_t slot, const char *question, int32_t chunk, const char *answer) {
    char json[256];
    struct chat_request chat;
    struct run run;
    struct engine_prompt prompt = ask(question, &chat, json, sizeof(json));
    engine_prompt_release(&prompt);
    run_start(&run, slot, &chat);
    run_alone(&run, slot, chunk);
    assert_string_equal(run.text.data, answer);
    run_stop(&run, slot);
}

static void it_knows_the_capital_of_france(void **state) {
    (void)state;
    static const int32_t chunks[] = {BATCH, 1, 2, 5, 13};
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
        assert_answer(3, "What is the capital of France?", chunks[i], "The capital of France is Paris.");
}

static void a_slot_is_reused_without_a_trace(void **state) {
    (void)state;
    assert_answer(0, "What is the opposite of hot?", BATCH, "The opposite of hot is cold.");
    assert_answer(0, "What day comes after Friday?", BATCH, "After Friday comes Saturday.");
    assert_answer(0, "What is the opposite of hot?", BATCH, "The opposite of hot is cold.");
    engine_slot_stop(engine, 0); /* once more is fine */
}

static void eight_at_once_each_get_their_own_answer(void **state) {
    (void)state;
    static const struct {
        const char *question, *answer;
    } rows[SLOTS] = {
        {"What is the capital of France?", "The capital of France is Paris."},
        {"Tokyo is the capital of which country?", "Tokyo is the capital of Japan."},
        {"What is the opposite of hot?", "The opposite of hot is cold."},
        {"What day comes after Friday?", "After Friday comes Saturday."},
        {"Repeat after me: apple river stone tiger", "apple river stone tiger"},
        {"Name 4 planets.", "Mercury, Venus, Earth, Mars."},
        {"What is the capital of Italy?", "The capital of Italy is Rome."},
        {"What is the capital of Japan?", "The capital of Japan is Tokyo."},
    };
    struct run runs[SLOTS] = {0};
    char json[SLOTS][256];
    int done = 0;
    for (int step = 0; done < SLOTS; step++) {
        struct engine_item items[SLOTS];
        size_t count = 0;
        if (step % 2 == 0 && step / 2 < SLOTS) { /* one joins at every second step */
            struct chat_request chat;
            int slot = step / 2;
            struct engine_prompt prompt = ask(rows[slot].question, &chat, json[slot], sizeof(json[slot]));
            engine_prompt_release(&prompt);
            run_start(&runs[slot], slot, &chat);
        }
        for (int32_t slot = 0; slot < SLOTS; slot++)
            if (runs[slot].prompt.count > 0 && !runs[slot].done)
                items[count++] = run_item(&runs[slot], slot, 8 + slot);
        assert_int_equal(engine_step(engine, items, count, NULL), STATUS_OK);
        for (size_t i = 0; i < count; i++) {
            run_take(&runs[items[i].slot], &items[i]);
            done += runs[items[i].slot].done;
        }
    }
    for (int32_t slot = 0; slot < SLOTS; slot++) {
        assert_string_equal(runs[slot].text.data, rows[slot].answer);
        run_stop(&runs[slot], slot);
    }
}

static void generate(int32_t slot, const struct sampling *sampling, struct buf *text) {
    char json[256];
    struct chat_request chat;
    struct run run;
    struct engine_prompt prompt = ask("Tell me a story about a fox.", &chat, json, sizeof(json));
    engine_prompt_release(&prompt);
    chat.sampling = *sampling;
    run_start(&run, slot, &chat);
    run_alone(&run, slot, BATCH);
    buf_append(text, run.text.data, run.text.len);
    run_stop(&run, slot);
}

static void the_seed_decides_at_a_temperature(void **state) {
    (void)state;
    struct sampling first = {.temperature = 0.8, .top_p = 1, .seed = 5}, other = first;
    struct buf texts[3];
    other.seed = 6;
    for (int i = 0; i < 3; i++)
        buf_init(&texts[i], 0);
    generate(0, &first, &texts[0]);
    generate(6, &first, &texts[1]);
    generate(0, &other, &texts[2]);
    assert_string_equal(texts[0].data, texts[1].data);
    assert_string_not_equal(texts[0].data, texts[2].data);
    for (int i = 0; i < 3; i++)
        buf_release(&texts[i]);
}

static void penalties_see_the_reply(void **state) {
    (void)state;
    struct sampling plain = {.top_p = 1}, penalized = {.top_p = 1, .frequency_penalty = 2};
    struct buf texts[2];
    buf_init(&texts[0], 0);
    buf_init(&texts[1], 0);
    generate(0, &plain, &texts[0]);
    generate(0, &penalized, &texts[1]);
    assert_string_not_equal(texts[0].data, texts[1].data);
    buf_release(&texts[0]);
    buf_release(&texts[1]);
}

static void a_failed_step_leaves_the_caches_as_they_were(void **state) {
    (void)state;
    char json[2][256];
    struct chat_request chats[2];
    struct run runs[2];
    struct error error = {0};
    static const char *const questions[2] = {"What is the capital of France?",
                                             "What is the opposite of hot?"};
    for (int32_t slot = 0; slot < 2; slot++) {
        struct engine_prompt prompt = ask(questions[slot], &chats[slot], json[slot], sizeof(json[slot]));
        engine_prompt_release(&prompt);
        run_start(&runs[slot], slot, &chats[slot]);
    }
    /* The first is sound; the second names a token that does not exist. */
    int32_t bad[3] = {1, 999999, 2};
    struct engine_item items[2] = {run_item(&runs[0], 0, 10), {.slot = 1, .tokens = bad, .count = 3}};
    assert_int_equal(engine_step(engine, items, 2, &error), STATUS_ENGINE_ERROR);
    assert_true(strlen(error.message) > 0);
    run_alone(&runs[0], 0, 10);
    run_alone(&runs[1], 1, 10);
    assert_string_equal(runs[0].text.data, "The capital of France is Paris.");
    assert_string_equal(runs[1].text.data, "The opposite of hot is cold.");
    run_stop(&runs[0], 0);
    run_stop(&runs[1], 1);
}

static void a_step_without_items_is_fine(void **state) {
    (void)state;
    assert_int_equal(engine_step(engine, NULL, 0, NULL), STATUS_OK);
}

static void *make_prompts(void *arg) {
    const struct engine_prompt *expected = arg;
    char json[256];
    long wrong = 0;
    snprintf(json, sizeof(json), "[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]");
    struct chat_request chat = chat_of(json);
    for (int i = 0; i < 100; i++) {
        struct engine_prompt prompt;
        if (engine_make_prompt(engine, &chat, i, &prompt, NULL) != STATUS_OK)
            return (void *)1;
        wrong += prompt.count != expected->count ||
                 memcmp(prompt.tokens, expected->tokens, prompt.count * sizeof(*prompt.tokens)) != 0;
        engine_prompt_release(&prompt);
    }
    return (void *)wrong;
}

static void prompts_are_made_while_steps_run(void **state) {
    (void)state;
    char json[256];
    struct chat_request chat;
    struct engine_prompt expected = ask("What is the capital of France?", &chat, json, sizeof(json));
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_prompts, &expected), 0);
    for (int i = 0; i < 3; i++)
        assert_answer(1, "What is the capital of France?", 7, "The capital of France is Paris.");
    for (int i = 0; i < 2; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    engine_prompt_release(&expected);
}

static void info_describes_the_model(void **state) {
    (void)state;
    struct engine_info info;
    struct stat file;
    assert_int_equal(stat(MODEL, &file), 0);
    engine->ops->info(engine, &info);
    assert_int_equal(info.slots, SLOTS);
    assert_int_equal(info.context_tokens, CONTEXT);
    assert_int_equal(info.batch_tokens, BATCH);
    assert_int_equal(info.file_bytes, file.st_size);
    assert_in_range(info.parameters, 4000000, 6000000);
    assert_non_null(strstr(info.description, "Q8_0"));
    assert_true(info.can_chat && info.can_use_tools && !info.can_embed);
}

static void piece_takes_any_number(void **state) {
    (void)state;
    char piece[ENGINE_PIECE_MAX];
    static const int32_t tokens[] = {-1, INT32_MIN, 2048, INT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        assert_int_equal(engine_piece(engine, tokens[i], piece, sizeof(piece)), 0);
        assert_false(engine_is_end(engine, tokens[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_knows_the_capital_of_france),
        cmocka_unit_test(a_slot_is_reused_without_a_trace),
        cmocka_unit_test(eight_at_once_each_get_their_own_answer),
        cmocka_unit_test(the_seed_decides_at_a_temperature),
        cmocka_unit_test(penalties_see_the_reply),
        cmocka_unit_test(a_failed_step_leaves_the_caches_as_they_were),
        cmocka_unit_test(a_step_without_items_is_fine),
        cmocka_unit_test(prompts_are_made_while_steps_run),
        cmocka_unit_test(info_describes_the_model),
        cmocka_unit_test(piece_takes_any_number),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
