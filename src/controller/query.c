#include "controller/query.h"

#include <stdlib.h>
#include <string.h>

static void free_query(struct query *query) {
    TAILQ_REMOVE(&query->controller->queries, query, link);
    loop_timer_release(&query->timer);
    free(query);
}

void query_give_up(struct query *query) {
    query->answer(query, NULL);
    free_query(query);
}

static void on_timer(void *arg) {
    query_give_up(arg);
}

static void on_client_gone(void *arg) {
    free_query(arg);
}

struct query *query_new(struct controller *controller, struct http_exchange *exchange,
                        query_answer_fn *answer, const char *about) {
    struct query *query = strlen(about) <= WIRE_LOOKUP_ID_MAX ? calloc(1, sizeof(*query)) : NULL;
    if (!query || !loop_timer_init(&query->timer, controller->loop, on_timer, query)) {
        struct error error;
        free(query);
        error_set(&error, STATUS_INTERNAL_ERROR, NULL, "out of memory");
        controller_reply_error(exchange, &error);
        return NULL;
    }
    query->controller = controller;
    query->exchange = exchange;
    query->answer = answer;
    query->ticket = ++controller->tickets;
    memcpy(query->about, about, strlen(about) + 1);
    TAILQ_INSERT_TAIL(&controller->queries, query, link);
    return query;
}

void query_subject(const struct query *query, char *out) {
    wire_subject_control_reply(out, query->controller->id, query->ticket);
}

void query_wait(struct query *query) {
    http_on_close(query->exchange, on_client_gone, query);
    loop_timer_arm(&query->timer, QUERY_WAIT_MS);
}

void query_take_answer(struct controller *controller, uint64_t ticket,
                       const struct transport_message *message) {
    struct query *query;
    TAILQ_FOREACH(query, &controller->queries, link) {
        if (query->ticket == ticket)
            break;
    }
    if (query && query->answer(query, message))
        free_query(query);
}

void query_release_all(struct controller *controller) {
    struct query *next;
    for (struct query *query = TAILQ_FIRST(&controller->queries); query; query = next) {
        next = TAILQ_NEXT(query, link);
        query_give_up(query);
    }
}
