/* From URLs to handlers, and the one handler that makes requests. */
#include <string.h>

#include "base/log.h"
#include "controller/controller_internal.h"

void controller_http_error_body(const struct error *error, struct buf *out) {
    openai_write_error(out, error);
}

void controller_reply_error(struct http_exchange *exchange, const struct error *error) {
    struct buf body;
    buf_init(&body, 0);
    openai_write_error(&body, error);
    int status = status_http(error->status);
    if (status == 503)
        http_add_header(exchange, "Retry-After", "1");
    http_reply(exchange, status, "application/json", body.data ? body.data : "", body.len);
    buf_release(&body);
}

/* An error before a request exists. */
static void refuse(struct controller *controller, struct http_exchange *exchange, const struct error *error) {
    controller->stats.requests_refused++;
    log_info("request refused", F_STR("path", http_path(exchange)),
             F_STR("status", status_name(error->status)), F_STR("param", error->param));
    controller_reply_error(exchange, error);
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
    http_body_drop(exchange);
    struct request *request = request_begin(controller, exchange, &chat);
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
    {"GET", "/health", cluster_api_health},
    {"GET", "/health/ready", cluster_api_ready},
    {"GET", "/api/cluster/status", cluster_api_status},
    {"GET", "/api/cluster/workers", cluster_api_workers},
    {"GET", "/api/cluster/workers/", cluster_api_worker},
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
    refuse(controller, exchange, &error);
}
