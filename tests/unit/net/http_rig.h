/* An HTTP server and its clients on one thread: every function that waits runs the server's loop meanwhile.
 *
 * Paths: /echo answers at once with "<method> <path> <query> <body>"; /hold leaves the exchange open and puts
 * it into rig.held; everything else is answered with 404. */
#pragma once

#include "net/http.h"

enum { RIG_HELD_MAX = 16 };

struct rig {
    struct loop *loop;
    struct http_options options; /* set by rig_defaults; change before rig_start */
    struct http_server *server;
    struct http_exchange *held[RIG_HELD_MAX];
    size_t held_count;
    int closed; /* calls of on_close */
};
extern struct rig rig;

void rig_defaults(void);
void rig_start(void);
void rig_stop(void);
struct http_stats rig_stats(void);

/* Runs the loop until the condition holds; fails the test when it does not come true. */
#define RIG_UNTIL(condition)                            \
    do {                                                \
        int64_t rig_until_ = rig_deadline();            \
        while (!(condition))                            \
            rig_turn(rig_until_, #condition, __LINE__); \
    } while (0)
int64_t rig_deadline(void);
void rig_turn(int64_t until_ms, const char *what, int line);

int rig_connect(void);
/* Sends all, unless the server closes first; returns what was taken. */
size_t rig_send_bytes(int fd, const void *data, size_t len);
void rig_send(int fd, const char *text);
/* Adds what there is to `in`; true at the end (or a reset, noted in *reset when not NULL). */
bool rig_receive(int fd, struct buf *in, bool *reset);
/* Until `in` holds `text` `times` times. */
void rig_expect(int fd, struct buf *in, const char *text, size_t times);
/* Sends `text` on a new connection and returns all that comes until the server closes. The caller frees. */
char *rig_talk(const char *text);
/* Closes with a reset. */
void rig_reset(int fd);
