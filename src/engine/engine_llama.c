/* The engine on llama.cpp: one context with a sequence (and a stream of the KV cache) for each slot. The
 * context belongs to the engine thread; prompt() uses only the vocabulary and the template. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/items.h"
#include "engine/llama_bridge.h"
#include "engine/llama_load.h"
#include "engine/llama_prompt.h"
#include "engine/sampler.h"
#include "llama.h"

/* Where a pass takes in proportion to its tokens, but for some percent. See decisions/011. */
enum { PASS_TOKENS_CPU = 96, PASS_TOKENS_GPU = 512 };

struct llama_slot {
    bool started;
    int32_t prompt_tokens; /* what is at this position or later is of the reply */
    struct sampler sampler;
    /* Of the step under way: */
    const struct engine_item *item; /* until it is in the batch */
    int32_t last;                   /* of its tokens, the last one's place in the batch */
};

struct llama_engine {
    struct engine base;
    struct llama_loaded loaded;
    struct llama_bridge *bridge; /* owned */
    struct llama_prompt_rules rules;
    const struct llama_vocab *vocab; /* the model's */
    struct llama_batch batch;        /* owned; batch_tokens long */
    struct sampler_scratch scratch;
    struct llama_slot *slots; /* owned */
    int32_t slot_count;
    int32_t batch_tokens;
    bool on_gpu; /* or a part of it */
};

static struct llama_engine *llama_of(struct engine *engine) {
    return (struct llama_engine *)engine;
}

static void llama_close(struct engine *engine) {
    struct llama_engine *e = llama_of(engine);
    if (!e)
        return;
    for (int32_t i = 0; e->slots && i < e->slot_count; i++)
        sampler_release(&e->slots[i].sampler);
    free(e->slots);
    sampler_scratch_release(&e->scratch);
    if (e->batch.token)
        llama_batch_free(e->batch);
    llama_prompt_rules_release(&e->rules);
    llama_bridge_free(e->bridge);
    llama_unload(&e->loaded);
    free(e);
}

static struct engine *llama_open(const struct engine_options *options, struct error *error) {
    assert(options->slots >= 1 && options->batch_tokens >= options->slots);
    struct llama_engine *e = calloc(1, sizeof(*e));
    if (!e)
        goto no_memory;
    e->base.ops = &engine_llama_ops;
    e->slot_count = options->slots;
    e->batch_tokens = options->batch_tokens;
    e->on_gpu = options->gpu_layers != 0 && engine_llama_has_gpu();
    if (llama_load(&e->loaded, options, error) != STATUS_OK)
        goto failed;
    e->vocab = llama_model_get_vocab(e->loaded.model);
    e->bridge = llama_bridge_new(e->loaded.model, error);
    if (!e->bridge)
        goto failed;
    if (options->should_abort)
        llama_set_abort_callback(e->loaded.context, options->should_abort, options->arg);
    e->batch = llama_batch_init(options->batch_tokens, 0, 1);
    e->slots = calloc((size_t)options->slots, sizeof(*e->slots));
    if (!e->batch.token || !e->slots || !llama_prompt_rules_init(&e->rules, e->vocab) ||
        !sampler_scratch_init(&e->scratch, llama_vocab_n_tokens(e->vocab)))
        goto no_memory;
    return &e->base;

no_memory:
    error_set(error, STATUS_MODEL_LOAD_FAILED, NULL, "%s: no memory for the engine", options->model_path);
failed:
    llama_close(e ? &e->base : NULL);
    return NULL;
}

static void llama_info(const struct engine *engine, struct engine_info *out) {
    const struct llama_engine *e = (const struct llama_engine *)engine;
    *out = (struct engine_info){
        .slots = e->slot_count,
        .context_tokens = e->loaded.context_tokens,
        .batch_tokens = e->batch_tokens,
        .cache_tokens = e->loaded.cache_tokens,
        .cache_is_shared = e->loaded.cache_is_shared,
        .pass_tokens = e->on_gpu ? PASS_TOKENS_GPU : PASS_TOKENS_CPU,
        .pass_is_even = !e->loaded.cache_is_shared,
        .can_rewind = !llama_model_is_recurrent(e->loaded.model) && !llama_model_is_hybrid(e->loaded.model),
        .micro_batch_tokens = (int32_t)llama_n_ubatch(e->loaded.context),
        .threads = llama_n_threads(e->loaded.context),
        .threads_batch = llama_n_threads_batch(e->loaded.context),
        .parameters = (int64_t)llama_model_n_params(e->loaded.model),
        .file_bytes = e->loaded.file_bytes,
        .can_chat = llama_model_chat_template(e->loaded.model, NULL) != NULL,
        .can_use_tools = llama_bridge_takes_tools(e->bridge),
        .can_embed = llama_is_pooled(e->loaded.model),
    };
    out->can_use_tools &= out->can_chat; /* not those of the template that stands in for a missing one */
    llama_model_desc(e->loaded.model, out->description, sizeof(out->description));
}

static enum status llama_prompt(struct engine *engine, const struct chat_request *chat, int64_t now_s,
                                struct engine_prompt *out, struct error *error) {
    struct llama_engine *e = llama_of(engine);
    struct llama_bridge_text text;
    *out = (struct engine_prompt){0};
    enum status status = llama_bridge_render(e->bridge, chat->messages_json, now_s, &text, error);
    if (status != STATUS_OK)
        return status;
    status = llama_prompt_tokenize(&e->rules, &text, e->loaded.context_tokens, out, error);
    llama_bridge_text_release(&text);
    return status;
}

/* Tells the slot's sampler of those of the tokens, the first of which is at `position`, that are of the
 * reply. */
static bool accept_reply(struct llama_slot *slot, int32_t position, const int32_t *tokens, int32_t count) {
    int32_t first = slot->prompt_tokens - position;
    for (int32_t i = first > 0 ? first : 0; i < count; i++) {
        if (!sampler_accept(&slot->sampler, tokens[i]))
            return false;
    }
    return true;
}

static enum status llama_slot_start(struct engine *engine, int32_t slot, const struct sampling *sampling,
                                    const struct engine_prompt *prompt, int32_t held) {
    struct llama_engine *e = llama_of(engine);
    assert(slot >= 0 && slot < e->slot_count && !e->slots[slot].started);
    assert(held >= 0 && (size_t)held < prompt->count);
    e->slots[slot].started = true;
    e->slots[slot].prompt_tokens = (int32_t)(prompt->count - prompt->reply);
    sampler_init(&e->slots[slot].sampler, sampling);
    return accept_reply(&e->slots[slot], 0, prompt->tokens, held) ? STATUS_OK : STATUS_ENGINE_ERROR;
}

static void llama_slot_stop(struct engine *engine, int32_t slot) {
    struct llama_engine *e = llama_of(engine);
    assert(slot >= 0 && slot < e->slot_count);
    if (!e->slots[slot].started)
        return;
    sampler_release(&e->slots[slot].sampler);
    e->slots[slot].started = false;
}

static int32_t llama_slot_trim(struct engine *engine, int32_t slot, int32_t tokens) {
    struct llama_engine *e = llama_of(engine);
    assert(slot >= 0 && slot < e->slot_count && !e->slots[slot].started);
    llama_memory_t memory = llama_get_memory(e->loaded.context);
    /* A window or a recurrent state may not have what the next token needs. */
    if (tokens > 0 && llama_memory_seq_pos_min(memory, slot) <= 0 &&
        llama_memory_seq_rm(memory, slot, tokens, -1))
        return tokens;
    llama_memory_seq_rm(memory, slot, -1, -1);
    return 0;
}

static bool llama_slot_save(struct engine *engine, int32_t slot, struct engine_state *out) {
    struct llama_context *context = llama_of(engine)->loaded.context;
    size_t size = llama_state_seq_get_size(context, slot);
    *out = (struct engine_state){.bytes = size > 0 ? malloc(size) : NULL};
    if (!out->bytes)
        return false;
    out->size = llama_state_seq_get_data(context, out->bytes, size, slot);
    if (out->size > 0)
        return true;
    engine_state_release(out);
    return false;
}

static bool llama_slot_load(struct engine *engine, int32_t slot, const struct engine_state *state) {
    struct llama_engine *e = llama_of(engine);
    assert(slot >= 0 && slot < e->slot_count && !e->slots[slot].started);
    if (llama_state_seq_set_data(e->loaded.context, state->bytes, state->size, slot) > 0)
        return true;
    llama_memory_seq_rm(llama_get_memory(e->loaded.context), slot, -1, -1);
    return false;
}

static int32_t llama_slot_copy(struct engine *engine, int32_t from, int32_t to, int32_t tokens) {
    struct llama_engine *e = llama_of(engine);
    assert(from != to && from >= 0 && from < e->slot_count && to >= 0 && to < e->slot_count);
    assert(!e->slots[to].started);
    if (e->loaded.cache_is_shared) {
        llama_memory_t memory = llama_get_memory(e->loaded.context);
        llama_memory_seq_rm(memory, to, -1, -1);
        llama_memory_seq_cp(memory, from, to, 0, tokens);
        return llama_slot_trim(engine, to, tokens);
    }
    /* Between caches of their own llama.cpp copies whole caches; this copies what is used of them. */
    struct engine_state state;
    bool copied = llama_slot_save(engine, from, &state) && llama_slot_load(engine, to, &state);
    engine_state_release(&state);
    return copied ? llama_slot_trim(engine, to, tokens) : 0;
}

static void batch_add(struct llama_batch *batch, const struct engine_item *item) {
    for (int32_t i = 0; i < item->count; i++) {
        int32_t at = batch->n_tokens++;
        batch->token[at] = item->tokens[i];
        batch->pos[at] = item->position + i;
        batch->n_seq_id[at] = 1;
        batch->seq_id[at][0] = item->slot;
        batch->logits[at] = item->sample && i == item->count - 1;
    }
}

/* In the order of the slots: with a cache of its own for each, llama.cpp computes in one pass only those that
 * follow each other by their number. */
static void batch_fill(struct llama_engine *e, const struct engine_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert(e->slots[items[i].slot].started);
        e->slots[items[i].slot].item = &items[i];
    }
    e->batch.n_tokens = 0;
    for (int32_t i = 0; i < e->slot_count; i++) {
        struct llama_slot *slot = &e->slots[i];
        if (!slot->item)
            continue;
        batch_add(&e->batch, slot->item);
        slot->item = NULL;
        slot->last = e->batch.n_tokens - 1;
    }
}

/* Takes out what a failed decode may have left. A recurrent model cannot go back; its next step then fails
 * too, because the positions do not join, and never gives wrong tokens. */
static void undo(struct llama_engine *e, const struct engine_item *items, size_t count) {
    llama_memory_t memory = llama_get_memory(e->loaded.context);
    for (size_t i = 0; i < count; i++)
        llama_memory_seq_rm(memory, items[i].slot, items[i].position, -1);
}

static enum status decode(struct llama_engine *e, const struct engine_item *items, size_t count,
                          struct error *error) {
    int32_t code = llama_decode(e->loaded.context, e->batch);
    if (code == 0)
        return STATUS_OK;
    undo(e, items, count);
    if (code == 1)
        return error_set(error, STATUS_WORKER_OVERLOADED, NULL, "the KV cache is full");
    if (code == 2)
        return error_set(error, STATUS_CANCELLED, NULL, "the step was aborted");
    return error_set(error, STATUS_ENGINE_ERROR, NULL,
                     "llama_decode failed with %d for %d tokens of %zu slots", code, e->batch.n_tokens,
                     count);
}

static void finish_item(struct llama_engine *e, struct engine_item *item) {
    struct llama_slot *slot = &e->slots[item->slot];
    if (!accept_reply(slot, item->position, item->tokens, item->count)) {
        item->status = STATUS_ENGINE_ERROR;
        return;
    }
    if (!item->sample)
        return;
    float *logits = llama_get_logits_ith(e->loaded.context, slot->last);
    uint64_t position = (uint64_t)item->position + (uint64_t)item->count;
    if (logits)
        item->next = sampler_pick(&slot->sampler, &e->scratch, logits, e->scratch.vocab, position);
    if (item->next == ENGINE_TOKEN_NONE)
        item->status = STATUS_ENGINE_ERROR;
}

static enum status llama_step(struct engine *engine, struct engine_item *items, size_t count,
                              struct error *error) {
    struct llama_engine *e = llama_of(engine);
    engine_items_check(items, count, e->slot_count, e->loaded.context_tokens, e->batch_tokens);
    engine_items_reset(items, count);
    if (count == 0)
        return STATUS_OK;
    batch_fill(e, items, count);
    enum status status = decode(e, items, count, error);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        finish_item(e, &items[i]);
    return STATUS_OK;
}

static size_t llama_piece(struct engine *engine, int32_t token, char *out, size_t cap) {
    struct llama_engine *e = llama_of(engine);
    if (token < 0 || token >= llama_vocab_n_tokens(e->vocab))
        return 0;
    int32_t len = llama_token_to_piece(e->vocab, token, out,
                                       cap < ENGINE_PIECE_MAX ? (int32_t)cap : ENGINE_PIECE_MAX, 0, false);
    return len > 0 ? (size_t)len : 0;
}

static bool llama_is_end(struct engine *engine, int32_t token) {
    return llama_vocab_is_eog(llama_of(engine)->vocab, token);
}

const struct engine_ops engine_llama_ops = {
    .name = "llama",
    .list_gpus = llama_list_gpus,
    .open = llama_open,
    .close = llama_close,
    .info = llama_info,
    .prompt = llama_prompt,
    .slot_start = llama_slot_start,
    .slot_stop = llama_slot_stop,
    .slot_trim = llama_slot_trim,
    .slot_copy = llama_slot_copy,
    .slot_save = llama_slot_save,
    .slot_load = llama_slot_load,
    .step = llama_step,
    .piece = llama_piece,
    .is_end = llama_is_end,
};
