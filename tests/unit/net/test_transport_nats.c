/* Against a real nats-server, a child of this test on a free port of the loopback. */
#include "net/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#include <cmocka.h>

enum { WAIT_MS_MAX = 15000, WRITE_DEADLINE_MS = 300 };

static pid_t server;
static int port;
static char url[64];
static struct loop *loop;
static struct transport *a;
static struct transport *b;

struct seen {
    char log[1024];
    size_t count;
};
static struct seen at_a;
static struct seen at_b;
static char links[16];

static struct sockaddr_in loopback(int at_port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)at_port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int free_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static bool accepts_connections(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    bool accepts = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return accepts;
}

static void be_nats_server(void) {
    char text[16];
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(text, sizeof text, "%d", port);
    execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", text, "--user", "me", "--pass", "secret",
           (char *)NULL);
    _exit(127);
}

static void start_server(void) {
    server = fork();
    assert_true(server >= 0);
    if (server == 0)
        be_nats_server();
    int64_t until = clock_ms() + WAIT_MS_MAX;
    while (!accepts_connections()) {
        assert_true(clock_ms() < until);
        assert_int_equal(waitpid(server, NULL, WNOHANG), 0);
        clock_sleep_us(2000);
    }
}

static void kill_server(void) {
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

static int group_setup(void **state) {
    (void)state;
    port = free_port();
    snprintf(url, sizeof url, "nats://me:secret@127.0.0.1:%d", port);
    start_server();
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    kill_server();
    return 0;
}

static struct transport *open_transport(const char *at, int64_t wait_ms, size_t mailbox,
                                        struct error *error) {
    struct nats_options options = {.url = at,
                                   .name = "test",
                                   .connect_wait_ms = wait_ms,
                                   .write_deadline_ms = WRITE_DEADLINE_MS,
                                   .mailbox_messages = mailbox};
    return transport_nats_open(&options, loop, error);
}

static int setup(void **state) {
    (void)state;
    at_a = at_b = (struct seen){0};
    links[0] = '\0';
    loop = loop_new();
    a = open_transport(url, 5000, 65536, NULL);
    b = open_transport(url, 5000, 65536, NULL);
    return a && b ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    transport_close(a);
    transport_close(b);
    loop_free(loop);
    return 0;
}

static void see(const struct transport_message *message, void *arg) {
    struct seen *seen = arg;
    size_t len = strlen(seen->log);
    if (message->len < 32)
        snprintf(seen->log + len, sizeof seen->log - len, "%s%s=%.*s;", message->no_responders ? "!" : "",
                 message->subject, (int)message->len, message->data);
    seen->count++;
}

static void see_link(bool up, void *arg) {
    (void)arg;
    strncat(links, up ? "u" : "d", sizeof links - strlen(links) - 1);
}

/* Runs the loop until the condition holds; fails the test when it does not come true. */
#define RUN_UNTIL(condition)                       \
    do {                                           \
        int64_t until_ = clock_ms() + WAIT_MS_MAX; \
        while (!(condition)) {                     \
            assert_true(clock_ms() < until_);      \
            loop_run_once(loop, 20);               \
        }                                          \
    } while (0)

static enum status publish(struct transport *transport, const char *subject, const char *text) {
    return transport_publish(transport, subject, NULL, text, strlen(text));
}

/* A subscription is known to the server once a message of another connection has come through it. */
static void listen_at(struct transport *transport, const char *subject, struct seen *seen) {
    assert_int_equal(transport_subscribe(transport, subject, see, seen), STATUS_OK);
    struct transport *other = transport == a ? b : a;
    char probe[64];
    snprintf(probe, sizeof probe, "%.*sprobe", (int)strcspn(subject, "*>"), subject);
    int64_t until = clock_ms() + WAIT_MS_MAX;
    while (seen->count == 0 && clock_ms() < until) {
        assert_int_equal(publish(other, strpbrk(subject, "*>") ? probe : subject, "probe"), STATUS_OK);
        loop_run_once(loop, 20);
    }
    loop_run_once(loop, 50);
    assert_true(seen->count > 0);
    *seen = (struct seen){0};
}

static void messages_reach_the_subscription_with_subject_reply_and_data(void **state) {
    (void)state;
    listen_at(b, "jobs.*", &at_b);
    assert_int_equal(publish(a, "jobs.1", "hello"), STATUS_OK);
    assert_int_equal(publish(a, "jobs.1.deep", "no"), STATUS_OK);
    assert_int_equal(transport_publish(a, "jobs.2", NULL, NULL, 0), STATUS_OK);
    RUN_UNTIL(at_b.count == 2);
    assert_string_equal(at_b.log, "jobs.1=hello;jobs.2=;");
    struct transport_stats stats;
    transport_get_stats(b, &stats);
    assert_true(stats.messages_in >= 2);
    assert_int_equal(stats.dropped_in, 0);
}

static void answer(const struct transport_message *message, void *arg) {
    (void)arg;
    assert_non_null(message->reply);
    assert_int_equal(transport_publish(b, message->reply, NULL, "pong", 4), STATUS_OK);
}

static void a_reply_finds_its_way_back(void **state) {
    (void)state;
    listen_at(a, "reply.a.*", &at_a);
    listen_at(b, "known", &at_b);
    assert_int_equal(transport_subscribe(b, "ping", answer, NULL), STATUS_OK);
    /* One connection's commands are handled in order: when this comes back, the one above is known. */
    assert_int_equal(publish(b, "known", "x"), STATUS_OK);
    RUN_UNTIL(at_b.count == 1);
    assert_int_equal(transport_publish(a, "ping", "reply.a.1", "x", 1), STATUS_OK);
    RUN_UNTIL(at_a.count == 1);
    assert_string_equal(at_a.log, "reply.a.1=pong;");
}

static void a_request_nobody_listens_to_is_answered_by_the_system(void **state) {
    (void)state;
    listen_at(a, "reply.a.*", &at_a);
    assert_int_equal(transport_publish(a, "nobody.here", "reply.a.9", "x", 1), STATUS_OK);
    RUN_UNTIL(at_a.count == 1);
    assert_string_equal(at_a.log, "!reply.a.9=;");
}

static unsigned next_number;

static void check_number(const struct transport_message *message, void *arg) {
    (void)arg;
    unsigned number;
    assert_int_equal(message->len, sizeof number);
    memcpy(&number, message->data, sizeof number);
    assert_int_equal(number, next_number);
    next_number++;
}

static void the_order_of_a_publisher_is_kept(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    next_number = 0;
    assert_int_equal(transport_subscribe(a, "n.>", check_number, NULL), STATUS_OK);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(transport_publish(a, i % 2 ? "n.odd" : "n.even", NULL, &i, sizeof i), STATUS_OK);
    RUN_UNTIL(next_number == COUNT);
}

static void what_does_not_fit_into_the_mailbox_is_dropped_and_counted(void **state) {
    (void)state;
    struct transport *small = open_transport(url, 5000, 10, NULL);
    assert_non_null(small);
    assert_int_equal(transport_subscribe(small, "x", see, &at_a), STATUS_OK);
    for (int i = 0; i < 25; i++)
        assert_int_equal(publish(small, "x", "1"), STATUS_OK);
    struct transport_stats stats = {0};
    int64_t until = clock_ms() + WAIT_MS_MAX;
    while (stats.messages_in + stats.dropped_in < 25 && clock_ms() < until) {
        clock_sleep_us(1000);
        transport_get_stats(small, &stats);
    }
    assert_int_equal(stats.messages_in, 10);
    assert_int_equal(stats.dropped_in, 15);
    RUN_UNTIL(at_a.count == 10);
    transport_close(small);
}

static void a_payload_over_the_servers_limit_is_refused_and_the_link_stays(void **state) {
    (void)state;
    size_t max = transport_max_payload(a);
    assert_int_equal(max, 1 << 20);
    char *data = calloc(1, max + 1);
    assert_non_null(data);
    listen_at(b, "big", &at_b);
    assert_int_equal(transport_publish(a, "big", NULL, data, max + 1), STATUS_PAYLOAD_TOO_LARGE);
    assert_int_equal(transport_publish(a, "big", NULL, data, max), STATUS_OK);
    free(data);
    RUN_UNTIL(at_b.count == 1);
    assert_true(transport_is_up(a));
}

static void a_killed_server_is_noticed_and_nothing_of_the_time_without_it_is_replayed(void **state) {
    (void)state;
    listen_at(b, "x", &at_b);
    transport_on_link(a, see_link, NULL);
    kill_server();
    /* At first some may be taken before the cut is known. */
    int64_t until = clock_ms() + WAIT_MS_MAX;
    while (publish(a, "x", "stale") == STATUS_OK)
        assert_true(clock_ms() < until);
    RUN_UNTIL(strcmp(links, "d") == 0 && !transport_is_up(b));
    assert_false(transport_is_up(a));
    int64_t begin = clock_ms();
    for (int i = 0; i < 100; i++)
        assert_int_equal(publish(a, "x", "stale"), STATUS_NATS_ERROR);
    assert_true(clock_ms() - begin < 500);
    start_server();
    RUN_UNTIL(strcmp(links, "du") == 0 && transport_is_up(b));
    while (at_b.count == 0) {
        assert_int_equal(publish(a, "x", "fresh"), STATUS_OK);
        loop_run_once(loop, 20);
    }
    assert_memory_equal(at_b.log, "x=fresh;", 8);
    struct transport_stats stats;
    transport_get_stats(a, &stats);
    assert_int_equal(stats.reconnects, 1);
    assert_true(stats.publish_failed >= 100);
}

static void a_stopped_server_makes_publishing_fail_within_the_write_deadline(void **state) {
    (void)state;
    size_t len = 512 * 1024;
    char *data = calloc(1, len);
    assert_non_null(data);
    transport_on_link(a, see_link, NULL);
    kill(server, SIGSTOP);
    enum status status = STATUS_OK;
    int64_t longest = 0;
    for (int i = 0; i < 200 && status == STATUS_OK; i++) {
        int64_t begin = clock_ms();
        status = transport_publish(a, "x", NULL, data, len);
        longest = clock_ms() - begin > longest ? clock_ms() - begin : longest;
    }
    kill(server, SIGCONT);
    free(data);
    assert_int_equal(status, STATUS_NATS_ERROR);
    assert_true(longest < WRITE_DEADLINE_MS + 1000);
    RUN_UNTIL(strcmp(links, "du") == 0);
    listen_at(a, "y", &at_a);
}

static void what_was_published_is_flushed_by_closing(void **state) {
    (void)state;
    listen_at(b, "last", &at_b);
    for (int i = 0; i < 100; i++)
        assert_int_equal(publish(a, "last", "word"), STATUS_OK);
    transport_close(a);
    a = NULL;
    RUN_UNTIL(at_b.count == 100);
}

static void closing_drops_what_waits_for_the_loop(void **state) {
    (void)state;
    assert_int_equal(transport_subscribe(a, "x", see, &at_a), STATUS_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(publish(a, "x", "1"), STATUS_OK);
    transport_close(a);
    a = NULL;
    loop_run_once(loop, 20);
    assert_int_equal(at_a.count, 0);
}

static void closing_towards_a_stopped_server_is_bounded_in_time(void **state) {
    (void)state;
    size_t len = 512 * 1024;
    char *data = calloc(1, len);
    assert_non_null(data);
    assert_int_equal(transport_subscribe(a, "x", see, &at_a), STATUS_OK);
    kill(server, SIGSTOP);
    /* Fills the socket, so that a flush cannot even be sent. */
    for (int i = 0; i < 4; i++)
        assert_int_equal(transport_publish(a, "y", NULL, data, len), STATUS_OK);
    int64_t begin = clock_ms();
    transport_close(a);
    a = NULL;
    int64_t took = clock_ms() - begin;
    kill(server, SIGCONT);
    free(data);
    assert_true(took < 3000);
}

static void the_error_of_a_failed_connect_names_the_url_without_its_password(void **state) {
    (void)state;
    struct error error;
    char bad[160];
    int nobody = free_port();
    snprintf(bad, sizeof bad, "nats://me:geheim@127.0.0.1:%d,nats://token@127.0.0.1:%d", nobody, nobody);
    int64_t begin = clock_ms();
    assert_null(open_transport(bad, 250, 10, &error));
    assert_in_range(clock_ms() - begin, 100, 3000);
    assert_int_equal(error.status, STATUS_NATS_ERROR);
    char shown[160];
    snprintf(shown, sizeof shown, "nats://127.0.0.1:%d,nats://127.0.0.1:%d", nobody, nobody);
    assert_non_null(strstr(error.message, shown));
    assert_null(strstr(error.message, "geheim"));
    assert_null(strstr(error.message, "token"));
}

static void wrong_credentials_fail_without_waiting(void **state) {
    (void)state;
    struct error error;
    char bad[64];
    snprintf(bad, sizeof bad, "nats://me:wrong@127.0.0.1:%d", port);
    int64_t begin = clock_ms();
    assert_null(open_transport(bad, 30000, 10, &error));
    assert_true(clock_ms() - begin < 5000);
    assert_null(strstr(error.message, "wrong"));
}

static void a_server_that_starts_later_is_waited_for(void **state) {
    (void)state;
    kill_server();
    pid_t helper = fork();
    if (helper == 0) {
        clock_sleep_us(300000);
        be_nats_server();
    }
    server = helper;
    struct transport *late = open_transport(url, WAIT_MS_MAX, 10, NULL);
    assert_non_null(late);
    assert_true(transport_is_up(late));
    transport_close(late);
}

int main(void) {
#define NATS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        NATS_TEST(messages_reach_the_subscription_with_subject_reply_and_data),
        NATS_TEST(a_reply_finds_its_way_back),
        NATS_TEST(a_request_nobody_listens_to_is_answered_by_the_system),
        NATS_TEST(the_order_of_a_publisher_is_kept),
        NATS_TEST(what_does_not_fit_into_the_mailbox_is_dropped_and_counted),
        NATS_TEST(a_payload_over_the_servers_limit_is_refused_and_the_link_stays),
        NATS_TEST(a_killed_server_is_noticed_and_nothing_of_the_time_without_it_is_replayed),
        NATS_TEST(a_stopped_server_makes_publishing_fail_within_the_write_deadline),
        NATS_TEST(what_was_published_is_flushed_by_closing),
        NATS_TEST(closing_drops_what_waits_for_the_loop),
        NATS_TEST(closing_towards_a_stopped_server_is_bounded_in_time),
        NATS_TEST(the_error_of_a_failed_connect_names_the_url_without_its_password),
        NATS_TEST(wrong_credentials_fail_without_waiting),
        NATS_TEST(a_server_that_starts_later_is_waited_for),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
