#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "proto/wire.h"
#include "wire_harm.h"

static bool accepts_info(const char *data, size_t len) {
    struct worker_info info;
    struct error error;
    return wire_read_worker_info(data, len, &info, &error) == STATUS_OK;
}

static bool accepts_deregister(const char *data, size_t len) {
    struct wire_deregister deregister;
    struct error error;
    return wire_read_deregister(data, len, &deregister, &error) == STATUS_OK;
}

static void random_text(struct rng *rng, char *out, size_t len_max) {
    size_t len = 1 + rng_below(rng, len_max);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(1 + rng_below(rng, 0x7F));
    out[len] = '\0';
}

static int32_t random_i32(struct rng *rng) {
    return (int32_t)(rng_next(rng) >> (33 + rng_below(rng, 31)));
}

static int64_t random_i64(struct rng *rng) {
    return (int64_t)(rng_next(rng) >> (1 + rng_below(rng, 63)));
}

static void random_load(struct rng *rng, struct worker_load *load) {
    *load = (struct worker_load){
        .running = random_i32(rng),
        .queued = random_i32(rng),
        .queue_max = random_i32(rng),
        .kv_cells_used = random_i64(rng),
        .kv_cells_total = random_i64(rng),
        .kv_cells_cached = random_i64(rng),
        .parked = (int32_t)rng_below(rng, INT32_MAX),
        .cache_bytes = random_i64(rng),
        .cache_evicted = (uint64_t)random_i64(rng),
        .cache_skipped = (uint64_t)random_i64(rng),
        .cache_hits = (uint64_t)random_i64(rng),
        .cached_tokens = (uint64_t)random_i64(rng),
        .parks = (uint64_t)random_i64(rng),
        .handed_back = (uint64_t)random_i64(rng),
        .progress = (uint64_t)random_i64(rng),
        .steps = (uint64_t)random_i64(rng),
        .prompt_tokens = (uint64_t)random_i64(rng),
        .generated_tokens = (uint64_t)random_i64(rng),
        .jobs_accepted = (uint64_t)random_i64(rng),
        .jobs_finished = (uint64_t)random_i64(rng),
        .jobs_cancelled = (uint64_t)random_i64(rng),
        .jobs_failed = (uint64_t)random_i64(rng),
        .jobs_rejected = (uint64_t)random_i64(rng),
        .jobs_orphaned = (uint64_t)random_i64(rng),
        .batch_sequences = (uint64_t)random_i64(rng),
        .batch_max = (uint32_t)(rng_next(rng) >> (32 + rng_below(rng, 32))),
        .batch_wait_ms = (uint64_t)random_i64(rng),
        .cancel_steps_max = (uint32_t)(rng_next(rng) >> (32 + rng_below(rng, 32))),
        .rss_bytes = random_i64(rng),
        .model_loads = (uint64_t)random_i64(rng),
        .model_unloads = (uint64_t)random_i64(rng),
        .model_load_failures = (uint64_t)random_i64(rng),
    };
    struct worker_queue *queue = &load->queue;
    int64_t *const numbers[] = {&queue->enqueued,     &queue->rejected,    &queue->evicted,
                                &queue->expired,      &queue->cancelled,   &queue->wait_mean_ms,
                                &queue->wait_p50_ms,  &queue->wait_p99_ms, &queue->oldest_ms[0],
                                &queue->oldest_ms[1], &queue->oldest_ms[2]};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        *numbers[i] = random_i64(rng);
    for (int level = 0; level < CHAT_PRIORITY_COUNT; level++)
        queue->depth[level] = random_i32(rng);
    queue->next_wait_ms = rng_below(rng, 4) ? random_i64(rng) : -1;
}

static void random_skills(struct rng *rng, struct worker_info *info) {
    struct worker_hardware *hardware = &info->hardware;
    random_text(rng, hardware->cpu, sizeof hardware->cpu - 1);
    hardware->cores = random_i32(rng);
    hardware->memory_bytes = random_i64(rng);
    hardware->gpu_count = rng_below(rng, WORKER_GPUS_MAX + 1);
    for (size_t i = 0; i < hardware->gpu_count; i++) {
        random_text(rng, hardware->gpus[i].name, sizeof hardware->gpus[i].name - 1);
        random_text(rng, hardware->gpus[i].device, sizeof hardware->gpus[i].device - 1);
        hardware->gpus[i].integrated = rng_below(rng, 2);
        hardware->gpus[i].memory_bytes = random_i64(rng);
        hardware->gpus[i].free_bytes = random_i64(rng);
    }
    info->skill_count = rng_below(rng, WORKER_SKILLS_MAX + 1);
    for (size_t i = 0; i < info->skill_count; i++) /* as long as they can be: none is there twice */
        rng_id(info->skills[i], SKILL_MAX);
}

static void random_resources(struct rng *rng, struct worker_resources *resources) {
    *resources = (struct worker_resources){
        .level = (enum resource_level)rng_below(rng, RESOURCE_LEVEL_COUNT),
        .signal = (enum resource_signal)rng_below(rng, RESOURCE_SIGNAL_COUNT),
        .memory_used = random_i64(rng),
        .soft_limit = random_i64(rng),
        .hard_limit = random_i64(rng),
        .pressure_some = (int32_t)rng_below(rng, 10001),
        .pressure_full = (int32_t)rng_below(rng, 10001),
        .refused = random_i64(rng),
    };
}

static void random_info(struct rng *rng, struct worker_info *info) {
    *info = (struct worker_info){0};
    rng_id(info->id, 1 + rng_below(rng, WORKER_ID_MAX));
    rng_id(info->incarnation, INCARNATION_CHARS);
    random_text(rng, info->hostname, sizeof info->hostname - 1);
    random_text(rng, info->version, sizeof info->version - 1);
    info->pid = random_i32(rng);
    info->phase = (enum worker_phase)rng_below(rng, WORKER_PHASE_COUNT);
    info->uptime_ms = random_i64(rng);
    info->model_count = rng_below(rng, WORKER_MODELS_MAX + 1);
    for (size_t i = 0; i < info->model_count; i++) {
        struct model_info *model = &info->models[i];
        random_text(rng, model->name, sizeof model->name - 1);
        model->state = (enum model_state)rng_below(rng, MODEL_STATE_COUNT);
        model->load_percent = (int32_t)rng_below(rng, 101);
        model->context_tokens = random_i32(rng);
        model->slots = random_i32(rng);
        model->parameters = random_i64(rng);
        model->file_bytes = random_i64(rng);
        model->on_demand = rng_below(rng, 2);
        model->pinned = rng_below(rng, 2);
        model->waiting = random_i32(rng);
        random_text(rng, model->architecture, sizeof model->architecture - 1);
        random_text(rng, model->quantization, sizeof model->quantization - 1);
        model->memory_bytes = random_i64(rng);
        model->idle_ms = rng_below(rng, 4) ? random_i64(rng) : -1;
        model->loads = random_i64(rng);
        model->unloads = random_i64(rng);
        model->load_failures = random_i64(rng);
        model->load_ms = random_i64(rng);
        model->retry_ms = rng_below(rng, 4) ? random_i64(rng) : -1;
        model->capabilities = (uint32_t)rng_below(rng, 1u << MODEL_CAPABILITY_COUNT);
        if (model->state == MODEL_FAILED)
            random_text(rng, model->error, sizeof model->error - 1);
    }
    info->models_bytes = random_i64(rng);
    info->models_bytes_max = random_i64(rng);
    random_skills(rng, info);
    random_resources(rng, &info->resources);
    random_load(rng, &info->load);
    info->client_count = rng_below(rng, WORKER_CLIENTS_MAX + 1);
    for (size_t i = 0; i < info->client_count; i++) {
        rng_id(info->clients[i].controller_id, 1 + rng_below(rng, CONTROLLER_ID_MAX));
        info->clients[i].jobs = random_i32(rng);
    }
}

static void assert_same_model(const struct model_info *a, const struct model_info *b) {
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->load_percent, b->load_percent);
    assert_int_equal(a->context_tokens, b->context_tokens);
    assert_int_equal(a->slots, b->slots);
    assert_true(a->parameters == b->parameters && a->file_bytes == b->file_bytes);
    assert_int_equal(a->on_demand, b->on_demand);
    assert_int_equal(a->pinned, b->pinned);
    assert_int_equal(a->waiting, b->waiting);
    assert_string_equal(a->architecture, b->architecture);
    assert_string_equal(a->quantization, b->quantization);
    assert_true(a->memory_bytes == b->memory_bytes && a->idle_ms == b->idle_ms);
    assert_true(a->loads == b->loads && a->unloads == b->unloads);
    assert_true(a->load_failures == b->load_failures);
    assert_true(a->load_ms == b->load_ms && a->retry_ms == b->retry_ms);
    assert_int_equal(a->capabilities, b->capabilities);
    assert_string_equal(a->error, b->error);
}

static void assert_same_load(const struct worker_load *a, const struct worker_load *b) {
    assert_true(a->running == b->running);
    assert_true(a->queued == b->queued);
    assert_true(a->queue_max == b->queue_max);
    assert_true(a->kv_cells_used == b->kv_cells_used);
    assert_true(a->kv_cells_total == b->kv_cells_total);
    assert_true(a->kv_cells_cached == b->kv_cells_cached && a->parked == b->parked);
    assert_true(a->cache_bytes == b->cache_bytes && a->cache_evicted == b->cache_evicted);
    assert_true(a->cache_hits == b->cache_hits && a->cached_tokens == b->cached_tokens);
    assert_true(a->parks == b->parks && a->handed_back == b->handed_back);
    assert_true(a->progress == b->progress);
    assert_true(a->steps == b->steps);
    assert_true(a->prompt_tokens == b->prompt_tokens);
    assert_true(a->generated_tokens == b->generated_tokens);
    assert_true(a->jobs_accepted == b->jobs_accepted);
    assert_true(a->jobs_finished == b->jobs_finished);
    assert_true(a->jobs_cancelled == b->jobs_cancelled);
    assert_true(a->jobs_failed == b->jobs_failed);
    assert_true(a->jobs_rejected == b->jobs_rejected);
    assert_true(a->jobs_orphaned == b->jobs_orphaned);
    assert_true(a->batch_sequences == b->batch_sequences);
    assert_true(a->batch_max == b->batch_max);
    assert_true(a->batch_wait_ms == b->batch_wait_ms && a->cache_skipped == b->cache_skipped);
    assert_true(a->cancel_steps_max == b->cancel_steps_max);
    assert_true(a->rss_bytes == b->rss_bytes);
    assert_true(a->model_loads == b->model_loads);
    assert_true(a->model_unloads == b->model_unloads);
    assert_true(a->model_load_failures == b->model_load_failures);
    assert_memory_equal(&a->queue, &b->queue, sizeof(a->queue));
}

static void assert_same_skills(const struct worker_info *a, const struct worker_info *b) {
    assert_string_equal(a->hardware.cpu, b->hardware.cpu);
    assert_int_equal(a->hardware.cores, b->hardware.cores);
    assert_true(a->hardware.memory_bytes == b->hardware.memory_bytes);
    assert_int_equal(a->hardware.gpu_count, b->hardware.gpu_count);
    for (size_t i = 0; i < a->hardware.gpu_count; i++) {
        assert_string_equal(a->hardware.gpus[i].name, b->hardware.gpus[i].name);
        assert_string_equal(a->hardware.gpus[i].device, b->hardware.gpus[i].device);
        assert_int_equal(a->hardware.gpus[i].integrated, b->hardware.gpus[i].integrated);
        assert_true(a->hardware.gpus[i].memory_bytes == b->hardware.gpus[i].memory_bytes);
        assert_true(a->hardware.gpus[i].free_bytes == b->hardware.gpus[i].free_bytes);
    }
    assert_int_equal(a->skill_count, b->skill_count);
    for (size_t i = 0; i < a->skill_count; i++)
        assert_string_equal(a->skills[i], b->skills[i]);
}

static void assert_same_resources(const struct worker_resources *a, const struct worker_resources *b) {
    assert_int_equal(a->level, b->level);
    assert_int_equal(a->signal, b->signal);
    assert_true(a->memory_used == b->memory_used);
    assert_true(a->soft_limit == b->soft_limit && a->hard_limit == b->hard_limit);
    assert_int_equal(a->pressure_some, b->pressure_some);
    assert_int_equal(a->pressure_full, b->pressure_full);
    assert_true(a->refused == b->refused);
}

static void assert_same_info(const struct worker_info *a, const struct worker_info *b) {
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->incarnation, b->incarnation);
    assert_string_equal(a->hostname, b->hostname);
    assert_string_equal(a->version, b->version);
    assert_int_equal(a->pid, b->pid);
    assert_int_equal(a->phase, b->phase);
    assert_true(a->uptime_ms == b->uptime_ms);
    assert_int_equal(a->model_count, b->model_count);
    for (size_t i = 0; i < a->model_count; i++)
        assert_same_model(&a->models[i], &b->models[i]);
    assert_true(a->models_bytes == b->models_bytes && a->models_bytes_max == b->models_bytes_max);
    assert_same_skills(a, b);
    assert_same_resources(&a->resources, &b->resources);
    assert_same_load(&a->load, &b->load);
    assert_int_equal(a->client_count, b->client_count);
    for (size_t i = 0; i < a->client_count; i++) {
        assert_string_equal(a->clients[i].controller_id, b->clients[i].controller_id);
        assert_int_equal(a->clients[i].jobs, b->clients[i].jobs);
    }
}

static void what_a_worker_tells_comes_back_as_it_was(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    struct buf text;
    buf_init(&text, 0);
    for (int round = 0; round < 200; round++) {
        struct worker_info info, back;
        struct error error;
        random_info(&rng, &info);
        buf_clear(&text);
        wire_write_worker_info(&text, &info);
        assert_int_equal(wire_read_worker_info(text.data, text.len, &back, &error), STATUS_OK);
        assert_same_info(&back, &info);
    }
    buf_release(&text);
}

static void a_harmed_heartbeat_is_refused_or_read(void **state) {
    (void)state;
    struct rng rng;
    struct worker_info info;
    struct buf text;
    rng_seed(&rng, 2);
    random_info(&rng, &info);
    info.model_count = 2;
    for (size_t i = 0; i < 2; i++)
        info.models[i] = (struct model_info){.name = "m/x:8b-Q4", .state = MODEL_READY, .slots = 8};
    buf_init(&text, 0);
    wire_write_worker_info(&text, &info);
    wire_harm(accepts_info, text.data, text.len);
    wire_harm_version(accepts_info, text.data, text.len);
    buf_release(&text);
}

#define LEAST "{\"v\":1,\"workerId\":\"w1\",\"incarnation\":\"i1\",\"phase\":\"ready\",\"models\":[]"

static void what_a_worker_may_leave_out_is_zero_or_not_known(void **state) {
    (void)state;
    struct worker_info info, expected = {.id = "w1", .incarnation = "i1", .phase = WORKER_PHASE_READY};
    expected.load.queue.next_wait_ms = -1;
    struct error error;
    assert_int_equal(wire_read_worker_info(LEAST "}", strlen(LEAST) + 1, &info, &error), STATUS_OK);
    assert_same_info(&info, &expected);
}

static void a_long_hostname_is_cut_between_characters(void **state) {
    (void)state;
    struct buf text;
    struct worker_info info;
    struct error error;
    buf_init(&text, 0);
    buf_append_str(&text, LEAST ",\"hostname\":\"x");
    for (int i = 0; i < 100; i++)
        buf_append_str(&text, "\xE2\x82\xAC");
    buf_append_str(&text, "\"}");
    assert_int_equal(wire_read_worker_info(text.data, text.len, &info, &error), STATUS_OK);
    assert_int_equal(strlen(info.hostname), 64);
    assert_true(utf8_is_valid(info.hostname, 64));
    buf_release(&text);
}

static void numbers_at_their_limits_come_back(void **state) {
    (void)state;
    struct worker_info info = {.id = "w", .incarnation = "i", .pid = INT32_MAX, .uptime_ms = INT64_MAX}, back;
    info.load = (struct worker_load){.running = INT32_MAX,
                                     .progress = INT64_MAX,
                                     .batch_max = UINT32_MAX,
                                     .cancel_steps_max = UINT32_MAX,
                                     .rss_bytes = INT64_MAX};
    struct buf text;
    struct error error;
    buf_init(&text, 0);
    wire_write_worker_info(&text, &info);
    assert_int_equal(wire_read_worker_info(text.data, text.len, &back, &error), STATUS_OK);
    assert_same_info(&back, &info);
    buf_release(&text);
}

static void members_that_are_wrong_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *param;
    } cases[] = {
        {"{\"v\":1,\"workerId\":\"w\",\"incarnation\":\"i\",\"models\":[]}", "phase"},
        {"{\"v\":1,\"workerId\":\"w\",\"incarnation\":\"i\",\"phase\":\"READY\",\"models\":[]}", "phase"},
        {"{\"v\":1,\"workerId\":\"w.x\",\"incarnation\":\"i\",\"phase\":\"ready\",\"models\":[]}",
         "workerId"},
        {"{\"v\":1,\"incarnation\":\"i\",\"phase\":\"ready\",\"models\":[]}", "workerId"},
        {"{\"v\":1,\"workerId\":\"w\",\"incarnation\":\"\",\"phase\":\"ready\",\"models\":[]}",
         "incarnation"},
        {"{\"v\":1,\"workerId\":\"w\",\"incarnation\":\"1234567890123\",\"phase\":\"ready\",\"models\":[]}",
         "incarnation"},
        {"{\"v\":1,\"workerId\":\"w\",\"incarnation\":\"i\",\"phase\":\"ready\"}", "models"},
        {"{\"v\":1,\"workerId\":\"w\",\"incarnation\":\"i\",\"phase\":\"ready\",\"models\":{}}", "models"},
        {LEAST ",\"hostname\":7}", "hostname"},
        {LEAST ",\"skills\":{}}", "skills"},
        {LEAST ",\"skills\":null}", "skills"},
        {LEAST ",\"skills\":[1]}", "skills"},
        {LEAST ",\"skills\":[\"\"]}", "skills"},
        {LEAST ",\"skills\":[\"a b\"]}", "skills"},
        {LEAST ",\"skills\":[\"a\\u0000b\"]}", "skills"},
        {LEAST ",\"skills\":[\"123456789012345678901234567890123\"]}", "skills"},
        {LEAST
         ",\"skills\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
         "\"a\",\"a\",\"a\"]}",
         "skills"},
        {LEAST ",\"hardware\":[]}", "hardware"},
        {LEAST ",\"hardware\":{\"cpu\":1}}", "cpu"},
        {LEAST ",\"hardware\":{\"cores\":-1}}", "cores"},
        {LEAST ",\"hardware\":{\"memoryBytes\":1.5}}", "memoryBytes"},
        {LEAST ",\"hardware\":{\"gpus\":{}}}", "gpus"},
        {LEAST ",\"hardware\":{\"gpus\":[1]}}", "gpus"},
        {LEAST ",\"hardware\":{\"gpus\":[{\"device\":1}]}}", "device"},
        {LEAST ",\"hardware\":{\"gpus\":[{\"integrated\":1}]}}", "integrated"},
        {LEAST ",\"hardware\":{\"gpus\":[{\"freeBytes\":-1}]}}", "freeBytes"},
        {LEAST ",\"hardware\":{\"gpus\":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]}}", "gpus"},
        {LEAST ",\"models\":[{\"name\":\"m\",\"state\":\"ready\",\"capabilities\":\"chat\"}]}",
         "capabilities"},
        {LEAST ",\"models\":[{\"name\":\"m\",\"state\":\"ready\",\"capabilities\":[\"a b\"]}]}",
         "capabilities"},
        {LEAST ",\"version\":null}", "version"},
        {LEAST ",\"pid\":-1}", "pid"},
        {LEAST ",\"pid\":2147483648}", "pid"},
        {LEAST ",\"uptimeMs\":1.5}", "uptimeMs"},
        {LEAST ",\"load\":[]}", "load"},
        {LEAST ",\"load\":{\"running\":-1}}", "running"},
        {LEAST ",\"load\":{\"running\":2147483648}}", "running"},
        {LEAST ",\"load\":{\"batchMax\":4294967296}}", "batchMax"},
        {LEAST ",\"load\":{\"progress\":\"1\"}}", "progress"},
        {LEAST ",\"load\":{\"queue\":[]}}", "queue"},
        {LEAST ",\"load\":{\"queue\":{\"depth\":3}}}", "depth"},
        {LEAST ",\"load\":{\"queue\":{\"depth\":[0,0,0,0]}}}", "depth"},
        {LEAST ",\"load\":{\"queue\":{\"depth\":[0,2147483648]}}}", "depth"},
        {LEAST ",\"load\":{\"queue\":{\"oldestMs\":[0,-1]}}}", "oldestMs"},
        {LEAST ",\"load\":{\"queue\":{\"oldestMs\":[1.5]}}}", "oldestMs"},
        {LEAST ",\"load\":{\"queue\":{\"evicted\":-1}}}", "evicted"},
        {LEAST ",\"load\":{\"queue\":{\"nextWaitMs\":-2}}}", "nextWaitMs"},
        {LEAST ",\"resources\":[]}", "resources"},
        {LEAST ",\"resources\":{\"level\":\"SOFT\"}}", "level"},
        {LEAST ",\"resources\":{\"level\":1}}", "level"},
        {LEAST ",\"resources\":{\"signal\":\"moon\"}}", "signal"},
        {LEAST ",\"resources\":{\"memoryUsed\":-1}}", "memoryUsed"},
        {LEAST ",\"resources\":{\"softLimit\":1.5}}", "softLimit"},
        {LEAST ",\"resources\":{\"hardLimit\":\"1\"}}", "hardLimit"},
        {LEAST ",\"resources\":{\"pressureSome\":10001}}", "pressureSome"},
        {LEAST ",\"resources\":{\"pressureFull\":-1}}", "pressureFull"},
        {LEAST ",\"resources\":{\"refused\":null}}", "refused"},
        {LEAST ",\"clients\":{}}", "clients"},
        {LEAST ",\"clients\":[1]}", "controller"},
        {LEAST ",\"clients\":[{\"controller\":\"a.b\"}]}", "controller"},
        {LEAST ",\"clients\":[{\"controller\":\"a\",\"jobs\":-1}]}", "jobs"},
        {LEAST ",\"models\":[1]}", "state"},
        {LEAST ",\"models\":[{\"name\":\"m\"}]}", "state"},
        {LEAST ",\"models\":[{\"name\":\"m\",\"state\":\"hot\"}]}", "state"},
        {LEAST ",\"models\":[{\"state\":\"ready\"}]}", "name"},
        {LEAST ",\"models\":[{\"name\":\"\",\"state\":\"ready\"}]}", "name"},
        {LEAST ",\"models\":[{\"name\":\"m\",\"state\":\"ready\",\"loadPercent\":101}]}", "loadPercent"},
        {LEAST ",\"models\":[{\"name\":\"m\",\"state\":\"ready\",\"slots\":-1}]}", "slots"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct worker_info info;
        struct error error = {0};
        if (wire_read_worker_info(cases[i].text, strlen(cases[i].text), &info, &error) !=
            STATUS_PROTOCOL_ERROR)
            fail_msg("accepted: %s", cases[i].text);
        assert_int_equal(error.status, STATUS_PROTOCOL_ERROR);
        if (strcmp(error.param, cases[i].param) != 0)
            fail_msg("%s: blames \"%s\" (%s)", cases[i].text, error.param, error.message);
    }
}

static void unknown_capabilities_and_repeated_skills_are_passed_over(void **state) {
    (void)state;
    static const char text[] = LEAST
        ",\"models\":[{\"name\":\"m\",\"state\":\"ready\",\"capabilities\":[\"mind-reading\",\"tools\"]}],"
        "\"skills\":[\"b\",\"a\",\"b\"]}";
    struct worker_info info;
    struct error error;
    assert_int_equal(wire_read_worker_info(text, strlen(text), &info, &error), STATUS_OK);
    assert_int_equal(info.models[0].capabilities, model_capability_bit(CAPABILITY_TOOLS));
    assert_int_equal(info.skill_count, 2);
    assert_string_equal(info.skills[0], "b");
    assert_string_equal(info.skills[1], "a");
}

static void resources_tell_what_their_level_means(void **state) {
    (void)state;
    static const struct {
        enum resource_level level;
        const char *text;
    } rows[] = {{RESOURCE_OK, "\"underPressure\":false,\"canAcceptRequest\":true"},
                {RESOURCE_SOFT, "\"underPressure\":true,\"canAcceptRequest\":true"},
                {RESOURCE_HARD, "\"underPressure\":true,\"canAcceptRequest\":false"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct worker_info info = {.id = "w", .incarnation = "i", .resources = {.level = rows[i].level}};
        struct buf text;
        buf_init(&text, 0);
        wire_write_worker_info(&text, &info);
        assert_non_null(strstr(text.data, rows[i].text));
        buf_release(&text);
    }
}

static void a_worker_that_tells_no_resources_takes_everything(void **state) {
    (void)state;
    static const char *const texts[] = {LEAST "}", LEAST ",\"resources\":{}}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct worker_info info = {.resources = {.level = RESOURCE_HARD}};
        struct error error;
        assert_int_equal(wire_read_worker_info(texts[i], strlen(texts[i]), &info, &error), STATUS_OK);
        assert_int_equal(info.resources.level, RESOURCE_OK);
        assert_int_equal(info.resources.signal, RESOURCE_BY_NONE);
    }
}

static void more_models_than_the_maximum_are_refused(void **state) {
    (void)state;
    for (int count = WORKER_MODELS_MAX; count <= WORKER_MODELS_MAX + 1; count++) {
        struct buf text;
        buf_init(&text, 0);
        buf_append_str(&text, LEAST ",\"models\":[");
        for (int i = 0; i < count; i++)
            buf_append_str(&text, i ? ",{\"name\":\"m\",\"state\":\"ready\"}"
                                    : "{\"name\":\"m\",\"state\":\"ready\"}");
        buf_append_str(&text, "]}");
        assert_int_equal(accepts_info(text.data, text.len), count == WORKER_MODELS_MAX);
        buf_release(&text);
    }
}

static void more_clients_than_the_maximum_are_refused(void **state) {
    (void)state;
    for (int count = WORKER_CLIENTS_MAX; count <= WORKER_CLIENTS_MAX + 1; count++) {
        struct buf text;
        buf_init(&text, 0);
        buf_append_str(&text, LEAST ",\"clients\":[");
        for (int i = 0; i < count; i++)
            buf_append_str(&text, i ? ",{\"controller\":\"c\"}" : "{\"controller\":\"c\"}");
        buf_append_str(&text, "]}");
        assert_int_equal(accepts_info(text.data, text.len), count == WORKER_CLIENTS_MAX);
        buf_release(&text);
    }
}

static void clients_see_the_same_members_with_a_status(void **state) {
    (void)state;
    struct worker_info info = {.id = "w1",
                               .incarnation = "i1",
                               .hostname = "h\"",
                               .version = "0.1",
                               .pid = 7,
                               .phase = WORKER_PHASE_READY};
    struct buf wire, object;
    buf_init(&wire, 0);
    buf_init(&object, 0);
    wire_write_worker_info(&wire, &info);
    wire_write_worker_object(&object, &info, "suspect", ",\"leases\":3");
    static const char wire_begin[] = "{\"v\":1,", object_begin[] = "{\"status\":\"suspect\",";
    static const char object_end[] = ",\"leases\":3}";
    size_t members = wire.len - strlen(wire_begin) - 1;
    assert_int_equal(object.len, strlen(object_begin) + members + strlen(object_end));
    assert_memory_equal(object.data, object_begin, strlen(object_begin));
    assert_memory_equal(object.data + strlen(object_begin), wire.data + strlen(wire_begin), members);
    assert_string_equal(object.data + strlen(object_begin) + members, object_end);
    buf_clear(&object);
    wire_write_worker_object(&object, &info, "online", NULL);
    assert_string_equal(object.data + object.len - 2, "}}");
    buf_release(&wire);
    buf_release(&object);
}

static void a_good_bye_comes_back_and_survives_harm(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    struct buf text;
    buf_init(&text, 0);
    for (int round = 0; round < 100; round++) {
        struct wire_deregister deregister, back;
        struct error error;
        rng_id(deregister.worker_id, 1 + rng_below(&rng, WORKER_ID_MAX));
        rng_id(deregister.incarnation, INCARNATION_CHARS);
        buf_clear(&text);
        wire_write_deregister(&text, &deregister);
        assert_int_equal(wire_read_deregister(text.data, text.len, &back, &error), STATUS_OK);
        assert_string_equal(back.worker_id, deregister.worker_id);
        assert_string_equal(back.incarnation, deregister.incarnation);
    }
    wire_harm(accepts_deregister, text.data, text.len);
    wire_harm_version(accepts_deregister, text.data, text.len);
    buf_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_worker_tells_comes_back_as_it_was),
        cmocka_unit_test(a_harmed_heartbeat_is_refused_or_read),
        cmocka_unit_test(what_a_worker_may_leave_out_is_zero_or_not_known),
        cmocka_unit_test(a_long_hostname_is_cut_between_characters),
        cmocka_unit_test(numbers_at_their_limits_come_back),
        cmocka_unit_test(members_that_are_wrong_are_named),
        cmocka_unit_test(unknown_capabilities_and_repeated_skills_are_passed_over),
        cmocka_unit_test(resources_tell_what_their_level_means),
        cmocka_unit_test(a_worker_that_tells_no_resources_takes_everything),
        cmocka_unit_test(more_models_than_the_maximum_are_refused),
        cmocka_unit_test(more_clients_than_the_maximum_are_refused),
        cmocka_unit_test(clients_see_the_same_members_with_a_status),
        cmocka_unit_test(a_good_bye_comes_back_and_survives_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
