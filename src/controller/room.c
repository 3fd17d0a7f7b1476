#include "controller/room.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* Requests that not every worker will do for (a try has failed, they require skills, or a worker that is
 * short of memory takes only those of higher priority) are asked about one by one: each time the first of a
 * line, and so many of the others in turn, so that none waits for a worker that is free because those before
 * it wait for another. */
enum { PICKY_FIRST = 16, PICKY_IN_TURN = 16 };

static struct request *request_of(struct waiter *waiter) {
    return (struct request *)((char *)waiter - offsetof(struct request, waiter));
}

/* The place among the line's picky waiters from which on it is the turn of PICKY_IN_TURN of them. */
static size_t take_turn(struct waiting_line *line) {
    size_t from = line->picky_turn;
    if (from < PICKY_FIRST || from >= line->picky_count)
        from = PICKY_FIRST;
    line->picky_turn = from + PICKY_IN_TURN;
    return from;
}

/* One that failed to get a worker speaks for all that would take any. The line may go with its last waiter.
 */
static void call_line(struct controller *controller, struct waiting_line *line) {
    struct waiting_walk walk;
    struct waiter *waiter;
    size_t from = take_turn(line), end = from + PICKY_IN_TURN, at = 0;
    size_t picky_left = line->picky_count;
    bool any_will_fail = false;
    waiting_walk_begin(&walk, &controller->room, line, clock_ms());
    while ((!any_will_fail || (picky_left > 0 && at < end)) && (waiter = waiting_walk_next(&walk))) {
        struct request *request = request_of(waiter);
        bool picky = waiter->picky;
        size_t place = at;
        at += picky;
        picky_left -= picky;
        if (picky ? place >= end || (place >= PICKY_FIRST && place < from) : any_will_fail)
            continue;
        request_dispatch(request, EVENT_CALLED);
        if (request->state == REQUEST_WAITING && !waiter->picky)
            any_will_fail = true;
    }
}

static void call_all(void *arg) {
    struct controller *controller = arg;
    struct waiting_line *line, *next;
    for (line = TAILQ_FIRST(&controller->room.lines); line; line = next) {
        next = TAILQ_NEXT(line, link); /* the line goes with its last waiter */
        call_line(controller, line);
    }
}

bool room_start(struct controller *controller) {
    const struct config *config = controller->config;
    waiting_init(&controller->room,
                 &(struct waiting_config){.requests_max = (size_t)config->routing.queue.requests_max,
                                          .bytes_max = (size_t)config->routing.queue.bytes_max,
                                          .aging_ms = config->routing.queue.aging_ms});
    return loop_defer_init(&controller->call, controller->loop, call_all, controller);
}

void room_stop(struct controller *controller) {
    loop_defer_release(&controller->call);
    waiting_release(&controller->room);
}

void room_call(struct controller *controller) {
    if (controller->room.count > 0)
        loop_defer_ask(&controller->call);
}

void room_init_waiter(struct request *request) {
    request->waiter.priority = request->chat.priority;
    request->waiter.bytes = sizeof(*request) + strlen(request->chat.messages_json);
    request->waiter.since_ms = request->begun_us / 1000;
}

bool room_is_behind_others(const struct request *request) {
    return !request->waiter.line && request->try_count == 0 &&
           waiting_has_before(&request->controller->room, request->chat.model, request->chat.priority,
                              request->chat.required_skill_count > 0, clock_ms());
}

/* This time: a request whose try failed may wait again. */
static int64_t waits_for_ms(const struct request *request) {
    return request->waiter.line ? clock_ms() - request->wait_begun_ms : 0;
}

int64_t room_waited_ms(const struct request *request) {
    return request->waited_ms + waits_for_ms(request);
}

int64_t room_time_left_ms(const struct request *request, int64_t limit_ms) {
    return limit_ms - waits_for_ms(request);
}

static void on_evicted(struct waiter *waiter, void *arg UNUSED) {
    struct request *request = request_of(waiter);
    request->waited_ms += clock_ms() - request->wait_begun_ms;
    error_set(&request->failure, STATUS_CONTROLLER_OVERLOADED, NULL,
              "all workers are full, and in the waiting room the request gave way to one of higher priority");
    request_dispatch(request, EVENT_EVICTED);
}

bool room_enter(struct request *request) {
    struct controller *controller = request->controller;
    struct waiting_room *room = &controller->room;
    bool picky = request->exclusion.count > 0 || request->chat.required_skill_count > 0 ||
                 request->decision.census.short_of_memory > 0;
    if (request->waiter.line) {
        if (picky)
            waiting_make_picky(&request->waiter);
        return true;
    }
    request->waiter.picky = picky;
    if (waiting_enter(room, &request->waiter, request->chat.model, on_evicted, NULL)) {
        request->wait_begun_ms = clock_ms();
        if (request->waiter.line->picky_count > 0)
            room_call(controller); /* those before it, or it, may wait for one certain worker */
        return true;
    }
    if (room->config.requests_max > 0)
        error_set(&request->failure, STATUS_CONTROLLER_OVERLOADED, NULL,
                  "no worker can take the request now, and the waiting room is full: %zu requests, %zu bytes",
                  room->count, room->bytes);
    return false;
}

void room_leave(struct request *request) {
    if (!request->waiter.line)
        return;
    request->waited_ms += waits_for_ms(request);
    waiting_leave(&request->controller->room, &request->waiter);
    loop_timer_disarm(&request->try_timer);
}

int64_t room_retry_after_ms(struct request *request) {
    struct controller *controller = request->controller;
    enum status status = request->failure.status;
    if (status_http(status) != 503)
        return 0;
    if (status == STATUS_CIRCUIT_BREAKER_OPEN && request->decision.retry_after_ms > 0)
        return request->decision.retry_after_ms;
    size_t ahead = 0;
    if (status == STATUS_WORKER_OVERLOADED || status == STATUS_RESOURCE_LIMIT_EXCEEDED ||
        status == STATUS_CONTROLLER_OVERLOADED)
        ahead = waiting_count(&controller->room, request->chat.model) + 1;
    return drain_rate_retry_after_ms(&controller->drain_rate, request->chat.model, ahead, clock_ms(),
                                     &controller->rng);
}
