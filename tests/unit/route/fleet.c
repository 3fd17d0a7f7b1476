#include "fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void ignore_change(enum registry_change change, const struct registry_worker *worker,
                          uint64_t old_generation, void *arg) {
    (void)change, (void)worker, (void)old_generation, (void)arg;
}

void fleet_setup(struct fleet *fleet, const char *strategy, uint64_t seed) {
    *fleet = (struct fleet){.now_ms = 1};
    registry_init(&fleet->registry, &(struct registry_config){.suspect_after_ms = 2500,
                                                              .offline_after_ms = 15000,
                                                              .forget_after_ms = 600000,
                                                              .queued_per_worker_max = FLEET_QUEUE_MAX});
    assert_true(balancer_init(&fleet->balancer, strategy, seed));
    router_init(&fleet->router, &fleet->registry, &fleet->balancer);
}

void fleet_teardown(struct fleet *fleet) {
    router_release(&fleet->router);
    balancer_release(&fleet->balancer);
    registry_release(&fleet->registry);
}

struct worker_info fleet_info(const char *id, int32_t slots) {
    struct worker_info info = {.phase = WORKER_PHASE_READY, .model_count = 1, .incarnation = "a"};
    snprintf(info.id, sizeof(info.id), "%s", id);
    snprintf(info.hostname, sizeof(info.hostname), "host");
    snprintf(info.models[0].name, sizeof(info.models[0].name), "m");
    info.models[0].state = MODEL_READY;
    info.models[0].slots = slots;
    info.models[0].context_tokens = 4096;
    info.load.queue_max = FLEET_QUEUE_MAX;
    return info;
}

struct registry_worker *fleet_add(struct fleet *fleet, const struct worker_info *info) {
    registry_update(&fleet->registry, info, fleet->now_ms, ignore_change, NULL);
    return registry_find(&fleet->registry, info->id);
}

struct registry_worker *fleet_add_plain(struct fleet *fleet, const char *id, int32_t slots) {
    struct worker_info info = fleet_info(id, slots);
    return fleet_add(fleet, &info);
}

void fleet_beat(struct fleet *fleet, struct registry_worker *worker, const struct worker_load *load) {
    struct worker_info info = worker->info;
    info.load = *load;
    info.load.queue_max = FLEET_QUEUE_MAX;
    registry_update(&fleet->registry, &info, worker->heartbeat_ms + FLEET_HEARTBEAT_MS, ignore_change, NULL);
}

struct registry_worker *fleet_send(struct fleet *fleet, const char *prompt, size_t len, struct lease *lease) {
    static const struct route_exclusion none;
    struct route_request request = {.model = "m", .prompt = prompt, .prompt_len = len, .max_tokens = 64};
    struct error error;
    struct registry_worker *worker =
        router_pick(&fleet->router, &request, &none, fleet->now_ms, &fleet->decision, &error);
    assert_non_null(worker);
    if (lease)
        lease_take(worker, "m", lease);
    balancer_note_sent(&fleet->balancer, &request, worker);
    return worker;
}
