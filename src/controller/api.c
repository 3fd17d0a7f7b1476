/* From URLs to handlers, and the one handler that makes requests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/breakers.h"
#include "controller/monitoring.h"
#include "controller/peers.h"

void controller_http_error_body(const struct error *error, struct buf *out) {
    openai_write_error(out, error, NULL);
}

/* In both forms that clients know: whole seconds, rounded up, and milliseconds. */
static void add_retry_after(struct http_exchange *exchange, int64_t ms) {
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)((ms + 999) / 1000));
    http_add_header(exchange, "Retry-After", text);
    snprintf(text, sizeof(text), "%lld", (long long)ms);
    http_add_header(exchange, "retry-after-ms", text);
}

void controller_reply_error_with(struct http_exchange *exchange, const struct error *error,
                                 const struct buf *context, int64_t retry_after_ms) {
    struct buf body;
    buf_init(&body, 0);
    openai_write_error(&body, error, context);
    if (retry_after_ms > 0)
        add_retry_after(exchange, retry_after_ms);
    http_reply(exchange, status_http(error->status), "application/json", body.data ? body.data : "",
               body.len);
    buf_release(&body);
}

void controller_reply_error(struct http_exchange *exchange, const struct error *error) {
    controller_reply_error_with(exchange, error, NULL,
                                status_http(error->status) == 503 ? RETRY_AFTER_MIN_S * 1000 : 0);
}

void controller_reply_json(struct http_exchange *exchange, int status, struct buf *body) {
    http_reply(exchange, status, "application/json", body->data ? body->data : "{}",
               body->data ? body->len : 2);
    buf_release(body);
}

void controller_reply_not_found(struct http_exchange *exchange, enum status status, const char *what,
                                const char *id) {
    struct error error;
    error_set(&error, status, NULL, "%s \"%s\" is not known here", what, id);
    controller_reply_error(exchange, &error);
}

const char *controller_client_id(const struct http_exchange *exchange) {
    const char *id = http_header(exchange, "X-Request-Id");
    return id && wire_is_token(id, CLIENT_REQUEST_ID_MAX) ? id : NULL;
}

/* When another controller, or this one after its restart, will be there. */
static int64_t drain_left_ms(const struct controller *controller) {
    int64_t left_ms = controller->drain_end_ms - clock_ms();
    int64_t least_ms = RETRY_AFTER_MIN_S * 1000, most_ms = RETRY_AFTER_MAX_S * 1000;
    return left_ms < least_ms ? least_ms : left_ms > most_ms ? most_ms : left_ms;
}

static void log_refusal(struct http_exchange *exchange, const struct error *error) {
    log_info("request refused", F_STR("path", http_path(exchange)),
             F_STR("status", status_name(error->status)), F_STR("param", error->param));
    const char *client_id = controller_client_id(exchange);
    if (client_id)
        http_add_header(exchange, "X-Request-Id", client_id);
}

/* A call that cannot be done, of any kind. */
static void refuse_call(struct http_exchange *exchange, const struct error *error) {
    log_refusal(exchange, error);
    controller_reply_error(exchange, error);
}

/* An error before a request exists. */
static void refuse(struct controller *controller, struct http_exchange *exchange, const struct error *error) {
    controller->stats.requests_ended[REQUEST_REFUSED]++;
    controller->stats.errors[error->status]++;
    if (error->status == STATUS_CONTROLLER_DRAINING) {
        log_refusal(exchange, error);
        controller_reply_error_with(exchange, error, NULL, drain_left_ms(controller));
    } else {
        refuse_call(exchange, error);
    }
}

static bool may_begin(const struct controller *controller, struct error *error) {
    if (controller->draining) {
        error_set(error, STATUS_CONTROLLER_DRAINING, NULL, "the controller is about to stop");
        return false;
    }
    if (controller->active_count >= (size_t)controller->config->controller.max_requests) {
        error_set(error, STATUS_CONTROLLER_OVERLOADED, NULL,
                  "%zu requests are under way, the maximum (cluster.controller.max_requests)",
                  controller->active_count);
        return false;
    }
    return true;
}

static enum status check_poison(struct controller *controller, const struct chat_request *chat,
                                struct error *error) {
    if (!poison_has(&controller->poison, chat->model, chat->messages_json, clock_ms()))
        return STATUS_OK;
    return error_set(error, STATUS_POISON_REQUEST, NULL,
                     "two workers died while they ran this request; it is refused for %d minutes",
                     POISON_TTL_MS / 60000);
}

/* The body's session wins over the header's. */
static enum status read_session(struct chat_request *chat, const struct http_exchange *exchange,
                                struct error *error) {
    const char *header = http_header(exchange, "X-Session-Id");
    if (!chat->session_id && header)
        chat->session_id = strdup(header);
    if (!chat->session_id || session_id_is_valid(chat->session_id))
        return STATUS_OK;
    return error_set(error, STATUS_INVALID_SESSION_ID, "session_id",
                     "a session id has 1 to %d characters of A-Z a-z 0-9 _ . : -", CHAT_SESSION_ID_MAX);
}

static enum status read_skills(struct chat_request *chat, const struct http_exchange *exchange,
                               struct error *error) {
    const char *header = http_header(exchange, "X-Required-Skills");
    return header ? openai_read_skills_header(header, chat, error) : STATUS_OK;
}

/* A client may ask for less time than is configured, not for more. */
static enum status read_time_limit(const struct controller *controller, const struct http_exchange *exchange,
                                   bool stream, int64_t *limit_ms, struct error *error) {
    const char *text = http_header(exchange, "X-Request-Timeout-Ms");
    int64_t most_ms =
        stream ? controller->config->routing.streaming_timeout_ms : controller->config->routing.timeout_ms;
    *limit_ms = most_ms;
    if (!text)
        return STATUS_OK;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 12 || text[digits] != '\0' || strtoll(text, NULL, 10) == 0)
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "X-Request-Timeout-Ms",
                         "the header X-Request-Timeout-Ms must be a whole number of milliseconds from 1 on; "
                         "what is over %lld counts as that",
                         (long long)most_ms);
    int64_t asked_ms = strtoll(text, NULL, 10);
    *limit_ms = asked_ms < most_ms ? asked_ms : most_ms;
    return STATUS_OK;
}

static void chat_completions(struct controller *controller, struct http_exchange *exchange,
                             const char *rest UNUSED) {
    struct error error;
    struct chat_request chat;
    size_t len;
    const char *body = http_body(exchange, &len);
    controller->stats.requests_total++;
    if (!may_begin(controller, &error) ||
        openai_read_chat(body, len, rng_next(&controller->rng), &chat, &error) != STATUS_OK) {
        refuse(controller, exchange, &error);
        return;
    }
    int64_t limit_ms;
    if (read_session(&chat, exchange, &error) != STATUS_OK ||
        read_skills(&chat, exchange, &error) != STATUS_OK ||
        read_time_limit(controller, exchange, chat.stream, &limit_ms, &error) != STATUS_OK ||
        check_poison(controller, &chat, &error) != STATUS_OK) {
        chat_request_release(&chat);
        refuse(controller, exchange, &error);
        return;
    }
    http_body_drop(exchange);
    struct request *request = request_begin(controller, exchange, &chat, limit_ms);
    if (!request) {
        chat_request_release(&chat);
        error_set(&error, STATUS_INTERNAL_ERROR, NULL, "out of memory");
        refuse(controller, exchange, &error);
        return;
    }
    request_dispatch(request, EVENT_START);
}

struct route {
    const char *method;
    const char *path; /* one that ends in '/' takes a last part, which is passed as `rest` */
    void (*handle)(struct controller *controller, struct http_exchange *exchange, const char *rest);
};

static const struct route routes[] = {
    {"POST", "/v1/chat/completions", chat_completions},
    {"GET", "/v1/models", cluster_api_models},
    {"GET", "/v1/models/", cluster_api_model},
    {"DELETE", "/api/sessions/", lookup_drop_session},
    {"GET", "/health", cluster_api_health},
    {"GET", "/health/ready", cluster_api_ready},
    {"GET", "/api/cluster/status", cluster_api_status},
    {"GET", "/api/cluster/workers", cluster_api_workers},
    {"GET", "/api/cluster/workers/", cluster_api_worker},
    {"POST", "/api/cluster/workers/", cluster_api_tell},
    {"GET", "/api/controller/metrics", metrics_api_json},
    {"GET", "/api/controller/circuit-breakers", breakers_api_list},
    {"POST", "/api/controller/circuit-breakers/", breakers_api_set},
    {"GET", "/api/controller/requests", requests_api_list},
    {"GET", "/api/controller/requests/", requests_api_one},
    {"GET", "/metrics", metrics_api_prometheus},
};

/* What follows the route's path, "" for an exact match, NULL for none. */
static const char *match(const struct route *route, const char *path) {
    size_t len = strlen(route->path);
    if (strncmp(route->path, path, len) != 0)
        return NULL;
    bool takes_rest = route->path[len - 1] == '/';
    return takes_rest == (path[len] != '\0') ? path + len : NULL;
}

static bool method_fits(const char *wanted, const char *method) {
    return strcmp(wanted, method) == 0 || (strcmp(wanted, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

void controller_handle_http(struct http_exchange *exchange, void *arg) {
    struct controller *controller = arg;
    const struct route *other_method = NULL;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const char *rest = match(&routes[i], http_path(exchange));
        if (!rest)
            continue;
        if (method_fits(routes[i].method, http_method(exchange))) {
            routes[i].handle(controller, exchange, rest);
            return;
        }
        other_method = &routes[i];
    }
    struct error error;
    if (other_method) {
        http_add_header(exchange, "Allow", other_method->method);
        error_set(&error, STATUS_METHOD_NOT_ALLOWED, NULL, "%s takes %s, not %s", http_path(exchange),
                  other_method->method, http_method(exchange));
    } else {
        error_set(&error, STATUS_ROUTE_NOT_FOUND, NULL, "there is nothing at %s %s", http_method(exchange),
                  http_path(exchange));
    }
    refuse_call(exchange, &error);
}
