#include "proto/openai.h"

#include "base/clock.h"
#include "proto/json_write.h"

/* `{"id":...,"object":...,"created":...,"model":...,"system_fingerprint":null` without the closing brace. */
static void append_head(struct buf *out, const struct openai_reply *reply, const char *object) {
    json_append_str(out, "{\"id\":", reply->id);
    buf_append_str(out, ",\"object\":\"");
    buf_append_str(out, object);
    json_append_int(out, "\",\"created\":", reply->created_s);
    json_append_str(out, ",\"model\":", reply->model);
    buf_append_str(out, ",\"system_fingerprint\":null");
}

static void append_chunk_head(struct buf *out, const struct openai_reply *reply) {
    buf_append_str(out, "data: ");
    append_head(out, reply, "chat.completion.chunk");
}

static void append_usage(struct buf *out, const struct usage *usage) {
    json_append_int(out, "\"usage\":{\"prompt_tokens\":", usage->prompt_tokens);
    json_append_int(out, ",\"completion_tokens\":", usage->completion_tokens);
    json_append_int(out, ",\"total_tokens\":", usage->prompt_tokens + usage->completion_tokens);
    json_append_int(out, ",\"prompt_tokens_details\":{\"cached_tokens\":", usage->cached_tokens);
    buf_append_str(out, "}}");
}

static void append_finish(struct buf *out, enum finish_reason reason) {
    const char *name = finish_reason_name(reason);
    buf_append_str(out, "\"finish_reason\":");
    if (name)
        json_append_str(out, "", name);
    else
        buf_append_str(out, "null");
}

#define DELTA_BEFORE ",\"choices\":[{\"index\":0,\"delta\":"
#define DELTA_AFTER  ",\"logprobs\":null,"

/* The end of a chunk that is not the usage chunk. */
static void append_chunk_end(struct buf *out, const struct openai_reply *reply) {
    buf_append_str(out, reply->usage_follows ? "}],\"usage\":null}\n\n" : "}]}\n\n");
}

void openai_chunk_template_init(struct openai_chunk_template *chunk, const struct openai_reply *reply) {
    buf_init(&chunk->prefix, 0);
    buf_init(&chunk->suffix, 0);
    append_chunk_head(&chunk->prefix, reply);
    buf_append_str(&chunk->prefix, DELTA_BEFORE "{\"content\":");
    buf_append_str(&chunk->suffix, "}" DELTA_AFTER);
    append_finish(&chunk->suffix, FINISH_NONE);
    append_chunk_end(&chunk->suffix, reply);
}

void openai_chunk_template_release(struct openai_chunk_template *chunk) {
    buf_release(&chunk->prefix);
    buf_release(&chunk->suffix);
}

void openai_write_role_chunk(struct buf *out, const struct openai_reply *reply) {
    append_chunk_head(out, reply);
    buf_append_str(out,
                   DELTA_BEFORE "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}" DELTA_AFTER);
    append_finish(out, FINISH_NONE);
    append_chunk_end(out, reply);
}

void openai_write_content_chunk(struct buf *out, const struct openai_chunk_template *chunk, const char *text,
                                size_t len) {
    buf_append(out, chunk->prefix.data, chunk->prefix.len);
    buf_append_json(out, text, len);
    buf_append(out, chunk->suffix.data, chunk->suffix.len);
}

void openai_write_finish_chunk(struct buf *out, const struct openai_reply *reply, enum finish_reason reason) {
    append_chunk_head(out, reply);
    buf_append_str(out, DELTA_BEFORE "{}" DELTA_AFTER);
    append_finish(out, reason);
    append_chunk_end(out, reply);
}

void openai_write_usage_chunk(struct buf *out, const struct openai_reply *reply, const struct usage *usage) {
    append_chunk_head(out, reply);
    buf_append_str(out, ",\"choices\":[],");
    append_usage(out, usage);
    buf_append_str(out, "}\n\n");
}

void openai_write_done(struct buf *out) {
    buf_append_str(out, "data: [DONE]\n\n");
}

void openai_write_completion(struct buf *out, const struct openai_reply *reply, const char *text, size_t len,
                             enum finish_reason reason, const struct usage *usage) {
    append_head(out, reply, "chat.completion");
    buf_append_str(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    buf_append_json(out, text, len);
    buf_append_str(out, ",\"refusal\":null},\"logprobs\":null,");
    append_finish(out, reason);
    buf_append_str(out, "}],");
    append_usage(out, usage);
    buf_append_char(out, '}');
}

/* Two codes have names that client libraries and their users already know. */
static const char *api_code(enum status status) {
    if (status == STATUS_MODEL_NOT_FOUND)
        return "model_not_found";
    if (status == STATUS_CONTEXT_LENGTH_EXCEEDED)
        return "context_length_exceeded";
    return status_name(status);
}

void openai_write_error(struct buf *out, const struct error *error, const struct buf *context) {
    json_append_str(
        out, "{\"error\":{\"message\":", error->message[0] ? error->message : status_text(error->status));
    json_append_str(out, ",\"type\":", status_api_type(error->status));
    buf_append_str(out, ",\"param\":");
    if (error->param[0])
        json_append_str(out, "", error->param);
    else
        buf_append_str(out, "null");
    json_append_str(out, ",\"code\":", api_code(error->status));
    buf_append_str(out, ",\"context\":");
    if (context && context->len > 0)
        buf_append(out, context->data, context->len);
    else
        buf_append_str(out, "{}");
    json_append_int(out, ",\"timestamp\":", clock_wall_ms());
    buf_append_str(out, status_is_retryable(error->status) ? ",\"retryable\":true" : ",\"retryable\":false");
    buf_append_str(out, "}}");
}

void openai_write_error_event(struct buf *out, const struct error *error, const struct buf *context) {
    buf_append_str(out, "data: ");
    openai_write_error(out, error, context);
    buf_append_str(out, "\n\n");
}

void openai_write_model(struct buf *out, const struct openai_model *model) {
    json_append_str(out, "{\"id\":", model->id);
    json_append_int(out, ",\"object\":\"model\",\"created\":", model->created_s);
    buf_append_str(out, ",\"owned_by\":\"mlx-serving\"");
    if (model->context_tokens > 0)
        json_append_int(out, ",\"context_length\":", model->context_tokens);
    json_append_int(out, ",\"workers\":", model->workers);
    buf_append_char(out, '}');
}

void openai_write_models(struct buf *out, const struct openai_model *models, size_t count) {
    buf_append_str(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_append_char(out, ',');
        openai_write_model(out, &models[i]);
    }
    buf_append_str(out, "]}");
}
