#include "controller/request_table.h"

#include "base/log.h"
#include "controller/controller.h"
#include "controller/controller_internal.h"
#include "controller/request.h"

#define GO(next_state, act) \
    { .kind = ROW_GO, .next = REQUEST_##next_state, .action = request_act_##act, .action_name = #act }
#define IGNORE \
    { .kind = ROW_IGNORE }

/* What can end a request in any state where it waits for something. */
#define WHILE_WAITING                                                               \
    [EVENT_DEADLINE] = GO(ENDED, expire), [EVENT_CLIENT_GONE] = GO(ENDED, abandon), \
    [EVENT_STOP] = GO(ENDED, stop)

/* And in any state where a worker has the job. */
#define WHILE_RUNNING                                                                        \
    [EVENT_TRY_FAILED] = GO(JUDGING, judge), [EVENT_TIMED_OUT] = GO(JUDGING, judge_timeout), \
    [EVENT_FINISHED] = GO(ENDED, finish), [EVENT_TOKEN] = GO(STREAMING, show_token), WHILE_WAITING

static const struct request_row table[REQUEST_STATE_COUNT][EVENT_COUNT] = {
    [REQUEST_NEW] = {[EVENT_START] = GO(ROUTING, pick)},
    [REQUEST_ROUTING] = {[EVENT_PICKED] = GO(SENT, send),
                         [EVENT_MUST_WAIT] = GO(WAITING, wait_for_worker),
                         [EVENT_NO_WORKER] = GO(ENDED, reply_error)},
    [REQUEST_WAITING] = {[EVENT_CALLED] = GO(ROUTING, pick),
                         [EVENT_WAIT_OVER] = GO(ROUTING, pick),
                         [EVENT_NO_WORKER] = GO(ENDED, reply_error),
                         [EVENT_EVICTED] = GO(ENDED, reply_error),
                         WHILE_WAITING},
    [REQUEST_SENT] = {[EVENT_ACCEPTED] = GO(ACCEPTED, note_accepted),
                      [EVENT_STARTED] = GO(ACCEPTED, note_started),
                      WHILE_RUNNING},
    [REQUEST_ACCEPTED] =
        {[EVENT_ACCEPTED] = IGNORE, [EVENT_STARTED] = GO(ACCEPTED, note_started), WHILE_RUNNING},
    [REQUEST_STREAMING] = {[EVENT_ACCEPTED] = IGNORE, [EVENT_STARTED] = IGNORE, WHILE_RUNNING},
    [REQUEST_JUDGING] = {[EVENT_RETRY_NOW] = GO(ROUTING, pick),
                         [EVENT_RETRY_LATER] = GO(BACKOFF, wait),
                         [EVENT_GIVE_UP] = GO(ENDED, reply_error)},
    [REQUEST_BACKOFF] = {[EVENT_RETRY_DUE] = GO(ROUTING, pick), WHILE_WAITING},
    [REQUEST_ENDED] = {[EVENT_ACCEPTED] = IGNORE,
                       [EVENT_STARTED] = IGNORE,
                       [EVENT_TOKEN] = IGNORE,
                       [EVENT_FINISHED] = IGNORE,
                       [EVENT_TRY_FAILED] = IGNORE,
                       [EVENT_TIMED_OUT] = IGNORE,
                       [EVENT_RETRY_DUE] = IGNORE,
                       [EVENT_DEADLINE] = IGNORE,
                       [EVENT_CLIENT_GONE] = IGNORE,
                       [EVENT_STOP] = IGNORE},
};

static const char *const state_names[] = {
#define X(name, text) #name,
    REQUEST_STATE_MAP(X)
#undef X
};
static const char *const state_texts[] = {
#define X(name, text) text,
    REQUEST_STATE_MAP(X)
#undef X
};
static const char *const event_names[] = {
#define X(name, text) #name,
    REQUEST_EVENT_MAP(X)
#undef X
};
static const char *const event_texts[] = {
#define X(name, text) text,
    REQUEST_EVENT_MAP(X)
#undef X
};

const struct request_row *request_row(enum request_state state, enum request_event event) {
    return &table[state][event];
}

const char *request_state_name(enum request_state state) {
    return state_names[state];
}
const char *request_event_name(enum request_event event) {
    return event_names[event];
}

void request_dispatch(struct request *request, enum request_event event) {
    while (event != EVENT_NONE) {
        const struct request_row *row = request_row(request->state, event);
        if (row->kind == ROW_IGNORE)
            return;
        if (row->kind == ROW_IMPOSSIBLE) {
            request->controller->stats.impossible_events++;
            log_error("impossible event", F_STR("request", request->id),
                      F_STR("state", request_state_name(request->state)),
                      F_STR("event", request_event_name(event)));
            return;
        }
        log_debug("request", F_STR("request", request->id),
                  F_STR("state", request_state_name(request->state)),
                  F_STR("event", request_event_name(event)), F_STR("next", request_state_name(row->next)));
        request->state = row->next;
        event = row->action ? row->action(request) : EVENT_NONE;
    }
}

void controller_write_states(struct buf *out) {
    buf_append_str(out,
                   "# States of a request\n\nPrinted from the table in `src/controller/request_table.c`.\n\n"
                   "| state | meaning |\n|---|---|\n");
    for (size_t s = 0; s < REQUEST_STATE_COUNT; s++)
        buf_printf(out, "| %s | %s |\n", state_names[s], state_texts[s]);
    buf_append_str(out, "\n| event | comes from |\n|---|---|\n");
    for (size_t e = 0; e < EVENT_COUNT; e++)
        buf_printf(out, "| %s | %s |\n", event_names[e], event_texts[e]);
    buf_append_str(
        out, "\nEvents that a state does not list cannot come in it; `-` marks those that may come late "
             "and are ignored.\n\n| state | event | action | next |\n|---|---|---|---|\n");
    for (size_t s = 0; s < REQUEST_STATE_COUNT; s++) {
        for (size_t e = 0; e < EVENT_COUNT; e++) {
            const struct request_row *row = &table[s][e];
            if (row->kind == ROW_GO)
                buf_printf(out, "| %s | %s | %s | %s |\n", state_names[s], event_names[e], row->action_name,
                           state_names[row->next]);
            else if (row->kind == ROW_IGNORE)
                buf_printf(out, "| %s | %s | - | |\n", state_names[s], event_names[e]);
        }
    }
}
