#include "cli/ready_text.h"

#include <string.h>

#include "cli/port.h"

static void put_url(struct buf *out, const struct config *config) {
    const char *host = port_local_host(config->controller.host);
    bool is_v6 = strchr(host, ':') != NULL;
    buf_printf(out, "http://%s%s%s:%lld", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
               (long long)config->controller.port);
}

/* Inside single quotes of a shell. */
static void put_quoted(struct buf *out, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'')
            buf_append_str(out, "'\\''");
        else
            buf_append_char(out, text[i]);
    }
}

static void put_example(struct buf *out, const struct config *config, const char *model) {
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, "{\"model\":");
    buf_append_json(&body, model, strlen(model));
    buf_append_str(&body,
                   ",\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]}");
    buf_append_str(out, " | try: curl -s ");
    put_url(out, config);
    buf_append_str(out, "/v1/chat/completions -H 'Content-Type: application/json' -d '");
    put_quoted(out, body.data, body.len);
    buf_append_char(out, '\'');
    buf_release(&body);
}

static void put_models(struct buf *out, const struct cluster_view *view) {
    for (size_t i = 0; i < view->model_count; i++) {
        const struct cluster_view_model *model = &view->models[i];
        buf_printf(out, "%s%s", i == 0 ? " | models: " : ", ", model->name);
        if (model->workers_failed > 0)
            buf_printf(out, " (%d of %d workers could not load it)", model->workers_failed,
                       model->workers_failed + model->workers_ready + model->workers_on_demand);
        else if (model->workers_ready == 0 && model->workers_on_demand > 0)
            buf_append_str(out, " (loaded on demand)");
    }
}

static const char *first_usable(const struct cluster_view *view) {
    for (size_t i = 0; i < view->model_count; i++) {
        if (view->models[i].workers_ready > 0)
            return view->models[i].name;
    }
    for (size_t i = 0; i < view->model_count; i++) {
        if (view->models[i].workers_on_demand > 0)
            return view->models[i].name;
    }
    return NULL;
}

void ready_text_write(const struct config *config, const struct cluster_view *view, struct buf *out) {
    const char *model = first_usable(view);
    buf_append_str(out, "mlxd is ready: ");
    put_url(out, config);
    buf_append_str(out, "/v1");
    put_models(out, view);
    buf_printf(out, " | workers: %d", view->workers_ready);
    if (model)
        put_example(out, config, model);
    buf_append_char(out, '\n');
}
