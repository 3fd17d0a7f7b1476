#include "engine/engine_fake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "engine/fake_cache.h"
#include "engine/fake_fault.h"
#include "engine/items.h"

enum {
    TOKEN_END = 0,
    TOKEN_ACCENT = 1, /* 1, 2: the bytes of U+00E9 */
    TOKEN_EMOJI = 3,  /* 3..6: the bytes of U+1F600 */
    TOKEN_MESSAGE = 7,
    TOKEN_REPLY = 8,
    TOKEN_WORD = 16, /* 16..4095 */
    TOKEN_WORD_END = 4096,
    /* A fault found in the messages is a token of the prompt, so that a slot needs only the prompt. */
    TOKEN_FAULT = 1 << 20,
    BYTES_PER_TOKEN = 4,
    REPLY_TOKENS_MIN = 8,
    REPLY_TOKENS_SPREAD = 57,
    SLEEP_US = 1000, /* of a step, between two questions whether to abort it */
};

struct fake_slot {
    bool started;
    int32_t prompt_tokens;
    int32_t reply_tokens;
    uint64_t seed;
    int32_t faults[FAKE_FAULT_COUNT]; /* the number in the words */
};

struct fake_engine {
    struct engine base;
    struct engine_options options; /* its texts are not kept */
    int32_t context_tokens;
    struct fake_slot *slots;              /* owned */
    struct fake_cache cache;              /* owned */
    int32_t own_faults[FAKE_FAULT_COUNT]; /* of the options, for the first jobs or all */
    int64_t jobs;                         /* that were started */
    char name[96];
};

static struct fake_engine *fake_of(struct engine *engine) {
    return (struct fake_engine *)engine;
}

static int32_t context_of(const struct engine_options *options) {
    return (int32_t)engine_context_tokens(options, 0);
}

/* The next object at the top level of a JSON array: from its brace to the one that closes it. */
static bool next_message(const char **cursor, const char **begin, const char **end) {
    const char *p = *cursor;
    while (*p && *p != '{')
        p++;
    *begin = p;
    bool in_string = false;
    for (int depth = 0; *p; p++) {
        if (in_string) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == '"')
                in_string = false;
        } else if (*p == '"') {
            in_string = true;
        } else if (*p == '{') {
            depth++;
        } else if (*p == '}' && --depth == 0) {
            *end = *cursor = p + 1;
            return true;
        }
    }
    return false;
}

static const char *find(const char *begin, const char *end, const char *word) {
    return memmem(begin, (size_t)(end - begin), word, strlen(word));
}

/* Quotes inside a JSON string are escaped, so `"role"` is never found in one. */
static bool is_user(const char *begin, const char *end) {
    const char *p = find(begin, end, "\"role\"");
    if (!p)
        return false;
    p += strlen("\"role\"");
    p += strspn(p, " \t\r\n:");
    return strncmp(p, "\"user\"", strlen("\"user\"")) == 0;
}

/* The token for a fault in the message, or ENGINE_TOKEN_NONE. */
static int32_t fault_token(const char *begin, const char *end, enum fake_fault fault) {
    int32_t number = fake_fault_find(begin, end, fault);
    if (number == FAKE_FAULT_NONE)
        return ENGINE_TOKEN_NONE;
    return TOKEN_FAULT + (int32_t)fault * FAKE_FAULT_VALUES + number;
}

static int32_t text_token(const char *bytes, size_t len) {
    uint64_t word = 0;
    memcpy(&word, bytes, len);
    return TOKEN_WORD + (int32_t)(rng_mix(word, len) % (TOKEN_WORD_END - TOKEN_WORD));
}

static size_t message_tokens(const char *begin, const char *end, int32_t *out) {
    size_t count = 0;
    out[count++] = TOKEN_MESSAGE;
    for (const char *p = begin; p < end; p += BYTES_PER_TOKEN) {
        size_t left = (size_t)(end - p);
        out[count++] = text_token(p, left < BYTES_PER_TOKEN ? left : BYTES_PER_TOKEN);
    }
    return count;
}

static enum status make_prompt(const char *messages_json, int32_t context_tokens, struct engine_prompt *out,
                               struct error *error) {
    /* Every message has at least the two bytes of its braces, so a token for each byte is room for all. */
    size_t cap = strlen(messages_json) + FAKE_FAULT_COUNT + 2;
    int32_t *tokens = malloc(cap * sizeof(*tokens));
    if (!tokens)
        return error_set(error, STATUS_ENGINE_ERROR, NULL, "no memory for the prompt");
    const char *cursor = messages_json, *begin, *end, *user = NULL, *user_end = NULL;
    size_t count = 0;
    while (next_message(&cursor, &begin, &end)) {
        count += message_tokens(begin, end, tokens + count);
        if (is_user(begin, end)) {
            user = begin;
            user_end = end;
        }
    }
    enum status status = STATUS_OK;
    if (count == 0)
        status = error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "messages", "there is no message");
    for (int fault = 0; user && fault < FAKE_FAULT_COUNT; fault++) {
        int32_t token = fault_token(user, user_end, (enum fake_fault)fault);
        if (token != ENGINE_TOKEN_NONE)
            tokens[count++] = token;
    }
    tokens[count++] = TOKEN_REPLY;
    if (count >= (size_t)context_tokens)
        status =
            error_set(error, STATUS_CONTEXT_LENGTH_EXCEEDED, "messages",
                      "the prompt has %zu tokens; the model's context is %d tokens, and one must be left "
                      "for the reply",
                      count, context_tokens);
    *out = (struct engine_prompt){.tokens = tokens, .count = count};
    if (status != STATUS_OK)
        engine_prompt_release(out);
    return status;
}

/* The fields that follow from prompt and sampling; nothing is seen yet. What the prompt says of a fault goes
 * before what the engine has itself, which may be NULL. */
static void slot_init(struct fake_slot *slot, const struct engine_options *options,
                      const struct sampling *sampling, const struct engine_prompt *prompt,
                      const int32_t *own_faults) {
    *slot = (struct fake_slot){
        .started = true,
        .prompt_tokens = (int32_t)(prompt->count - prompt->reply),
        .reply_tokens = options->fake_reply_tokens,
        .seed = sampling->temperature > 0 ? sampling->seed : 0,
    };
    uint64_t hash = 0;
    for (int fault = 0; fault < FAKE_FAULT_COUNT; fault++)
        slot->faults[fault] = own_faults ? own_faults[fault] : FAKE_FAULT_NONE;
    for (size_t i = 0; i < prompt->count - prompt->reply; i++) {
        int32_t token = prompt->tokens[i];
        hash = rng_mix(hash, (uint64_t)token);
        if (token >= TOKEN_FAULT)
            slot->faults[(token - TOKEN_FAULT) / FAKE_FAULT_VALUES] =
                (token - TOKEN_FAULT) % FAKE_FAULT_VALUES;
    }
    if (slot->reply_tokens <= 0)
        slot->reply_tokens = REPLY_TOKENS_MIN + (int32_t)(hash % REPLY_TOKENS_SPREAD);
    if (slot->faults[FAKE_FAULT_REPLY] >= 0)
        slot->reply_tokens = slot->faults[FAKE_FAULT_REPLY];
}

/* The token after `count` others with this hash. */
static int32_t next_token(const struct fake_slot *slot, int32_t count, uint64_t seen) {
    int32_t i = count - slot->prompt_tokens;
    if (i >= slot->reply_tokens)
        return TOKEN_END;
    int32_t in_16 = i % 16, in_64 = i % 64;
    if ((in_16 == 7 || in_16 == 8) && i - in_16 + 8 < slot->reply_tokens)
        return TOKEN_ACCENT + in_16 - 7;
    if (in_64 >= 50 && in_64 < 54 && i - in_64 + 53 < slot->reply_tokens)
        return TOKEN_EMOJI + in_64 - 50;
    return TOKEN_WORD + (int32_t)(rng_mix(seen, slot->seed) % (TOKEN_WORD_END - TOKEN_WORD));
}

/* Two syllables of a consonant and a vowel: another word for each token. */
static size_t word(int32_t token, char *out) {
    static const char consonants[] = "bcdfghjklmnpqrstvwxz", vowels[] = "aeiou";
    int32_t syllables[2] = {(token - TOKEN_WORD) / 100, (token - TOKEN_WORD) % 100};
    for (int i = 0; i < 2; i++) {
        out[2 * i] = consonants[syllables[i] / 5];
        out[2 * i + 1] = vowels[syllables[i] % 5];
    }
    out[4] = ' ';
    return 5;
}

static size_t fake_piece(struct engine *engine, int32_t token, char *out, size_t cap) {
    static const char bytes[] = "\xC3\xA9\xF0\x9F\x98\x80";
    char text[8];
    size_t len = 0;
    (void)engine;
    if (token >= TOKEN_WORD && token < TOKEN_WORD_END)
        len = word(token, text);
    else if (token >= TOKEN_ACCENT && token < TOKEN_MESSAGE)
        text[len++] = bytes[token - TOKEN_ACCENT];
    if (len > cap)
        return 0;
    memcpy(out, text, len);
    return len;
}

int32_t engine_fake_reply(const struct chat_request *chat, const struct engine_options *options,
                          struct buf *out) {
    int32_t context_tokens = context_of(options);
    struct engine_prompt prompt;
    if (make_prompt(chat->messages_json, context_tokens, &prompt, NULL) != STATUS_OK)
        return -1;
    struct fake_slot slot;
    slot_init(&slot, options, &chat->sampling, &prompt, NULL);
    uint64_t seen = 0;
    for (size_t i = 0; i < prompt.count; i++)
        seen = fake_cache_hash(seen, prompt.tokens[i]);
    engine_prompt_release(&prompt);

    struct buf text;
    buf_init(&text, 0);
    int32_t count = 0;
    int32_t limit = chat->max_tokens > 0 ? chat->max_tokens : INT32_MAX;
    for (int32_t held = slot.prompt_tokens; count < limit && held < context_tokens; held++) {
        char piece[ENGINE_PIECE_MAX];
        int32_t token = next_token(&slot, held, seen);
        if (token == TOKEN_END)
            break;
        buf_append(&text, piece, fake_piece(NULL, token, piece, sizeof(piece)));
        seen = fake_cache_hash(seen, token);
        count++;
    }
    if (text.len > 0)
        buf_append(out, text.data, utf8_valid_prefix(text.data, text.len, NULL));
    buf_release(&text);
    return count;
}

static void fake_close(struct engine *engine) {
    struct fake_engine *e = fake_of(engine);
    if (!e)
        return;
    free(e->slots);
    fake_cache_release(&e->cache);
    free(e);
}

static struct engine *fake_open(const struct engine_options *options, struct error *error) {
    int32_t own_faults[FAKE_FAULT_COUNT];
    assert(options->slots >= 1 && options->batch_tokens >= options->slots);
    if (fake_faults_read(options->fake_fault ? options->fake_fault : "", own_faults, error) != STATUS_OK)
        return NULL;
    for (int32_t percent = 0; percent <= 100; percent++) {
        if (options->on_progress && !options->on_progress(percent, options->arg)) {
            error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: the load was aborted", options->model_path);
            return NULL;
        }
        if (options->fake_load_ms > 0 && percent < 100)
            clock_sleep_us(options->fake_load_ms * 10);
    }
    struct fake_engine *e = calloc(1, sizeof(*e));
    int32_t context_tokens = context_of(options);
    if (!e || !(e->slots = calloc((size_t)options->slots, sizeof(*e->slots))) ||
        !fake_cache_init(&e->cache, options->slots, context_tokens,
                         (int32_t)engine_cache_tokens(options, context_tokens))) {
        fake_close(e ? &e->base : NULL);
        error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "no memory for the engine");
        return NULL;
    }
    e->base.ops = &engine_fake_ops;
    e->options = *options;
    e->options.model_path = NULL;
    e->options.fake_fault = NULL;
    e->context_tokens = context_tokens;
    memcpy(e->own_faults, own_faults, sizeof(own_faults));
    const char *slash = options->model_path ? strrchr(options->model_path, '/') : NULL;
    const char *name = slash ? slash + 1 : options->model_path;
    snprintf(e->name, sizeof(e->name), "%s", name ? name : "");
    return &e->base;
}

static void fake_info(const struct engine *engine, struct engine_info *out) {
    const struct fake_engine *e = (const struct fake_engine *)engine;
    *out = (struct engine_info){
        .slots = e->options.slots,
        .context_tokens = e->context_tokens,
        .batch_tokens = e->options.batch_tokens,
        .cache_tokens = e->cache.cells,
        .cache_is_shared = e->options.cache_tokens > 0,
        .pass_tokens = e->options.batch_tokens,
        .can_rewind = true,
        .can_chat = true,
    };
    snprintf(out->description, sizeof(out->description), "fake %s", e->name);
}

static enum status fake_prompt(struct engine *engine, const struct chat_request *chat, int64_t now_s,
                               struct engine_prompt *out, struct error *error) {
    (void)now_s; /* the fake template prints no time */
    return make_prompt(chat->messages_json, fake_of(engine)->context_tokens, out, error);
}

static enum status fake_slot_start(struct engine *engine, int32_t slot, const struct sampling *sampling,
                                   const struct engine_prompt *prompt, int32_t held) {
    struct fake_engine *e = fake_of(engine);
    assert(slot >= 0 && slot < e->options.slots && !e->slots[slot].started);
    assert(held == e->cache.held[slot].count && (size_t)held < prompt->count);
    assert(held == 0 ||
           memcmp(e->cache.held[slot].tokens, prompt->tokens, (size_t)held * sizeof(int32_t)) == 0);
    bool faulty = e->options.fake_fault_jobs == 0 || e->jobs < e->options.fake_fault_jobs;
    e->jobs++;
    slot_init(&e->slots[slot], &e->options, sampling, prompt, faulty ? e->own_faults : NULL);
    return STATUS_OK;
}

static void fake_slot_stop(struct engine *engine, int32_t slot) {
    struct fake_engine *e = fake_of(engine);
    assert(slot >= 0 && slot < e->options.slots);
    e->slots[slot] = (struct fake_slot){0};
}

static int32_t fake_slot_trim(struct engine *engine, int32_t slot, int32_t tokens) {
    struct fake_engine *e = fake_of(engine);
    assert(!e->slots[slot].started && tokens <= e->cache.held[slot].count);
    fake_cache_trim(&e->cache, slot, tokens);
    return tokens;
}

static int32_t fake_slot_copy(struct engine *engine, int32_t from, int32_t to, int32_t tokens) {
    struct fake_engine *e = fake_of(engine);
    struct engine_state state;
    assert(from != to && !e->slots[to].started);
    fake_cache_trim(&e->cache, to, 0);
    if (e->options.cache_tokens > 0) {
        fake_cache_copy(&e->cache, from, to, tokens);
        return tokens;
    }
    bool copied = fake_cache_save(&e->cache, from, &state) && fake_cache_load(&e->cache, to, &state);
    engine_state_release(&state);
    fake_cache_trim(&e->cache, to, copied ? tokens : 0);
    return copied ? tokens : 0;
}

static bool fake_slot_save(struct engine *engine, int32_t slot, struct engine_state *out) {
    return fake_cache_save(&fake_of(engine)->cache, slot, out);
}

static bool fake_slot_load(struct engine *engine, int32_t slot, const struct engine_state *state) {
    struct fake_engine *e = fake_of(engine);
    assert(!e->slots[slot].started);
    fake_cache_trim(&e->cache, slot, 0);
    return fake_cache_load(&e->cache, slot, state);
}

/* Whether this item would generate the token that the fault waits for. */
static bool is_due(const struct fake_slot *slot, const struct engine_item *item, enum fake_fault fault) {
    int32_t generated = item->position + item->count - slot->prompt_tokens;
    return item->sample && slot->faults[fault] == generated;
}

static void hang(void) {
    for (int i = 0; i < 36000; i++)
        clock_sleep_us(100000);
}

/* Takes its time, and not longer because each sleep takes a little longer than it should. false: aborted. */
static bool compute(struct fake_engine *e, int64_t us) {
    int64_t end_us = clock_us() + us;
    for (int64_t left_us = us; left_us > 0; left_us = end_us - clock_us()) {
        if (e->options.should_abort && e->options.should_abort(e->options.arg))
            return false;
        clock_sleep_us(left_us < SLEEP_US ? left_us : SLEEP_US);
    }
    return true;
}

/* Faults of the whole step and its time. */
static enum status step_begin(struct fake_engine *e, const struct engine_item *items, size_t count,
                              struct error *error) {
    int64_t prompt_tokens = 0, tokens = 0;
    int32_t slow = 1;
    for (size_t i = 0; i < count; i++)
        tokens += items[i].count;
    if (tokens > e->cache.free_count)
        return error_set(error, STATUS_WORKER_OVERLOADED, NULL, "the KV cache is full");
    for (size_t i = 0; i < count; i++) {
        struct fake_slot *slot = &e->slots[items[i].slot];
        assert(slot->started);
        int32_t held = e->cache.held[items[i].slot].count;
        if (items[i].position != held)
            return error_set(error, STATUS_ENGINE_ERROR, NULL,
                             "slot %d has %d tokens and got one for position %d", items[i].slot, held,
                             items[i].position);
        if (items[i].position < slot->prompt_tokens)
            prompt_tokens += items[i].count;
        if (slot->faults[FAKE_FAULT_SLOW] > slow)
            slow = slot->faults[FAKE_FAULT_SLOW];
        if (is_due(slot, &items[i], FAKE_FAULT_CRASH))
            abort();
        if (is_due(slot, &items[i], FAKE_FAULT_HANG))
            hang();
        if (is_due(slot, &items[i], FAKE_FAULT_STEP_ERROR)) {
            slot->faults[FAKE_FAULT_STEP_ERROR] = FAKE_FAULT_NONE;
            return error_set(error, STATUS_ENGINE_ERROR, NULL, "the step failed as slot %d asked",
                             items[i].slot);
        }
    }
    int64_t us = e->options.fake_step_us + e->options.fake_prompt_token_us * prompt_tokens;
    if (compute(e, us * slow))
        return STATUS_OK;
    return error_set(error, STATUS_CANCELLED, NULL, "the step was aborted");
}

static enum status fake_step(struct engine *engine, struct engine_item *items, size_t count,
                             struct error *error) {
    struct fake_engine *e = fake_of(engine);
    engine_items_check(items, count, e->options.slots, e->context_tokens, e->options.batch_tokens);
    engine_items_reset(items, count);
    enum status status = step_begin(e, items, count, error);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        struct engine_item *item = &items[i];
        struct fake_slot *slot = &e->slots[item->slot];
        for (int32_t j = 0; j < item->count; j++)
            fake_cache_add(&e->cache, item->slot, item->tokens[j]);
        if (is_due(slot, item, FAKE_FAULT_FAIL))
            item->status = STATUS_ENGINE_ERROR;
        else if (item->sample)
            item->next = next_token(slot, e->cache.held[item->slot].count, e->cache.held[item->slot].seen);
    }
    return STATUS_OK;
}

static bool fake_is_end(struct engine *engine, int32_t token) {
    (void)engine;
    return token == TOKEN_END;
}

const struct engine_ops engine_fake_ops = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .info = fake_info,
    .prompt = fake_prompt,
    .slot_start = fake_slot_start,
    .slot_stop = fake_slot_stop,
    .slot_trim = fake_slot_trim,
    .slot_copy = fake_slot_copy,
    .slot_save = fake_slot_save,
    .slot_load = fake_slot_load,
    .step = fake_step,
    .piece = fake_piece,
    .is_end = fake_is_end,
};
