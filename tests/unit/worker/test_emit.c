#include "worker/emit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PAYLOAD_MAX = 4096, MESSAGES_MAX = 64 };

/* A transport that only records; "down" controllers cannot be reached. */
static struct {
    struct transport transport;
    struct emitter emitter;
    char subjects[MESSAGES_MAX][WIRE_SUBJECT_MAX];
    int events[MESSAGES_MAX];
    int messages;
    uint32_t next_index; /* of the next TOKEN of the one job whose order is checked */
    const char *down;
    int lost;
    char lost_controller[WIRE_CONTROLLER_ID_MAX + 1];
} t;

static void see_event(const struct wire_events_source *source, const struct wire_event *event, void *arg) {
    (void)arg;
    assert_string_equal(source->worker_id, "w1");
    assert_string_equal(source->incarnation, "incarnation1");
    if (event->kind == WIRE_EVENT_TOKEN)
        assert_int_equal(event->index, t.next_index++);
    t.events[t.messages]++;
}

static enum status publish(struct transport *transport, const char *subject, const char *reply,
                           const void *data, size_t len) {
    (void)transport;
    assert_null(reply);
    assert_true(len <= PAYLOAD_MAX);
    assert_true(t.messages < MESSAGES_MAX);
    if (t.down && strstr(subject, t.down))
        return STATUS_NATS_ERROR;
    struct error error;
    assert_int_equal(wire_read_events(data, len, see_event, NULL, &error), STATUS_OK);
    snprintf(t.subjects[t.messages++], WIRE_SUBJECT_MAX, "%s", subject);
    return STATUS_OK;
}

static size_t max_payload(struct transport *transport) {
    (void)transport;
    return PAYLOAD_MAX;
}

static const struct transport_ops ops = {.publish = publish, .max_payload = max_payload};

static void on_lost(const char *controller_id, enum status status, void *arg) {
    (void)arg;
    assert_int_equal(status, STATUS_NATS_ERROR);
    t.lost++;
    snprintf(t.lost_controller, sizeof t.lost_controller, "%s", controller_id);
}

static int setup(void **state) {
    (void)state;
    memset(&t, 0, sizeof t);
    t.transport.ops = &ops;
    emitter_init(&t.emitter, &t.transport, "w1", "incarnation1");
    t.emitter.on_lost = on_lost;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    emitter_release(&t.emitter);
    return 0;
}

static void emit_accepted(int controller) {
    struct wire_job job = {.request_id = "r1", .attempt = 1};
    snprintf(job.controller_id, sizeof job.controller_id, "c%d", controller);
    emit_event(&t.emitter, &job, (struct wire_event){.kind = WIRE_EVENT_ACCEPTED});
}

static void emit_token(uint32_t index, const char *text) {
    const struct wire_job job = {.request_id = "r1", .controller_id = "c0", .attempt = 1};
    emit_event(&t.emitter, &job,
               (struct wire_event){
                   .kind = WIRE_EVENT_TOKEN, .index = index, .text = text, .text_len = strlen(text)});
}

static void nothing_is_published_before_the_flush_and_nothing_twice(void **state) {
    (void)state;
    emit_flush(&t.emitter);
    emit_accepted(0);
    emit_accepted(0);
    emit_accepted(1);
    assert_int_equal(t.messages, 0);
    emit_flush(&t.emitter);
    emit_flush(&t.emitter);
    assert_int_equal(t.messages, 2);
    assert_string_equal(t.subjects[0], "reply.c0.events.w1");
    assert_int_equal(t.events[0], 2);
    assert_string_equal(t.subjects[1], "reply.c1.events.w1");
    assert_int_equal(t.events[1], 1);
}

static void more_controllers_than_places_all_get_their_events(void **state) {
    (void)state;
    enum { MANY = 2 * EMIT_CONTROLLERS_MAX + 3 };
    for (int i = 0; i < MANY; i++)
        emit_accepted(i);
    emit_flush(&t.emitter);
    assert_int_equal(t.messages, MANY);
    for (int i = 0; i < MANY; i++) {
        char subject[WIRE_SUBJECT_MAX];
        snprintf(subject, sizeof subject, "reply.c%d.events.w1", i);
        assert_string_equal(t.subjects[i], subject);
        assert_int_equal(t.events[i], 1);
    }
}

static void messages_stay_below_the_payload_limit_in_order(void **state) {
    (void)state;
    char text[1001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (uint32_t i = 0; i < 30; i++)
        emit_token(i, text);
    emit_flush(&t.emitter);
    assert_int_equal(t.next_index, 30);
    assert_true(t.messages > 1);
}

static void what_cannot_be_published_is_told(void **state) {
    (void)state;
    t.down = "reply.c1.";
    emit_accepted(0);
    emit_accepted(1);
    emit_accepted(2);
    emit_flush(&t.emitter);
    assert_int_equal(t.messages, 2);
    assert_int_equal(t.lost, 1);
    assert_string_equal(t.lost_controller, "c1");
    t.down = NULL;
    emit_accepted(1);
    emit_flush(&t.emitter);
    assert_int_equal(t.messages, 3);
    assert_int_equal(t.events[2], 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_published_before_the_flush_and_nothing_twice),
        TEST(more_controllers_than_places_all_get_their_events),
        TEST(messages_stay_below_the_payload_limit_in_order),
        TEST(what_cannot_be_published_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
