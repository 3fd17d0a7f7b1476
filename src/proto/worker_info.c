#include "proto/worker_info.h"

const char *worker_phase_name(enum worker_phase phase) {
    static const char *const names[WORKER_PHASE_COUNT] = {
#define X(name, word, meaning) [WORKER_PHASE_##name] = (word),
        WORKER_PHASE_MAP(X)
#undef X
    };
    return names[phase];
}

const char *worker_phase_meaning(enum worker_phase phase) {
    static const char *const meanings[WORKER_PHASE_COUNT] = {
#define X(name, word, meaning) [WORKER_PHASE_##name] = (meaning),
        WORKER_PHASE_MAP(X)
#undef X
    };
    return meanings[phase];
}

const char *model_state_name(enum model_state state) {
    static const char *const names[MODEL_STATE_COUNT] = {
#define X(name, word, meaning) [MODEL_##name] = (word),
        MODEL_STATE_MAP(X)
#undef X
    };
    return names[state];
}

const char *model_state_meaning(enum model_state state) {
    static const char *const meanings[MODEL_STATE_COUNT] = {
#define X(name, word, meaning) [MODEL_##name] = (meaning),
        MODEL_STATE_MAP(X)
#undef X
    };
    return meanings[state];
}

const char *model_capability_name(enum model_capability capability) {
    static const char *const names[MODEL_CAPABILITY_COUNT] = {
#define X(name, word) [CAPABILITY_##name] = (word),
        MODEL_CAPABILITY_MAP(X)
#undef X
    };
    return names[capability];
}

const char *resource_level_name(enum resource_level level) {
    static const char *const names[RESOURCE_LEVEL_COUNT] = {
#define X(name, word) [RESOURCE_##name] = (word),
        RESOURCE_LEVEL_MAP(X)
#undef X
    };
    return names[level];
}

const char *resource_signal_name(enum resource_signal signal) {
    static const char *const names[RESOURCE_SIGNAL_COUNT] = {
#define X(name, word) [RESOURCE_BY_##name] = (word),
        RESOURCE_SIGNAL_MAP(X)
#undef X
    };
    return names[signal];
}

bool resource_level_admits(enum resource_level level, enum chat_priority priority) {
    return level == RESOURCE_OK || (level == RESOURCE_SOFT && priority != CHAT_PRIORITY_LOW);
}

bool skill_is_valid(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '.' || c == '-'))
            return false;
    }
    return len > 0 && len <= SKILL_MAX;
}
