/* Counters of what controllers share, as JSON and for Prometheus. */
#include <string.h>

#include "controller/peers.h"
#include "controller/prometheus.h"
#include "proto/json_write.h"

static const struct {
    const char *key, *name, *help;
    size_t offset; /* in struct peers_stats */
} peer_counters[] = {
    {"sent", "mlx_controller_peer_messages_sent_total", "Messages about breakers and sessions to others.",
     offsetof(struct peers_stats, sent)},
    {"received", "mlx_controller_peer_messages_received_total",
     "Messages about breakers and sessions, also its own.", offsetof(struct peers_stats, received)},
    {"malformed", "mlx_controller_peer_messages_malformed_total", "Those that could not be read.",
     offsetof(struct peers_stats, malformed)},
    {"breakersAdopted", "mlx_controller_peer_breakers_adopted_total",
     "Words of others about a breaker that were taken over.", offsetof(struct peers_stats, breakers_adopted)},
    {"breakersRefused", "mlx_controller_peer_breakers_refused_total",
     "Words that were not, because too few of a model's workers would have been left.",
     offsetof(struct peers_stats, breakers_refused)},
    {"sessionsDelayed", "mlx_controller_peer_sessions_delayed_total",
     "Heartbeats in which not all sessions could be told.", offsetof(struct peers_stats, sessions_delayed)},
    {"sessionsLeftOut", "mlx_controller_peer_sessions_left_out_total",
     "Sessions that a controller that started was not told, because there were too many.",
     offsetof(struct peers_stats, sessions_left_out)},
    {"lookups", "mlx_controller_peer_lookups_total", "Calls for which other controllers were asked.",
     offsetof(struct peers_stats, lookups)},
    {"overflows", "mlx_controller_peer_overflows_total", "Heartbeats of controllers beyond the maximum.",
     offsetof(struct peers_stats, overflows)},
};

static uint64_t peer_counter(const struct controller *controller, size_t i) {
    uint64_t value;
    memcpy(&value, (const char *)&controller->peers->stats + peer_counters[i].offset, sizeof(value));
    return value;
}

void peers_write_metrics(struct buf *out, const struct controller *controller) {
    json_append_int(out, ",\"controllers\":{\"others\":", (int64_t)controller->peers->count);
    json_append_int(out, ",\"sessionsAdopted\":", (int64_t)controller->sessions.stats.adopted);
    for (size_t i = 0; i < ARRAY_LEN(peer_counters); i++) {
        json_append_str(out, ",", peer_counters[i].key);
        json_append_int(out, ":", (int64_t)peer_counter(controller, i));
    }
    buf_append_char(out, '}');
}

void peers_expose(struct buf *out, const struct controller *controller) {
    prometheus_gauge(out, "mlx_controller_peers", "Other controllers that were heard of.",
                     controller->peers->count);
    prometheus_counter(out, "mlx_controller_peer_sessions_adopted_total",
                       "Uses of sessions at others that were taken over.",
                       controller->sessions.stats.adopted);
    for (size_t i = 0; i < ARRAY_LEN(peer_counters); i++)
        prometheus_counter(out, peer_counters[i].name, peer_counters[i].help, peer_counter(controller, i));
}
