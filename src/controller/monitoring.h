/* What people and their tools read about requests: records, metrics as JSON, metrics for Prometheus. Not for
 * other folders. */
#pragma once

#include "controller/controller_internal.h"

/* A view of the request as it is now; it points into the request and does not outlive it. */
void request_describe(struct request *request, struct record *out);

/* requests_api.c */
/* The record of a request under way, made in `view`, or of one that has ended; NULL when there is none. */
const struct record *requests_find(struct controller *controller, const char *id, struct record *view);
void requests_api_one(struct controller *controller, struct http_exchange *exchange, const char *rest);
void requests_api_list(struct controller *controller, struct http_exchange *exchange, const char *rest);

/* metrics.c */
void metrics_api_json(struct controller *controller, struct http_exchange *exchange, const char *rest);
void metrics_api_prometheus(struct controller *controller, struct http_exchange *exchange, const char *rest);

/* worker_metrics.c: appends metrics in Prometheus' format. */
void worker_metrics_expose(struct buf *out, const struct registry *registry);
