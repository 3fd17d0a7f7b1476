#include "proto/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

void sampling_init(struct sampling *sampling) {
    *sampling = (struct sampling){.temperature = 1, .top_p = 1};
}

void chat_request_init(struct chat_request *request) {
    *request = (struct chat_request){.priority = CHAT_PRIORITY_MEDIUM};
    sampling_init(&request->sampling);
}

void chat_request_release(struct chat_request *request) {
    if (!request)
        return;
    free(request->model);
    free(request->messages_json);
    free(request->session_id);
    for (size_t i = 0; i < request->stop_count; i++)
        free(request->stop[i]);
    for (size_t i = 0; i < request->required_skill_count; i++)
        free(request->required_skills[i]);
    *request = (struct chat_request){0};
}

const char *finish_reason_name(enum finish_reason reason) {
    switch (reason) {
    case FINISH_NONE:
        return NULL;
    case FINISH_STOP:
        return "stop";
    case FINISH_LENGTH:
        return "length";
    }
    return NULL;
}

const char *chat_priority_name(enum chat_priority priority) {
    switch (priority) {
    case CHAT_PRIORITY_HIGH:
        return "high";
    case CHAT_PRIORITY_MEDIUM:
        return "medium";
    case CHAT_PRIORITY_LOW:
        return "low";
    case CHAT_PRIORITY_COUNT:
        break;
    }
    return "medium";
}

static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t len) {
    for (; len >= sizeof(uint64_t); bytes += sizeof(uint64_t), len -= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93); /* odd, bits well mixed */
        hash ^= hash >> 32;
    }
    uint64_t rest = 0;
    memcpy(&rest, bytes, len);
    return rng_mix(hash, rest);
}

size_t prefix_count(size_t prompt_len) {
    size_t count = prompt_len / PREFIX_BLOCK_BYTES;
    return count < PREFIX_BLOCKS_MAX ? count : PREFIX_BLOCKS_MAX;
}

uint64_t prefix_start(const char *model) {
    return hash_bytes(0, model, strlen(model));
}

uint64_t prefix_next(uint64_t before, const char *block) {
    return hash_bytes(before, block, PREFIX_BLOCK_BYTES);
}
