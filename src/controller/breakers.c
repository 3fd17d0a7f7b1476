#include "controller/breakers.h"

#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

static const struct breaker_config *config_of(const struct controller *controller) {
    return &controller->registry.config.breaker;
}

static struct registry_worker *worker_of(const struct request *request) {
    return registry_find(&request->controller->registry, request->lease.worker_id);
}

static void log_change(const struct registry_worker *worker) {
    const struct breaker *breaker = &worker->breaker;
    log_warn("circuit breaker", F_STR("worker", worker->info.id),
             F_STR("state", breaker_state_name(breaker->state)),
             F_INT("failures_in_row", breaker_failures_in_row(breaker)),
             F_STR("last_failure", status_name(breaker->last_failure)), F_INT("open_ms", breaker->open_ms));
}

static void note(struct registry_worker *worker, bool changed) {
    registry_note_breaker(worker, clock_ms());
    if (changed)
        log_change(worker);
}

bool breakers_begin_try(struct request *request, struct registry_worker *worker, bool panic) {
    struct controller *controller = request->controller;
    uint64_t generation = worker->breaker.generation;
    bool acquired = breaker_acquire(&worker->breaker, config_of(controller), panic, clock_ms(),
                                    &controller->rng, &request->ticket);
    note(worker, worker->breaker.generation != generation);
    return acquired;
}

void breakers_renew(struct request *request, int64_t silence_ms) {
    struct registry_worker *worker = worker_of(request);
    if (worker)
        breaker_renew(&worker->breaker, &request->ticket, silence_ms > 1 ? silence_ms : 1, clock_ms());
}

void breakers_first_token(struct request *request) {
    struct controller *controller = request->controller;
    struct registry_worker *worker = worker_of(request);
    if (worker)
        note(worker, breaker_first_token(&worker->breaker, config_of(controller), &request->ticket,
                                         clock_ms(), &controller->rng));
}

void breakers_end_try(struct request *request, enum status status) {
    struct controller *controller = request->controller;
    struct registry_worker *worker = worker_of(request);
    if (worker)
        note(worker, breaker_report(&worker->breaker, config_of(controller), &request->ticket, status,
                                    clock_ms(), &controller->rng));
    request->ticket = (struct breaker_ticket){0};
}

void breakers_tick(struct controller *controller) {
    int64_t now_ms = clock_ms();
    for (size_t i = 0; i < controller->registry.count; i++) {
        struct registry_worker *worker = controller->registry.workers[i];
        note(worker, breaker_tick(&worker->breaker, config_of(controller), now_ms, &controller->rng));
    }
}

static void write_breaker(struct buf *out, const struct registry_worker *worker, int64_t now_ms) {
    const struct breaker *breaker = &worker->breaker;
    buf_append_json(out, worker->info.id, strlen(worker->info.id));
    buf_printf(out,
               ":{\"state\":\"%s\",\"failureCount\":%lld,\"openings\":%lld,\"remainingMs\":%lld,"
               "\"sharePercent\":%lld,",
               breaker_state_name(breaker->state), (long long)breaker_failures_in_row(breaker),
               (long long)breaker->opened, (long long)breaker_remaining_ms(breaker, now_ms),
               (long long)breaker_share(breaker, now_ms));
    buf_printf(out, "\"outcomes\":{\"success\":%llu,\"failure\":%llu,\"neutral\":%llu,\"late\":%llu},",
               (unsigned long long)breaker->outcomes[OUTCOME_SUCCESS],
               (unsigned long long)breaker->outcomes[OUTCOME_FAILURE],
               (unsigned long long)breaker->outcomes[OUTCOME_NEUTRAL], (unsigned long long)breaker->late);
    if (breaker->last_failure == STATUS_OK)
        buf_append_str(out, "\"lastFailure\":null,\"lastFailureTime\":null}");
    else
        buf_printf(out, "\"lastFailure\":\"%s\",\"lastFailureTime\":%lld}",
                   status_name(breaker->last_failure),
                   (long long)(clock_wall_ms() - (now_ms - breaker->last_failure_ms)));
}

void breakers_api_list(struct controller *controller, struct http_exchange *exchange,
                       const char *rest UNUSED) {
    struct buf body;
    buf_init(&body, 0);
    buf_append_char(&body, '{');
    for (size_t i = 0; i < controller->registry.count; i++) {
        if (i)
            buf_append_char(&body, ',');
        write_breaker(&body, controller->registry.workers[i], clock_ms());
    }
    buf_append_char(&body, '}');
    http_reply(exchange, 200, "application/json", body.data, body.len);
    buf_release(&body);
}

enum action { ACTION_OPEN, ACTION_CLOSE, ACTION_RESET, ACTION_COUNT };

static enum action read_action(const struct http_exchange *exchange) {
    static const char *const names[ACTION_COUNT] = {"open", "close", "reset"};
    size_t len;
    const char *body = http_body(exchange, &len);
    json_t *root = json_loadb(body, len, 0, NULL);
    const char *name = json_string_value(json_object_get(root, "action"));
    int action = 0;
    while (action < ACTION_COUNT && (!name || strcmp(names[action], name) != 0))
        action++;
    json_decref(root);
    return (enum action)action;
}

void breakers_api_set(struct controller *controller, struct http_exchange *exchange, const char *rest) {
    struct error error;
    struct registry_worker *worker = registry_find(&controller->registry, rest);
    enum action action = read_action(exchange);
    if (!worker || action == ACTION_COUNT) {
        if (!worker)
            error_set(&error, STATUS_WORKER_NOT_FOUND, NULL, "the worker \"%s\" is not known here", rest);
        else
            error_set(&error, STATUS_REQUEST_VALIDATION_FAILED, "action",
                      "the body must be {\"action\":\"open\"}, \"close\" or \"reset\"");
        controller_reply_error(exchange, &error);
        return;
    }
    if (action == ACTION_RESET)
        breaker_reset(&worker->breaker, clock_ms());
    else
        breaker_force(&worker->breaker, action == ACTION_OPEN ? BREAKER_FORCED_OPEN : BREAKER_FORCED_CLOSED);
    note(worker, true);
    breakers_api_list(controller, exchange, "");
}
