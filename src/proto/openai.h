/* The OpenAI chat API as JSON: requests in, replies, chunks and errors out. No I/O.
 *
 * Reading is strict about what is used (types, ranges, sizes, depth) and names the field in the error. Fields
 * that would change the reply but are not built (tools, logprobs, audio...) are refused, all others that are
 * not used ignored; `null` for an optional field means absent. Written JSON goes to a `struct buf` whose
 * `failed` flag the caller checks. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "proto/chat.h"
#include "proto/worker_info.h"

enum {
    OPENAI_JSON_DEPTH_MAX = 64,          /* deeper bodies are refused before they are parsed */
    OPENAI_JSON_VALUES_MAX = 128 * 1024, /* likewise: objects, arrays and what follows a comma */
    OPENAI_MESSAGES_MAX = 4096,
};

/* Reads the body of POST /v1/chat/completions. `seed_default` is used when the body has no seed.
 * On an error `request` is released. Understands: model, messages (roles system, developer, user, assistant,
 * tool; content string or array of text parts, for assistants also null beside tool_calls; name; tool_call_id
 * of tools), stream, stream_options.include_usage, temperature, top_p, top_k, min_p, seed, max_tokens,
 * max_completion_tokens (wins), stop (string or array), presence_penalty, frequency_penalty, priority (0..2
 * or "high" | "medium" | "low"; without it medium for a stream, else high), session_id, prompt_cache_key, n
 * (only 1). */
MUST_USE enum status openai_read_chat(const char *body, size_t len, uint64_t seed_default,
                                      struct chat_request *request, struct error *error);

/* Adds the skills of a header X-Required-Skills, words with commas in between, to those of the body. On an
 * error the request keeps what it has. */
MUST_USE enum status openai_read_skills_header(const char *text, struct chat_request *request,
                                               struct error *error);

/* What every chunk and reply of one request repeats. */
struct openai_reply {
    const char *id;     /* "chatcmpl-..." */
    const char *model;  /* as the client wrote it */
    int64_t created_s;  /* seconds since 1970 */
    bool usage_follows; /* the stream ends with a usage chunk: all others then say `"usage":null` */
};

/* The prefix that all content chunks of a request share, so that a token costs two copies and one escape:
 * `prefix` + JSON string of the text + `suffix`. */
struct openai_chunk_template {
    struct buf prefix;
    struct buf suffix;
};
void openai_chunk_template_init(struct openai_chunk_template *chunk, const struct openai_reply *reply);
void openai_chunk_template_release(struct openai_chunk_template *chunk);

/* Each writes one whole SSE event, `data: {...}\n\n`. */
void openai_write_role_chunk(struct buf *out, const struct openai_reply *reply);
void openai_write_content_chunk(struct buf *out, const struct openai_chunk_template *chunk, const char *text,
                                size_t len);
void openai_write_finish_chunk(struct buf *out, const struct openai_reply *reply, enum finish_reason reason);
void openai_write_usage_chunk(struct buf *out, const struct openai_reply *reply, const struct usage *usage);
void openai_write_done(struct buf *out);
/* An error after the stream has begun: an SSE event with the error object. */
void openai_write_error_event(struct buf *out, const struct error *error, const struct buf *context);

/* The whole body of a reply that is not streamed. */
void openai_write_completion(struct buf *out, const struct openai_reply *reply, const char *text, size_t len,
                             enum finish_reason reason, const struct usage *usage);

/* `{"error":{"message":...,"type":...,"param":...,"code":...,"context":{...},"timestamp":...,"retryable":...}}`;
 * code is the status's name, except model_not_found and context_length_exceeded, which clients know by these
 * names. `context` is a whole JSON object, or NULL for an empty one. */
void openai_write_error(struct buf *out, const struct error *error, const struct buf *context);

struct openai_model {
    const char *id;
    int64_t created_s;
    int32_t context_tokens; /* 0: unknown, left out */
    int32_t workers;        /* how many serve it now */
};
void openai_write_models(struct buf *out, const struct openai_model *models, size_t count);
void openai_write_model(struct buf *out, const struct openai_model *model);
