#include "cluster.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

enum { START_LIMIT_MS = 10000, CALL_LIMIT_MS = 30000, READ_MAX = 4 * 1024 * 1024 };

static void set_string(char **field, const char *value) {
    free(*field);
    *field = strdup(value);
}

void cluster_init(struct cluster *cluster) {
    *cluster = (struct cluster){0};
    log_setup(LOG_ERROR, "test");
    struct config *config = &cluster->config;
    config_init(config);
    set_string(&config->controller.host, "127.0.0.1");
    config->controller.port = 0;
    config->discovery.heartbeat_interval_ms = 100;
    config->controller.worker_offline_timeout_ms = 1500;
    config->worker.engine = ENGINE_KIND_FAKE;
    config->worker.fake_step_us = 0;
    config->worker.fake_prompt_token_us = 0;
    config->worker.fake_reply_tokens = 24;
    config->models[0].name = strdup("fake");
    config->models[0].path = strdup("fake.gguf");
    config->model_count = 1;
}

void cluster_start_worker(struct cluster *cluster, size_t index) {
    struct cluster_worker *slot = &cluster->workers[index];
    struct error error = {0};
    snprintf(slot->id, sizeof(slot->id), "worker-%zu", index + 1);
    slot->transport = transport_memory_open(cluster->bus, cluster->loop);
    assert_non_null(slot->transport);
    struct worker_env env = {.config = &cluster->config,
                             .id = slot->id,
                             .loop = cluster->loop,
                             .transport = slot->transport,
                             .engine_ops = &engine_fake_ops,
                             .system_root = slot->system_root};
    slot->worker = worker_new(&env, &error);
    if (!slot->worker)
        fail_msg("worker: %s", error.message);
    worker_start(slot->worker, NULL, NULL);
}

void cluster_kill_worker(struct cluster *cluster, size_t index) {
    struct cluster_worker *slot = &cluster->workers[index];
    transport_memory_set_link(slot->transport, false);
    worker_free(slot->worker);
    transport_close(slot->transport);
    slot->worker = NULL;
    slot->transport = NULL;
}

void cluster_start_controller(struct cluster *cluster, size_t index) {
    struct cluster_controller *slot = &cluster->others[index];
    struct error error = {0};
    snprintf(slot->id, sizeof(slot->id), "other-%zu", index + 1);
    slot->transport = transport_memory_open(cluster->bus, cluster->loop);
    assert_non_null(slot->transport);
    struct controller_env env = {
        .config = &cluster->config, .id = slot->id, .loop = cluster->loop, .transport = slot->transport};
    slot->controller = controller_new(&env, &error);
    if (!slot->controller)
        fail_msg("controller: %s", error.message);
    slot->port = controller_port(slot->controller);
}

void cluster_end_controller(struct cluster *cluster, size_t index) {
    struct cluster_controller *slot = &cluster->others[index];
    controller_free(slot->controller);
    transport_close(slot->transport);
    *slot = (struct cluster_controller){0};
}

void cluster_kill_controller(struct cluster *cluster, size_t index) {
    transport_memory_set_link(cluster->others[index].transport, false);
    cluster_end_controller(cluster, index);
}

void cluster_run_until(struct cluster *cluster, bool (*done)(void *arg), void *arg, int64_t limit_ms) {
    int64_t end_ms = clock_ms() + limit_ms;
    while (!done(arg)) {
        if (clock_ms() > end_ms)
            fail_msg("what was waited for did not happen in %lld ms", (long long)limit_ms);
        loop_run_once(cluster->loop, 5);
    }
}

void cluster_start(struct cluster *cluster, size_t workers) {
    struct error error = {0};
    cluster->loop = loop_new();
    cluster->bus = memory_bus_new();
    cluster->transport = transport_memory_open(cluster->bus, cluster->loop);
    assert_non_null(cluster->transport);
    struct controller_env env = {
        .config = &cluster->config, .id = "test", .loop = cluster->loop, .transport = cluster->transport};
    cluster->controller = controller_new(&env, &error);
    if (!cluster->controller)
        fail_msg("controller: %s", error.message);
    cluster->port = controller_port(cluster->controller);
    for (size_t i = 0; i < workers; i++)
        cluster_start_worker(cluster, i);
    for (int64_t end_ms = clock_ms() + START_LIMIT_MS;;) {
        struct call call = cluster_call(cluster, "GET", "/api/cluster/status", NULL);
        char wanted[32];
        snprintf(wanted, sizeof(wanted), "\"ready\":%zu", workers);
        bool ready = call.reply && strstr(call.reply, wanted);
        call_release(&call);
        if (ready)
            return;
        if (clock_ms() > end_ms)
            fail_msg("the workers did not become ready");
        loop_run_once(cluster->loop, 10);
    }
}

void cluster_stop(struct cluster *cluster) {
    for (size_t i = 0; i < CLUSTER_WORKERS_MAX; i++) {
        worker_free(cluster->workers[i].worker);
        transport_close(cluster->workers[i].transport);
    }
    for (size_t i = 0; i < CLUSTER_CONTROLLERS_MAX - 1; i++) {
        controller_free(cluster->others[i].controller);
        transport_close(cluster->others[i].transport);
    }
    controller_free(cluster->controller);
    transport_close(cluster->transport);
    memory_bus_free(cluster->bus);
    loop_free(cluster->loop);
    config_release(&cluster->config);
}

/* Clients. */

static int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void send_request(int fd, const struct call *call) {
    struct buf out;
    buf_init(&out, 0);
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", call->method, call->path);
    if (call->body)
        buf_printf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(call->body));
    buf_append_str(&out, call->headers ? call->headers : "");
    buf_append_str(&out, "\r\n");
    if (call->body)
        buf_append_str(&out, call->body);
    for (size_t sent = 0; sent < out.len;) {
        ssize_t n = send(fd, out.data + sent, out.len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    buf_release(&out);
}

static char *join_chunks(const char *body, size_t len) {
    struct buf out;
    buf_init(&out, 0);
    buf_append_str(&out, "");
    for (const char *at = body; at < body + len;) {
        char *data;
        size_t size = strtoul(at, &data, 16);
        if (size == 0 || data + 2 + size > body + len)
            break;
        buf_append(&out, data + 2, size);
        at = data + 2 + size + 2;
    }
    return buf_take(&out);
}

static void take_reply(struct call *call, struct buf *in) {
    char *end = in->data ? strstr(in->data, "\r\n\r\n") : NULL;
    if (!end)
        return;
    call->head = strndup(in->data, (size_t)(end - in->data) + 2);
    call->status = (int)strtol(in->data + 9, NULL, 10);
    size_t len = in->len - (size_t)(end + 4 - in->data);
    bool chunked = strcasestr(call->head, "transfer-encoding: chunked") != NULL;
    call->reply = chunked ? join_chunks(end + 4, len) : strndup(end + 4, len);
}

static void mark_done(void *arg) {
    ((struct call *)arg)->done = true;
}

static void *run_call(void *arg) {
    struct call *call = arg;
    struct buf in;
    buf_init(&in, READ_MAX);
    int fd = connect_to(call->port ? call->port : call->cluster->port);
    if (fd >= 0) {
        send_request(fd, call);
        char bytes[4096];
        ssize_t n;
        while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
            buf_append(&in, bytes, (size_t)n);
            if (call->leave || (call->leave_after_bytes && in.len >= call->leave_after_bytes))
                break;
        }
        close(fd);
    }
    take_reply(call, &in);
    buf_release(&in);
    while (!loop_post(call->cluster->loop, mark_done, call))
        clock_sleep_us(1000);
    return NULL;
}

void call_begin(struct call *call, struct cluster *cluster, const char *method, const char *path,
                const char *body) {
    size_t leave_after_bytes = call->leave_after_bytes;
    const char *headers = call->headers;
    int port = call->port;
    *call = (struct call){.cluster = cluster,
                          .method = method,
                          .path = path,
                          .body = body,
                          .leave_after_bytes = leave_after_bytes,
                          .headers = headers,
                          .port = port};
    assert_int_equal(pthread_create(&call->thread, NULL, run_call, call), 0);
}

struct call_list {
    struct call *calls;
    size_t count;
};

static bool all_done(void *arg) {
    struct call_list *list = arg;
    for (size_t i = 0; i < list->count; i++)
        if (!list->calls[i].done)
            return false;
    return true;
}

void call_finish(struct call *calls, size_t count) {
    struct call_list list = {calls, count};
    cluster_run_until(calls[0].cluster, all_done, &list, CALL_LIMIT_MS);
    for (size_t i = 0; i < count; i++)
        pthread_join(calls[i].thread, NULL);
}

void call_release(struct call *call) {
    free(call->reply);
    free(call->head);
    call->reply = call->head = NULL;
}

struct call cluster_call_at(struct cluster *cluster, int port, const char *method, const char *path,
                            const char *body) {
    struct call *call = calloc(1, sizeof(*call));
    call->port = port;
    call_begin(call, cluster, method, path, body);
    call_finish(call, 1);
    struct call result = *call;
    free(call);
    return result;
}

struct call cluster_call(struct cluster *cluster, const char *method, const char *path, const char *body) {
    return cluster_call_at(cluster, 0, method, path, body);
}

long long json_number(const char *json, const char *key) {
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "\"%s\":", key);
    const char *at = json ? strstr(json, wanted) : NULL;
    return at ? strtoll(at + strlen(wanted), NULL, 10) : -1;
}

static void append_content(struct buf *out, const char *json, size_t len, const char *inner) {
    json_t *root = json_loadb(json, len, 0, NULL);
    json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const char *text = json_string_value(json_object_get(json_object_get(choice, inner), "content"));
    if (text)
        buf_append_str(out, text);
    json_decref(root);
}

char *reply_text(const char *body) {
    struct buf out;
    buf_init(&out, 0);
    buf_append_str(&out, "");
    if (body[0] == '{')
        append_content(&out, body, strlen(body), "message");
    for (const char *at = body; body[0] != '{' && (at = strstr(at, "data: {"));) {
        const char *end = strstr(at, "\n\n");
        if (!end)
            break;
        append_content(&out, at + 6, (size_t)(end - at) - 6, "delta");
        at = end;
    }
    return buf_take(&out);
}

struct wanted_text {
    struct cluster *cluster;
    const char *path;
    const char *text;
};

static bool is_told(void *arg) {
    const struct wanted_text *wanted = arg;
    struct call call = cluster_call(wanted->cluster, "GET", wanted->path, NULL);
    bool told = call.reply && strstr(call.reply, wanted->text);
    call_release(&call);
    return told;
}

void cluster_wait_text(struct cluster *cluster, const char *path, const char *text, int64_t limit_ms) {
    struct wanted_text wanted = {cluster, path, text};
    cluster_run_until(cluster, is_told, &wanted, limit_ms);
}

void cluster_stop_idle(struct cluster *cluster) {
    struct call call = cluster_call(cluster, "GET", "/api/cluster/status", NULL);
    assert_int_equal(json_number(call.reply, "impossibleEvents"), 0);
    assert_int_equal(json_number(call.reply, "active"), 0);
    call_release(&call);
    cluster_stop(cluster);
}
