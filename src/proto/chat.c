#include "proto/chat.h"

#include <stdlib.h>

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
