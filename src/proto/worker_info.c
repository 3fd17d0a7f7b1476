#include "proto/worker_info.h"

const char *worker_phase_name(enum worker_phase phase) {
    switch (phase) {
    case WORKER_PHASE_LOADING:
        return "loading";
    case WORKER_PHASE_READY:
        return "ready";
    case WORKER_PHASE_DRAINING:
        return "draining";
    }
    return "loading";
}

const char *model_state_name(enum model_state state) {
    switch (state) {
    case MODEL_LOADING:
        return "loading";
    case MODEL_READY:
        return "ready";
    case MODEL_FAILED:
        return "failed";
    }
    return "loading";
}
