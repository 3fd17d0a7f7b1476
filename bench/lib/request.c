#include "lib/request.h"

#include "lib/server.h"

void request_begin(struct buf *body, int max_tokens) {
    buf_printf(body,
               "{\"model\":\"" SERVER_MODEL "\",\"temperature\":0,\"max_tokens\":%d,\"stream\":true,"
               "\"stream_options\":{\"include_usage\":true},\"messages\":[",
               max_tokens);
}

void request_end(struct buf *body) {
    buf_append_str(body, "]}");
}
