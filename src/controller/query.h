/* Questions that a call of the API needs answered by others, over NATS, before it can be answered itself. A
 * query waits for QUERY_WAIT_MS at most; its answers come to a subject with its ticket. On the loop thread.
 * Not for other folders. */
#pragma once

#include "controller/controller_internal.h"

enum { QUERY_WAIT_MS = 500 };

struct query;
/* An answer came; NULL: no more will. Answers the exchange and returns true, or returns false to go on
 * waiting, which it may not when `message` is NULL. */
typedef bool query_answer_fn(struct query *query, const struct transport_message *message);

struct query {
    TAILQ_ENTRY(query) link;
    struct controller *controller;
    struct http_exchange *exchange;
    query_answer_fn *answer;
    char about[WIRE_LOOKUP_ID_MAX + 1]; /* the id of what is asked for */
    size_t missing;                     /* answers that may still come; for its `answer` alone */
    uint64_t ticket;
    struct loop_timer timer;
};

/* NULL when memory is out or `about` is too long: the exchange has been answered. */
struct query *query_new(struct controller *controller, struct http_exchange *exchange,
                        query_answer_fn *answer, const char *about);
/* Where answers to it go, WIRE_SUBJECT_MAX bytes. */
void query_subject(const struct query *query, char *out);
/* It was sent: waits. */
void query_wait(struct query *query);
/* Nobody could be asked: answers at once. */
void query_give_up(struct query *query);

/* An answer to the query with this ticket, if there is one. */
void query_take_answer(struct controller *controller, uint64_t ticket,
                       const struct transport_message *message);
/* Answers all. */
void query_release_all(struct controller *controller);
