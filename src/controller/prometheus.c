#include "controller/prometheus.h"

void prometheus_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void prometheus_sample(struct buf *out, const char *name, uint64_t value) {
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

/* Others choose the names of models. */
static void append_label(struct buf *out, const char *label, const char *value) {
    buf_printf(out, "%s=\"", label);
    for (; *value; value++) {
        if (*value == '\n') {
            buf_append_str(out, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\')
            buf_append_char(out, '\\');
        buf_append_char(out, *value);
    }
    buf_append_char(out, '"');
}

void prometheus_labelled(struct buf *out, const char *name, const char *label, const char *label_value,
                         uint64_t value) {
    buf_printf(out, "%s{", name);
    append_label(out, label, label_value);
    buf_printf(out, "} %llu\n", (unsigned long long)value);
}

void prometheus_labelled2(struct buf *out, const char *name, const char *label, const char *label_value,
                          const char *label2, const char *label2_value, uint64_t value) {
    buf_printf(out, "%s{", name);
    append_label(out, label, label_value);
    buf_append_char(out, ',');
    append_label(out, label2, label2_value);
    buf_printf(out, "} %llu\n", (unsigned long long)value);
}

void prometheus_counter(struct buf *out, const char *name, const char *help, uint64_t value) {
    prometheus_head(out, name, "counter", help);
    prometheus_sample(out, name, value);
}

void prometheus_gauge(struct buf *out, const char *name, const char *help, uint64_t value) {
    prometheus_head(out, name, "gauge", help);
    prometheus_sample(out, name, value);
}

void prometheus_latency(struct buf *out, const char *name, const char *help, const struct latency *latency) {
    prometheus_head(out, name, "histogram", help);
    uint64_t count = 0;
    for (int i = 0; i < LATENCY_BOUNDS; i++) {
        count += latency->counts[i];
        buf_printf(out, "%s_bucket{le=\"%g\"} %llu\n", name, (double)latency_bounds_us[i] / 1e6,
                   (unsigned long long)count);
    }
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)latency->us.total);
    buf_printf(out, "%s_sum %.6f\n", name, (double)latency->us.sum / 1e6);
    buf_printf(out, "%s_count %llu\n", name, (unsigned long long)latency->us.total);
}
