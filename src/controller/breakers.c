#include "controller/breakers.h"

#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/peers.h"

static const struct breaker_config *config_of(const struct controller *controller) {
    return &controller->registry.config.breaker;
}

static void log_change(const struct registry_worker *worker, const char *model,
                       const struct breaker *breaker) {
    log_warn("circuit breaker", F_STR("worker", worker->info.id), F_STR("model", model),
             F_STR("state", breaker_state_name(breaker->state)),
             F_INT("failures_in_row", breaker_failures_in_row(breaker)),
             F_STR("last_failure", status_name(breaker->last_failure)), F_INT("open_ms", breaker->open_ms));
}

/* The other controllers are told, too. */
static void note_change(struct controller *controller, const struct registry_worker *worker,
                        const char *model, struct breaker *breaker) {
    log_change(worker, model, breaker);
    peers_note_breaker(controller, breaker, false);
}

void breakers_note_adopted(struct registry_worker *worker, const char *model, const struct breaker *breaker,
                           bool changed) {
    registry_note_breakers(worker, clock_ms());
    if (changed)
        log_change(worker, model, breaker);
}

/* The breakers of one job's worker and model, and how they were before a call that may change them. */
struct change {
    struct controller *controller;
    struct registry_worker *worker;
    struct worker_model *model; /* NULL: the worker does not name it any more */
    struct guard guard;
    uint64_t worker_generation;
    uint64_t model_generation;
};

static struct change begin_change(struct controller *controller, struct registry_worker *worker,
                                  struct worker_model *model) {
    return (struct change){.controller = controller,
                           .worker = worker,
                           .model = model,
                           .guard = worker_guard(worker, model),
                           .worker_generation = worker->breaker.generation,
                           .model_generation = model ? model->breaker.generation : 0};
}

/* How many of them have opened. */
static uint32_t end_change(const struct change *change) {
    struct registry_worker *worker = change->worker;
    struct worker_model *model = change->model;
    uint32_t opened = 0;
    registry_note_breakers(worker, clock_ms());
    if (worker->breaker.generation != change->worker_generation) {
        note_change(change->controller, worker, NULL, &worker->breaker);
        opened += worker->breaker.state == BREAKER_OPEN;
    }
    if (model && model->breaker.generation != change->model_generation) {
        note_change(change->controller, worker, worker->info.models[model - worker->models].name,
                    &model->breaker);
        opened += model->breaker.state == BREAKER_OPEN;
    }
    return opened;
}

bool breakers_begin(struct controller *controller, struct registry_worker *worker, const char *model,
                    bool panic, struct guard_ticket *ticket) {
    struct change change = begin_change(controller, worker, worker_model_find(worker, model));
    bool acquired =
        guard_acquire(&change.guard, config_of(controller), panic, clock_ms(), &controller->rng, ticket);
    end_change(&change);
    return acquired;
}

void breakers_renew(struct controller *controller, const struct lease *lease,
                    const struct guard_ticket *ticket, int64_t silence_ms) {
    struct registry_worker *worker = registry_find(&controller->registry, lease->worker_id);
    if (!worker)
        return;
    struct guard guard = worker_guard(worker, lease_model(&controller->registry, lease));
    guard_renew(&guard, ticket, silence_ms > 1 ? silence_ms : 1, clock_ms());
}

void breakers_first_token(struct controller *controller, const struct lease *lease,
                          struct guard_ticket *ticket) {
    struct registry_worker *worker = registry_find(&controller->registry, lease->worker_id);
    if (!worker)
        return;
    struct change change = begin_change(controller, worker, lease_model(&controller->registry, lease));
    guard_first_token(&change.guard, config_of(controller), ticket, clock_ms(), &controller->rng);
    end_change(&change);
}

uint32_t breakers_end(struct controller *controller, const struct lease *lease, struct guard_ticket *ticket,
                      enum status status) {
    uint32_t opened = 0;
    struct registry_worker *worker = registry_find(&controller->registry, lease->worker_id);
    if (worker) {
        struct change change = begin_change(controller, worker, lease_model(&controller->registry, lease));
        guard_report(&change.guard, config_of(controller), ticket, status, clock_ms(), &controller->rng);
        opened = end_change(&change);
    }
    *ticket = (struct guard_ticket){0};
    return opened;
}

static void tick_worker(struct controller *controller, struct registry_worker *worker) {
    const struct breaker_config *config = config_of(controller);
    int64_t now_ms = clock_ms();
    if (breaker_tick(&worker->breaker, config, now_ms, &controller->rng))
        note_change(controller, worker, NULL, &worker->breaker);
    for (size_t i = 0; i < worker->info.model_count; i++)
        if (breaker_tick(&worker->models[i].breaker, config, now_ms, &controller->rng))
            note_change(controller, worker, worker->info.models[i].name, &worker->models[i].breaker);
    registry_note_breakers(worker, now_ms);
}

void breakers_tick(struct controller *controller) {
    for (size_t i = 0; i < controller->registry.count; i++)
        tick_worker(controller, controller->registry.workers[i]);
}

static unsigned long long failures_of(const struct breaker *breaker) {
    return breaker->outcomes[OUTCOME_WORKER_FAILURE] + breaker->outcomes[OUTCOME_MODEL_FAILURE];
}

/* The fields of one breaker, without braces. */
static void write_fields(struct buf *out, const struct breaker *breaker, int64_t now_ms) {
    buf_printf(out,
               "\"state\":\"%s\",\"failureCount\":%lld,\"openings\":%lld,\"remainingMs\":%lld,"
               "\"sharePercent\":%lld,",
               breaker_state_name(breaker->state), (long long)breaker_failures_in_row(breaker),
               (long long)breaker->opened, (long long)breaker_remaining_ms(breaker, now_ms),
               (long long)breaker_share(breaker, now_ms));
    buf_printf(out, "\"outcomes\":{\"success\":%llu,\"failure\":%llu,\"neutral\":%llu,\"late\":%llu},",
               (unsigned long long)breaker->outcomes[OUTCOME_SUCCESS], failures_of(breaker),
               (unsigned long long)breaker->outcomes[OUTCOME_NEUTRAL], (unsigned long long)breaker->late);
    if (breaker->last_failure == STATUS_OK)
        buf_append_str(out, "\"lastFailure\":null,\"lastFailureTime\":null");
    else
        buf_printf(out, "\"lastFailure\":\"%s\",\"lastFailureTime\":%lld", status_name(breaker->last_failure),
                   (long long)(clock_wall_ms() - (now_ms - breaker->last_failure_ms)));
}

/* What a worker's breakers come to: of its own and its models' the one that keeps most away, of equals that
 * with more failures. */
static const struct breaker *worst_of(const struct registry_worker *worker) {
    static const int severity[] = {[BREAKER_CLOSED] = 0,
                                   [BREAKER_FORCED_CLOSED] = 1,
                                   [BREAKER_HALF_OPEN] = 2,
                                   [BREAKER_OPEN] = 3,
                                   [BREAKER_FORCED_OPEN] = 4};
    const struct breaker *worst = &worker->breaker;
    for (size_t i = 0; i < worker->info.model_count; i++) {
        const struct breaker *breaker = &worker->models[i].breaker;
        int more = severity[breaker->state] - severity[worst->state];
        if (more > 0 || (more == 0 && breaker_failures_in_row(breaker) > breaker_failures_in_row(worst)))
            worst = breaker;
    }
    return worst;
}

/* What a worker's breakers come to: the worst one's state, the openings of all, the newest failure. */
static struct breaker combine(const struct registry_worker *worker) {
    struct breaker all = *worst_of(worker);
    all.opened = worker->breaker.opened;
    all.last_failure = worker->breaker.last_failure;
    all.last_failure_ms = worker->breaker.last_failure_ms;
    for (size_t i = 0; i < worker->info.model_count; i++) {
        const struct breaker *breaker = &worker->models[i].breaker;
        all.opened += breaker->opened;
        if (breaker->last_failure == STATUS_OK ||
            (all.last_failure != STATUS_OK && breaker->last_failure_ms < all.last_failure_ms))
            continue;
        all.last_failure = breaker->last_failure;
        all.last_failure_ms = breaker->last_failure_ms;
    }
    return all;
}

static void write_worker(struct buf *out, const struct registry_worker *worker, int64_t now_ms) {
    buf_append_json(out, worker->info.id, strlen(worker->info.id));
    buf_append_str(out, ":{");
    struct breaker all = combine(worker);
    write_fields(out, &all, now_ms);
    buf_append_str(out, ",\"worker\":{");
    write_fields(out, &worker->breaker, now_ms);
    buf_append_str(out, "},\"models\":{");
    for (size_t i = 0; i < worker->info.model_count; i++) {
        if (i)
            buf_append_char(out, ',');
        buf_append_json(out, worker->info.models[i].name, strlen(worker->info.models[i].name));
        buf_append_str(out, ":{");
        write_fields(out, &worker->models[i].breaker, now_ms);
        buf_append_char(out, '}');
    }
    buf_append_str(out, "}}");
}

void breakers_write(struct buf *out, const struct controller *controller) {
    buf_append_char(out, '{');
    for (size_t i = 0; i < controller->registry.count; i++) {
        if (i)
            buf_append_char(out, ',');
        write_worker(out, controller->registry.workers[i], clock_ms());
    }
    buf_append_char(out, '}');
}

void breakers_api_list(struct controller *controller, struct http_exchange *exchange,
                       const char *rest UNUSED) {
    struct buf body;
    buf_init(&body, 0);
    breakers_write(&body, controller);
    controller_reply_json(exchange, 200, &body);
}

enum action { ACTION_OPEN, ACTION_CLOSE, ACTION_RESET, ACTION_COUNT };

static enum action action_of(const char *name) {
    static const char *const names[ACTION_COUNT] = {"open", "close", "reset"};
    int action = 0;
    while (action < ACTION_COUNT && (!name || strcmp(names[action], name) != 0))
        action++;
    return (enum action)action;
}

static void act(struct controller *controller, struct registry_worker *worker, const char *model,
                struct breaker *breaker, enum action action) {
    if (action == ACTION_RESET)
        breaker_reset(breaker, clock_ms());
    else
        breaker_force(breaker, action == ACTION_OPEN ? BREAKER_FORCED_OPEN : BREAKER_FORCED_CLOSED);
    registry_note_breakers(worker, clock_ms());
    log_change(worker, model, breaker);
    peers_note_breaker(controller, breaker, true);
}

/* The worker's own and those of all its models. */
static void act_on_all(struct controller *controller, struct registry_worker *worker, enum action action) {
    act(controller, worker, NULL, &worker->breaker, action);
    for (size_t i = 0; i < worker->info.model_count; i++)
        act(controller, worker, worker->info.models[i].name, &worker->models[i].breaker, action);
}

/* `root` is the body: {"action":"open","model":"name"}; without a model all breakers of the worker are meant.
 */
static enum status set_breaker(struct controller *controller, const char *worker_id, const json_t *root,
                               struct error *error) {
    struct registry_worker *worker = registry_find(&controller->registry, worker_id);
    if (!worker)
        return error_set(error, STATUS_WORKER_NOT_FOUND, NULL, "the worker \"%s\" is not known here",
                         worker_id);
    enum action action = action_of(json_string_value(json_object_get(root, "action")));
    if (action == ACTION_COUNT)
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "action",
                         "the body must be {\"action\":\"open\"}, \"close\" or \"reset\"");
    const json_t *member = json_object_get(root, "model");
    if (member && !json_is_string(member))
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "model", "must be the name of a model");
    const char *name = json_string_value(member);
    struct worker_model *model = name ? worker_model_find(worker, name) : NULL;
    if (name && !model)
        return error_set(error, STATUS_MODEL_NOT_FOUND, "model", "worker %s does not serve the model \"%s\"",
                         worker_id, name);
    if (model)
        act(controller, worker, name, &model->breaker, action);
    else
        act_on_all(controller, worker, action);
    return STATUS_OK;
}

void breakers_api_set(struct controller *controller, struct http_exchange *exchange, const char *rest) {
    struct error error;
    size_t len;
    const char *body = http_body(exchange, &len);
    json_t *root = json_loadb(body, len, 0, NULL);
    enum status status = set_breaker(controller, rest, root, &error);
    json_decref(root);
    if (status == STATUS_OK)
        breakers_api_list(controller, exchange, "");
    else
        controller_reply_error(exchange, &error);
}
