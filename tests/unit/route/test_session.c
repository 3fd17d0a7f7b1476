#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "route/session.h"

enum { TTL_MS = 300000 };

static const struct siphash_key key = {{11, 22}};

static void init(struct session_table *table, size_t max) {
    const struct session_config config = {.ttl_ms = TTL_MS, .max = max};
    assert_true(session_table_init(table, &config, &key));
}

static void assert_at(struct session_table *table, const char *id, const char *worker_id, int64_t now_ms) {
    const struct session *session = session_find(table, id, now_ms);
    assert_non_null(session);
    assert_string_equal(session->worker_id, worker_id);
}

static void assert_conserved(const struct session_table *table) {
    const struct session_stats *stats = &table->stats;
    assert_int_equal(stats->created,
                     stats->active + stats->expired + stats->evicted + stats->purged + stats->dropped);
}

static void ids_are_1_to_128_plain_characters(void **state) {
    (void)state;
    char longest[CHAT_SESSION_ID_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[CHAT_SESSION_ID_MAX] = '\0';
    const char *good[] = {"a", "Z", "0", "user:7.turn-2_b", longest};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(session_id_is_valid(good[i]));
    longest[CHAT_SESSION_ID_MAX] = 'x';
    longest[CHAT_SESSION_ID_MAX + 1] = '\0';
    const char *bad[] = {NULL, "", "a b", "a/b", "a\n", "\xc3\xa9", "a*", longest};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(session_id_is_valid(bad[i]));
}

static void exactly_the_documented_characters_are_valid(void **state) {
    (void)state;
    const char *valid = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";
    for (int c = 1; c < 256; c++) {
        const char id[] = {'a', (char)c, '\0'};
        assert_int_equal(session_id_is_valid(id), strchr(valid, c) != NULL);
    }
}

static void a_session_is_found_at_the_worker_it_was_bound_to(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 10);
    assert_null(session_find(&table, "s1", 0));
    session_bind(&table, "s1", "w1", 7, 0);
    session_bind(&table, "s2", "w2", 8, 0);
    assert_at(&table, "s1", "w1", 1);
    assert_int_equal(session_find(&table, "s1", 1)->generation, 7);
    assert_at(&table, "s2", "w2", 1);
    assert_int_equal(table.stats.active, 2);
    assert_int_equal(table.stats.misses, 1);
    assert_int_equal(table.stats.hits, 3);
    session_table_release(&table);
}

static void an_invalid_id_is_never_bound(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 10);
    session_bind(&table, "not valid", "w1", 7, 0);
    session_bind(&table, "", "w1", 7, 0);
    assert_null(session_find(&table, "not valid", 0));
    assert_false(session_drop(&table, "", 0, 0));
    assert_int_equal(table.stats.created, 0);
    session_table_release(&table);
}

static void time_to_live_slides_with_each_use(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 10);
    session_bind(&table, "s", "w1", 1, 0);
    assert_at(&table, "s", "w1", TTL_MS - 1);
    session_bind(&table, "s", "w1", 1, 2 * TTL_MS - 2);
    assert_at(&table, "s", "w1", 3 * TTL_MS - 3);
    assert_null(session_find(&table, "s", 4 * TTL_MS - 3));
    assert_int_equal(table.stats.expired, 1);
    assert_int_equal(table.stats.active, 0);
    assert_int_equal(table.stats.moved, 0);
    session_table_release(&table);
}

static void expire_removes_those_whose_time_is_over_and_no_others(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 10);
    session_bind(&table, "old", "w1", 1, 0);
    session_bind(&table, "used", "w1", 1, 1);
    session_bind(&table, "young", "w1", 1, 100);
    assert_at(&table, "used", "w1", 200);
    session_expire(&table, TTL_MS + 99);
    assert_int_equal(table.stats.active, 2);
    session_expire(&table, TTL_MS + 100);
    assert_int_equal(table.stats.active, 1);
    assert_at(&table, "used", "w1", TTL_MS + 199);
    assert_int_equal(table.stats.expired, 2);
    session_table_release(&table);
}

static void binding_elsewhere_moves_the_session(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 10);
    session_bind(&table, "s", "w1", 1, 0);
    session_bind(&table, "s", "w2", 2, 1);
    assert_at(&table, "s", "w2", 2);
    assert_int_equal(table.stats.active, 1);
    assert_int_equal(table.stats.moved, 1);
    assert_int_equal(session_purge_worker(&table, 1), 0);
    assert_at(&table, "s", "w2", 3);
    session_table_release(&table);
}

static void a_new_incarnation_of_the_same_worker_is_a_move(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 10);
    session_bind(&table, "s", "w1", 1, 0);
    session_bind(&table, "s", "w1", 5, 1);
    assert_int_equal(table.stats.moved, 1);
    assert_int_equal(session_find(&table, "s", 2)->generation, 5);
    session_table_release(&table);
}

static void a_full_table_evicts_the_one_used_longest_ago(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 3);
    session_bind(&table, "a", "w", 1, 0);
    session_bind(&table, "b", "w", 1, 1);
    session_bind(&table, "c", "w", 1, 2);
    assert_at(&table, "a", "w", 3);
    session_bind(&table, "d", "w", 1, 4);
    assert_null(session_find(&table, "b", 5));
    assert_at(&table, "a", "w", 5);
    assert_at(&table, "c", "w", 5);
    assert_at(&table, "d", "w", 5);
    assert_int_equal(table.stats.evicted, 1);
    assert_int_equal(table.stats.active, 3);
    session_table_release(&table);
}

static void room_made_by_an_expired_session_is_no_eviction(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 1);
    session_bind(&table, "a", "w", 1, 0);
    session_bind(&table, "b", "w", 1, TTL_MS);
    assert_int_equal(table.stats.expired, 1);
    assert_int_equal(table.stats.evicted, 0);
    assert_conserved(&table);
    session_table_release(&table);
}

static void a_dropped_session_is_gone_at_once(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 3);
    session_bind(&table, "a", "w", 1, 0);
    assert_true(session_drop(&table, "a", 0, 1));
    assert_false(session_drop(&table, "a", 0, 1));
    assert_null(session_find(&table, "a", 1));
    assert_int_equal(table.stats.dropped, 1);
    session_bind(&table, "b", "w", 1, 2);
    assert_false(session_drop(&table, "b", 0, 2 + TTL_MS)); /* it expired: there is none */
    assert_int_equal(table.stats.expired, 1);
    assert_conserved(&table);
    session_table_release(&table);
}

/* 16 buckets: generations 1 and 17 share one. */
static void purging_an_incarnation_takes_all_of_its_sessions_and_no_others(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 16);
    session_bind(&table, "a", "w1", 1, 0);
    session_bind(&table, "b", "w2", 17, 0);
    session_bind(&table, "c", "w1", 1, 0);
    session_bind(&table, "d", "w3", 2, 0);
    assert_int_equal(session_purge_worker(&table, 1), 2);
    assert_int_equal(session_purge_worker(&table, 1), 0);
    assert_null(session_find(&table, "a", 1));
    assert_null(session_find(&table, "c", 1));
    assert_at(&table, "b", "w2", 1);
    assert_at(&table, "d", "w3", 1);
    assert_int_equal(table.stats.purged, 2);
    assert_conserved(&table);
    session_table_release(&table);
}

static void a_table_of_one_works(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 1);
    for (int i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof(id), "s%d", i);
        session_bind(&table, id, "w", (uint64_t)i + 1, i);
        assert_at(&table, id, "w", i);
    }
    assert_int_equal(table.stats.evicted, 999);
    assert_conserved(&table);
    session_table_release(&table);
}

static void released_tables_are_zeroed_and_may_be_released_again(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 4);
    session_table_release(&table);
    assert_null(table.slots);
    session_table_release(&table);
    session_table_release(NULL);
}

/* The plainest table that does the same, to compare with. */
enum { IDS = 40, ROOM = 24, WORKERS = 5, STEPS = 60000, MODEL_TTL_MS = 60 };
struct model {
    uint64_t generation[IDS]; /* 0: none */
    int64_t used_ms[IDS];
    uint64_t turn[IDS]; /* order of use */
    uint64_t turns;
};

static bool model_alive(struct model *model, size_t id, int64_t now_ms) {
    if (model->generation[id] && now_ms - model->used_ms[id] >= MODEL_TTL_MS)
        model->generation[id] = 0;
    return model->generation[id] != 0;
}

static size_t model_oldest(const struct model *model, size_t *held) {
    size_t oldest = IDS;
    *held = 0;
    for (size_t i = 0; i < IDS; i++) {
        if (!model->generation[i])
            continue;
        ++*held;
        if (oldest == IDS || model->turn[i] < model->turn[oldest])
            oldest = i;
    }
    return oldest;
}

static void model_use(struct model *model, size_t id, int64_t now_ms) {
    model->used_ms[id] = now_ms;
    model->turn[id] = ++model->turns;
}

static void model_bind(struct model *model, size_t id, uint64_t generation, int64_t now_ms) {
    size_t held;
    if (!model_alive(model, id, now_ms)) {
        size_t oldest = model_oldest(model, &held);
        if (held == ROOM)
            model->generation[oldest] = 0;
    }
    model->generation[id] = generation;
    model_use(model, id, now_ms);
}

static void check_step(struct session_table *table, struct model *model, struct rng *rng, int64_t now_ms) {
    size_t at = (size_t)rng_below(rng, IDS);
    uint64_t generation = 1 + rng_below(rng, WORKERS);
    char id[16], worker[16];
    snprintf(id, sizeof(id), "id-%zu", at);
    snprintf(worker, sizeof(worker), "w%d", (int)generation);
    uint64_t kind = rng_below(rng, 100);
    if (kind < 50) {
        const struct session *found = session_find(table, id, now_ms);
        assert_int_equal(found != NULL, model_alive(model, at, now_ms));
        if (found) {
            assert_int_equal(found->generation, model->generation[at]);
            assert_int_equal(found->worker_id[1] - '0', found->generation);
            model_use(model, at, now_ms);
        }
    } else if (kind < 90) {
        session_bind(table, id, worker, generation, now_ms);
        model_bind(model, at, generation, now_ms);
    } else if (kind < 95) {
        assert_int_equal(session_drop(table, id, 0, now_ms), model_alive(model, at, now_ms));
        model->generation[at] = 0;
    } else if (kind < 96) {
        session_purge_worker(table, generation);
        for (size_t i = 0; i < IDS; i++)
            if (model->generation[i] == generation)
                model->generation[i] = 0;
    } else {
        session_expire(table, now_ms);
        for (size_t i = 0; i < IDS; i++)
            model_alive(model, i, now_ms);
        size_t held;
        model_oldest(model, &held);
        assert_int_equal(table->stats.active, held);
    }
}

static void random_use_agrees_with_a_plain_model(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct session_table table;
        const struct session_config config = {.ttl_ms = MODEL_TTL_MS, .max = ROOM};
        assert_true(session_table_init(&table, &config, &key));
        struct model model = {0};
        struct rng rng;
        rng_seed(&rng, seed);
        int64_t now_ms = 0;
        for (int i = 0; i < STEPS; i++) {
            now_ms += (int64_t)rng_below(&rng, 4);
            check_step(&table, &model, &rng, now_ms);
            assert_true(table.stats.active <= ROOM);
            assert_conserved(&table);
        }
        assert_true(table.stats.evicted > 0 && table.stats.expired > 0 && table.stats.moved > 0);
        session_table_release(&table);
    }
}

static struct session_word word(const char *id, const char *worker_id, uint64_t generation, int64_t used_ms,
                                int64_t stamp) {
    return (struct session_word){id, worker_id, generation, used_ms, stamp};
}

static bool adopt(struct session_table *table, struct session_word said, int64_t now_ms) {
    return session_adopt(table, &said, now_ms);
}

static void of_two_uses_the_one_with_the_greater_stamp_counts(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 8);
    session_bind(&table, "a", "w-1", 1, 1000);
    session_stamp(&table, "a", 50, 1000);
    assert_false(adopt(&table, word("a", "w-2", 2, 999, 49), 1000));
    assert_false(adopt(&table, word("a", "w-2", 2, 999, 50), 1000));
    assert_at(&table, "a", "w-1", 1000);
    assert_true(adopt(&table, word("a", "w-2", 2, 999, 51), 1000));
    assert_at(&table, "a", "w-2", 1000);
    assert_int_equal(table.stats.adopted, 1);
    assert_conserved(&table);
    session_table_release(&table);
}

static void an_adopted_session_lives_from_its_last_use_and_not_from_the_message(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 8);
    assert_true(adopt(&table, word("a", "w-1", 1, 1000, 5), 1000 + TTL_MS - 1));
    session_expire(&table, 1000 + TTL_MS - 1);
    assert_int_equal(table.stats.active, 1);
    session_expire(&table, 1000 + TTL_MS);
    assert_int_equal(table.stats.active, 0);
    assert_false(adopt(&table, word("b", "w-1", 1, 1000, 6), 1000 + TTL_MS)); /* it is over already */
    assert_false(adopt(&table, word("no id", "w-1", 1, 2000, 6), 2000));
    assert_conserved(&table);
    session_table_release(&table);
}

static void sessions_expire_in_the_order_of_use_however_they_came(void **state) {
    (void)state;
    static const int64_t used[] = {700, 100, 900, 300, 500};
    struct session_table table;
    init(&table, 8);
    for (size_t i = 0; i < ARRAY_LEN(used); i++) {
        const char id[] = {(char)('a' + i), '\0'};
        assert_true(adopt(&table, word(id, "w-1", 1, used[i], (int64_t)i + 1), 1000));
    }
    session_bind(&table, "f", "w-1", 1, 1000);
    for (int64_t now_ms = 0; now_ms <= 1000; now_ms += 100) {
        size_t left = now_ms < 1000;
        for (size_t i = 0; i < ARRAY_LEN(used); i++)
            left += used[i] > now_ms;
        session_expire(&table, now_ms + TTL_MS);
        assert_int_equal(table.stats.active, left);
    }
    session_table_release(&table);
}

static void what_was_dropped_is_not_brought_back_by_words_from_before(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 8);
    session_bind(&table, "a", "w-1", 1, 0);
    session_stamp(&table, "a", 50, 0);
    assert_true(session_drop(&table, "a", 40, 0)); /* said by a slower clock: it is dropped all the same */
    assert_false(adopt(&table, word("a", "w-1", 1, 0, 50), 0));
    assert_true(adopt(&table, word("a", "w-1", 1, 0, 51), 0)); /* it was used again since */
    assert_false(session_drop(&table, "b", 60, 0)); /* not known here: the word may be on its way */
    assert_false(adopt(&table, word("b", "w-1", 1, 0, 60), 0));
    session_table_release(&table);
}

static void a_drop_is_remembered_until_enough_others_came(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 8);
    session_drop(&table, "a", 10, 0);
    for (int i = 1; i < SESSION_DROPS_KEPT; i++) {
        char id[16];
        snprintf(id, sizeof(id), "x%d", i);
        session_drop(&table, id, 10, 0);
    }
    assert_false(adopt(&table, word("a", "w-1", 1, 0, 10), 0));
    session_drop(&table, "one-more", 10, 0);
    assert_true(adopt(&table, word("a", "w-1", 1, 0, 10), 0));
    session_table_release(&table);
}

static void each_use_is_told_once_and_an_adopted_one_never(void **state) {
    (void)state;
    struct session_table table;
    init(&table, 8);
    for (int i = 0; i < 3; i++) {
        const char id[] = {(char)('a' + i), '\0'};
        session_bind(&table, id, "w-1", 1, i);
        session_stamp(&table, id, 10 + i, i);
    }
    session_stamp(&table, "a", 20, 3);                         /* once more */
    session_stamp(&table, "unknown", 21, 3);                   /* nothing */
    assert_true(adopt(&table, word("b", "w-2", 2, 3, 30), 3)); /* another controller was later */
    assert_string_equal(session_take_untold(&table)->id, "c");
    const struct session *last = session_take_untold(&table);
    assert_string_equal(last->id, "a");
    assert_true(last->stamp == 20);
    assert_null(session_take_untold(&table));
    session_stamp(&table, "a", 40, 4);
    session_drop(&table, "a", 50, 4);
    assert_null(session_take_untold(&table));
    session_table_release(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_1_to_128_plain_characters),
        cmocka_unit_test(exactly_the_documented_characters_are_valid),
        cmocka_unit_test(a_session_is_found_at_the_worker_it_was_bound_to),
        cmocka_unit_test(an_invalid_id_is_never_bound),
        cmocka_unit_test(time_to_live_slides_with_each_use),
        cmocka_unit_test(expire_removes_those_whose_time_is_over_and_no_others),
        cmocka_unit_test(binding_elsewhere_moves_the_session),
        cmocka_unit_test(a_new_incarnation_of_the_same_worker_is_a_move),
        cmocka_unit_test(a_full_table_evicts_the_one_used_longest_ago),
        cmocka_unit_test(room_made_by_an_expired_session_is_no_eviction),
        cmocka_unit_test(a_dropped_session_is_gone_at_once),
        cmocka_unit_test(purging_an_incarnation_takes_all_of_its_sessions_and_no_others),
        cmocka_unit_test(a_table_of_one_works),
        cmocka_unit_test(released_tables_are_zeroed_and_may_be_released_again),
        cmocka_unit_test(random_use_agrees_with_a_plain_model),
        cmocka_unit_test(of_two_uses_the_one_with_the_greater_stamp_counts),
        cmocka_unit_test(an_adopted_session_lives_from_its_last_use_and_not_from_the_message),
        cmocka_unit_test(sessions_expire_in_the_order_of_use_however_they_came),
        cmocka_unit_test(what_was_dropped_is_not_brought_back_by_words_from_before),
        cmocka_unit_test(a_drop_is_remembered_until_enough_others_came),
        cmocka_unit_test(each_use_is_told_once_and_an_adopted_one_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
