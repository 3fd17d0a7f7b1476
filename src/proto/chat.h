/* A chat request and how it ends, as plain data: what the API layer reads, the wire carries and an engine
 * runs.
 *
 * All strings are owned by the struct that holds them. No I/O, no JSON here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum {
    CHAT_STOP_MAX = 4,         /* OpenAI's limit */
    CHAT_STOP_BYTES_MAX = 128, /* a longer stop string would hold back too much of the stream */
    CHAT_MODEL_NAME_MAX = 128,
    CHAT_SESSION_ID_MAX = 128,
    CHAT_SKILLS_MAX = 8,
};

/* How the next token is chosen. The defaults (sampling_init) are OpenAI's. */
struct sampling {
    double temperature;       /* 0..2; 0 takes the most likely token */
    double top_p;             /* 0..1; 1 keeps all */
    double min_p;             /* 0..1; 0 keeps all */
    int32_t top_k;            /* >= 0; 0 keeps all */
    double presence_penalty;  /* -2..2 */
    double frequency_penalty; /* -2..2 */
    uint64_t seed;            /* always set by the controller, so that a retry draws the same numbers */
};

enum chat_priority { CHAT_PRIORITY_HIGH, CHAT_PRIORITY_MEDIUM, CHAT_PRIORITY_LOW, CHAT_PRIORITY_COUNT };

struct chat_request {
    char *model;         /* owned; [A-Za-z0-9._:/-]{1,128} */
    char *messages_json; /* owned; a JSON array of OpenAI messages, validated, no trailing text */
    struct sampling sampling;
    int32_t max_tokens;        /* > 0; or 0: until the context is full */
    char *stop[CHAT_STOP_MAX]; /* owned */
    size_t stop_count;
    enum chat_priority priority; /* when the client says nothing: of what is streamed MEDIUM, else HIGH */
    char *session_id;            /* owned or NULL */
    /* What a worker must be able to do to get it, each once; the controller's, never on the wire. */
    char *required_skills[CHAT_SKILLS_MAX]; /* owned */
    size_t required_skill_count;
    bool stream;
    bool include_usage; /* stream_options.include_usage */
};

enum finish_reason {
    FINISH_NONE,   /* not finished */
    FINISH_STOP,   /* end of turn or a stop string */
    FINISH_LENGTH, /* max_tokens or the end of the context; never a deadline */
};

struct usage {
    int64_t prompt_tokens;
    int64_t completion_tokens;
    int64_t cached_tokens; /* of the prompt tokens, those that were not computed again */
};

void sampling_init(struct sampling *sampling);
void chat_request_init(struct chat_request *request);
/* Takes NULL; leaves the struct zeroed. */
void chat_request_release(struct chat_request *request);

const char *finish_reason_name(enum finish_reason reason);   /* "stop", "length"; NULL for FINISH_NONE */
const char *chat_priority_name(enum chat_priority priority); /* "high", "medium", "low" */

/* The beginnings of a prompt (messages as JSON) as hashes, for who has computed which of them: it is cut into
 * blocks of PREFIX_BLOCK_BYTES, and each has the hash of everything up to its end, model included, so that
 * equal hashes mean equal beginnings. Every process computes the same. What is left over at the end, or is
 * behind PREFIX_BLOCKS_MAX blocks, is not looked at. */
enum { PREFIX_BLOCK_BYTES = 256, PREFIX_BLOCKS_MAX = 2048 };

size_t prefix_count(size_t prompt_len);
uint64_t prefix_start(const char *model);
/* The hash of the block that begins at `block`, from the one before it or prefix_start's. */
uint64_t prefix_next(uint64_t before, const char *block);
