/* One streamed chat completion as its client sees it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <http_parser.h>

#include "base/buf.h"

enum { REPLY_WORD_MAX = 16 };

struct reply {
    int status;                  /* of HTTP; 0: none came */
    int retry_after_s;           /* 0: no such header */
    bool done;                   /* "[DONE]" came */
    bool failed;                 /* an error came in the stream */
    char finish[REPLY_WORD_MAX]; /* its reason; empty: none came */
    int64_t sent_us;
    int64_t first_us;                                    /* 0: no text came */
    int64_t last_us;                                     /* of its last bytes */
    int prompt_tokens, cached_tokens, completion_tokens; /* as the server counts them */
    struct buf text; /* owned; as it stood in the JSON, so that it can be put into JSON again */
    /* Ours: */
    http_parser parser;
    struct buf lines; /* owned; of the body, those not looked at */
    bool is_retry_after;
    bool complete;
};

void reply_init(struct reply *reply);
void reply_release(struct reply *reply);
/* A request was sent now: forgets the last reply. */
void reply_begin(struct reply *reply);
/* Bytes of the connection. true: the reply is complete. */
bool reply_take(struct reply *reply, const char *bytes, size_t len);
/* Whether it is a whole stream, with text and a reason for its end. */
bool reply_is_right(const struct reply *reply);
