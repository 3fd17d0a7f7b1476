/* Any bytes as the body of a chat completion: refused with an error that can be sent, or read; what was read
 * fits on the wire and comes back from there the same. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "proto/openai.h"
#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition)
        abort();
}

static void check_error(const struct error *error, enum status status) {
    struct buf out;
    must(status == STATUS_INVALID_JSON || status == STATUS_REQUEST_VALIDATION_FAILED);
    must(error->status == status && error->message[0] != '\0');
    must(utf8_is_valid(error->message, strlen(error->message)));
    buf_init(&out, 0);
    openai_write_error(&out, error, NULL);
    must(!out.failed && utf8_is_valid(out.data, out.len));
    buf_release(&out);
}

static void check_same(const struct chat_request *a, const struct chat_request *b) {
    must(strcmp(a->model, b->model) == 0 && strcmp(a->messages_json, b->messages_json) == 0);
    must(a->sampling.temperature == b->sampling.temperature && a->sampling.top_p == b->sampling.top_p);
    must(a->sampling.min_p == b->sampling.min_p && a->sampling.top_k == b->sampling.top_k);
    must(a->sampling.presence_penalty == b->sampling.presence_penalty);
    must(a->sampling.frequency_penalty == b->sampling.frequency_penalty);
    must(a->sampling.seed == b->sampling.seed && a->max_tokens == b->max_tokens);
    must(a->priority == b->priority && a->stream == b->stream && a->stop_count == b->stop_count);
    for (size_t i = 0; i < a->stop_count; i++)
        must(strcmp(a->stop[i], b->stop[i]) == 0);
    must((a->session_id != NULL) == (b->session_id != NULL));
    must(!a->session_id || strcmp(a->session_id, b->session_id) == 0);
}

static void check_over_the_wire(const struct chat_request *chat) {
    struct wire_job job = {
        .request_id = "r", .controller_id = "c", .attempt = 1, .remaining_ms = 1, .chat = *chat};
    struct wire_job back;
    struct buf out;
    buf_init(&out, 0);
    wire_write_job(&out, &job);
    must(!out.failed && wire_read_job(out.data, out.len, &back, NULL) == STATUS_OK);
    check_same(&back.chat, chat);
    wire_job_release(&back);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct chat_request chat;
    struct error error = {.status = STATUS_OK};
    enum status status = openai_read_chat((const char *)data, size, 7, &chat, &error);
    if (status == STATUS_OK)
        check_over_the_wire(&chat);
    else
        check_error(&error, status);
    chat_request_release(&chat);
    return 0;
}
