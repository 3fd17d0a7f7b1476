/* The controller's own link to NATS: what it is worth at this moment, and what follows when it comes back. */
#include "base/clock.h"
#include "base/log.h"
#include "controller/peers.h"
#include "controller/room.h"

/* Before a worker becomes suspect, which is after 5/2 heartbeats, and not with every echo that comes late. */
void controller_start_link(struct controller *controller) {
    link_watch_init(&controller->link, controller->config->discovery.heartbeat_interval_ms * 3 / 2,
                    clock_ms());
}

bool controller_hears(const struct controller *controller) {
    return transport_is_up(controller->transport) && link_watch_is_well(&controller->link, clock_ms());
}

bool controller_heard_since(const struct controller *controller, int64_t since_ms) {
    return transport_is_up(controller->transport) &&
           link_watch_was_well(&controller->link, since_ms, clock_ms());
}

/* What was not heard in that time is nobody's silence; who waited for the link goes on. */
static void recover(struct controller *controller, int64_t silent_ms) {
    if (silent_ms == 0)
        return;
    log_info("NATS is heard again", F_INT("after_ms", silent_ms));
    registry_forgive(&controller->registry, silent_ms);
    peers_forgive(controller);
    room_call(controller);
}

void controller_on_link(bool up, void *arg) {
    struct controller *controller = arg;
    if (!up) {
        log_warn("connection to NATS lost");
        link_watch_lost(&controller->link, clock_ms());
        return;
    }
    log_info("connected to NATS again");
    recover(controller, link_watch_returned(&controller->link, clock_ms()));
    controller_discover(controller);
}

void controller_on_echo(struct controller *controller, int64_t sent_ms) {
    recover(controller, link_watch_heard(&controller->link, sent_ms, clock_ms()));
}

void controller_watch_link(struct controller *controller) {
    int64_t now_ms = clock_ms();
    if (link_watch_tick(&controller->link, now_ms))
        log_warn("NATS is silent although connected");
    if (!transport_is_up(controller->transport))
        return;
    char subject[WIRE_SUBJECT_MAX];
    wire_subject_echo(subject, controller->id, now_ms);
    if (transport_publish(controller->transport, subject, NULL, "", 0) != STATUS_OK)
        log_debug("echo not sent"); /* then it does not come back, which says the same */
}
