/* Writes the text format that Prometheus reads (version 0.0.4): for each metric its head, then its samples.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * Names and texts are literals of ours. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "controller/latency.h"

#define PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* `type` is "counter", "gauge" or "histogram". */
void prometheus_head(struct buf *out, const char *name, const char *type, const char *help);
void prometheus_sample(struct buf *out, const char *name, uint64_t value);
void prometheus_labelled(struct buf *out, const char *name, const char *label, const char *label_value,
                         uint64_t value);
/* As prometheus_labelled, with a second label. */
void prometheus_labelled2(struct buf *out, const char *name, const char *label, const char *label_value,
                          const char *label2, const char *label2_value, uint64_t value);
/* A metric of one sample with its head. */
void prometheus_counter(struct buf *out, const char *name, const char *help, uint64_t value);
void prometheus_gauge(struct buf *out, const char *name, const char *help, uint64_t value);
/* The whole metric, in seconds: buckets are cumulative, the last one is +Inf. */
void prometheus_latency(struct buf *out, const char *name, const char *help, const struct latency *latency);
