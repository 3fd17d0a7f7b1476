#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "route/breaker_word.h"
#include "route/stamp.h"

static const struct breaker_config config = {.enabled = true,
                                             .failure_threshold = 3,
                                             .success_threshold = 2,
                                             .timeout_ms = 10000,
                                             .probe_lease_ms = 5000};

static struct breaker make(int64_t now_ms) {
    struct breaker breaker;
    breaker_init(&breaker, now_ms);
    return breaker;
}

static struct breaker_word say(enum breaker_state state, int64_t operator_stamp, int64_t stamp) {
    return (struct breaker_word){.state = state,
                                 .operator_stamp = operator_stamp,
                                 .stamp = stamp,
                                 .remaining_ms = state == BREAKER_OPEN ? 4000 : 0,
                                 .openings = state == BREAKER_OPEN ? 2 : 0,
                                 .last_failure = state == BREAKER_OPEN ? STATUS_WORKER_TIMEOUT : STATUS_OK};
}

static void adopt(struct breaker *breaker, struct breaker_word word, int64_t now_ms) {
    assert_int_equal(breaker_weigh(breaker, &word), BREAKER_WORD_NEWER);
    breaker_adopt(breaker, &word, now_ms);
    assert_int_equal(breaker_weigh(breaker, &word), BREAKER_WORD_SAME);
}

static void what_opened_elsewhere_is_open_here_for_the_rest_of_its_time(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    adopt(&breaker, say(BREAKER_OPEN, 0, 7), 1000);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_int_equal(breaker_remaining_ms(&breaker, 1000), 4000);
    assert_int_equal(breaker_peek(&breaker, 4999), BREAKER_WAIT);
    assert_int_equal(breaker_peek(&breaker, 5000), BREAKER_PROBE);
    assert_int_equal(breaker.last_failure, STATUS_WORKER_TIMEOUT);
    assert_int_equal(breaker.openings, 2);
}

static void what_closed_elsewhere_after_probes_closes_here_and_starts_slowly(void **state) {
    (void)state;
    for (int half_open = 0; half_open <= 1; half_open++) {
        struct breaker breaker = make(0);
        adopt(&breaker, say(half_open ? BREAKER_HALF_OPEN : BREAKER_OPEN, 0, 7), 0);
        adopt(&breaker, say(BREAKER_CLOSED, 0, 8), 100);
        assert_int_equal(breaker.state, BREAKER_CLOSED);
        assert_int_equal(breaker_share(&breaker, 100), BREAKER_SHARE_MIN);
    }
}

static void an_operators_reset_elsewhere_closes_without_slow_start(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    adopt(&breaker, say(BREAKER_OPEN, 0, 7), 0);
    adopt(&breaker, say(BREAKER_CLOSED, 8, 8), 100);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker_share(&breaker, 100), 100);
    assert_int_equal(breaker.openings, 0);
}

static void an_older_word_is_known_as_such_and_an_equal_one_is_nothing_new(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    struct breaker_word own, older = say(BREAKER_OPEN, 0, 6);
    adopt(&breaker, say(BREAKER_CLOSED, 0, 7), 0);
    breaker_tell(&breaker, 0, &own);
    assert_int_equal(breaker_weigh(&breaker, &own), BREAKER_WORD_SAME);
    assert_int_equal(breaker_weigh(&breaker, &older), BREAKER_WORD_OLDER);
}

static void an_operators_word_beats_whatever_was_found_out_without_it(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    struct breaker_word later = say(BREAKER_OPEN, 0, 100);
    adopt(&breaker, say(BREAKER_FORCED_CLOSED, 50, 50), 0);
    assert_int_equal(breaker_weigh(&breaker, &later), BREAKER_WORD_OLDER);
    adopt(&breaker, say(BREAKER_CLOSED, 60, 60), 0); /* reset by an operator */
    assert_int_equal(breaker_weigh(&breaker, &later), BREAKER_WORD_OLDER);
    adopt(&breaker, say(BREAKER_OPEN, 60, 61), 0); /* found out after that */
}

static void open_and_half_open_of_one_word_are_the_same(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    struct rng rng;
    rng_seed(&rng, 1);
    struct breaker_word word = say(BREAKER_OPEN, 0, 7);
    adopt(&breaker, word, 0);
    assert_true(breaker_tick(&breaker, &config, 4000, &rng));
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    assert_int_equal(breaker_weigh(&breaker, &word), BREAKER_WORD_SAME);
}

static void results_of_jobs_from_before_an_adopted_change_are_late(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    struct breaker_ticket ticket;
    struct rng rng;
    rng_seed(&rng, 1);
    assert_true(breaker_acquire(&breaker, &config, false, 0, &rng, &ticket));
    adopt(&breaker, say(BREAKER_OPEN, 0, 7), 10);
    assert_false(breaker_report(&breaker, &config, &ticket, STATUS_OK, 20, &rng));
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_int_equal(breaker.late, 1);
}

static void stamps_outlive_a_restart_of_the_worker(void **state) {
    (void)state;
    struct breaker breaker = make(0);
    struct breaker_word before = say(BREAKER_FORCED_OPEN, 5, 5), after;
    adopt(&breaker, before, 0);
    adopt(&breaker, say(BREAKER_CLOSED, 6, 6), 0);
    breaker_restart(&breaker, &config, 10);
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    assert_int_equal(breaker_weigh(&breaker, &before), BREAKER_WORD_OLDER);
    breaker_tell(&breaker, 10, &after);
    assert_true(breaker_word_ejects(&after));
}

/* Three controllers and one worker. Everything that can happen happens in random order, messages are lost,
 * doubled and reordered; then it becomes quiet. */

enum { TABLES = 3, IN_FLIGHT = 64, STEPS = 400, ROUNDS = 5, SEEDS = 400 };

struct message {
    struct breaker_word word;
    int incarnation;
};

struct table {
    struct breaker breaker;
    struct stamp_clock clock;
    int incarnation; /* of the worker, as seen here */
    struct message inbox[IN_FLIGHT];
    size_t waiting;
};

struct world {
    struct table tables[TABLES];
    struct rng rng;
    int64_t now_ms;
    int incarnation;
    uint64_t adopted;
};

static void world_init(struct world *world, uint64_t seed) {
    *world = (struct world){0};
    rng_seed(&world->rng, seed);
    for (size_t i = 0; i < TABLES; i++) {
        breaker_init(&world->tables[i].breaker, 0);
        stamp_clock_init(&world->tables[i].clock, rng_next(&world->rng));
    }
}

/* As the controller does it: what changed by itself gets a stamp. */
static void note(struct world *world, struct table *table, bool changed, bool by_operator) {
    if (!changed || table->breaker.state == BREAKER_HALF_OPEN)
        return;
    /* The clocks of the machines differ by up to a second. */
    int64_t wall_ms = world->now_ms + (table - world->tables) * 500;
    breaker_stamp(&table->breaker, stamp_next(&table->clock, wall_ms), by_operator);
    table->breaker.untold = true;
}

static void put(struct table *to, const struct message *message) {
    if (to->waiting < IN_FLIGHT)
        to->inbox[to->waiting++] = *message;
}

static void beat(struct world *world, struct table *from, bool lossy) {
    struct message message = {.incarnation = from->incarnation};
    if (!from->breaker.untold && from->breaker.state == BREAKER_CLOSED)
        return;
    breaker_tell(&from->breaker, world->now_ms, &message.word);
    from->breaker.untold = false;
    for (size_t i = 0; i < TABLES; i++) {
        if (&world->tables[i] == from || (lossy && rng_below(&world->rng, 3) == 0))
            continue;
        put(&world->tables[i], &message);
        if (lossy && rng_below(&world->rng, 4) == 0)
            put(&world->tables[i], &message);
    }
}

static void hear_one(struct world *world, struct table *table) {
    if (table->waiting == 0)
        return;
    size_t at = rng_below(&world->rng, table->waiting);
    struct message message = table->inbox[at];
    table->inbox[at] = table->inbox[--table->waiting];
    stamp_seen(&table->clock, message.word.stamp);
    stamp_seen(&table->clock, message.word.operator_stamp);
    if (message.incarnation != table->incarnation)
        return;
    enum breaker_weight weight = breaker_weigh(&table->breaker, &message.word);
    if (weight == BREAKER_WORD_OLDER)
        table->breaker.untold = true;
    if (weight != BREAKER_WORD_NEWER)
        return;
    breaker_adopt(&table->breaker, &message.word, world->now_ms);
    world->adopted++;
}

static void run_job(struct world *world, struct table *table) {
    struct breaker_ticket ticket;
    struct breaker *breaker = &table->breaker;
    uint64_t generation = breaker->generation;
    bool panic = rng_below(&world->rng, 8) == 0;
    if (!breaker_acquire(breaker, &config, panic, world->now_ms, &world->rng, &ticket))
        return;
    enum status status = rng_below(&world->rng, 2) ? STATUS_WORKER_TIMEOUT : STATUS_OK;
    if (rng_below(&world->rng, 10) == 0)
        status = STATUS_CANCELLED;
    breaker_report(breaker, &config, &ticket, status, world->now_ms, &world->rng);
    note(world, table, breaker->generation != generation, false);
}

static void speak_as_operator(struct world *world, struct table *table) {
    switch (rng_below(&world->rng, 3)) {
    case 0:
        breaker_force(&table->breaker, BREAKER_FORCED_OPEN);
        break;
    case 1:
        breaker_force(&table->breaker, BREAKER_FORCED_CLOSED);
        break;
    default:
        breaker_reset(&table->breaker, world->now_ms);
        break;
    }
    note(world, table, true, true);
}

static void see_restart(struct world *world, struct table *table) {
    if (table->incarnation == world->incarnation)
        return;
    table->incarnation = world->incarnation;
    breaker_restart(&table->breaker, &config, world->now_ms);
}

static void step(struct world *world) {
    struct table *table = &world->tables[rng_below(&world->rng, TABLES)];
    uint64_t what = rng_below(&world->rng, 100);
    if (what < 30)
        run_job(world, table);
    else if (what < 32)
        speak_as_operator(world, table);
    else if (what < 33)
        world->incarnation++;
    else if (what < 40)
        see_restart(world, table);
    else if (what < 55)
        beat(world, table, true);
    else if (what < 85)
        hear_one(world, table);
    else
        world->now_ms += (int64_t)rng_below(&world->rng, 3000);
}

static void quiet_round(struct world *world) {
    for (size_t i = 0; i < TABLES; i++) {
        see_restart(world, &world->tables[i]);
        beat(world, &world->tables[i], false);
    }
    for (size_t i = 0; i < TABLES; i++)
        while (world->tables[i].waiting > 0)
            hear_one(world, &world->tables[i]);
    world->now_ms += 1000;
}

static bool agree(const struct world *world) {
    for (size_t i = 1; i < TABLES; i++) {
        struct breaker_word word;
        breaker_tell(&world->tables[i].breaker, world->now_ms, &word);
        /* A closed one is not told again: that somebody has missed how it opened and closed does not show. */
        if (breaker_weigh(&world->tables[0].breaker, &word) != BREAKER_WORD_SAME &&
            (word.state != BREAKER_CLOSED || world->tables[0].breaker.state != BREAKER_CLOSED))
            return false;
    }
    return true;
}

static void controllers_agree_after_any_history_and_fall_silent_about_it(void **state) {
    (void)state;
    size_t differed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        world_init(&world, seed);
        for (int i = 0; i < STEPS; i++)
            step(&world);
        differed += !agree(&world);
        for (int i = 0; i < ROUNDS; i++)
            quiet_round(&world);
        if (!agree(&world))
            fail_msg("seed %llu: they do not agree", (unsigned long long)seed);
        uint64_t adopted = world.adopted;
        for (int i = 0; i < 20; i++)
            quiet_round(&world);
        if (world.adopted != adopted)
            fail_msg("seed %llu: they go on changing each other", (unsigned long long)seed);
    }
    assert_true(differed > SEEDS / 4); /* else the test tests nothing */
}

static void the_operator_who_spoke_last_is_obeyed_after_any_history(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        world_init(&world, seed);
        for (int i = 0; i < STEPS; i++)
            step(&world);
        world.now_ms += 5000; /* later by everybody's clock */
        struct table *table = &world.tables[seed % TABLES];
        breaker_force(&table->breaker, BREAKER_FORCED_OPEN);
        note(&world, table, true, true);
        for (int i = 0; i < ROUNDS; i++)
            quiet_round(&world);
        for (size_t i = 0; i < TABLES; i++)
            if (world.tables[i].breaker.state != BREAKER_FORCED_OPEN)
                fail_msg("seed %llu: table %zu is %s", (unsigned long long)seed, i,
                         breaker_state_name(world.tables[i].breaker.state));
    }
}

static void every_state_is_found_by_its_name_and_no_other(void **state) {
    (void)state;
    enum breaker_state found;
    for (int i = BREAKER_CLOSED; i <= BREAKER_FORCED_CLOSED; i++) {
        assert_true(breaker_state_from_name(breaker_state_name((enum breaker_state)i), &found));
        assert_int_equal(found, i);
    }
    assert_false(breaker_state_from_name("closed", &found));
    assert_false(breaker_state_from_name("", &found));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_opened_elsewhere_is_open_here_for_the_rest_of_its_time),
        cmocka_unit_test(what_closed_elsewhere_after_probes_closes_here_and_starts_slowly),
        cmocka_unit_test(an_operators_reset_elsewhere_closes_without_slow_start),
        cmocka_unit_test(an_older_word_is_known_as_such_and_an_equal_one_is_nothing_new),
        cmocka_unit_test(an_operators_word_beats_whatever_was_found_out_without_it),
        cmocka_unit_test(open_and_half_open_of_one_word_are_the_same),
        cmocka_unit_test(results_of_jobs_from_before_an_adopted_change_are_late),
        cmocka_unit_test(stamps_outlive_a_restart_of_the_worker),
        cmocka_unit_test(controllers_agree_after_any_history_and_fall_silent_about_it),
        cmocka_unit_test(the_operator_who_spoke_last_is_obeyed_after_any_history),
        cmocka_unit_test(every_state_is_found_by_its_name_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
