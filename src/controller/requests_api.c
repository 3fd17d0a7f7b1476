/* GET /api/controller/requests and /api/controller/requests/ID. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "controller/monitoring.h"
#include "controller/peers.h"
#include "net/query.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

const struct record *requests_find(struct controller *controller, const char *id, struct record *view) {
    struct request *active = map_find(&controller->by_id, id);
    if (!active)
        return records_find(&controller->records, id);
    request_describe(active, view);
    return view;
}

void requests_api_one(struct controller *controller, struct http_exchange *exchange, const char *rest) {
    struct record view;
    const struct record *record = requests_find(controller, rest, &view);
    if (!record) {
        lookup_request(controller, exchange, rest);
        return;
    }
    struct buf body;
    buf_init(&body, 0);
    record_write(&body, record);
    controller_reply_json(exchange, 200, &body);
}

/* What the client wants to see; an empty string takes all. */
struct filter {
    char state[RECORD_STATE_CHARS]; /* also "active" and "ended" */
    char model[RECORD_MODEL_MAX + 1];
    char client_id[CLIENT_REQUEST_ID_MAX + 1];
    size_t limit;
};

static bool is_state(const char *text) {
    for (int s = 0; s < REQUEST_ENDED; s++)
        if (strcasecmp(text, request_state_name((enum request_state)s)) == 0)
            return true;
    for (int e = 0; e < REQUEST_END_COUNT; e++)
        if (strcmp(text, request_end_name((enum request_end)e)) == 0)
            return true;
    return strcmp(text, "active") == 0 || strcmp(text, "ended") == 0;
}

static enum status read_state(const char *value, struct filter *filter, struct error *error) {
    if (!is_state(value))
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "state",
                         "\"%s\" is no state; there are active, ended, sent, accepted, streaming, "
                         "backoff, succeeded, failed, cancelled, refused",
                         value);
    memccpy(filter->state, value, '\0', sizeof(filter->state) - 1);
    return STATUS_OK;
}

static enum status read_limit(const char *value, struct filter *filter, struct error *error) {
    char *end;
    bool digits = value[0] != '\0' && value[strspn(value, "0123456789")] == '\0';
    unsigned long limit = strtoul(value, &end, 10);
    if (!digits || limit < 1 || limit > LIMIT_MAX)
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, "limit",
                         "limit must be a number from 1 to %d", LIMIT_MAX);
    filter->limit = limit;
    return STATUS_OK;
}

static enum status read_text(const struct query_param *param, char *field, size_t max, struct error *error) {
    if (param->value[0] == '\0' || strlen(param->value) > max)
        return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, param->name,
                         "%s must have 1 to %zu characters", param->name, max);
    memccpy(field, param->value, '\0', max);
    return STATUS_OK;
}

static enum status read_param(const struct query_param *param, struct filter *filter, struct error *error) {
    if (strcmp(param->name, "state") == 0)
        return read_state(param->value, filter, error);
    if (strcmp(param->name, "limit") == 0)
        return read_limit(param->value, filter, error);
    if (strcmp(param->name, "model") == 0)
        return read_text(param, filter->model, RECORD_MODEL_MAX, error);
    if (strcmp(param->name, "clientRequestId") == 0)
        return read_text(param, filter->client_id, CLIENT_REQUEST_ID_MAX, error);
    return error_set(error, STATUS_REQUEST_VALIDATION_FAILED, param->name,
                     "there is no parameter \"%s\" here; there are state, model, clientRequestId, limit",
                     param->name);
}

static enum status read_filter(const char *query, struct filter *filter, struct error *error) {
    struct query_param param;
    *filter = (struct filter){.limit = LIMIT_DEFAULT};
    while (query_next(&query, &param, error))
        if (read_param(&param, filter, error) != STATUS_OK)
            return error->status;
    return error->status;
}

static bool fits_state(const struct filter *filter, const struct record *record) {
    char state[RECORD_STATE_CHARS];
    if (strcmp(filter->state, "active") == 0)
        return record->state != REQUEST_ENDED;
    if (strcmp(filter->state, "ended") == 0)
        return record->state == REQUEST_ENDED;
    record_state_name(record, state);
    return strcasecmp(filter->state, state) == 0;
}

static bool fits(const struct filter *filter, const struct record *record) {
    return (!filter->state[0] || fits_state(filter, record)) &&
           (!filter->model[0] || strcmp(filter->model, record->model) == 0) &&
           (!filter->client_id[0] || strcmp(filter->client_id, record->client_id) == 0);
}

/* Appends it if it is wanted; true when there are enough. */
static bool list_record(struct buf *out, const struct filter *filter, const struct record *record,
                        size_t *listed) {
    if (!fits(filter, record))
        return false;
    if ((*listed)++ > 0)
        buf_append_char(out, ',');
    record_write(out, record);
    return *listed == filter->limit;
}

/* Those under way by their start, then those that ended by their end, the newest first. */
static size_t list_records(struct controller *controller, const struct filter *filter, struct buf *out) {
    size_t listed = 0;
    struct request *request;
    TAILQ_FOREACH_REVERSE(request, &controller->active, request_list, link) {
        struct record view;
        request_describe(request, &view);
        if (list_record(out, filter, &view, &listed))
            return listed;
    }
    for (size_t i = 0; i < controller->records.count; i++)
        if (list_record(out, filter, records_at(&controller->records, i), &listed))
            return listed;
    return listed;
}

void requests_api_list(struct controller *controller, struct http_exchange *exchange,
                       const char *rest UNUSED) {
    struct filter filter;
    struct error error;
    if (read_filter(http_query(exchange), &filter, &error) != STATUS_OK) {
        controller_reply_error(exchange, &error);
        return;
    }
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, "{\"requests\":[");
    size_t listed = list_records(controller, &filter, &body);
    buf_printf(&body, "],\"count\":%zu,\"active\":%zu,\"kept\":%zu}", listed, controller->active_count,
               controller->records.count);
    controller_reply_json(exchange, 200, &body);
}
