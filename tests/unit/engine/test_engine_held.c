/* What slots hold beyond their jobs: the same tests for each engine, with a cache for each slot and with one
 * that all share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/buf.h"
#include "engine/engine.h"

#define MODEL MLX_SOURCE_DIR "/models/tiny-chat-q8_0.gguf"

enum { SLOTS = 3, CONTEXT = 256, BATCH = 64, SHARED = 512, REPLY_MAX = 40 };

struct setting {
    const struct engine_ops *ops;
    int32_t cache_tokens;
};

static struct engine *engine;
static bool abort_wanted;
static int abort_asked;

static bool should_abort(void *arg) {
    (void)arg;
    abort_asked++;
    return abort_wanted;
}

static int open_engine(void **state) {
    const struct setting *setting = *state;
    struct error error;
    const struct engine_options options = {
        .model_path = MODEL,
        .slots = SLOTS,
        .context_tokens = CONTEXT,
        .cache_tokens = setting->cache_tokens,
        .batch_tokens = BATCH,
        .threads = 1,
        .should_abort = should_abort,
        .fake_step_us = 1,
        .fake_reply_tokens = 20,
    };
    abort_wanted = false;
    engine = setting->ops->open(&options, &error);
    if (!engine)
        print_error("%s\n", error.message);
    return engine ? 0 : -1;
}

static int close_engine(void **state) {
    const struct setting *setting = *state;
    setting->ops->close(engine);
    return 0;
}

/* A job as the scheduler has it: all tokens in one list. */
struct run {
    struct engine_prompt prompt;
    struct sampling sampling;
    int32_t tokens[CONTEXT];
    int32_t held;
};

static void run_init(struct run *run, const char *question) {
    char json[256];
    snprintf(json, sizeof json, "[{\"role\":\"user\",\"content\":\"%s\"}]", question);
    struct chat_request chat = {.messages_json = json, .sampling = {.top_p = 1, .frequency_penalty = 0.1}};
    *run = (struct run){.sampling = chat.sampling};
    assert_int_equal(engine_make_prompt(engine, &chat, 0, &run->prompt, NULL), STATUS_OK);
    memcpy(run->tokens, run->prompt.tokens, run->prompt.count * sizeof(int32_t));
    free(run->prompt.tokens);
    run->prompt.tokens = run->tokens;
}

static void run_start(struct run *run, int32_t slot, int32_t held) {
    run->held = held;
    assert_int_equal(engine_slot_start(engine, slot, &run->sampling, &run->prompt, held), STATUS_OK);
}

static struct engine_item next_item(const struct run *run, int32_t slot, int32_t most) {
    int32_t left = (int32_t)run->prompt.count - run->held;
    return (struct engine_item){.slot = slot,
                                .position = run->held,
                                .tokens = run->tokens + run->held,
                                .count = left < most ? left : most,
                                .sample = left <= most};
}

/* Computes what is left to compute; true when a next token came of it. */
static bool run_step(struct run *run, int32_t slot) {
    struct engine_item item = next_item(run, slot, BATCH);
    struct error error;
    if (engine_step(engine, &item, 1, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    run->held += item.count;
    if (!item.sample || engine_is_end(engine, item.next))
        return false;
    run->tokens[run->prompt.count++] = item.next;
    run->prompt.reply++;
    return true;
}

static void run_tokens(struct run *run, int32_t slot, size_t count) {
    while (run->prompt.reply < count && run_step(run, slot)) {
    }
}

static void reset(int32_t slot) {
    engine_slot_stop(engine, slot);
    assert_int_equal(engine_slot_trim(engine, slot, 0), 0);
}

/* The whole reply of a slot that nothing disturbs. */
static void golden_run(struct run *run, const char *question) {
    run_init(run, question);
    run_start(run, 0, 0);
    run_tokens(run, 0, REPLY_MAX);
    assert_true(run->prompt.reply > 4);
    reset(0);
}

static void assert_same(const struct run *run, const struct run *golden) {
    assert_int_equal(run->prompt.count, golden->prompt.count);
    assert_memory_equal(run->tokens, golden->tokens, golden->prompt.count * sizeof(int32_t));
}

static const char question[] = "What is the capital of France?";

static void a_prompt_goes_on_behind_what_its_slot_holds(void **state) {
    (void)state;
    struct run golden, run;
    golden_run(&golden, question);
    for (int32_t left = 1; left < 12; left += 5) {
        run_init(&run, question);
        int32_t prompt = (int32_t)run.prompt.count;
        run_start(&run, 1, 0);
        run_tokens(&run, 1, REPLY_MAX);
        engine_slot_stop(engine, 1);
        assert_int_equal(engine_slot_trim(engine, 1, prompt - left), prompt - left);
        run_init(&run, question);
        run_start(&run, 1, prompt - left);
        run_tokens(&run, 1, REPLY_MAX);
        assert_same(&run, &golden);
        reset(1);
    }
}

static void a_running_slot_gives_its_beginning_to_another(void **state) {
    (void)state;
    struct run golden, first, second;
    golden_run(&golden, question);
    run_init(&first, question);
    run_start(&first, 0, 0);
    run_tokens(&first, 0, 3);
    run_init(&second, question);
    int32_t common = (int32_t)second.prompt.count - 4;
    assert_int_equal(engine_slot_copy(engine, 0, 2, common), common);
    run_start(&second, 2, common);
    run_tokens(&second, 2, REPLY_MAX);
    assert_same(&second, &golden);
    reset(2);
    run_tokens(&first, 0, REPLY_MAX);
    assert_same(&first, &golden);
    reset(0);
}

static void a_running_sequence_goes_out_and_comes_back_elsewhere(void **state) {
    (void)state;
    struct run golden, run;
    struct engine_state saved;
    golden_run(&golden, question);
    run_init(&run, question);
    run_start(&run, 0, 0);
    run_tokens(&run, 0, 3);
    assert_true(engine_slot_save(engine, 0, &saved));
    reset(0);
    assert_true(engine_slot_load(engine, 2, &saved));
    engine_state_release(&saved);
    run_start(&run, 2, run.held);
    run_tokens(&run, 2, REPLY_MAX);
    assert_same(&run, &golden);
    reset(2);
}

/* Fills the slot up to `tokens`; the status of the first step that fails. */
static enum status fill(int32_t slot, int32_t from, int32_t tokens) {
    for (int32_t at = from; at < tokens; at++) {
        int32_t token = 1;
        struct engine_item item = {.slot = slot, .position = at, .tokens = &token, .count = 1};
        enum status status = engine_step(engine, &item, 1, NULL);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static void start_any(int32_t slot, int32_t held) {
    static int32_t tokens[CONTEXT];
    for (int i = 0; i < CONTEXT; i++)
        tokens[i] = 1;
    const struct engine_prompt prompt = {.tokens = tokens, .count = CONTEXT};
    const struct sampling sampling = {.top_p = 1};
    assert_int_equal(engine_slot_start(engine, slot, &sampling, &prompt, held), STATUS_OK);
}

static void a_full_shared_cache_refuses_the_step_until_cells_are_free(void **state) {
    (void)state;
    for (int32_t slot = 0; slot < SLOTS; slot++)
        start_any(slot, 0);
    assert_int_equal(fill(0, 0, CONTEXT), STATUS_OK);
    assert_int_equal(fill(1, 0, CONTEXT), STATUS_OK);
    assert_int_equal(fill(2, 0, 1), STATUS_WORKER_OVERLOADED);
    engine_slot_stop(engine, 0);
    assert_int_equal(engine_slot_trim(engine, 0, CONTEXT - 10), CONTEXT - 10);
    assert_int_equal(fill(2, 0, 10), STATUS_OK);
    assert_int_equal(fill(2, 10, 11), STATUS_WORKER_OVERLOADED);
    for (int32_t slot = 0; slot < SLOTS; slot++)
        reset(slot);
}

static void copies_in_a_shared_cache_take_no_cells(void **state) {
    (void)state;
    start_any(0, 0);
    assert_int_equal(fill(0, 0, CONTEXT - 10), STATUS_OK);
    for (int32_t slot = 1; slot < SLOTS; slot++) {
        assert_int_equal(engine_slot_copy(engine, 0, slot, CONTEXT - 10), CONTEXT - 10);
        start_any(slot, CONTEXT - 10);
    }
    for (int32_t slot = 0; slot < SLOTS; slot++)
        assert_int_equal(fill(slot, CONTEXT - 10, CONTEXT), STATUS_OK);
    reset(0); /* the others still use what was its own */
    engine_slot_stop(engine, 1);
    struct engine_state state_of_1;
    assert_true(engine_slot_save(engine, 1, &state_of_1));
    assert_false(engine_slot_load(engine, 0, &state_of_1)); /* would be in cells of its own: 246 are free */
    reset(2);
    assert_true(engine_slot_load(engine, 0, &state_of_1));
    engine_state_release(&state_of_1);
    for (int32_t slot = 0; slot < SLOTS; slot++)
        reset(slot);
}

static void an_aborted_step_has_not_begun(void **state) {
    (void)state;
    struct run golden, run;
    golden_run(&golden, question);
    run_init(&run, question);
    run_start(&run, 0, 0);
    struct engine_item item = next_item(&run, 0, 8);
    abort_asked = 0;
    abort_wanted = true;
    assert_int_equal(engine_step(engine, &item, 1, NULL), STATUS_CANCELLED);
    assert_true(abort_asked > 0);
    abort_wanted = false;
    run_tokens(&run, 0, REPLY_MAX);
    assert_same(&run, &golden);
    reset(0);
}

#define ROW(name, which) \
    { #name, name, open_engine, close_engine, &settings[which] }
/* clang-format off */
#define EACH(which) \
    ROW(a_prompt_goes_on_behind_what_its_slot_holds, which), \
    ROW(a_running_slot_gives_its_beginning_to_another, which), \
    ROW(a_running_sequence_goes_out_and_comes_back_elsewhere, which), \
    ROW(an_aborted_step_has_not_begun, which)
#define EACH_SHARED(which) \
    EACH(which), \
    ROW(a_full_shared_cache_refuses_the_step_until_cells_are_free, which), \
    ROW(copies_in_a_shared_cache_take_no_cells, which)
/* clang-format on */

int main(void) {
    static struct setting settings[] = {
        {&engine_fake_ops, 0},
        {&engine_fake_ops, SHARED},
#if MLX_WITH_LLAMA
        {&engine_llama_ops, 0},
        {&engine_llama_ops, SHARED},
#endif
    };
    const struct CMUnitTest tests[] = {
        EACH(0),
        EACH_SHARED(1),
#if MLX_WITH_LLAMA
        EACH(2),
        EACH_SHARED(3),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
