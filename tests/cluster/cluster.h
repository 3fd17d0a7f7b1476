/* A whole cluster in one process: one controller or more and some workers with the fake engine on a bus in
 * memory, all loops on the test's thread; clients are threads that speak real HTTP over loopback. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "config/config.h"
#include "controller/controller.h"
#include "net/loop.h"
#include "net/transport.h"
#include "worker/worker.h"

enum { CLUSTER_WORKERS_MAX = 8, CLUSTER_CONTROLLERS_MAX = 3 };

struct cluster_worker {
    char id[16];
    struct transport *transport; /* NULL: not running */
    struct worker *worker;
    const char *system_root; /* see struct worker_env; set before the worker starts */
};

/* Another controller than the first one. */
struct cluster_controller {
    char id[16];
    struct transport *transport; /* NULL: not running */
    struct controller *controller;
    int port;
};

struct cluster {
    struct config config;
    struct loop *loop;
    struct memory_bus *bus;
    struct transport *transport; /* the controller's */
    struct controller *controller;
    struct cluster_worker workers[CLUSTER_WORKERS_MAX];
    int port;
    struct cluster_controller others[CLUSTER_CONTROLLERS_MAX - 1];
};

/* The configuration that cluster_start uses; change it in between. Fast timers, an instant engine. */
void cluster_init(struct cluster *cluster);
/* Starts them and runs until the controller knows all workers as ready. */
void cluster_start(struct cluster *cluster, size_t workers);
void cluster_stop(struct cluster *cluster);

void cluster_start_worker(struct cluster *cluster, size_t index);
/* As SIGKILL: gone without a word. */
void cluster_kill_worker(struct cluster *cluster, size_t index);

/* One more, "other-1" or "other-2". */
void cluster_start_controller(struct cluster *cluster, size_t index);
/* In good order. */
void cluster_end_controller(struct cluster *cluster, size_t index);
/* As SIGKILL. */
void cluster_kill_controller(struct cluster *cluster, size_t index);

/* Runs the loop until `done(arg)`; fails the test after `limit_ms`. */
void cluster_run_until(struct cluster *cluster, bool (*done)(void *arg), void *arg, int64_t limit_ms);

/* A call by a client thread. */
struct call {
    /* in */
    struct cluster *cluster;
    const char *method;
    const char *path;
    const char *body;         /* NULL: none */
    size_t leave_after_bytes; /* > 0: the client leaves after that much of the reply */
    const char *headers;      /* more of them, each with its line break; or NULL */
    atomic_bool leave;        /* set at any time: the client leaves when the next part of the reply comes */
    int port;                 /* of another controller; 0: of the first one */
    /* out */
    int status;  /* 0: no reply */
    char *reply; /* the body, chunks joined; NUL-terminated; freed by call_release */
    char *head;
    bool done;
    pthread_t thread;
};
/* Set `leave_after_bytes`, `headers` and `port` before; the rest is cleared. */
void call_begin(struct call *call, struct cluster *cluster, const char *method, const char *path,
                const char *body);
/* Runs the loop until all calls are done. */
void call_finish(struct call *calls, size_t count);
void call_release(struct call *call);
/* One call from begin to end. */
struct call cluster_call(struct cluster *cluster, const char *method, const char *path, const char *body);

/* The same of another controller. */
struct call cluster_call_at(struct cluster *cluster, int port, const char *method, const char *path,
                            const char *body);

/* The number behind `"key":` in a JSON text, or -1. */
long long json_number(const char *json, const char *key);
/* The text of a reply: message.content, or the joined deltas of a stream. Freed by the caller. */
char *reply_text(const char *body);

/* Until GET of the path, at the first controller, has the text in its reply; fails the test after limit_ms.
 */
void cluster_wait_text(struct cluster *cluster, const char *path, const char *text, int64_t limit_ms);
/* Nothing is under way any more and nothing impossible has happened; then as cluster_stop. */
void cluster_stop_idle(struct cluster *cluster);
